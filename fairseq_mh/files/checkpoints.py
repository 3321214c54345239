"""Loading of fairseq's checkpoints by torch's safe loader, which executes no code of a checkpoint; lists of files."""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairseq_mh.errors import UserError, unloadable

# Besides tensors, a checkpoint holds arguments, and what training kept: numbers, texts and arrays of numpy 1 or 2.
NUMPY: list[Any] = [np.ndarray, np.dtype, *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type))]
makers: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
for maker in makers:
    NUMPY += [maker, (maker, f"numpy.core.multiarray.{maker.__name__}")]

# The entries of a checkpoint that holds no state of its training, which fairseq expects in each one.
UNTRAINED = {
    "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
    "extra_state": {"train_iterator": {"epoch": 1}},
}


def allow_fairseq_types() -> None:
    """Allow these types in every `torch.load(..., weights_only=True)` of this process."""
    torch.serialization.add_safe_globals([Namespace, bytes, frozenset, *NUMPY])


def split_names(given: str, separator: str, exists: Callable[[str], bool] = os.path.exists) -> list[str]:
    """Split a list of file names, and keep names of existing files that hold the separator whole.

    Args:
        given: the list; at each place, the longest name that exists is taken.
        separator: what separates the names.
        exists: whether a part of the list is the name of a file.
    """
    parts, names = given.split(separator), list[str]()
    while parts:
        size = next((n for n in range(len(parts), 1, -1) if exists(separator.join(parts[:n]))), 1)
        names.append(separator.join(parts[:size]))
        parts = parts[size:]
    return names


def load_model(
    path: str | Path, option: str = "", task: Any = None, overrides: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """Load the model of a checkpoint.

    Args:
        path: of the checkpoint.
        option: that named it, for the message of an error.
        task: fairseq's, with the model's dictionaries; None for the task that the checkpoint names; or a function that
            chooses it by the configuration of the checkpoint.
        overrides: settings of the model to change.

    Returns:
        the model, and its task.

    Raises:
        UserError: for a file that is missing, damaged, or not made for these dictionaries.
    """
    from fairseq import checkpoint_utils  # imports much that the reading of files does not need

    allow_fairseq_types()
    try:
        if not checkpoint_utils.PathManager.exists(str(path)):
            raise OSError(f"Model file not found: {path}")  # in fairseq's words
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path), dict(overrides or {}))
        state["args"] = None  # fairseq would compose the same `cfg` from it again
        task = task(state["cfg"]) if callable(task) else task
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], task=task, state=state)
    except UserError:
        raise
    except Exception as error:  # fairseq and torch fail in many ways on a damaged or unsuitable file
        place = "" if isinstance(error, OSError) else f" {path}"
        raise UserError(f"{option}{place}: {unloadable(error)}".removeprefix(": ").strip()) from None
    return model, task
