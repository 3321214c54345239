#!/usr/bin/env python3
"""Train the embedded model: an autoregressive teacher, its distilled corpus, and the CMLM.

    python scripts/train_model.py OUT        # OUT as written by prepare_data.py

Sequence-level knowledge distillation (Kim and Rush, 2016): the CMLM learns the teacher's beam
output, at first beside the references, which keep rare words alive (Ding et al., 2021), then
alone. The CMLM starts from the teacher's weights (the layers are the same;
its length embedding is new). Every stage resumes from its own checkpoints and is skipped when
its result exists. bf16 autocast on CPU; a GPU is used with fairseq's own `--fp16`.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from prepare_data import binarise

from fairseq_mh.evaluation.output import read_lines

SIZES = "--encoder-layers 3 --decoder-layers 3 --encoder-embed-dim 256 --decoder-embed-dim 256 \
--encoder-ffn-embed-dim 1024 --decoder-ffn-embed-dim 1024 --encoder-attention-heads 4 --decoder-attention-heads 4 \
--encoder-normalize-before --decoder-normalize-before --encoder-learned-pos --decoder-learned-pos \
--activation-fn gelu --share-all-embeddings --max-source-positions 128 --max-target-positions 128"
RECIPE = "--optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 --weight-decay 0.01 --label-smoothing 0.1 \
--lr-scheduler polynomial_decay --max-tokens 4096 --skip-invalid-size-inputs-valid-test --seed 1 \
--no-epoch-checkpoints --log-format simple --log-interval 100"
TEACHER = "--task translation_bf16 --arch transformer --criterion label_smoothed_cross_entropy --dropout 0.3 \
--lr 1e-3 --warmup-updates 400"
CMLM = "--task translation_lev_bf16 --noise random_mask --arch cmlm_transformer --criterion nat_loss --dropout 0.2 \
--lr 1e-3 --warmup-updates 300"
# Large tensors kept on the heap instead of fresh pages each time: 1.3 times the words a second on 2 cores.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def fairseq_train(data: Path, checkpoints: Path, updates: int, total: int, *options: str) -> None:
    """`fairseq-train` in a process of its own, under bf16 autocast where there is no GPU.

    The learning rate falls to 0 at update `total`; training stops at update `updates`.
    """
    command = [sys.executable, __file__, "--fairseq-train", str(data), "--save-dir", str(checkpoints)]
    command += f"--max-update {updates} --total-num-update {total}".split()
    command += ["--fp16"] if torch.cuda.is_available() else []
    subprocess.run([*command, *SIZES.split(), *RECIPE.split(), *options], check=True, env=os.environ | MALLOC)


class Bf16:
    """A task whose training step runs under CPU autocast: 1.5 times fp32's speed.

    The region must end with each step: autocast caches its casts of the weights while it lasts.
    """

    def train_step(self, *args, **kwargs):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not torch.cuda.is_available()):
            return super().train_step(*args, **kwargs)


def run_fairseq_train() -> None:
    from fairseq.tasks import register_task
    from fairseq.tasks.translation import TranslationConfig, TranslationTask
    from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
    from fairseq_cli.train import cli_main

    torch.serialization.add_safe_globals([argparse.Namespace])
    register_task("translation_bf16", dataclass=TranslationConfig)(type("Ar", (Bf16, TranslationTask), {}))
    register_task("translation_lev_bf16", dataclass=TranslationLevenshteinConfig)(
        type("Nar", (Bf16, TranslationLevenshteinTask), {})
    )
    cli_main()


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
    """The embedded model: weights only, in half precision, with what decoding and scoring need."""
    from fairseq.models import ARCH_CONFIG_REGISTRY
    from fairseq.models.nat import CMLMNATransformerModel

    trained = torch.load(out / "cmlm" / "checkpoint_last.pt")
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    CMLMNATransformerModel.add_args(parser)
    names = {action.dest for action in parser._actions} | {"max_source_positions", "max_target_positions"}
    args = argparse.Namespace(**{k: v for k, v in vars(trained["cfg"]["model"]).items() if k in names})
    args.arch, args.task, args.criterion = "cmlm_transformer", "translation_lev", "nat_loss"
    ARCH_CONFIG_REGISTRY[args.arch](args)
    halves: dict[int, torch.Tensor] = {}  # by address: shared embeddings stay one tensor, and are stored once
    state = {
        "args": args,
        "model": {name: halves.setdefault(w.data_ptr(), w.half()) for name, w in trained["model"].items()},
        "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "checkpoint.pt")
    for path in (*out.glob("data/dict.*.txt"), *out.glob("data/valid.*"), *out.glob("data/test.*")):
        shutil.copy(path, folder)
    for path in (out / "spm.model", *out.glob("raw/valid.*"), *out.glob("raw/test.*")):
        shutil.copy(path, folder)


def main():
    for flag, entry in (("--fairseq-train", run_fairseq_train), ("--fairseq-generate", run_fairseq_generate)):
        if flag in sys.argv:
            sys.argv.remove(flag)
            return entry()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--teacher-updates", type=int, default=2000)
    parser.add_argument("--cmlm-updates", type=int, nargs=2, default=(2500, 8000), help="ends of the two stages")
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


if __name__ == "__main__":
    main()
