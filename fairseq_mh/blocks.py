"""Output in numbered blocks, each there whole or not at all, so that what was stopped goes on where it was."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from fairseq_mh.errors import UserError

Write = Callable[[TextIO], None]


class Blocks:
    """A folder for one piece of work, of so many blocks; finished, it holds the blocks' files joined.

    Args:
        settings: everything that decides the output, as JSON; a folder begun with others is refused.
        names: the files that each block has.

    Raises:
        UserError: where the folder cannot be written, or was begun with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], names: list[str], count: int):
        self.folder, self.names, self.count = folder, names, count
        declared = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        record = folder / "settings.json"
        try:
            (folder / "blocks").mkdir(parents=True, exist_ok=True)
            if not record.exists():
                replace(record, lambda file: file.write(declared))
            begun = record.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--output cannot be written: {error}") from None
        if begun != declared:
            raise UserError(
                f"{folder} was begun with other settings ({record}): take another folder, or remove this one"
            )

    def missing(self) -> list[int]:
        """The numbers of the blocks that are not there."""
        if all((self.folder / name).exists() for name in self.names):
            return []
        return [number for number in range(self.count) if not self._block(number).exists()]

    def write(self, number: int, contents: Mapping[str, Write]) -> None:
        partial = self.folder / "blocks" / f"{number}.part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in self.names:
            with (partial / name).open("w", encoding="utf-8") as file:
                contents[name](file)
        partial.rename(self._block(number))

    def join(self) -> None:
        """Once no block is missing: each file in one piece, and no blocks."""
        for name in self.names:
            if not (self.folder / name).exists():
                replace(self.folder / name, lambda file, name=name: self._copy(name, file))  # type: ignore[misc]
        shutil.rmtree(self.folder / "blocks", ignore_errors=True)

    def _copy(self, name: str, file: TextIO) -> None:
        for number in range(self.count):
            with (self._block(number) / name).open(encoding="utf-8") as block:
                shutil.copyfileobj(block, file)

    def _block(self, number: int) -> Path:
        return self.folder / "blocks" / str(number)


def replace(path: Path, write: Callable[[TextIO], Any]) -> None:
    """Write a file whole, or leave what was there."""
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
