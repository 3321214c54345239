"""The import of Hugging Face's `transformers`, a large optional package: only files that use it import this one."""

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

    transformers imports torchaudio where it is installed, for its speech models. fairseq depends on torchaudio, whose
    usual build cannot be loaded together with a torch without CUDA: an empty module takes its place.

    Raises:
        UserError: where transformers is not installed.
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
    """Load a model and its tokenizer from a local folder; nothing is downloaded, and no code of the folder is run.

    Args:
        kind: the class of transformers that loads the model, such as `AutoModelForMaskedLM`.
        folder: with the weights, the configuration and the tokenizer.
        options: of `from_pretrained`.

    Returns:
        The model in eval mode and float32, and the tokenizer.

    Raises:
        UserError: where the folder holds no such model, or not all of its weights.
    """
    local = {"local_files_only": True, "trust_remote_code": False}
    tokenizer_options = {name: value for name, value in options.items() if name == "gguf_file"}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local, **tokenizer_options)
        model, loading = kind.from_pretrained(folder, **local, **options, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # a damaged file, a file of another kind, or a missing library
        raise UserError(f"{folder} cannot be loaded by transformers as {kind.__name__}: {one_line(error)}") from None
    missing = sorted({*loading["missing_keys"], *map(str, loading["mismatched_keys"])})
    if missing:
        raise UserError(f"{folder} is no {kind.__name__}: it lacks weights ({', '.join(missing)[:200]})")
    return model.eval(), tokenizer
