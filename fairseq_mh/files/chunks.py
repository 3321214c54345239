"""Output in numbered chunks, each there whole or not at all, so that what was stopped goes on where it was."""

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

Write = Callable[[BinaryIO], Any]
Join = Callable[[Sequence[Path], BinaryIO], Any]  # files of chunks, in order -> one file


LOCK = ".lock"  # held while a process writes


class Chunks:
    """A folder for one piece of work, of so many chunks; finished, it holds the chunks' files joined.

    A context, within which no other process may write there.

    Args:
        settings: everything that decides the output, as JSON; a folder begun with others is refused.
        files: those that each chunk has, by their names, and how they are joined to the one of that name.

    Raises:
        UserError: where the folder cannot be written, holds something else, was begun with other settings, or is
            written by another process.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], files: Mapping[str, Join], count: int):
        self.folder, self.files, self.count = folder, files, count
        declared = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        record = folder / "settings.json"
        try:
            if folder.exists() and not record.exists() and self._others("settings.json.part"):
                raise UserError(f"{folder} holds something else: take another folder")
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK).open("a")  # to write, as network file systems want it
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not record.exists():
                write_whole(record, lambda file: file.write(declared.encode()))
            if record.read_text(encoding="utf-8") != declared:
                self._release()
                raise UserError(f"{folder} was begun with other settings ({record}): take another, or remove it")
        except BlockingIOError:
            raise UserError(f"another process writes to {folder}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--output cannot be written: {error}") from None

    def __enter__(self) -> "Chunks":
        return self

    def __exit__(self, *error) -> None:
        """Of what was refused before it began, nothing is left."""
        if not self._others("settings.json"):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        """Without a trace where the work is done."""
        if not self.missing():
            (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()

    def _others(self, *own: str) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {LOCK, *own}

    def missing(self) -> list[int]:
        """The numbers of the chunks that are not there."""
        if all((self.folder / name).exists() for name in self.files):
            return []
        return [number for number in range(self.count) if not self._chunk(number).exists()]

    def write(self, number: int, contents: Mapping[str, Write]) -> None:
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
        """Once no chunk is missing: each file in one piece, and no chunks."""
        for name, join in self.files.items():
            if not (self.folder / name).exists():
                parts = [self._chunk(number) / name for number in range(self.count)]
                write_whole(self.folder / name, partial(join, parts))
        shutil.rmtree(self.folder / "chunks", ignore_errors=True)

    def _chunk(self, number: int) -> Path:
        return self.folder / "chunks" / str(number)


def write_whole(path: Path, write: Write) -> None:
    """A file, or what was there before."""
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
    """From what writes text to what writes bytes."""

    def written(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8")
        write(text)
        text.detach()  # flushes, and leaves the file open

    return written


def concatenate(parts: Sequence[Path], file: BinaryIO) -> None:
    for part in parts:
        with part.open("rb") as chunk:
            shutil.copyfileobj(chunk, file)


def fingerprint(path: Path) -> str:
    """Of a file, or of the files in a folder, their contents included."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            digest.update(_sha256(file))
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while some := file.read(2**20):  # models are large, and may not fit into memory twice
            digest.update(some)
    return digest.digest()
