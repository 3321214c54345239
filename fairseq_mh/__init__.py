"""Metropolis-Hastings decoding of conditional masked language models, as a fairseq plugin."""

import importlib
from typing import TYPE_CHECKING, Any

from fairseq_mh import fairseq_import

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fairseq_mh.convergence import to_arviz
    from fairseq_mh.open_ended.texts import generate, load_masked_lm
    from fairseq_mh.translator import Translator

__all__ = ["Translator", "__version__", "generate", "load_masked_lm", "to_arviz"]
HOMES = {
    "Translator": "translator",
    "generate": "open_ended.texts",
    "load_masked_lm": "open_ended.texts",
    "to_arviz": "convergence",
}


fairseq_import.install()


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that `import fairseq_mh` stays cheap."""
    if name in HOMES:
        return getattr(importlib.import_module(f"fairseq_mh.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
