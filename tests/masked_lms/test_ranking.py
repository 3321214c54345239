"""Electrics that are trained to order candidates: their data, their loss, and a training that learns an order."""

import math

import numpy as np
import pytest
import sacrebleu
import torch
from fairseq.distributed import ModuleProxyWrapper

from fairseq_mh.criterions.electric_ranking import SHARPNESS, ElectricRanking, listwise_loss, read_candidates
from fairseq_mh.errors import UserError
from fairseq_mh.tasks.translation_mh import TranslationMHConfig, TranslationMHTask
from tests.masked_lms.test_electric import Wrapper, energy_by_definition, sources_of, train
from tests.tiny_cmlm import Tiny, model_of, trace_of, write_data


def output_of(path, sentences: dict[int, tuple[str, list[str]]]):
    """Write references and n-best lists as fairseq-generate prints them."""
    lines = []
    for number, (reference, candidates) in sentences.items():
        lines += [f"T-{number}\t{reference}"] + [f"D-{number}\t-0.5\t{text}" for text in candidates]
    path.write_text("\n".join(lines) + "\n")
    return path


def score(text: str, reference: str) -> float:
    """Return the mean of sentence BLEU and chrF."""
    bleu = sacrebleu.sentence_bleu(text, [reference], use_effective_order=True).score
    return (bleu + sacrebleu.sentence_chrf(text, [reference]).score) / 2


def test_candidates_are_distinct_joined_and_scored(tiny, tmp_path):
    """Candidates of both files are kept in order; pieces are joined before scoring, and empty ones are dropped."""
    one = output_of(tmp_path / "one", {3: ("▁a b ▁c", ["▁a b", "▁a b ▁c", "", "▁a b"])})
    other = output_of(tmp_path / "other", {3: ("▁a b ▁c", ["▁c", "▁a b"]), 0: ("▁a", ["▁a"]), 1: ("▁a", [""])})
    found = read_candidates([str(one), str(other)], tiny.dictionary, "sentencepiece")
    assert set(found) == {0, 3}
    expected = [score(text, "ab c") for text in ("ab", "ab c", "c")]
    assert found[3].quality.tolist() == pytest.approx(expected, abs=1e-4)
    assert found[3].quality[1] == found[3].quality.max() == pytest.approx(100)
    own = read_candidates([str(output_of(one, {0: ("b", ["a b", "c"])}))], tiny.dictionary, "none")
    words = [[tiny.dictionary.index(word) for word in line] for line in ("ab", "c")]
    assert [tokens.tolist() for tokens in own[0].tokens] == words


def test_the_loss_is_the_divergence_of_two_softmaxes():
    quality, scores = torch.tensor([30.0, 45.0, 20.0]), torch.tensor([0.3, -0.2, 1.0])
    wanted = np.exp(quality.numpy() / SHARPNESS) / np.exp(quality.numpy() / SHARPNESS).sum()
    given = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum()
    expected = sum(p * (math.log(p) - math.log(q)) for p, q in zip(wanted, given, strict=True))
    assert listwise_loss(scores, quality).item() == pytest.approx(expected, rel=1e-5)
    assert listwise_loss(quality / SHARPNESS + 7, quality).item() == pytest.approx(0, abs=1e-5)


@pytest.fixture
def task(tiny):
    config = TranslationMHConfig(data=str(tiny.folder), source_lang="de", target_lang="en", dataset_impl="mmap")
    task = TranslationMHTask.setup_task(config)
    task.load_dataset("test")
    return task


NBEST = ["a b", "a b c c", "b"]


