"""Perplexity under a causal model, diversity, and grids of runs that draw texts."""

import math

import polars as pl
import pytest
import torch
import yaml

from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation import text_scores
from fairseq_mh.evaluation.grid import GridRun, read_grid
from fairseq_mh.evaluation.runner import collect, run_once
from fairseq_mh.evaluation.tables import results_table
from fairseq_mh.evaluation.text_bench import TextBench, seconds_of
from fairseq_mh.evaluation.text_scores import distinct, self_bleu
from fairseq_mh.files.chunks import Chunks
from fairseq_mh.masked_lms.transformers_import import transformers
from fairseq_mh.open_ended.causal_lm import load_causal_lm
from tests.masked_lms.tiny_models import SIZES, bert, tokenizer_of

TEXTS = ["a b c a", "b", "c c a b b"]


@pytest.fixture
def judge_folder(tmp_path):
    torch.manual_seed(2)
    config = transformers.GPT2Config(vocab_size=9, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "judge")
    tokenizer = tokenizer_of()
    tokenizer.bos_token = "[CLS]"
    tokenizer.save_pretrained(tmp_path / "judge")
    return tmp_path / "judge"


@pytest.fixture
def judge(judge_folder):
    return load_causal_lm(judge_folder, "cpu")


@torch.no_grad()
def test_nats_equal_the_loss_of_the_model(judge):
    """The loss is computed for one text at a time, without padding; it is the mean over the tokens of the text."""
    judged = judge.judge(TEXTS)
    assert judged.tokens.tolist() == [4, 1, 5]
    for text, nats, count in zip(TEXTS, *judged, strict=True):
        ids = torch.tensor([judge.tokenizer(f"[CLS] {text}", add_special_tokens=False)["input_ids"]])
        assert float(nats) == pytest.approx(float(judge.model(ids, labels=ids).loss) * int(count), rel=1e-5)
    assert judged.perplexity() == pytest.approx(math.exp(judged.nats.sum() / 10))


def test_texts_and_models_that_cannot_be_judged_are_refused(judge, tmp_path):
    for text in ("", "a " * 40):
        with pytest.raises(UserError, match="cannot be judged"):
            judge.judge(["a b", text])
    with pytest.raises(UserError, match="does not exist"):
        load_causal_lm(tmp_path / "nowhere", "cpu")
    with pytest.raises(UserError, match="AutoModelForCausalLM"):
        load_causal_lm(tmp_path, "cpu")
    config = transformers.BertConfig(vocab_size=9, **SIZES)
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path / "bert")
    tokenizer_of().save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="looks ahead"):
        load_causal_lm(tmp_path / "bert", "cpu")


def test_diversity():
    """Counted by hand: five of the seven bigrams ab bc ca, cc ca ab bb are distinct."""
    assert distinct(TEXTS, 2) == 5 / 7
    assert distinct(TEXTS, 1) == 3 / 10
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(100)
    assert self_bleu(["a b c d e", "f g h i j"]) == 0
    assert self_bleu(["a"]) is None


def test_evaluate_prints_the_numbers_of_the_grids(tmp_path, judge_folder, capsys, monkeypatch):
    bert().float().save_pretrained(tmp_path / "model")
    tokenizer_of().save_pretrained(tmp_path / "model")
    bench = TextBench(tmp_path / "model", judge_folder, ("--chains", "4", "--length", "2", "5"))
    bench.execute(GridRun("", "MH", {"mh-sweeps": 2}, 1), tmp_path / "out")
    row, _ = bench.measure(tmp_path / "out")
    command = ["evaluate", str(tmp_path / "out"), "--causal-lm", str(judge_folder)]
    assert main(command) == 0
    line = capsys.readouterr().out.splitlines()[-1].split()
    names = ("perplexity", "nats", "self_bleu", "distinct_1", "distinct_2", "energy")
    assert line[:2] == ["out", "4"]
    assert line[2:8] == [f"{row[name]:.3f}" for name in names]
    with monkeypatch.context() as patched:  # all folders are read before the first is judged
        patched.setattr(text_scores, "text_scores", None)
        assert main(["evaluate", str(tmp_path / "out"), str(tmp_path / "nosuch")]) == 1
    assert "nosuch/samples.jsonl cannot be read" in capsys.readouterr().err
    (tmp_path / "out" / "samples.jsonl").write_text("[]\n")
    assert main(command) == 1
    assert "not a samples.jsonl" in capsys.readouterr().err


def test_a_grid_of_samplers(tmp_path, judge_folder):
    bert().float().save_pretrained(tmp_path / "model")
    tokenizer_of().save_pretrained(tmp_path / "model")
    runs = [{"decoder": "MH"}, {"decoder": "Gibbs", "options": {"mh-decoding": "gibbs"}}]
    grid = {"options": {"mh-sweeps": 2, "mh-proposal-temperature": [1.0, 0.5]}, "seeds": [1, 2], "runs": runs}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    bench = TextBench(tmp_path / "model", judge_folder, ("--chains", "4", "--length", "2", "5"))
    folders = [run_once(run, bench, tmp_path / "out") for run in read_grid(tmp_path / "grid.yaml")]
    results = collect(folders, tmp_path / "out")
    assert results["decoder"].to_list() == ["MH"] * 4 + ["Gibbs"] * 4
    assert results["perplexity"].is_finite().all()
    assert (results.filter(pl.col("decoder") == "Gibbs")["acceptance_rate"] == 1).all()
    assert [run_once(run, bench, tmp_path / "out") for run in read_grid(tmp_path / "grid.yaml")] == folders
    assert "perplexity" in results_table(results)
    bench.arguments = ("--mh-sweeps", "3")
    with pytest.raises(UserError, match="belongs in the grid"):
        run_once(read_grid(tmp_path / "grid.yaml")[0], bench, tmp_path / "out")


def test_seconds_include_every_attempt(tmp_path, judge_folder, monkeypatch):
    """If a run of two batches is stopped after the first, the seconds of the first batch still count."""
    bert().float().save_pretrained(tmp_path / "model")
    tokenizer_of().save_pretrained(tmp_path / "model")
    bench = TextBench(tmp_path / "model", None, ("--chains", "4", "--length", "2", "5", "--batch-size", "2"))
    run, write = GridRun("", "MH", {"mh-sweeps": 2}, 1), Chunks.write

    def stop(self, number, contents):
        if number:
            raise KeyboardInterrupt
        write(self, number, contents)

    with monkeypatch.context() as patch:
        patch.setattr(Chunks, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            bench.execute(run, tmp_path / "out")
    first = seconds_of(tmp_path / "out")
    assert first > 0
    bench.execute(run, tmp_path / "out")
    total = seconds_of(tmp_path / "out")
    assert total > first
    bench.execute(run, tmp_path / "out")  # nothing is left to do
    assert bench.measure(tmp_path / "out")[0]["seconds"] == total
