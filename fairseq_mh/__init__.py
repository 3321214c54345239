"""Metropolis-Hastings decoding of conditional masked language models, as a fairseq plugin."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fairseq_mh.translator import Translator

__all__ = ["Translator", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Translator` when it is first used, so that `import fairseq_mh` stays cheap."""
    if name == "Translator":
        from fairseq_mh.translator import Translator

        return Translator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
