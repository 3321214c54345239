"""Metropolis-Hastings decoding of conditional masked language models, as a fairseq plugin."""

import importlib.util
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

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


class QuietFairseq:
    """Imports fairseq without the configuration of logging that some of its modules make on their import.

    It would print the debugging messages of all packages of the user's program. A program of fairseq keeps its own.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "fairseq":
            return None
        sys.meta_path.remove(cls)  # it does its work once
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            spec.loader.exec_module = partial(cls.run, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    @staticmethod
    def run(execute, module) -> None:
        """Execute a module while logging has a handler, because `logging.basicConfig` then does nothing."""
        handler = logging.NullHandler()
        logging.root.addHandler(handler)
        try:
            execute(module)
        finally:
            logging.root.removeHandler(handler)


if "fairseq" not in sys.modules:
    sys.meta_path.insert(0, QuietFairseq)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that `import fairseq_mh` stays cheap."""
    if name in HOMES:
        return getattr(importlib.import_module(f"fairseq_mh.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
