#!/usr/bin/env python3
"""Train the embedded models anew: an autoregressive teacher, its distilled corpora, the CMLM, and an Electric.

    python -m scripts.train_model OUT        # OUT as written by mix_corpora.py

The teacher starts from the CMLM there is, learns from all corpora, then from LibreOffice's alone.
Sequence-level knowledge distillation (Kim and Rush, 2016): the new CMLM starts from the teacher's
weights and learns the teacher's beam output, at first beside the references, which keep rare words
alive (Ding et al., 2021), then alone; Electric starts from the CMLM, whose encoder it keeps. Every
stage resumes from its own checkpoints, and is skipped when its result OUT/STAGE.pt exists.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from fairseq_mh.files.checkpoints import allow_fairseq_types
from scripts.distil import distil
from scripts.fairseq_training import ENCODER_LAYERS, fairseq_train, weights_alone
from scripts.mix_corpora import mixture
from scripts.scoring import BEAM, MASK_PREDICT, note, valid_bleu
from scripts.weights import as_cmlm, as_teacher, average

TEACHER = "--task translation_bf16 --arch transformer --criterion label_smoothed_cross_entropy --label-smoothing 0.1"
CMLM = "--task translation_lev_bf16 --noise random_mask --arch cmlm_transformer --criterion nat_loss \
--label-smoothing 0.1 --dropout 0.2"
OPEN_ENDED = "--lr-scheduler inverse_sqrt --lr 8e-4"  # may be stopped at any time
TO_ZERO = "--lr-scheduler polynomial_decay --warmup-updates 200"  # the learning rate falls to 0 at the last update
ELECTRIC = "--task translation_mh_bf16 --arch electric_transformer --criterion electric_nce --freeze-encoder \
--distil 1 --dropout 0.1 --lr 5e-4 --max-tokens 2048"
AVERAGED = 5  # checkpoints
NOT_COPIED = ("checkpoint.pt", "electric.pt", "en-de.tsv.gz", "README.md")


@dataclass(frozen=True)
class Stage:
    """A run of `fairseq-train`, and how its checkpoints are scored."""

    name: str
    corpora: dict[str, int]  # and how many times each is taken
    options: str
    decoding: str
    score_every: int  # updates


STAGES = (
    Stage(
        "teacher_general",
        {"help": 3, "interface": 2, "manuals": 1, "descriptions": 1},
        f"{TEACHER} --dropout 0.2 {OPEN_ENDED} --warmup-updates 800",
        BEAM,
        1000,
    ),
    Stage("teacher_domain", {"help": 2, "interface": 1}, f"{TEACHER} --dropout 0.3 {TO_ZERO} --lr 3e-4", BEAM, 1000),
    Stage(
        "cmlm_both",
        {"help": 2, "interface": 1, "help_distilled": 2, "interface_distilled": 1}
        | {"manuals_distilled": 1, "descriptions_distilled": 1},
        f"{CMLM} {OPEN_ENDED} --warmup-updates 500",
        MASK_PREDICT,
        1000,
    ),
    Stage(
        "cmlm_distilled",
        {"help_distilled": 3, "interface_distilled": 1, "manuals_distilled": 1, "descriptions_distilled": 1},
        f"{CMLM} {TO_ZERO} --lr 5e-4",
        MASK_PREDICT,
        1000,
    ),
)
FIRST_CMLM = "cmlm_both"
DISTILLED = ["help", "interface", "manuals", "descriptions"]


def score(stage: Stage, data: Path, checkpoint: Path, what: str, out: Path, model: Path) -> float:
    """Score a checkpoint on validation and note it in OUT/scores.csv."""
    output = out / "validation" / f"{stage.name}-{what}.txt"
    output.parent.mkdir(exist_ok=True)
    bleu = valid_bleu(data, checkpoint, model / "valid.en", stage.decoding, output)
    note(out / "scores.csv", stage.name, what, bleu)
    return bleu


def numbered(folder: Path) -> dict[int, Path]:
    """List the checkpoints kept on the way, by update."""
    return {int(path.stem.split("_")[2]): path for path in folder.glob("checkpoint_*_*.pt")}


def run_stage(stage: Stage, out: Path, model: Path, start: Path, updates: int, every: int) -> Path:
    """Train, score on the way, and keep what scores best: the last checkpoints' average, the best or the last."""
    result, folder = out / f"{stage.name}.pt", out / stage.name
    if result.exists():
        return result
    data = mixture(out, model, stage.name + "_data", stage.corpora)
    options = [*stage.options.split(), "--finetune-from-model", str(start), "--keep-interval-updates", "10"]
    options += ["--save-interval-updates", str(every), "--validate-interval-updates", str(every)]
    options += ["--log-file", str(out / f"{stage.name}.log")]
    options += ["--total-num-update", str(updates)] if TO_ZERO in stage.options else []
    for end in [*range(stage.score_every, updates, stage.score_every), updates]:
        reached = max(numbered(folder), default=0)
        if reached < end:
            fairseq_train(data, folder, end, *options)
        if reached <= end or end == updates:
            score(stage, data, folder / "checkpoint_last.pt", str(end), out, model)
    last = [path for _, path in sorted(numbered(folder).items())][-AVERAGED:]
    average(last, folder / "checkpoint_average.pt")
    scores = {
        name: score(stage, data, folder / f"checkpoint_{name}.pt", name, out, model) for name in ("average", "best")
    }
    scores["last"] = score(stage, data, folder / "checkpoint_last.pt", str(updates), out, model)
    return average([folder / f"checkpoint_{max(scores, key=scores.__getitem__)}.pt"], result)


def export(out: Path, model: Path, folder: Path) -> None:
    """Write the CMLM and its teacher with what decoding and scoring need, and what they were trained on."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    shutil.copy(out / "counts.json", folder)
    torch.save(weights_alone(out / "cmlm_distilled.pt", "cmlm_transformer"), folder / "checkpoint.pt")
    torch.save(weights_alone(out / "teacher_domain.pt", "transformer"), folder / "teacher.pt")


def train_electric(out: Path, folder: Path, updates: int) -> None:
    """Train it from the exported CMLM, whose weights are rounded, so that the encoders stay the same."""
    cmlm = str(folder / "checkpoint.pt")
    options = f"{ELECTRIC} {TO_ZERO} --total-num-update {updates} --noise-model {cmlm} --finetune-from-model {cmlm}"
    fairseq_train(out / "cmlm_distilled_data", out / "electric", updates, *options.split())
    state = weights_alone(out / "electric" / "checkpoint_last.pt", "electric_transformer")
    torch.save(state, folder / "electric.pt")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/libreoffice-de-en"), help="the model to begin with")
    parser.add_argument("--updates", type=int, nargs=4, default=(15000, 5000, 5000, 10000), help="of each stage")
    parser.add_argument("--electric-updates", type=int, default=4000, help="0: no Electric")
    parser.add_argument("--save-every", type=int, default=250, help="updates between checkpoints")
    args = parser.parse_args()
    allow_fairseq_types()
    out, folder = args.output, args.output / "export"
    start = out / "start.pt"
    if not start.exists():
        as_teacher(args.model / "checkpoint.pt", ENCODER_LAYERS, start)
    for stage, updates in zip(STAGES, args.updates, strict=True):
        if stage.name == FIRST_CMLM:
            distil(out, args.model, start, DISTILLED)
            start = as_cmlm(start, out / "cmlm_start.pt")
        start = run_stage(stage, out, args.model, start, updates, args.save_every)
    export(out, args.model, folder)
    if args.electric_updates:
        train_electric(out, folder, args.electric_updates)


if __name__ == "__main__":
    main()
