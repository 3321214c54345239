#!/usr/bin/env python3
"""Train the embedded models: an autoregressive teacher, its distilled corpus, the CMLM, and an Electric.

    python scripts/train_model.py OUT        # OUT as written by prepare_data.py

Sequence-level knowledge distillation (Kim and Rush, 2016): the CMLM learns the teacher's beam
output, at first beside the references, which keep rare words alive (Ding et al., 2021), then
alone. The CMLM starts from the teacher's weights (the layers are the same; its length
embedding is new), Electric from the CMLM's, whose encoder it keeps. Every stage resumes from
its own checkpoints and is skipped when its result exists.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from fairseq_mh.evaluation.output import read_lines
from scripts.fairseq_training import MALLOC, fairseq_train, weights_alone
from scripts.prepare_data import binarise

TEACHER = "--task translation_bf16 --arch transformer --criterion label_smoothed_cross_entropy \
--label-smoothing 0.1 --dropout 0.3 --lr 1e-3 --warmup-updates 400"
CMLM = "--task translation_lev_bf16 --noise random_mask --arch cmlm_transformer --criterion nat_loss \
--label-smoothing 0.1 --dropout 0.2 --lr 1e-3 --warmup-updates 300"
ELECTRIC = "--task translation_mh_bf16 --arch electric_transformer --criterion electric_nce --freeze-encoder \
--distil 1 --dropout 0.1 --lr 5e-4 --warmup-updates 200 --max-tokens 2048"


def translate(data: Path, checkpoint: Path, split: str, output: Path) -> None:
    """The teacher's beam output for a split: `fairseq-generate`'s lines."""
    command = [sys.executable, __file__, "--fairseq-generate", str(data), "--task", "translation"]
    command += ["--path", str(checkpoint), "--gen-subset", split, "--beam", "4", "--max-tokens", "16000"]
    partial = output.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as lines:
        subprocess.run(
            [*command, "--skip-invalid-size-inputs-valid-test"], check=True, stdout=lines, env=os.environ | MALLOC
        )
    partial.rename(output)


def run_fairseq_generate() -> None:
    from fairseq_cli.generate import cli_main

    torch.serialization.add_safe_globals([argparse.Namespace])
    cli_main()


def distil(out: Path) -> None:
    """OUT/distilled: the teacher's translations as targets. OUT/both: those, and the references."""
    hypotheses = out / "teacher" / "train.txt"
    if not hypotheses.exists():
        translate(out / "data", out / "teacher" / "checkpoint_best.pt", "train", hypotheses)
    found = re.findall(r"^H-(\d+)\t[^\t]*\t(.*)$", hypotheses.read_text(encoding="utf-8"), re.MULTILINE)
    by_line = {int(number): text for number, text in found}
    sources, references = (read_lines(out / "spm" / f"train.{language}") for language in ("de", "en"))
    distilled = [(source, by_line[i]) for i, source in enumerate(sources) if by_line.get(i)]
    both = distilled + list(zip(sources, references, strict=True))
    for name, pairs in (("both", both), ("distilled", distilled)):
        pieces = out / f"{name}_spm"
        shutil.copytree(out / "spm", pieces, dirs_exist_ok=True)
        for side, language in enumerate(("de", "en")):
            lines = "".join(pair[side] + "\n" for pair in pairs)
            (pieces / f"train.{language}").write_text(lines, encoding="utf-8")
        binarise(pieces, out / name, out / "data" / "dict.en.txt")


def teacher_weights(out: Path) -> Path:
    """The teacher's checkpoint with a length embedding, which only the CMLM has."""
    state = torch.load(out / "teacher" / "checkpoint_best.pt")
    width = state["model"]["decoder.embed_tokens.weight"].size(1)
    generator = torch.Generator().manual_seed(1)
    state["model"]["decoder.embed_length.weight"] = torch.randn(256, width, generator=generator) * width**-0.5
    torch.save(state, out / "teacher" / "for_cmlm.pt")
    return out / "teacher" / "for_cmlm.pt"


def export(out: Path, folder: Path) -> None:
    """The embedded CMLM with what decoding and scoring need."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights_alone(out / "cmlm" / "checkpoint_last.pt", "cmlm_transformer"), folder / "checkpoint.pt")
    for path in (*out.glob("data/dict.*.txt"), *out.glob("data/valid.*"), *out.glob("data/test.*")):
        shutil.copy(path, folder)
    for path in (out / "spm.model", *out.glob("raw/valid.*"), *out.glob("raw/test.*")):
        shutil.copy(path, folder)


def train_electric(out: Path, folder: Path, updates: int) -> None:
    """From the exported CMLM, whose weights are rounded, so that the encoders stay the same."""
    cmlm = str(folder / "checkpoint.pt")
    start = ["--noise-model", cmlm, "--finetune-from-model", cmlm]
    fairseq_train(out / "distilled", out / "electric", updates, updates, *ELECTRIC.split(), *start)
    state = weights_alone(out / "electric" / "checkpoint_last.pt", "electric_transformer")
    torch.save(state, folder / "electric.pt")


def main():
    if "--fairseq-generate" in sys.argv:
        sys.argv.remove("--fairseq-generate")
        return run_fairseq_generate()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--teacher-updates", type=int, default=2000)
    parser.add_argument("--cmlm-updates", type=int, nargs=2, default=(2500, 8000), help="ends of the two stages")
    parser.add_argument("--electric-updates", type=int, default=4000)
    parser.add_argument("--export", type=Path, default=Path("models/libreoffice-de-en"), help="the model's folder")
    args = parser.parse_args()
    out, (first, last) = args.output, args.cmlm_updates
    torch.serialization.add_safe_globals([argparse.Namespace])
    fairseq_train(out / "data", out / "teacher", args.teacher_updates, args.teacher_updates, *TEACHER.split())
    if not (out / "distilled" / "train.de-en.en.idx").exists():
        distil(out)
    start = ["--finetune-from-model", str(teacher_weights(out))]
    if not (out / "cmlm" / "second_stage").exists():
        fairseq_train(out / "both", out / "cmlm", first, last, *CMLM.split(), *start)
        (out / "cmlm" / "second_stage").touch()
    fairseq_train(out / "distilled", out / "cmlm", last, last, *CMLM.split(), "--reset-dataloader")
    export(out, args.export)
    train_electric(out, args.export, args.electric_updates)


if __name__ == "__main__":
    main()
