"""Reads a grid of runs from YAML: decoders with their options and seeds.

title: what the experiment shows
options: {mh-sweeps: 33}              # options of every run: any of fairseq-generate's
seeds: [1, 2, 3]
runs:
  - decoder: MH                       # the name in tables
    options: {mh-decoding: mh, mh-proposal-temperature: [1.0, 0.5]}   # a list makes a run for each of its values
  - decoder: mask-predict
    seeds: [1]                        # a deterministic decoder needs no more
    options: {mh-decoding: mask-predict}

`{data}` in an option's value stands for the data folder, as in `mh-energy: "two-stream,{data}/teacher.pt:0.5"`.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fairseq_mh.errors import UserError, did_you_mean, reason
from fairseq_mh.files.checkpoints import split_names
from fairseq_mh.translation.options.energy_sum import checkpoints_of

KEYS = {"title", "options", "seeds", "runs"}
RUN_KEYS = {"decoder", "options", "seeds"}
DATA = "{data}"
FILE_OPTIONS = ("mh-energy", "path")  # options whose values are files that a run reads
NAMED = ("mh-", "iter-", "path")  # begin the names of options by which tables tell runs apart
GRIDS = Path(__file__).parent / "grids"


class GridRun(NamedTuple):
    """One run of a decoder."""

    experiment: str
    decoder: str
    options: dict[str, Any]
    seed: int
    title: str = ""  # the title of the grid

    def arguments(self) -> list[str]:
        """Return the run's command line; an option that is true becomes a flag, and one that is false is left out."""
        arguments = ["--seed", str(self.seed)]
        for name, value in self.options.items():
            arguments += [] if value is False else [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return arguments

    def key(self, *more: str) -> str:
        """Return a hash of everything that decides the run's result; `more` is whatever else decides it."""
        content = json.dumps([self.decoder, self.arguments(), more])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the files that these options name; one option may name several."""
        several = {"mh-energy": checkpoints_of, "path": lambda paths: split_names(paths, os.pathsep)}
        given = {name: str(self.options[name]) for name in names if name in self.options}
        return [file for name, value in given.items() for file in several.get(name, lambda one: [one])(value)]

    def missing_file(self) -> str | None:
        """Return the first file that an option of the run names and that does not exist, or None."""
        return next((file for file in self.files(FILE_OPTIONS) if not Path(file).is_file()), None)


def grid_names() -> list[str]:
    """Return the names of the grids in the package."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def find_grid(given: str) -> Path:
    """Return the file of a grid.

    Args:
        given: the name of a grid in the package, or the path of a file.

    Raises:
        UserError: if there is no such grid and no such file.
    """
    if given in grid_names():
        return GRIDS / f"{given}.yaml"
    if Path(given).is_file():
        return Path(given)
    names = grid_names()
    near = did_you_mean(given, names)
    raise UserError(f"there is no grid {given}{near} (give a YAML file, or one of {', '.join(names)})")


def refuse_missing_files(runs: Iterable[GridRun]) -> None:
    """Check, before anything is decoded, that all files which the runs name exist.

    Raises:
        UserError: if one does not exist.
    """
    for run in runs:
        if missing := run.missing_file():
            raise UserError(f"{missing} does not exist; {run.decoder} of the grid {run.experiment} needs it")


def read_grid(path: Path, data: Path | None = None) -> list[GridRun]:
    """Return every run of a grid, in its order.

    Args:
        path: the YAML file.
        data: the data folder, which replaces `{data}` in the options' values.

    Raises:
        UserError: if the file is not a grid.
    """
    grid = _content(path)
    runs = []
    for entry in grid["runs"]:
        if not isinstance(entry, dict) or not set(entry) <= RUN_KEYS or "decoder" not in entry:
            raise UserError(f"{path}: a run must have a decoder, and may have options and seeds; this one is {entry}")
        seeds: Any = entry.get("seeds") or grid.get("seeds") or [1]
        given: Any = [source.get("options") or {} for source in (grid, entry)]
        if not isinstance(seeds, list) or not all(isinstance(options, dict) for options in given):
            raise UserError(f"{path}: seeds must be a list, and options must be names with values; this run is {entry}")
        options = given[0] | given[1]
        if empty := [name for name, value in options.items() if value == []]:
            raise UserError(f"{path}: the option {empty[0]} has an empty list of values")
        several = [name for name, value in options.items() if isinstance(value, list)]
        if unnamed := [name for name in several if not name.startswith(NAMED)]:
            raise UserError(f"{path}: {unnamed[0]} may not have several values, only {', '.join(NAMED)} options may")
        choices = [value if isinstance(value, list) else [value] for value in options.values()]
        for values in itertools.product(*choices):
            filled = (one.replace(DATA, str(data)) if data and isinstance(one, str) else one for one in values)
            chosen = dict(zip(options, filled, strict=True))
            runs += [GridRun(path.stem, entry["decoder"], chosen, seed, str(grid.get("title", ""))) for seed in seeds]
    return runs


def _content(path: Path) -> dict[str, Any]:
    """Return the content of the YAML file."""
    try:
        grid: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None
    known = isinstance(grid, dict) and set(grid) <= KEYS
    if not known or not isinstance(grid.get("runs"), list) or not grid["runs"]:
        keys = ", ".join(sorted(KEYS))
        raise UserError(f"{path} is not a grid: it needs a non-empty list of runs, and may have only the keys {keys}")
    return grid
