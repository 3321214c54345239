"""The import of fairseq: quiet, and without the libraries of tasks that are not used.

fairseq imports every module of its folders, because each registers its task, model or criterion. Nothing that it
registers is left out here, and `sys.modules` has what other programs expect.
"""

import builtins
import logging
import sys
from collections.abc import Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

# Modules of fairseq of which only functions use these libraries, whose import takes a third of fairseq's.
SLOW = ("fairseq.tasks.audio_classification", "fairseq.criterions.sentence_prediction")
LIBRARIES = ("scipy", "sklearn")


class Later:
    """What `from MODULE import NAME` gives, imported when it is called or one of its attributes is read."""

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def _found(self) -> Any:
        return getattr(builtins.__import__(self._module, fromlist=[self._name]), self._name)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self._found()(*args, **settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy, pickle and others look for special methods
            raise AttributeError(name)
        return getattr(self._found(), name)


def import_later(name: str, globals=None, locals=None, fromlist: Sequence[str] | None = (), level: int = 0) -> Any:
    """Import as Python does, but `from LIBRARY import NAME` when NAME is first used."""
    if fromlist and name.partition(".")[0] in LIBRARIES:
        return SimpleNamespace(**{each: Later(name, each) for each in fromlist})
    return builtins.__import__(name, globals, locals, fromlist or (), level)


class FairseqFinder:
    """Finds fairseq as others do, and changes how its modules are executed while it is first imported.

    Some of its modules configure logging on their import, which would print the debugging messages of all packages of
    the user's program. A program of fairseq keeps its own configuration. The modules of `SLOW` import their libraries
    later.
    """

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "fairseq" and name not in SLOW:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not cls)
        spec = next(filter(None, others), None)
        if spec and spec.loader:
            run = cls.run_slow if name in SLOW else cls.run_quietly
            spec.loader.exec_module = partial(run, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    @classmethod
    def run_quietly(cls, execute, module: ModuleType) -> None:
        """Execute fairseq while logging has a handler, because `logging.basicConfig` then does nothing."""
        handler = logging.NullHandler()
        logging.root.addHandler(handler)
        try:
            execute(module)
        finally:
            logging.root.removeHandler(handler)
            sys.meta_path.remove(cls)

    @staticmethod
    def run_slow(execute, module: ModuleType) -> None:
        """Execute a module whose import statements, and only those, are `import_later`."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_later}
        execute(module)


def install() -> None:
    """Let the first import of fairseq use the finder; nothing changes if fairseq has been imported."""
    if "fairseq" not in sys.modules:
        sys.meta_path.insert(0, FairseqFinder)
