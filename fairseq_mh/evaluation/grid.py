"""Reads a grid of runs from YAML: decoders with their options and seeds.

title: what the experiment shows
options: {mh-sweeps: 33}              # of every run; any option of fairseq-generate
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
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fairseq import utils

from fairseq_mh.errors import UserError, did_you_mean
from fairseq_mh.translation.options.energy_sum import checkpoints_of

KEYS = {"title", "options", "seeds", "runs"}
RUN_KEYS = {"decoder", "options", "seeds"}
DATA = "{data}"
FILE_OPTIONS = ("mh-energy", "path")  # options whose values are files that a run reads
GRIDS = Path(__file__).parent / "grids"


class GridRun(NamedTuple):
    """One run of a decoder."""

    experiment: str
    decoder: str
    options: dict[str, Any]
    seed: int
    title: str = ""  # of the grid

    def arguments(self) -> list[str]:
        """Return the run's command line: an option that is true stands alone, and one that is false is left out."""
        arguments = ["--seed", str(self.seed)]
        for name, value in self.options.items():
            arguments += [] if value is False else [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return arguments

    def key(self, *more: str) -> str:
        """Return a name made of everything that decides the run's result; `more` is what the run itself lacks."""
        content = json.dumps([self.decoder, self.arguments(), more])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the values of these options, each of the several where one option names more than one file."""
        several = {"mh-energy": checkpoints_of, "path": utils.split_paths}
        given = {name: str(self.options[name]) for name in names if name in self.options}
        return [file for name, value in given.items() for file in several.get(name, lambda one: [one])(value)]

    def missing_file(self) -> str | None:
        """Return the first file that the run's options name and that does not exist, or None."""
        return next((file for file in self.files(FILE_OPTIONS) if not Path(file).is_file()), None)


def grid_names() -> list[str]:
    """Return the names of the grids in the package."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def find_grid(given: str) -> Path:
    """Return the file of a grid that is given by its name in the package or by its path.

    Raises:
        UserError: for a name that is neither a grid of the package nor a file.
    """
    if given in grid_names():
        return GRIDS / f"{given}.yaml"
    if Path(given).is_file():
        return Path(given)
    names = grid_names()
    near = did_you_mean(given, names)
    raise UserError(f"there is no grid {given}{near} (give a YAML file, or one of {', '.join(names)})")


def refuse_missing_files(runs: Iterable[GridRun]) -> None:
    """Raise UserError, before anything is decoded, where a run names a file that does not exist."""
    for run in runs:
        if missing := run.missing_file():
            raise UserError(f"{missing} does not exist; {run.decoder} of the grid {run.experiment} needs it")


def read_grid(path: Path, data: Path | None = None) -> list[GridRun]:
    """Return every run of a grid, in its order.

    Args:
        path: the YAML file.
        data: the data folder, which replaces `{data}` in the options' values.

    Raises:
        UserError: where the file is not such a grid.
    """
    grid = _content(path)
    runs = []
    for entry in grid["runs"]:
        if not isinstance(entry, dict) or not set(entry) <= RUN_KEYS or "decoder" not in entry:
            raise UserError(f"{path}: a run needs a decoder, and may have options and seeds; this one is {entry}")
        seeds: Any = entry.get("seeds") or grid.get("seeds") or [1]
        given: Any = [source.get("options") or {} for source in (grid, entry)]
        if not isinstance(seeds, list) or not all(isinstance(options, dict) for options in given):
            raise UserError(f"{path}: seeds are a list, and options names with values; not so in {entry}")
        options = given[0] | given[1]
        if empty := [name for name, value in options.items() if value == []]:
            raise UserError(f"{path}: the option {empty[0]} has a list without a value")
        choices = [value if isinstance(value, list) else [value] for value in options.values()]
        for values in itertools.product(*choices):
            chosen = {name: _with_data(value, data) for name, value in zip(options, values, strict=True)}
            runs += [GridRun(path.stem, entry["decoder"], chosen, seed, str(grid.get("title", ""))) for seed in seeds]
    return runs


def _content(path: Path) -> dict[str, Any]:
    """Return what the YAML file holds; raise UserError where it cannot be read, or has other keys than a grid's."""
    try:
        grid: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    known = isinstance(grid, dict) and set(grid) <= KEYS
    if not known or not isinstance(grid.get("runs"), list) or not grid["runs"]:
        raise UserError(f"{path} is no grid: its keys must be among {', '.join(sorted(KEYS))}, and runs a list of some")
    return grid


def _with_data(value: Any, data: Path | None) -> Any:
    return value.replace(DATA, str(data)) if data and isinstance(value, str) else value
