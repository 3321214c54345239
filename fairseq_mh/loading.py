"""A checkpoint with its task by the options of `fairseq-generate`, for programs beside it."""

import ast
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import options, tasks, utils
from fairseq.data import data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_mh.tasks.translation_mh  # noqa: F401  (registers the task)
from fairseq_mh.errors import REMOVED, UserError, did_you_mean, one_line
from fairseq_mh.files.checkpoints import load_model
from fairseq_mh.translation.options.config import TranslationMHConfig

PIECES = "spm.model"  # a data folder's sentencepiece model
# Of fairseq's own options, those that a decoder reads; here and in `fairseq-mh translate --help` by fairseq's names.
FAIRSEQ_OPTIONS: dict[str, str] = {
    "path": "the checkpoint; default: DATA/checkpoint.pt",
    "source-lang": "source language, where the data folder's file names do not say it",
    "target-lang": "target language, likewise",
    "sentencepiece-model": "the model that cuts text into pieces; default: DATA/spm.model where there is one",
    "nbest": "distinct translations of each sentence, at most; default: 1",
    "seed": "of every chain's randomness; default: 1",
    "iter-decode-with-beam": "how many predicted lengths to decode at; default: 1",
    "iter-decode-max-iter": "refinements of mask-predict after its first pass; default: 10",
    "constraints": "ordered or unordered: how phrases that translations must hold, each behind a tab, may stand",
    "batch-size": "sentences decoded at once",
    "max-tokens": "source tokens decoded at once; default: 12000",
    "model-overrides": "settings of the model to change, as a Python dictionary",
}
FAIRSEQ_FLAGS: dict[str, str] = {
    "cpu": "leave GPUs alone",
    "fp16": "decode in half precision",
    "bf16": "decode in bfloat16",
}

PARSING = threading.Lock()  # Hydra has one configuration for the whole process


class Loaded(NamedTuple):
    """A task and its models."""

    task: Any
    models: list[Any]  # in eval mode, on the device and in the precision that the options ask for


def arguments_of(given: Mapping[str, Any]) -> list[str]:
    """Return a command line from options by their names, without `mh_`: {"sweeps": 12} is `--mh-sweeps 12`.

    An option that is None or False is left out.

    Raises:
        UserError: for a name that is no option of the decoders.
    """
    own = {field.name.removeprefix("mh_"): f"--{field.name}" for field in fields(TranslationMHConfig)}
    known = {name: f"--{name}" for name in (*FAIRSEQ_OPTIONS, *FAIRSEQ_FLAGS)} | {
        name.replace("_", "-"): option.replace("_", "-") for name, option in own.items() if option.startswith("--mh_")
    }
    arguments: list[str] = []
    for name, value in given.items():
        option = known.get(name.replace("_", "-"))
        if option is None:
            if old := REMOVED.get(f"--mh-{name.replace('_', '-')}"):
                raise UserError(f"the option {name} is gone: {old}")
            near = did_you_mean(name, [other.replace("-", "_") for other in known])
            raise UserError(f"there is no option {name}{near} (fairseq-mh options lists them, with mh-)")
        if value is not None and value is not False:
            arguments += [option] if value is True else [option, str(value)]
    return arguments


def with_pieces(data: str, arguments: Sequence[str]) -> list[str]:
    """Return a command line that also says how text is cut into pieces, where the data folder knows it."""
    names = {argument.partition("=")[0] for argument in arguments}
    if names & {"--bpe", "--sentencepiece-model"}:
        pieces = [] if "--bpe" in names else ["--bpe", "sentencepiece"]
    else:
        model = Path(data, PIECES)
        pieces = ["--bpe", "sentencepiece", "--sentencepiece-model", str(model)] if model.is_file() else []
    return [*arguments, *pieces]


def parse_generate_options(data: str, arguments: Sequence[str]) -> Any:
    """Return fairseq's configuration for this data folder, with `DATA/checkpoint.pt` unless `--path` says otherwise.

    Raises:
        UserError: for options or values that fairseq or the task does not know.
    """
    start = [data, "--task", "translation_mh", "--path", f"{data}/checkpoint.pt"]
    warnings.filterwarnings("ignore", module="hydra|fairseq")  # of each other's plans
    try:
        with PARSING:
            args = options.parse_args_and_arch(options.get_generation_parser(), [*start, *arguments])
            data_utils.post_process("", args.post_process)
            ast.literal_eval(args.model_overrides)
            return convert_namespace_to_omegaconf(args)
    except UserError:
        raise
    except Exception as error:  # fairseq and Hydra refuse values in many ways
        raise UserError(f"the options cannot be used: {one_line(error)}") from None


def load_checkpoint(cfg: Any) -> Loaded:
    """Load the checkpoint that a configuration names.

    Raises:
        UserError: for a checkpoint or dictionaries that cannot be used.
    """
    task = tasks.setup_task(cfg.task)
    paths = utils.split_paths(cfg.common_eval.path)
    overrides = ast.literal_eval(cfg.common_eval.model_overrides)
    models = [load_model(path, task=task, overrides=overrides) for path in paths]
    device = "cuda" if torch.cuda.is_available() and not cfg.common.cpu else "cpu"
    for model in models:
        if cfg.common.fp16:
            model.half()
        model.to(device).prepare_for_inference_(cfg)
    return Loaded(task, models)


def to_device(model: torch.nn.Module, batch: dict) -> dict:
    """Return a batch on the model's device."""
    device = next(model.parameters()).device
    return utils.apply_to_sample(lambda part: part.to(device), batch)
