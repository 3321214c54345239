"""Prefixes, forced decoding of references, and reranking by a second model, through `fairseq-generate`."""

import itertools
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
import torch

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.translation.given.outline import FREE, OPEN, Outline, outline_of
from fairseq_mh.translation.given.pieces import Pieces
from tests.tiny_cmlm import dictionary_of, generate, generated_here, lines_of, refused, trace_of, write_checkpoint

DECODERS = {
    "mh": ("--mh-chains", 2, "--mh-sweeps", 3),
    "two-stream": ("--mh-chains", 2, "--mh-sweeps", 3, "--mh-energy", "two-stream"),
    "mixed": ("--mh-chains", 2, "--mh-sweeps", 2, "--mh-init", "mixed", "--mh-select", "mbr"),
    "warm start": ("--mh-chains", 1, "--mh-sweeps", 2, "--mh-init", "warm-start", "--mh-scan", "random"),
    "random": ("--mh-chains", 1, "--mh-sweeps", 1, "--mh-init", "random"),
    "gibbs": ("--mh-decoding", "gibbs", "--mh-chains", 2, "--mh-sweeps", 2),
    "mask-predict": ("--mh-decoding", "mask-predict"),
}


@pytest.fixture(scope="module")
def references(tiny):
    """Return the words of the references, by sentence number."""
    result = generated_here(tiny, "--mh-sweeps", 0, "--mh-chains", 1)
    return {number: line[0].split() for number, line in lines_of(result.stdout, "T").items()}


@pytest.mark.parametrize("kind", DECODERS)
def test_a_prefix_begins_every_translation(tiny, references, kind):
    """Every hypothesis of every length begins with the first two tokens of the reference, or all of a shorter one."""
    options = (*DECODERS[kind], "--prefix-size", 2, "--iter-decode-with-beam", 3, "--nbest", 9)
    result = generated_here(tiny, *options)
    assert result.returncode == 0, result.stderr
    found = lines_of(result.stdout, "H")
    assert len(found) == 6
    for number, lines in found.items():
        for line in lines:
            given = references[number][:2]
            assert line.split("\t")[1].split()[: len(given)] == given


@pytest.mark.usefixtures("large_queries")
def test_a_chain_with_a_prefix_has_the_distribution_given_it(tiny, tmp_path):
    """5,000 chains of one sentence against the enumerated target given its first token.

    The bound is that of `test_generate.py`, which also tests the energies of the trace. As a control, the same chains
    are further from the distribution of another temperature.
    """
    chains, sweeps, temperature = 5000, 8, 2.0
    options = ("--gen-subset", "one", "--mh-gold-length", "--mh-init", "random", "--prefix-size", 1)
    options += ("--mh-temperature", temperature, "--mh-final-temperature", temperature)
    options += ("--mh-proposal-temperature", 1.3, "--mh-chains", chains, "--mh-sweeps", sweeps)
    options += ("--mh-select", "last")  # the hypotheses of one sweep are read
    records = trace_of(tiny, tmp_path / "trace", *options)
    energies = {tuple(record["tokens"]): record["energy"] for record in records}
    words = [tiny.dictionary.index(word) for word in "abc"]
    states = [(tiny.dictionary.index("c"), *rest) for rest in itertools.product(words, repeat=2)]
    assert set(energies) == set(states)
    ends = Counter(tuple(record["tokens"]) for record in records if record["sweep"] == sweeps)
    frequencies = np.array([ends[state] for state in states]) / chains
    nats = np.array([energies[state] for state in states])

    def distance(tau):
        weights = np.exp(-nats / tau)
        return np.abs(frequencies - weights / weights.sum()).sum() / 2

    bound = np.sqrt(len(states) / chains) / 2 + 0.043
    assert distance(temperature) < bound
    assert distance(0.5) > bound
    for record in records:
        assert bool(record["sweep"]) <= record["proposals"] <= 2


def test_a_held_chain_does_not_depend_on_its_batch(tiny, tmp_path):
    options = ("--prefix-size", 1, "--mh-chains", 2, "--mh-sweeps", 3, "--iter-decode-with-beam", 2)

    def states(batch):
        records = trace_of(tiny, tmp_path / "trace", *options, *batch)
        return sorted([r["id"], r["length"], r["chain"], r["sweep"], r["tokens"], r["rows"]] for r in records)

    assert states(("--batch-size", 1)) == states(("--batch-size", 6)) == states(("--max-tokens", 14))


@pytest.mark.parametrize("decoder", [(), ("--mh-decoding", "mask-predict"), ("--mh-energy", "two-stream")])
def test_references_are_scored_without_decoding(tiny, references, tmp_path, decoder):
    """The score is minus the energy per token, which is that of a chain that starts at the reference."""
    trace = tmp_path / "trace"
    result = generated_here(tiny, "--score-reference", *decoder, "--iter-decode-with-beam", 3)
    assert result.returncode == 0, result.stderr
    start = decoder if "mask-predict" not in decoder else ()
    options = ("--mh-init", "reference", "--mh-sweeps", 0, "--mh-chains", 1, *start)
    begun = {record["id"]: record for record in trace_of(tiny, trace, *options, double=False)}
    for number, (line,) in lines_of(result.stdout, "H").items():
        score, text = line.split("\t")
        assert text.split() == references[number]
        expected = -begun[number]["energy"] / begun[number]["length"]
        assert float(score) * np.log(2) == pytest.approx(expected, abs=1e-4)
        positional = lines_of(result.stdout, "P")[number][0].split()
        assert sum(map(float, positional)) * np.log(2) == pytest.approx(-begun[number]["energy"], abs=1e-2)


