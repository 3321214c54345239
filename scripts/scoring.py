"""Scores of checkpoints: translations of the validation set, and their BLEU in a table."""

import os
import subprocess
import sys
from pathlib import Path

import fairseq_mh
from fairseq_mh.evaluation.scores import corpus_scores
from fairseq_mh.files.output import in_order, read_output, read_references
from scripts.fairseq_training import MALLOC

BEAM = "--task translation --beam 4 --max-tokens 8000"
MASK_PREDICT = "--task translation_mh --mh-decoding mask-predict --iter-decode-max-iter 9 --batch-size 25"  # 10 passes


def translate(data: Path, checkpoint: Path, split: str, output: Path, options: str = BEAM) -> None:
    """Write the output of `fairseq-generate` for a split; the file appears only when it is complete."""
    command = [sys.executable, "-m", "fairseq_cli.generate", str(data), "--path", str(checkpoint)]
    command += ["--user-dir", str(Path(fairseq_mh.__file__).parent), "--gen-subset", split, *options.split()]
    command += ["--skip-invalid-size-inputs-valid-test"]
    partial = output.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as lines:
        subprocess.run(command, check=True, stdout=lines, env=os.environ | MALLOC)
    partial.rename(output)


def valid_bleu(data: Path, checkpoint: Path, references: Path, options: str, output: Path) -> float:
    """Return a checkpoint's BLEU on validation, against the raw text."""
    if not output.exists():
        translate(data, checkpoint, "valid", output, f"{options} --post-process sentencepiece")
    hypotheses = read_output(output).hypotheses
    return float(corpus_scores(*in_order(hypotheses, read_references(references)))["bleu"])


def record_score(table: Path, stage: str, checkpoint: str, bleu: float) -> None:
    """Add a line to the table of scores, unless the table already has it."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else ["stage,checkpoint,bleu"]
    line = f"{stage},{checkpoint},{bleu:.2f}"
    if line not in lines:
        table.write_text("\n".join([*lines, line]) + "\n", encoding="utf-8")
