"""The import rule: imports point down, and `mcmc/` is pure torch."""

import ast
import re
import sys
from pathlib import Path

import pytest

import fairseq_mh

PACKAGE = Path(fairseq_mh.__file__).parent


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("mcmc/*.py")), ids=lambda path: path.name)
def test_mcmc_is_pure_torch(path):
    outside = {name for name in imports_of(path) if name.split(".")[0] not in sys.stdlib_module_names}
    assert all(name.split(".")[0] in {"torch", "numpy"} or name.startswith("fairseq_mh.mcmc") for name in outside)


DOWN = [
    "driver",
    "ray_workers",
    "parquet",
    "options",
    "worker",
    "translator",
    "records",
    "halves",
    "sources",
    "loading",
    "tasks",
    "translation_mh",
    "electric_nce",
    "correlation",
    "noise",
    "generator",
    "rescoring",
    "electric",
    "decoders",
    "config",
    "minimum_bayes_risk",
    "selection",
    "command_line",
    "causal_lm",
    "sampling",
    "template",
    "hugging_face",
    "transformers_at_hand",
    "fairseq_mlm",
    "blanks",
    "sampler_config",
    "two_stream",
    "start",
    "mask_predict",
    "cmlm",
    "checkpoints",
    "sentence_pieces",
    "electric_transformer",
    "two_tower_cloze",
    "mask_predict_transformer",
    "decoder_engine",
    "decoder_layer",
    "source_attention",
    "linear",
    "chain",
    "record",
    "clocks",
    "kernel",
    "trial",
    "surrogate",
    "stages",
    "proposal",
    "state",
    "energy",
    "masked_lm",
    "schedule",
]


def test_imports_point_down():
    """Of the decoding side: a file imports what stands behind it in this list alone."""
    for path in PACKAGE.rglob("*.py"):
        if path.stem in DOWN:
            imported = {name.split(".")[-1] for name in imports_of(path) if name.startswith("fairseq_mh.")}
            assert imported & set(DOWN) <= set(DOWN[DOWN.index(path.stem) + 1 :]), path


def test_the_model_is_known_by_few_files():
    """`cmlm.py`, the engine behind it, Electric and the RoBERTa of `open_ended`; the task and the generator never look
    inside."""
    inside = re.compile("output_projection|encoder_attn|extract_features")
    knowing = {path.name for path in PACKAGE.rglob("*.py") if inside.search(path.read_text(encoding="utf-8"))}
    assert knowing == {
        "cmlm.py",
        "decoder_engine.py",
        "decoder_layer.py",
        "electric_transformer.py",
        "two_tower_cloze.py",
        "fairseq_mlm.py",
    }


def test_only_one_file_accepts():
    """`log u < log ratio` stands in the kernel alone."""
    decision = re.compile(r"(log_u|\.log\(\)) <")
    accepting = [path.name for path in PACKAGE.rglob("*.py") if decision.search(path.read_text(encoding="utf-8"))]
    assert accepting == ["kernel.py"]
