"""Hugging Face's `transformers`, which is heavy and an extra: imported by the files that use it alone."""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fairseq_mh.errors import UserError, one_line


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


def load_pretrained(kind: Any, folder: Path, **options: Any) -> tuple[Any, Any]:
    """A model of that kind in eval mode and float32, and its tokenizer, of a local folder alone.

    Raises:
        UserError: where the folder holds no such model, or not all of its weights.
    """
    local = {"local_files_only": True, "trust_remote_code": False}
    tokens = {name: value for name, value in options.items() if name == "gguf_file"}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local, **tokens)
        model, loading = kind.from_pretrained(folder, **local, **options, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # a damaged file, one of another kind, or a library that it needs
        raise UserError(f"{folder} cannot be loaded by transformers as {kind.__name__}: {one_line(error)}") from None
    missing = sorted({*loading["missing_keys"], *map(str, loading["mismatched_keys"])})
    if missing:
        raise UserError(f"{folder} is no {kind.__name__}: it lacks weights ({', '.join(missing)[:200]})")
    return model.eval(), tokenizer
