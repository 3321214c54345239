"""Loads a checkpoint and its task from options of `fairseq-generate`, for programs other than fairseq's."""

import ast
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_mh.tasks.translation_mh  # noqa: F401  (registers the task)
from fairseq_mh.errors import REMOVED, UserError, did_you_mean, one_line
from fairseq_mh.files.checkpoints import load_model
from fairseq_mh.translation.options.table import option_table

PIECES = "spm.model"  # the SentencePiece model of a data folder
# The options of fairseq that decoders read, with the texts that `fairseq-mh translate --help` shows.
FAIRSEQ_OPTIONS: dict[str, str] = {
    "path": "the checkpoint; default: DATA/checkpoint.pt",
    "source-lang": "source language; default: from the names of the data folder's files",
    "target-lang": "target language; default: from the names of the data folder's files",
    "sentencepiece-model": "the SentencePiece model that cuts text into pieces; default: DATA/spm.model, if it exists",
    "nbest": "maximum number of distinct translations of each sentence; default: 1",
    "seed": "seed of the random draws of all chains; default: 1",
    "iter-decode-with-beam": "number of predicted lengths at which to decode; default: 1",
    "iter-decode-max-iter": "number of refinements after the first pass of mask-predict; default: 10",
    "constraints": "ordered or unordered: the order of the phrases that a translation must contain (each after a tab)",
    "batch-size": "number of sentences decoded at once",
    "max-tokens": "number of source tokens decoded at once; default: 12000",
    "model-overrides": "model settings to change, as a Python dictionary",
}
FAIRSEQ_FLAGS: dict[str, str] = {
    "cpu": "do not use GPUs",
    "fp16": "decode in half precision",
    "bf16": "decode in bfloat16",
}
OF_THE_MODEL = ("--path", "--sentencepiece-model", "--model-overrides", "--cpu", "--fp16")  # read when it is loaded

PARSING = threading.Lock()  # a process has only one configuration of Hydra, and one excepthook


def arguments_of(given: Mapping[str, Any]) -> list[str]:
    """Return a command line for options that are named without `mh_`: {"sweeps": 12} becomes `--mh-sweeps 12`.

    An option that is None or False is left out.

    Raises:
        UserError: if a name is not an option of the decoders.
    """
    known = {name: f"--{name}" for name in (*FAIRSEQ_OPTIONS, *FAIRSEQ_FLAGS)}
    known |= {row.name.removeprefix("--mh-"): row.name for row in option_table()}
    arguments: list[str] = []
    for name, value in given.items():
        option = known.get(name.replace("_", "-"))
        if option is None:
            if old := REMOVED.get(f"--mh-{name.replace('_', '-')}"):
                raise UserError(f"the option {name} is gone: {old}")
            near = did_you_mean(name, [other.replace("-", "_") for other in known])
            raise UserError(f"there is no option {name}{near} (fairseq-mh options lists all, with the prefix mh-)")
        if value is not None and value is not False:
            arguments += [option] if value is True else [option, str(value)]
    return arguments


def with_pieces(data: str, arguments: Sequence[str]) -> list[str]:
    """Add the options that cut text into pieces to a command line, if the data folder has a SentencePiece model."""
    names = {argument.partition("=")[0] for argument in arguments}
    if names & {"--bpe", "--sentencepiece-model"}:
        pieces = [] if "--bpe" in names else ["--bpe", "sentencepiece"]
    else:
        model = Path(data, PIECES)
        pieces = ["--bpe", "sentencepiece", "--sentencepiece-model", str(model)] if model.is_file() else []
    return [*arguments, *pieces]


def parse_generate_options(data: str, arguments: Sequence[str]) -> Any:
    """Return fairseq's configuration for a data folder, with `DATA/checkpoint.pt` unless `--path` is given.

    How the calling program reports its errors stays as it is; only fairseq's own programs change it.

    Raises:
        UserError: if fairseq or the task refuses an option or a value.
    """
    start = [data, "--task", "translation_mh", "--path", f"{data}/checkpoint.pt"]
    warnings.filterwarnings("ignore", module="hydra|fairseq")  # about their own deprecations
    with PARSING:
        hook = sys.excepthook
        try:
            args = options.parse_args_and_arch(options.get_generation_parser(), [*start, *arguments])
            return convert_namespace_to_omegaconf(args)
        except UserError:
            raise
        except Exception as error:  # fairseq and Hydra raise many kinds of errors for bad values
            raise UserError(f"the options cannot be used: {one_line(error)}") from None
        finally:
            sys.excepthook = hook


def load_checkpoint(cfg: Any) -> tuple[Any, list[Any]]:
    """Load the checkpoint that a configuration names.

    Returns:
        The task, and its models in eval mode, on the device and in the precision that the options ask for.

    Raises:
        UserError: if the checkpoint or the dictionaries cannot be used.
    """
    task = tasks.setup_task(cfg.task)
    paths = utils.split_paths(cfg.common_eval.path)
    overrides = ast.literal_eval(cfg.common_eval.model_overrides)
    models = [load_model(path, task=task, overrides=overrides)[0] for path in paths]
    device = "cuda" if torch.cuda.is_available() and not cfg.common.cpu else "cpu"
    for model in models:
        if cfg.common.fp16:
            model.half()
        model.to(device).prepare_for_inference_(cfg)
    return task, models


def to_device(model: torch.nn.Module, batch: dict) -> dict:
    """Return the batch with its tensors on the device of the model."""
    device = next(model.parameters()).device
    return utils.apply_to_sample(lambda part: part.to(device), batch)
