"""Hugging Face's `transformers`, which is heavy and an extra: imported by the files that use it alone."""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from fairseq_mh.errors import UserError


def _import() -> ModuleType:
    """Raises UserError where it is not installed.

    transformers imports torchaudio where it is installed, for models of sound. fairseq brings it, and its usual build
    cannot be loaded beside a torch without CUDA: an empty module stands in for that one.
    """
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        pass
    except (ImportError, OSError):
        sys.modules["torchaudio"] = importlib.util.module_from_spec(ModuleSpec("torchaudio", None))
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise UserError("this needs Hugging Face's transformers: pip install 'fairseq-mh[hf]'") from None


transformers = _import()
