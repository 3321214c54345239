"""The types that torch's safe loader needs for fairseq's checkpoints; it executes no code of a checkpoint."""

from argparse import Namespace
from typing import Any

import numpy as np
import torch

# Besides tensors, a checkpoint holds arguments, and best scores as numbers of numpy 1 or 2.
NUMBER: Any = np.float64(0).__reduce__()[0]
NUMBERS = [NUMBER, (NUMBER, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]


def allow_fairseq_types() -> None:
    """Allow these types in all of this process's `torch.load(..., weights_only=True)`."""
    torch.serialization.add_safe_globals([Namespace, *NUMBERS])
