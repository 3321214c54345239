#!/usr/bin/env python3
"""Functions that the stages of `train_model.py` share; as a program, `fairseq-train` with tasks for bf16 on a CPU.

Training on a CPU uses bf16 autocast; training on a GPU uses fairseq's own `--fp16`.
"""

import argparse
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.modules import FairseqDropout
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq_cli.train import cli_main
from torch.nn.attention import SDPBackend, sdpa_kernel

from fairseq_mh.architectures import electric_transformer  # noqa: F401  (registers it)
from fairseq_mh.files.checkpoints import UNTRAINED
from fairseq_mh.tasks.translation_mh import TranslationMHTask
from fairseq_mh.translation.options.config import TranslationMHConfig

ENCODER_LAYERS = 4
SIZES = f"--encoder-layers {ENCODER_LAYERS} --decoder-layers 3 --encoder-embed-dim 256 --decoder-embed-dim 256 \
--encoder-ffn-embed-dim 1024 --decoder-ffn-embed-dim 1024 --encoder-attention-heads 4 --decoder-attention-heads 4 \
--encoder-normalize-before --decoder-normalize-before --encoder-learned-pos --decoder-learned-pos \
--activation-fn gelu --share-all-embeddings --max-source-positions 128 --max-target-positions 128"
RECIPE = "--optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 --weight-decay 0.01 \
--max-tokens 4096 --skip-invalid-size-inputs-valid-test --seed 1 \
--no-epoch-checkpoints --log-format simple --log-interval 100"
# Large tensors stay on the heap instead of getting fresh pages each time: 1.3 times the words a second on 2 cores.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def fairseq_train(data: Path, checkpoints: Path, updates: int, *options: str) -> None:
    """Run `fairseq-train` up to an update in its own process, with bf16 autocast if there is no GPU.

    Args:
        data: a fairseq data folder.
        checkpoints: the folder for checkpoints.
        updates: the update at which training ends.
        options: further options of `fairseq-train`.
    """
    command = [sys.executable, __file__, str(data), "--save-dir", str(checkpoints), "--max-update", str(updates)]
    command += ["--fp16"] if torch.cuda.is_available() else []
    subprocess.run([*command, *SIZES.split(), *RECIPE.split(), *options], check=True, env=os.environ | MALLOC)


def byte_dropout(module: FairseqDropout, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Apply dropout with random bytes, because torch draws the values of a mask one by one on a CPU.

    The probability is rounded to a multiple of 1/256.
    """
    threshold = round(module.p * 256)
    if not threshold or not (module.training or module.apply_during_inference):
        return x
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return x * kept.to(x.dtype).mul_(256 / (256 - threshold))


class Bf16:
    """A task whose training step runs under CPU autocast, at 1.5 times the speed of fp32.

    Autocast must end with each step, because it caches its casts of the weights until it ends. Attention uses plain
    products, because the backward pass of the CPU's fused attention takes longer for sentences of this length.
    """

    def train_step(self, *args, **kwargs):
        on_cpu = not torch.cuda.is_available()
        attention = sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on_cpu), attention:
            return super().train_step(*args, **kwargs)


def inference_checkpoint(checkpoint: Path, arch: str) -> dict:
    """Return a trained model as a checkpoint without optimizer state, in half precision."""
    trained = torch.load(checkpoint)
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    names = {action.dest for action in parser._actions} | {"max_source_positions", "max_target_positions"}
    args = argparse.Namespace(**{k: v for k, v in vars(trained["cfg"]["model"]).items() if k in names})
    args.arch, args.task, args.criterion = arch, "translation_lev", "nat_loss"
    args.source_lang, args.target_lang = (trained["cfg"]["task"][f"{side}_lang"] for side in ("source", "target"))
    ARCH_CONFIG_REGISTRY[arch](args)
    halves: dict[int, torch.Tensor] = {}  # address -> tensor, so that shared embeddings are stored once
    return {
        "args": args,
        "model": {name: halves.setdefault(w.data_ptr(), w.half()) for name, w in trained["model"].items()},
        **UNTRAINED,
    }


TASKS = {
    "translation_bf16": (TranslationConfig, TranslationTask),
    "translation_mh_bf16": (TranslationMHConfig, TranslationMHTask),
}

if __name__ == "__main__":
    for name, (config, task) in TASKS.items():
        register_task(name, dataclass=config)(type(f"{task.__name__}Bf16", (Bf16, task), {}))  # names must differ
    if not torch.cuda.is_available():
        FairseqDropout.forward = byte_dropout
    cli_main()
