"""The embedded model: whole, small, and decoded as the stock generator decodes it."""

from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.iterative_refinement_generator import IterativeRefinementGenerator
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask

from fairseq_mh.masked_lms.dictionaries import allowed_symbols
from tests.tiny_cmlm import generate, lines_of

MODEL = Path(__file__).parents[2] / "models" / "libreoffice-de-en"
SEGMENTS = 40


def test_the_folder_is_small_and_complete():
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 56_000_000
    for name in ("README.md", "LICENSE", "checkpoint.pt", "spm.model", "dict.de.txt", "test.de", "valid.en"):
        assert (MODEL / name).exists()
    for name in ("checkpoint.pt", "teacher.pt", "reverse.pt"):
        weights = torch.load(MODEL / name)["model"]
        assert {weight.dtype for weight in weights.values()} == {torch.float16}


@pytest.fixture(scope="module")
def stock():
    """The model and its task, with the segments, as fairseq itself loads them."""
    cfg = TranslationLevenshteinConfig(data=str(MODEL), source_lang="de", target_lang="en", dataset_impl="mmap")
    task = TranslationLevenshteinTask.setup_task(cfg)
    models, _ = checkpoint_utils.load_model_ensemble([str(MODEL / "checkpoint.pt")], task=task)
    task.load_dataset("valid")
    return models, task


@pytest.mark.parametrize("iterations", [0, 9])
def test_mask_predict_equals_the_stock_generator(tiny, stock, capsys, iterations):
    """Token for token on real segments, where the stock generator leaves no special symbol."""
    embedded = tiny._replace(folder=MODEL)
    options = ("--mh-decoding", "mask-predict", "--iter-decode-max-iter", iterations, "--batch-size", 10)
    generate(embedded, "--gen-subset", "valid", *options, "--distributed-world-size", 12, double=False)
    ours = {number: lines[0].split("\t")[1] for number, lines in lines_of(capsys.readouterr().out, "H").items()}
    assert len(ours) >= SEGMENTS
    models, task = stock
    numbers = sorted(ours)[:SEGMENTS]
    sample = task.dataset("valid").collater([task.dataset("valid")[n] for n in numbers])
    generator = IterativeRefinementGenerator(task.target_dictionary, max_iter=iterations, adaptive=False)
    allowed, compared = allowed_symbols(task.target_dictionary), 0
    for number, hypotheses in zip(sample["id"].tolist(), generator.generate(models, sample), strict=True):
        tokens = hypotheses[0]["tokens"]
        if len(tokens) > 2 and allowed[tokens[1:-1]].all():
            assert ours[number] == task.target_dictionary.string(tokens)
            compared += 1
    assert compared >= SEGMENTS - 2
