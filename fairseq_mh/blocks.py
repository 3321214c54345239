"""Output in numbered blocks, each there whole or not at all, so that what was stopped goes on where it was."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from fairseq_mh.errors import UserError

Write = Callable[[TextIO], Any]


class Blocks:
    """A folder for one piece of work, of so many blocks; finished, it holds the blocks' files joined.

    A context, within which no other process may write there.

    Args:
        settings: everything that decides the output, as JSON; a folder begun with others is refused.
        names: the files that each block has.

    Raises:
        UserError: where the folder cannot be written, holds something else, was begun with other settings, or is
            written by another process.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], names: list[str], count: int):
        self.folder, self.names, self.count = folder, names, count
        declared = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        record = folder / "settings.json"
        try:
            if not record.exists():
                if folder.exists() and any(folder.iterdir()):
                    raise UserError(f"{folder} holds something else: take another folder")
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(record, lambda file: file.write(declared))
            if record.read_text(encoding="utf-8") != declared:
                raise UserError(f"{folder} was begun with other settings ({record}): take another, or remove it")
            self._lock = record.open(encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process writes to {folder}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--output cannot be written: {error}") from None

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(self, *error) -> None:
        self._lock.close()

    def missing(self) -> list[int]:
        """The numbers of the blocks that are not there."""
        if all((self.folder / name).exists() for name in self.names):
            return []
        return [number for number in range(self.count) if not self._block(number).exists()]

    def write(self, number: int, contents: Mapping[str, Write]) -> None:
        partial = self._block(number).with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in self.names:
            write_whole(partial / name, contents[name])
        partial.rename(self._block(number))

    def join(self) -> None:
        """Once no block is missing: each file in one piece, and no blocks."""
        for name in self.names:
            if not (self.folder / name).exists():
                write_whole(self.folder / name, lambda file, name=name: self._copy(name, file))  # type: ignore[misc]
        shutil.rmtree(self.folder / "blocks", ignore_errors=True)

    def _copy(self, name: str, file: TextIO) -> None:
        for number in range(self.count):
            with (self._block(number) / name).open(encoding="utf-8") as block:
                shutil.copyfileobj(block, file)

    def _block(self, number: int) -> Path:
        return self.folder / "blocks" / str(number)


def write_whole(path: Path, write: Write) -> None:
    """A file, or what was there before."""
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def fingerprint(path: Path) -> str:
    """Of a file, or of the files in a folder, their contents included."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
