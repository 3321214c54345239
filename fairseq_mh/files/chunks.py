"""Writes output in numbered chunks, so that an interrupted run can continue.

A chunk is either completely in its folder, or not there at all.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fairseq_mh.errors import UserError, reason

Write = Callable[[BinaryIO], Any]  # writes the contents of a file
Join = Callable[[Sequence[Path], BinaryIO], Any]  # joins the files of all chunks, in order, into one file

LOCK = ".lock"  # the file that a process locks while it writes into a folder


def lock(folder: Path) -> TextIO:
    """Create a folder if need be, and keep other processes from writing to it until the returned file is closed.

    Raises:
        UserError: if another process is writing to it.
        OSError: if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a")  # network file systems lock only files that are open for writing
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"another process is writing to {folder}") from None
    return file


class Chunks:
    """The output folder of one run, whose work is cut into chunks.

    Every chunk has files of the same names. When all chunks are finished, `join` makes one file of each name from them.
    The object is a context manager: no other process can write to the folder until the context ends.

    Args:
        folder: the output folder; it is created if it does not exist.
        settings: everything that decides the output, as JSON; a folder with other settings is refused.
        files: the names of a chunk's files, each with the function that joins the files of all chunks.
        count: the number of chunks.

    Raises:
        UserError: if the folder cannot be written, holds other files, was started with other settings, or is being
            written by another process.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], files: Mapping[str, Join], count: int):
        self.folder, self.files, self.count = folder, files, count
        expected = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        record = folder / "settings.json"
        try:
            if folder.exists() and not record.exists() and self._other_names("settings.json.part"):
                raise UserError(f"{folder} already holds other files: choose another folder")
            self._lock = lock(folder)
            if not record.exists():
                write_whole(record, lambda file: file.write(expected.encode()))
            recorded = record.read_text(encoding="utf-8")
            if recorded != expected:
                self._release()
                differs = difference(recorded, expected)
                raise UserError(f"{folder} was started with other settings{differs}: choose another one, or remove it")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--output cannot be written: {error}") from None

    def __enter__(self) -> "Chunks":
        return self

    def __exit__(self, *error) -> None:
        """Remove the folder if the run was refused before it wrote anything, and release the lock."""
        if not self._other_names("settings.json"):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        """Release the lock, and remove its file if no chunk is missing."""
        if not self.missing():
            (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()

    def _other_names(self, *own: str) -> set[str]:
        """Return the names in the folder, without the lock and the given files."""
        return {path.name for path in self.folder.iterdir()} - {LOCK, *own}

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are not written yet."""
        if all((self.folder / name).exists() for name in self.files):
            return []
        return [number for number in range(self.count) if not self._chunk(number).exists()]

    def write(self, number: int, contents: Mapping[str, Write]) -> None:
        """Write a chunk.

        Args:
            number: the number of the chunk, from 0.
            contents: the names of its files, each with the function that writes the file.
        """
        with whole_folder(self._chunk(number)) as folder:
            for name in self.files:
                write_whole(folder / name, contents[name])

    def join(self) -> None:
        """Join the files of all chunks, and remove the chunks; call it when no chunk is missing."""
        for name, join in self.files.items():
            if not (self.folder / name).exists():
                parts = [self._chunk(number) / name for number in range(self.count)]
                write_whole(self.folder / name, partial(join, parts))
        shutil.rmtree(self.folder / "chunks", ignore_errors=True)

    def _chunk(self, number: int) -> Path:
        return self.folder / "chunks" / str(number)


def difference(before: str, now: str) -> str:
    """Return, for a message, the first setting that differs between two JSON texts, with both of its values."""
    try:
        old, new = (_flat(json.loads(text)) for text in (before, now))
    except ValueError:
        return " (its settings.json is damaged)"
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f" ({name} was {old.get(name)}, and is now {new.get(name)})"
    return ""


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings as one dictionary with names such as `task.mh_sweeps`."""
    if not isinstance(settings, dict):
        return {name: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat


def by_content(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Replace paths in settings by fingerprints of the files, because their content decides the output.

    Args:
        settings: settings by name.
        names: the settings that may be paths; a value that is not the path of an existing file is kept.
    """
    given = {name: Path(settings[name]) for name in names if isinstance(settings.get(name), str | Path)}
    return {**settings, **{name: fingerprint(path) for name, path in given.items() if path.name and path.exists()}}


def write_whole(path: Path, write: Write) -> None:
    """Write a file completely or not at all: until the new file is complete, its path holds what it held before."""
    partial_file = path.with_name(f"{path.name}.part")
    try:
        with partial_file.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial_file.rename(path)
    except BaseException:
        partial_file.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name when the context ends, and is removed if an error ends it.

    Args:
        folder: the folder, which must not exist.

    Raises:
        UserError: if the folder cannot be written.
    """
    part = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        yield part
        part.chmod(0o755)
        part.rename(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise UserError(f"{folder} cannot be written: {reason(error)}") from None
    finally:
        if part:
            shutil.rmtree(part, ignore_errors=True)


def as_text(write: Callable[[TextIO], Any]) -> Write:
    """Turn a function that writes text into one that writes its bytes in UTF-8."""

    def written(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8")
        write(text)
        text.detach()  # flushes the text, and leaves the file open

    return written


def concatenate(parts: Sequence[Path], file: BinaryIO) -> None:
    """Write the contents of several files one after another; this is a `Join`."""
    for part in parts:
        with part.open("rb") as contents:
            shutil.copyfileobj(contents, file)


def fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that identify the name and content of a file, or of all files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
