"""Tests of the training of the embedded model's ranker: its data, and a complete training on a few sentences."""

import gzip
import sys
from pathlib import Path

import pytest
import torch

from fairseq_mh.translator import Translator
from scripts import train_ranker
from scripts.prepare_data import HELDOUT_WORDS

MODEL = Path(__file__).parents[2] / "models" / "libreoffice-de-en"


def test_its_sentences_are_training_segments_as_long_as_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(train_ranker, "binarise", lambda pieces, data, dictionary: data.mkdir())
    data = train_ranker.write_data(MODEL, tmp_path, 30)
    german, english = ((tmp_path / "raw" / f"train.{side}").read_text().splitlines() for side in ("de", "en"))
    assert len(german) == len(english) == 30
    with gzip.open(MODEL / "en-de.tsv.gz", "rt", encoding="utf-8") as lines:
        corpus = {tuple(line.rstrip("\n").split("\t")[1:]) for line in lines}
    assert set(zip(english, german, strict=True)) <= corpus
    assert all(len(text.split()) in HELDOUT_WORDS for text in (*german, *english))
    assert (tmp_path / "raw" / "valid.de").read_bytes() == (MODEL / "valid.de").read_bytes()
    (tmp_path / "raw" / "train.de").unlink()
    assert train_ranker.write_data(MODEL, tmp_path, 30) == data
    assert not (tmp_path / "raw" / "train.de").exists(), "existing files are kept"


@pytest.mark.heavy
def test_it_trains_an_expert_that_stores_only_its_own_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_ranker", str(tmp_path), "--sentences", "24", "--updates", "3"])
    train_ranker.main()
    ranker = tmp_path / "ranker.pt"
    shared = torch.load(MODEL / "checkpoint.pt")["model"]
    own = torch.load(ranker, weights_only=True)["model"]
    assert own
    matrices = {name: weight for name, weight in own.items() if weight.dim() > 1}
    assert not [name for name, weight in matrices.items() if name in shared and torch.equal(weight, shared[name])]
    translator = Translator.load(MODEL, energy=f"two-stream,{ranker}:0.2", sweeps=1, cpu=True)
    assert translator.translate(["Öffnet das Menü."])[0]
