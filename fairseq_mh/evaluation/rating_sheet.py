"""Mixes texts of several samplers into a sheet for raters, who are not told which sampler drew a text."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.files.chunks import write_whole
from fairseq_mh.files.output import read_samples

Sample = dict[str, Any]  # has the keys `sampler`, `id` and `text`


def key_path(sheet: Path) -> Path:
    """Return the path of the key, which names the sampler of each text: sheet.key.csv for sheet.csv."""
    return sheet.with_suffix(".key.csv")


def read_sampler(argument: str) -> tuple[str, list[Sample]]:
    """Read a sampler's texts.

    Args:
        argument: NAME=FILE, where FILE is a `samples.jsonl`.

    Returns:
        The sampler's name and its samples.

    Raises:
        UserError: if the argument has another form, or the file cannot be read.
    """
    name, equals, path = argument.partition("=")
    if not name or not equals:
        raise UserError(f"{argument} is not of the form NAME=FILE")
    return name, [{"sampler": name, "id": sample["id"], "text": sample["text"]} for sample in read_samples(Path(path))]


def mix_texts(samplers: dict[str, list[Sample]], texts: int, seed: int) -> pl.DataFrame:
    """Draw texts from each sampler, and mix them.

    Args:
        samplers: name -> samples.
        texts: number of texts to draw from each sampler.
        seed: the seed of the choice and of the order.

    Returns:
        A row for each text: `item` (numbered from 1), `sampler`, `id` and `text`.

    Raises:
        UserError: if a sampler has too few texts.
    """
    stream, chosen = np.random.default_rng(seed), []
    for name, samples in samplers.items():
        if len(samples) < texts:
            raise UserError(f"{name} has {len(samples)} texts, but --texts asks for {texts}")
        chosen += [samples[n] for n in stream.choice(len(samples), texts, replace=False)]
    rows = [chosen[n] for n in stream.permutation(len(chosen))]
    return pl.DataFrame(rows).with_row_index("item", offset=1)


def write_sheet(table: pl.DataFrame, sheet: Path) -> None:
    """Write the sheet for the raters, with empty columns to fill in, and the key, which the raters do not get."""
    blank = pl.lit(None, dtype=pl.String)
    sheet.parent.mkdir(parents=True, exist_ok=True)
    write_whole(key_path(sheet), table.drop("text").write_csv)
    write_whole(sheet, table.select("item", "text", fluency=blank, comment=blank).write_csv)
