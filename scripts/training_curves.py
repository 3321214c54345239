#!/usr/bin/env python3
"""Write the learning curves of a training run as tables, from fairseq's logs and the scores of checkpoints.

    python -m scripts.training_curves OUT        # OUT as written by train_model.py

The program writes OUT/curves/losses.csv (stage, update, training and validation loss, updates a
second) and OUT/curves/bleu.csv (stage, update or other checkpoint, validation BLEU).
"""

import argparse
import csv
import re
import shutil
from pathlib import Path

NUMBER = r"([\d.e+-]+)"
TRAINED = re.compile(rf"^epoch .*?\bloss={NUMBER}.*?\bups={NUMBER}.*?\bnum_updates=(\d+)", re.MULTILINE)
VALIDATED = re.compile(rf"valid on 'valid' subset \| loss {NUMBER} .*?\bnum_updates (\d+)")
COLUMNS = ("stage", "update", "training_loss", "updates_per_second", "valid_loss")
Row = dict[str, str | int]


def losses(log: Path) -> list[Row]:
    """Read a stage's log into a row for each logged update; a resumed run overwrites earlier values."""
    text = log.read_text(encoding="utf-8")
    rows: dict[int, Row] = {}
    for loss, speed, update in TRAINED.findall(text):
        rows.setdefault(int(update), {}).update(training_loss=loss, updates_per_second=speed)
    for loss, update in VALIDATED.findall(text):
        rows.setdefault(int(update), {}).update(valid_loss=loss)
    return [{"stage": log.stem, "update": update, **rows[update]} for update in sorted(rows)]


def write_curves(out: Path) -> Path:
    """Write both tables; return their folder."""
    folder = out / "curves"
    folder.mkdir(exist_ok=True)
    logs = sorted(out.glob("*.log"), key=lambda path: path.stat().st_mtime)
    with (folder / "losses.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row for log in logs for row in losses(log))
    if (out / "scores.csv").exists():
        shutil.copy(out / "scores.csv", folder / "bleu.csv")
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder of the training")
    args = parser.parse_args()
    print(write_curves(args.output))


if __name__ == "__main__":
    main()