@pytest.fixture(scope="module")
def teacher(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    write_checkpoint(path, tiny.dictionary, arch="transformer", scale=2.0, share_all_embeddings=True)
    return path


@pytest.mark.parametrize("kind", ["mh", "gibbs", "mask-predict"])
def test_a_second_model_orders_the_translations(tiny, teacher, tmp_path, kind):
    """The order is that of its log-probability per token, EOS included, which is traced if it is an expert."""
    cmlm = tiny.folder / "checkpoint.pt"
    options = (*DECODERS[kind], "--iter-decode-with-beam", 3, "--nbest", 20)
    both = generated_here(tiny, *options, "--iter-decode-with-external-reranker", checkpoint=f"{cmlm}:{teacher}")
    assert both.returncode == 0, both.stderr
    alone = generated_here(tiny, *options)
    texts = {}
    for name, result in (("both", both), ("alone", alone)):
        texts[name] = {n: {line.split("\t")[1] for line in lines} for n, lines in lines_of(result.stdout, "H").items()}
    assert texts["both"] == texts["alone"]
    for lines in lines_of(both.stdout, "H").values():
        scores = [float(line.split("\t")[0]) for line in lines]
        assert scores == sorted(scores, reverse=True)
    rescored = {}
    for record in trace_of(
        tiny,
        tmp_path / "trace",
        *DECODERS["mh"],
        "--iter-decode-with-beam",
        3,
        "--mh-energy",
        f"two-stream,{teacher}",
        double=False,
    ):
        text = tiny.dictionary.string(torch.tensor(record["tokens"]))
        rescored[record["id"], text] = -record["energy_teacher"] / (record["length"] + 1) / np.log(2)
    compared = 0
    for number, lines in lines_of(both.stdout, "H").items():
        for line in lines:
            score, text = line.split("\t")
            if (number, text) in rescored:
                assert float(score) == pytest.approx(rescored[number, text], abs=1e-4)
                compared += 1
    assert compared


def test_a_model_that_cannot_rerank_is_refused_in_one_line(tiny, teacher, tmp_path):
    cmlm = tiny.folder / "checkpoint.pt"
    option = "--iter-decode-with-external-reranker"
    assert "CMLM:RERANKER" in refused(generated_here(tiny, option))
    assert option in refused(generated_here(tiny, checkpoint=f"{cmlm}:{teacher}"))
    assert "CMLMNATransformerModel" in refused(generated_here(tiny, option, checkpoint=f"{cmlm}:{cmlm}"))
    foreign = tmp_path / "foreign.pt"
    write_checkpoint(foreign, dictionary_of("abcdefghijklmnop"), arch="transformer")
    refused(generated_here(tiny, option, checkpoint=f"{cmlm}:{foreign}"))


def test_an_outline_lays_out_its_blanks():
    """Blanks of fixed length stay; the rest of the length is divided among the open blanks."""
    stream = np.random.default_rng(1)
    assert Outline().of_length(3, stream) == [FREE] * 3
    assert Outline([7, OPEN]).of_length(3, stream) == [7, FREE, FREE]
    assert Outline([7, FREE, FREE, 8]).of_length(4, stream) == [7, FREE, FREE, 8]
    found = {tuple(Outline([OPEN, 7, OPEN]).of_length(3, stream)) for _ in range(50)}
    assert found == {(7, FREE, FREE), (FREE, 7, FREE), (FREE, FREE, 7)}


def test_an_outline_allows_only_lengths_that_fit_it():
    log_p = torch.tensor([-torch.inf, -1.0, -2.0, -3.0, -4.0])
    assert Outline([5, 6, OPEN]).possible(log_p).tolist() == [-torch.inf, -torch.inf, -2.0, -3.0, -4.0]
    assert Outline([5, FREE]).possible(log_p).tolist() == [-torch.inf, -torch.inf, 0.0, -torch.inf, -torch.inf]
    assert Outline().possible(log_p).tolist() == log_p.tolist()
    with pytest.raises(UserError, match="an open blank"):
        Outline([FREE, FREE], [[5]])
    for parts in ([5] * 5, []):
        with pytest.raises(SentenceError, match="tokens"):
            Outline(parts).possible(log_p)


def test_a_template_is_cut_into_pieces_at_its_blanks():
    """Text that follows a blank without a space does not begin a word."""
    dictionary = dictionary_of(["\u2581Click", "\u2581to", ".", "\u2581."])
    pieces, index = Pieces(dictionary), dictionary.index
    pieces.bpe = Namespace(encode=lambda text: f"\u2581{text}", decode=lambda text: text.replace("\u2581", ""))
    assert outline_of("Click {2} to {}.", pieces).parts == [
        *(index("\u2581Click"), FREE, FREE, index("\u2581to"), OPEN, index(".")),
    ]
    assert outline_of("{} .", pieces).parts == [OPEN, index("\u2581.")]
    with pytest.raises(UserError, match="no symbols"):
        outline_of("x {}", pieces)


def test_a_negative_prefix_size_is_refused(tiny):
    generate(tiny, "--prefix-size", 1, "--mh-sweeps", 1, "--mh-chains", 1)
    assert "--prefix-size" in refused(generated_here(tiny, "--prefix-size", -1))
