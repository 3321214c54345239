"""The import of Hugging Face's `transformers`. It is large and optional, so only files that use it import this one."""

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
    """Import transformers, and replace a torchaudio that cannot be loaded.

    transformers imports an installed torchaudio for its speech models. fairseq depends on torchaudio, whose usual build
    cannot be loaded together with a torch without CUDA, so an empty module replaces it.

    Raises:
        UserError: if transformers is not installed.
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


def load_pretrained(kind: Any, folder: Path | str, download: bool = False, **options: Any) -> tuple[Any, Any]:
    """Load a model and its tokenizer in float32; no code that comes with them is run.

    Args:
        kind: the class of transformers that loads the model, such as `AutoModelForMaskedLM`.
        folder: the folder with the weights, the configuration and the tokenizer, or the name of a model of the Hub.
        download: whether transformers may download a model that is not in its cache.
        options: options of `from_pretrained`.

    Returns:
        The model in eval mode and float32, and the tokenizer.

    Raises:
        UserError: if the folder has no such model, or lacks a part of its weights.
    """
    local = {"local_files_only": not download, "trust_remote_code": False}
    tokenizer_options = {name: value for name, value in options.items() if name == "gguf_file"}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local, **tokenizer_options)
        model, loading = kind.from_pretrained(folder, **local, **options, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # a damaged file, a file of another kind, or a missing library
        raise UserError(f"{folder} cannot be loaded by transformers as {kind.__name__}: {one_line(error)}") from None
    missing = sorted({*loading["missing_keys"], *map(str, loading["mismatched_keys"])})
    if missing:
        raise UserError(f"{folder} is not a complete {kind.__name__}: it lacks weights ({', '.join(missing)[:200]})")
    return model.eval(), tokenizer
