"""Training by `fairseq-train --task translation_mh`."""

import re
from pathlib import Path

import pytest

import fairseq_mh
from tests.programs import run_program
from tests.tiny_cmlm import make_tiny, write_data


@pytest.fixture
def pairs(tmp_path):
    tiny = make_tiny(tmp_path)
    for split in ("train", "valid"):
        write_data(tmp_path, tiny.dictionary, split, [("abca", "cab"), ("bb", "ba"), ("cab", "abc")] * 4)
    return tmp_path


@pytest.mark.slow
def test_validation_by_bleu_uses_this_packages_decoder(pairs, tmp_path):
    """BLEU is that of the current weights at each validation; the model may be trained among its own errors."""
    command = [str(pairs), "--cpu", "--num-workers", "0"]
    command += ["--user-dir", str(Path(fairseq_mh.__file__).parent), "--task", "translation_mh"]
    command += [
        "--arch",
        "cmlm_transformer",
        "--criterion",
        "nat_loss",
        "--encoder-layers",
        "1",
        "--decoder-layers",
        "1",
    ]
    command += ["--encoder-embed-dim", "8", "--decoder-embed-dim", "8", "--encoder-attention-heads", "2"]
    command += ["--decoder-attention-heads", "2", "--encoder-ffn-embed-dim", "8", "--decoder-ffn-embed-dim", "8"]
    command += [
        "--share-all-embeddings",
        "--optimizer",
        "adam",
        "--lr",
        "0.05",
        "--max-update",
        "4",
        "--batch-size",
        "4",
    ]
    command += [
        "--validate-interval-updates",
        "2",
        "--no-save",
        "--log-format",
        "simple",
        "--mh-sweeps",
        "1",
        "--mh-chains",
        "1",
    ]
    command += ["--predicted-share", "0.3"]
    command += ["--eval-bleu", "--eval-bleu-args", '{"iter_decode_with_beam": 2}', "--best-checkpoint-metric", "bleu"]
    result = run_program("fairseq-train", *command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(re.findall(r"valid on .* bleu [\d.]+", result.stdout + result.stderr)) >= 2
