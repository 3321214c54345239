#!/usr/bin/env python3
"""Retrain the embedded models: a teacher, its distilled corpora, the CMLM, a reverse model, and an Electric.

    python -m scripts.train_model OUT        # OUT as written by mix_corpora.py

The teacher starts from the existing CMLM and learns from all corpora, then only from LibreOffice's.
The new CMLM is trained by sequence-level knowledge distillation (Kim and Rush, 2016): it starts from
the teacher's weights and learns the teacher's beam output together with the references, which
preserve rare words (Ding et al., 2021), at last fewer of them and among its own errors. The reverse
model translates English into German, for the energy of the noisy channel, and starts from the
teacher. Electric starts from the CMLM and keeps its encoder. Everything resumes from its own
checkpoints, and a stage is skipped if its result OUT/STAGE.pt exists.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from fairseq_mh.files.checkpoints import allow_fairseq_types
from scripts.distil import distil
from scripts.fairseq_training import ENCODER_LAYERS, fairseq_train, inference_checkpoint
from scripts.mix_corpora import mixture
from scripts.scoring import BEAM, MASK_PREDICT, record_score, valid_bleu
from scripts.weights import as_cmlm, as_teacher, average

TEACHER = "--task translation_bf16 --arch transformer --criterion label_smoothed_cross_entropy --label-smoothing 0.1"
CMLM = "--task translation_mh_bf16 --noise random_mask --arch cmlm_transformer --criterion nat_loss \
--label-smoothing 0.1 --dropout 0.2"
OPEN_ENDED = "--lr-scheduler inverse_sqrt --lr 8e-4"  # training may stop at any update
TO_ZERO = "--lr-scheduler polynomial_decay --warmup-updates 200"  # the learning rate falls to 0 at the last update
REVERSED = "--source-lang en --target-lang de"
ELECTRIC = "--task translation_mh_bf16 --arch electric_transformer --criterion electric_nce --freeze-encoder \
--distil 1 --dropout 0.1 --lr 5e-4 --max-tokens 2048"
AVERAGED = 5  # number of checkpoints to average
NOT_COPIED = ("checkpoint.pt", "electric.pt", "reverse.pt", "en-de.tsv.gz", "README.md")


@dataclass(frozen=True)
class Stage:
    """A run of `fairseq-train` and the scoring of its checkpoints."""

    name: str  # name of the stage and of its files
    corpora: dict[str, int]  # name of the corpus -> how many times it is repeated
    options: str  # options of `fairseq-train`
    decoding: str  # options of `fairseq-generate` for scoring
    score_every: int  # number of updates between two scores


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
        {"help": 1, "interface": 1, "help_distilled": 4, "interface_distilled": 1, "manuals_distilled": 1},
        f"{CMLM} {TO_ZERO} --lr 4e-4 --predicted-share 0.3",  # among its own errors, as the states of chains hold
        MASK_PREDICT,
        1000,
    ),
)
FIRST_CMLM = "cmlm_both"
DISTILLED = ["help", "interface", "manuals", "descriptions"]


def score(stage: Stage, data: Path, checkpoint: Path, name: str, out: Path, model: Path) -> float:
    """Return a checkpoint's BLEU on validation, and record it under a name in OUT/scores.csv."""
    output = out / "validation" / f"{stage.name}-{name}.txt"
    output.parent.mkdir(exist_ok=True)
    bleu = valid_bleu(data, checkpoint, model / "valid.en", stage.decoding, output)
    record_score(out / "scores.csv", stage.name, name, bleu)
    return bleu


def numbered_checkpoints(folder: Path) -> dict[int, Path]:
    """List the checkpoints that were kept during training: update -> file."""
    return {int(path.stem.split("_")[2]): path for path in folder.glob("checkpoint_*_*.pt")}


