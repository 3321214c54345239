"""A declared grid of runs (YAML): decoders, their options, seeds.

title: what the experiment shows
options: {mh-sweeps: 33}              # of every run; any option of fairseq-generate
seeds: [1, 2, 3]
runs:
  - decoder: MH                       # the name in tables
    options: {mh-decoding: mh, mh-proposal-temperature: [1.0, 0.5]}   # a list is one run for each
  - decoder: mask-predict
    seeds: [1]                        # a deterministic one needs no more
    options: {mh-decoding: mask-predict}
"""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fairseq_mh.errors import UserError

KEYS = {"title", "options", "seeds", "runs"}
RUN_KEYS = {"decoder", "options", "seeds"}


class GridRun(NamedTuple):
    experiment: str
    decoder: str
    options: dict[str, Any]
    seed: int

    def arguments(self) -> list[str]:
        """For the command line; an option that is true stands alone, and one that is false is left out."""
        arguments = ["--seed", str(self.seed)]
        for name, value in self.options.items():
            arguments += [] if value is False else [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return arguments

    def key(self, *more: str) -> str:
        """Names a run by everything that decides its result."""
        content = json.dumps([self.decoder, self.arguments(), more])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def read_grid(path: Path) -> list[GridRun]:
    """Every run of a grid, in its order.

    Raises:
        UserError: where the file is not such a grid.
    """
    try:
        grid: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if (
        not isinstance(grid, dict)
        or not set(grid) <= KEYS
        or not isinstance(grid.get("runs"), list)
        or not grid["runs"]
    ):
        raise UserError(f"{path} is no grid: its keys must be among {', '.join(sorted(KEYS))}, and runs a list of some")
    runs = []
    for entry in grid["runs"]:
        if not isinstance(entry, dict) or not set(entry) <= RUN_KEYS or "decoder" not in entry:
            raise UserError(f"{path}: a run needs a decoder, and may have options and seeds; this one is {entry}")
        seeds: Any = entry.get("seeds") or grid.get("seeds") or [1]
        given: Any = [source.get("options") or {} for source in (grid, entry)]
        if not isinstance(seeds, list) or not all(isinstance(options, dict) for options in given):
            raise UserError(f"{path}: seeds are a list, and options names with values; not so in {entry}")
        options = given[0] | given[1]
        choices = [value if isinstance(value, list) else [value] for value in options.values()]
        for values in itertools.product(*choices):
            chosen = dict(zip(options, values, strict=True))
            runs += [GridRun(path.stem, entry["decoder"], chosen, seed) for seed in seeds]
    return runs
