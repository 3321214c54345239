"""Output in numbered chunks, so that a run that was stopped goes on where it was.

A chunk is either in its folder as a whole, or not at all.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fairseq_mh.errors import UserError

Write = Callable[[BinaryIO], Any]  # writes the contents of a file
Join = Callable[[Sequence[Path], BinaryIO], Any]  # joins the files of all chunks, in order, to one file

LOCK = ".lock"  # the file that a process locks while it writes into a folder


class Chunks:
    """The output folder of one run, whose work is cut into chunks.

    Each chunk has the same files. When all chunks are done, the folder holds each of these files in one piece. The
    object is a context manager: until it is left, no other process may write into the folder.

    Args:
        folder: of the output; it is made if it does not exist.
        settings: everything that decides the output, as JSON; a folder that was begun with other settings is refused.
        files: the names of a chunk's files, each with the function that joins the files of all chunks.
        count: the number of chunks.

    Raises:
        UserError: where the folder cannot be written, holds something else, was begun with other settings, or is
            written by another process.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], files: Mapping[str, Join], count: int):
        self.folder, self.files, self.count = folder, files, count
        expected = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        record = folder / "settings.json"
        try:
            if folder.exists() and not record.exists() and self._other_names("settings.json.part"):
                raise UserError(f"{folder} holds something else: take another folder")
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK).open("a")  # network file systems lock only files that are open for writing
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not record.exists():
                write_whole(record, lambda file: file.write(expected.encode()))
            begun = record.read_text(encoding="utf-8")
            if begun != expected:
                self._release()
                differs = difference(begun, expected)
                raise UserError(f"{folder} was begun with other settings{differs}: take another folder, or remove it")
        except BlockingIOError:
            raise UserError(f"another process writes to {folder}") from None
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
        """Release the lock, and remove its file where the work is done."""
        if not self.missing():
            (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()

    def _other_names(self, *own: str) -> set[str]:
        """Return the names of what the folder holds besides the lock and these files."""
        return {path.name for path in self.folder.iterdir()} - {LOCK, *own}

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are still to be written."""
        if all((self.folder / name).exists() for name in self.files):
            return []
        return [number for number in range(self.count) if not self._chunk(number).exists()]

    def write(self, number: int, contents: Mapping[str, Write]) -> None:
        """Write a chunk.

        Args:
            number: of the chunk, from 0.
            contents: for the name of each of its files, the function that writes it.
        """
        begun = self._chunk(number).with_suffix(".part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        try:
            for name in self.files:
                write_whole(begun / name, contents[name])
            begun.rename(self._chunk(number))
        except BaseException:
            shutil.rmtree(begun, ignore_errors=True)
            raise

    def join(self) -> None:
        """Join the files of all chunks and remove the chunks, once no chunk is missing."""
        for name, join in self.files.items():
            if not (self.folder / name).exists():
                parts = [self._chunk(number) / name for number in range(self.count)]
                write_whole(self.folder / name, partial(join, parts))
        shutil.rmtree(self.folder / "chunks", ignore_errors=True)

    def _chunk(self, number: int) -> Path:
        return self.folder / "chunks" / str(number)


def difference(before: str, now: str) -> str:
    """Return the first setting that differs between two JSON texts, and both its values, for a message."""
    try:
        old, new = (_flat(json.loads(text)) for text in (before, now))
    except ValueError:
        return " (its settings.json is damaged)"
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f" ({name} was {old.get(name)}, and is {new.get(name)} now)"
    return ""


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings by names like `task.mh_sweeps`."""
    if not isinstance(settings, dict):
        return {name: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat


def by_content(settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Return settings in which these, where they name a file, are its fingerprint: content decides, not the path."""
    named = {name: settings[name] for name in files if settings.get(name) and Path(settings[name]).exists()}
    return {**settings, **{name: fingerprint(Path(path)) for name, path in named.items()}}


def write_whole(path: Path, write: Write) -> None:
    """Write a file so that its path holds either the whole new file or what it held before."""
    begun = path.with_name(f"{path.name}.part")
    try:
        with begun.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        begun.rename(path)
    except BaseException:
        begun.unlink(missing_ok=True)
        raise


def as_text(write: Callable[[TextIO], Any]) -> Write:
    """Turn a function that writes text into one that writes bytes, in UTF-8."""

    def written(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8")
        write(text)
        text.detach()  # flushes, and leaves the file open

    return written


def concatenate(parts: Sequence[Path], file: BinaryIO) -> None:
    """Write the contents of these files, one after the other: a `Join`."""
    for part in parts:
        with part.open("rb") as contents:
            shutil.copyfileobj(contents, file)


def fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that identify a file, or the files of a folder, by names and contents."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            digest.update(_sha256(file))
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):  # a model may be too large to be read as a whole
            digest.update(part)
    return digest.digest()