def run_stage(stage: Stage, out: Path, model: Path, start: Path, updates: int, every: int) -> Path:
    """Train with regular scoring, and keep the best of three checkpoints: the average of the last, the best, the last.

    Args:
        stage: the stage.
        out: the folder of the training.
        model: the folder of the model to start with.
        start: the checkpoint from which this stage starts.
        updates: the number of updates.
        every: the number of updates between two checkpoints.

    Returns:
        OUT/STAGE.pt, the kept checkpoint.
    """
    result, folder = out / f"{stage.name}.pt", out / stage.name
    if result.exists():
        return result
    data = mixture(out, model, stage.name + "_data", stage.corpora)
    options = [*stage.options.split(), "--finetune-from-model", str(start), "--keep-interval-updates", "10"]
    options += ["--save-interval-updates", str(every), "--validate-interval-updates", str(every)]
    options += ["--log-file", str(out / f"{stage.name}.log")]
    options += ["--total-num-update", str(updates)] if TO_ZERO in stage.options else []
    for end in [*range(stage.score_every, updates, stage.score_every), updates]:
        reached = max(numbered_checkpoints(folder), default=0)
        if reached < end:
            fairseq_train(data, folder, end, *options)
        if reached <= end or end == updates:
            score(stage, data, folder / "checkpoint_last.pt", str(end), out, model)
    last = [path for _, path in sorted(numbered_checkpoints(folder).items())][-AVERAGED:]
    average(last, folder / "checkpoint_average.pt")
    scores = {
        name: score(stage, data, folder / f"checkpoint_{name}.pt", name, out, model) for name in ("average", "best")
    }
    scores["last"] = score(stage, data, folder / "checkpoint_last.pt", str(updates), out, model)
    return average([folder / f"checkpoint_{max(scores, key=scores.__getitem__)}.pt"], result)


def export(out: Path, model: Path, folder: Path) -> None:
    """Write the CMLM and its teacher, the files for decoding and scoring, and the counts of the training corpora."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    shutil.copy(out / "counts.json", folder)
    torch.save(inference_checkpoint(out / "cmlm_distilled.pt", "cmlm_transformer"), folder / "checkpoint.pt")
    torch.save(inference_checkpoint(out / "teacher_domain.pt", "transformer"), folder / "teacher.pt")


def train_reverse(out: Path, folder: Path, start: Path, updates: int) -> None:
    """Train a model from targets to sources on the teacher's corpora, from the teacher's weights."""
    options = f"{TEACHER} --dropout 0.2 {TO_ZERO} --lr 8e-4 --total-num-update {updates} {REVERSED}"
    data = out / "teacher_general_data"
    fairseq_train(data, out / "reverse", updates, *options.split(), "--finetune-from-model", str(start))
    state = inference_checkpoint(out / "reverse" / "checkpoint_last.pt", "transformer")
    torch.save(state, folder / "reverse.pt")


def train_electric(out: Path, folder: Path, updates: int) -> None:
    """Train an Electric from the exported CMLM; that CMLM's weights are rounded, so both encoders stay equal."""
    cmlm = str(folder / "checkpoint.pt")
    options = f"{ELECTRIC} {TO_ZERO} --total-num-update {updates} --noise-model {cmlm} --finetune-from-model {cmlm}"
    fairseq_train(out / "cmlm_distilled_data", out / "electric", updates, *options.split())
    state = inference_checkpoint(out / "electric" / "checkpoint_last.pt", "electric_transformer")
    torch.save(state, folder / "electric.pt")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder of the training, which mix_corpora.py wrote")
    parser.add_argument("--model", type=Path, default=Path("models/libreoffice-de-en"), help="the model to start with")
    parser.add_argument(
        "--updates", type=int, nargs=4, default=(15000, 5000, 5000, 10000), help="updates of each stage"
    )
    parser.add_argument("--reverse-updates", type=int, default=2600, help="updates of the reverse model; 0: none")
    parser.add_argument("--electric-updates", type=int, default=4000, help="updates of the Electric; 0: no Electric")
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
    if args.reverse_updates:
        train_reverse(out, folder, out / "teacher_domain.pt", args.reverse_updates)
    if args.electric_updates:
        train_electric(out, folder, args.electric_updates)


if __name__ == "__main__":
    main()
