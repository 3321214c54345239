"""The import rule: imports point down and form no circle, and `mcmc/` is pure torch."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fairseq_mh

PACKAGE = Path(fairseq_mh.__file__).parent
ENTRANCES = ("__init__", "__main__")  # of the package itself: they may import from any room

# The package's folders and top modules; each may import only from itself and from those after it.
ROOMS = (
    "cli",
    "page",
    "corpus",
    "evaluation",
    "open_ended",
    "translator",
    "loading",
    "tasks",
    "criterions",
    "translation",
    "energies",
    "masked_lms",
    "convert",
    "architectures",
    "engine",
    "excepthook",
    "files",
    "sampler_config",
    "progress",
    "convergence",
    "template",
    "viewer",
    "mcmc",
    "errors",
    "fairseq_import",
)
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports_of(path: Path) -> set[str]:
    """Return every import in a file, also inside functions; `from x import y` counts as x and as x.y."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports(path: Path) -> set[str]:
    """Return the package's modules that a file imports, named relative to the package."""
    names = {name.removeprefix("fairseq_mh.") for name in imports_of(path) if name.startswith("fairseq_mh.")}
    return names & MODULES.keys()


def test_every_room_is_known():
    found = {name.split(".")[0] for name in MODULES} - set(ENTRANCES)
    assert found == set(ROOMS)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ENTRANCES])
def test_imports_point_down(name):
    floor = ROOMS.index(name.split(".")[0])
    upward = {other for other in own_imports(MODULES[name]) if ROOMS.index(other.split(".")[0]) < floor}
    assert not upward, f"{name} imports {upward}, which are above it"


def test_no_imports_in_a_circle():
    graph = {name: own_imports(path) - {name} for name, path in MODULES.items() if name not in ENTRANCES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("mcmc/**/*.py")), ids=lambda path: path.name)
def test_mcmc_is_pure_torch(path):
    outside = {name for name in imports_of(path) if name.split(".")[0] not in sys.stdlib_module_names}
    assert all(name.split(".")[0] in {"torch", "numpy"} or name.startswith("fairseq_mh.mcmc") for name in outside)


def files_with(pattern: str) -> set[str]:
    found = re.compile(pattern)
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if found.search(path.read_text(encoding="utf-8"))
    }


def test_few_files_look_inside_a_model():
    """The task, the generator and the decoders never look inside a model."""
    assert files_with("output_projection|encoder_attn|extract_features") == {
        "energies/autoregressive.py",
        "masked_lms/cmlm.py",
        "masked_lms/roberta.py",
        "masked_lms/stock_decoder.py",
        "engine/decoder.py",
        "engine/layer.py",
        "convert/published_format.py",
        "architectures/electric_transformer.py",
        "architectures/two_tower_cloze.py",
    }


def test_only_the_kernel_accepts():
    """Only the kernel contains `log u < log ratio`."""
    assert files_with(r"(log_u|\.log\(\)) <") == {"mcmc/kernel.py"}


@pytest.mark.parametrize("folder", ["benchmarks", "scripts"])
def test_tools_do_not_import_tests(folder):
    for path in (Path(__file__).parents[1] / folder).rglob("*.py"):
        assert not any(name.split(".")[0] == "tests" for name in imports_of(path)), path
