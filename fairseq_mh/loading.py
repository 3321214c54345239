"""A checkpoint with its task by the options of `fairseq-generate`, for programs beside it."""

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from fairseq import checkpoint_utils, options, tasks, utils
from fairseq.data import data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_mh.tasks.translation_mh  # noqa: F401  (registers the task)
from fairseq_mh.errors import UserError, one_line, unloadable


class Loaded(NamedTuple):
    task: Any
    models: list[Any]  # in eval mode, on the device and in the precision that the options ask for


def parse_generate_options(data: str, arguments: Sequence[str]) -> Any:
    """fairseq's configuration for this data folder, and for `DATA/checkpoint.pt` unless `--path` says otherwise.

    Raises:
        UserError: for options or values that fairseq or the task does not know.
    """
    start = [data, "--task", "translation_mh", "--path", f"{data}/checkpoint.pt"]
    try:
        args = options.parse_args_and_arch(options.get_generation_parser(), [*start, *arguments])
        data_utils.post_process("", args.post_process)
        ast.literal_eval(args.model_overrides)
        return convert_namespace_to_omegaconf(args)
    except UserError:
        raise
    except Exception as error:  # fairseq and Hydra refuse values in many ways
        raise UserError(f"the options cannot be used: {one_line(error)}") from None


def load_checkpoint(cfg: Any) -> Loaded:
    """Raises UserError for a checkpoint or dictionaries that cannot be used."""
    task = tasks.setup_task(cfg.task)
    paths = utils.split_paths(cfg.common_eval.path)
    try:
        overrides = ast.literal_eval(cfg.common_eval.model_overrides)
        models, _ = checkpoint_utils.load_model_ensemble(paths, arg_overrides=overrides, task=task)
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # fairseq and torch meet a damaged file in many ways
        raise UserError(unloadable(error)) from None
    device = "cuda" if torch.cuda.is_available() and not cfg.common.cpu else "cpu"
    for model in models:
        if cfg.common.fp16:
            model.half()
        model.to(device).prepare_for_inference_(cfg)
    return Loaded(task, models)


def to_device(model: torch.nn.Module, batch: dict) -> dict:
    """A batch on the model's device."""
    device = next(model.parameters()).device
    return utils.apply_to_sample(lambda part: part.to(device), batch)
