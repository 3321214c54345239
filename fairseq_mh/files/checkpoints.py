"""Loading of fairseq's checkpoints by torch's safe loader, which executes no code of a checkpoint."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairseq_mh.errors import UserError, unloadable

# Besides tensors, a checkpoint holds arguments, and best scores as numbers of numpy 1 or 2.
SCALAR: Any = np.float64(0).__reduce__()[0]
SCALAR_TYPES = [SCALAR, (SCALAR, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]


def allow_fairseq_types() -> None:
    """Allow these types in every `torch.load(..., weights_only=True)` of this process."""
    torch.serialization.add_safe_globals([Namespace, *SCALAR_TYPES])


def load_model(
    path: str | Path, option: str = "", task: Any = None, overrides: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """Load the model of a checkpoint.

    Args:
        path: of the checkpoint.
        option: that named it, for the message of an error.
        task: fairseq's, with the model's dictionaries; None for the task that the checkpoint names.
        overrides: settings of the model to change.

    Returns:
        the model, and its task.

    Raises:
        UserError: for a file that is missing, damaged, or not made for these dictionaries.
    """
    from fairseq import checkpoint_utils  # imports much that the reading of files does not need

    allow_fairseq_types()
    try:
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], dict(overrides or {}), task)
    except UserError:
        raise
    except Exception as error:  # fairseq and torch fail in many ways on a damaged or unsuitable file
        place = "" if isinstance(error, OSError) else f" {path}"
        raise UserError(f"{option}{place}: {unloadable(error)}".removeprefix(": ").strip()) from None
    return model, task