def test_a_batch_has_the_loss_of_its_sentences(tiny, task, tmp_path):
    """The stock decoder gives it one candidate at a time, so the padding of a batch changes nothing."""
    electric = model_of(tiny.dictionary, "electric_transformer", share_all_embeddings=True).double()
    file = output_of(tmp_path / "nbest", {number: ("a b c", NBEST[: 1 + number % 3]) for number in range(6)})
    dataset, sources, expected = task.dataset("test"), sources_of(tiny), 0.0
    sample = dataset.collater([dataset[number] for number in (1, 2, 5)])
    criterion, wrapped = ElectricRanking(task, str(file), str(file), "none"), Wrapper(electric)
    loss, size, logging = criterion(electric, sample)
    assert criterion(ModuleProxyWrapper(wrapped), sample)[0] == loss  # as for distributed training
    assert wrapped.calls == 1
    for number in sample["id"].tolist():
        texts = NBEST[: 1 + number % 3]
        tokens = [[tiny.dictionary.index(word) for word in text.split()] for text in texts]
        energies = [energy_by_definition(electric, tiny, sources[number], line) for line in tokens]
        scores = [-energy / len(line) for energy, line in zip(energies, tokens, strict=True)]
        quality = torch.tensor([score(text, "a b c") for text in texts])
        expected += listwise_loss(torch.tensor(scores), quality).item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert size == logging["nsentences"] == 3
    assert loss.requires_grad
    assert logging["first"] == pytest.approx(3 * score("a b", "a b c"), rel=1e-5)
    best = sum(max(score(text, "a b c") for text in NBEST[: 1 + number % 3]) for number in (1, 2, 5))
    assert logging["best"] == pytest.approx(best, rel=1e-5)


REFUSED = {
    "no candidates": ({"candidates": ""}, "needs --candidates FILE"),
    "a file that is not there": ({"candidates": "nowhere"}, "nowhere cannot be read"),
    "a file without translations": ({"candidates": "empty"}, "holds no D- line"),
    "a sentence without its reference": ({"candidates": "no reference"}, "has candidates and no T- line"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_files_of_candidates_are_refused(task, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("nothing\n")
    (tmp_path / "no reference").write_text("D-0\t-1\ta\n")
    options, told = REFUSED[name]
    with pytest.raises(UserError, match=told):
        ElectricRanking(task, **{"valid_candidates": "", "post_process": "none"} | options)


def test_other_sentences_and_models_are_refused(tiny, task, tmp_path):
    file = str(output_of(tmp_path / "nbest", {0: ("a", ["a"])}))
    criterion, dataset = ElectricRanking(task, file, "", "none"), task.dataset("test")
    first, second = (dataset.collater([dataset[number]]) for number in (0, 1))
    electric = model_of(tiny.dictionary, "electric_transformer", share_all_embeddings=True)
    with pytest.raises(UserError, match="sentence 1 has no candidates in the files of --candidates"):
        criterion(electric.train(), second)
    with pytest.raises(UserError, match="in the files of --valid-candidates"):
        criterion(electric.eval(), first)
    for model in (
        model_of(tiny.dictionary, share_all_embeddings=True),
        model_of(tiny.dictionary, "electric_transformer", share_all_embeddings=True, noise_layers=1),
    ):
        with pytest.raises(UserError, match="trains an electric_transformer without --noise-layers"):
            criterion(model.train(), first)


@pytest.mark.slow
def test_training_learns_the_order(tiny, tmp_path):
    """Bad candidates have a `c`, and the decoder ranks them first; the trained model is an expert of chains."""
    random = np.random.default_rng(1)
    for split in ("train", "valid"):
        lines = ["".join(random.choice(list("ab"), random.integers(2, 6))) for _ in range(60)]
        write_data(tmp_path, tiny.dictionary, split, [(line, line) for line in lines])
        nbest = {n: (" ".join(line), [" ".join(f"{line}c"), " ".join(line)]) for n, line in enumerate(lines)}
        output_of(tmp_path / split, nbest)
    options = ("--candidates", tmp_path / "train", "--valid-candidates", tmp_path / "valid", "--post-process", "none")
    cmlm = tiny.folder / "checkpoint.pt"
    options += ("--criterion", "electric_ranking", "--finetune-from-model", cmlm, "--freeze-encoder")
    done = train(Tiny(tmp_path, tiny.dictionary), tmp_path / "out", *options, "--max-update", "60")
    assert done.returncode == 0, done.stderr[-2000:]
    (valid,) = [line for line in done.stdout.splitlines() if "valid on" in line][-1:]
    figures = dict(part.split() for part in valid.split(" | ")[2:] if len(part.split()) == 2)
    assert float(figures["first"]) < 90 < float(figures["picked"]) <= float(figures["best"]) == 100
    options = ("--gen-subset", "test", "--mh-energy", f"two-stream,{tmp_path / 'out' / 'checkpoint_last.pt'}:0.5")
    assert all(record["energy_checkpoint_last"] is not None for record in trace_of(tiny, tmp_path / "trace", *options))
