"""What torch's safe loader must know to read fairseq's checkpoints, which it does without executing anything."""

from argparse import Namespace
from typing import Any

import numpy as np
import torch

# Besides tensors: arguments, and best scores as numbers of numpy 1 or 2.
NUMBER: Any = np.float64(0).__reduce__()[0]
NUMBERS = [NUMBER, (NUMBER, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]


def allow_fairseq_types() -> None:
    torch.serialization.add_safe_globals([Namespace, *NUMBERS])
