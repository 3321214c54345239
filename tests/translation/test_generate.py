"""The plugin's whole path, from `fairseq-generate`'s command line to its output lines and trace."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.iterative_refinement_generator import IterativeRefinementGenerator
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
from sacrebleu import sentence_chrf

from fairseq_mh.masked_lms.dictionaries import allowed_symbols
from tests.tiny_cmlm import lines_of, trace_of

SINGLE = ("--mh-block-size", 1, "--mh-scan", "random")
SHORT = (
    *SINGLE,
    "--mh-energy",
    "norm",
    "--mh-chains",
    1,
    "--mh-init",
    "warm-start",
    "--mh-sweeps",
    3,
    "--batch-size",
    4,
)
SHORT += ("--mh-temperature", 1.0, "--mh-final-temperature", 1.0)


@pytest.fixture(scope="module")
def stock(tiny):
    """Return the model and the data set as fairseq itself loads them, in float64."""
    cfg = TranslationLevenshteinConfig(data=str(tiny.folder), source_lang="de", target_lang="en", dataset_impl="mmap")
    task = TranslationLevenshteinTask.setup_task(cfg)
    models, _ = checkpoint_utils.load_model_ensemble([str(tiny.folder / "checkpoint.pt")], task=task)
    models[0].eval()
    task.load_dataset("test")
    return models[0].double(), task.dataset("test")


@torch.no_grad()
def energies_by_definition(stock, tiny, sentence, states):
    """Return E_raw and E_norm of every state, from one row of the stock decoder for each masked position."""
    model, dataset = stock
    source = dataset[sentence]["source"][None]
    encoder_out = model.encoder(source, torch.tensor([source.size(1)]))
    words = [tiny.dictionary.index(word) for word in "abc"]
    result = []
    for state in states:
        raw = norm = 0.0
        for site, symbol in enumerate(state):
            tokens = [tiny.dictionary.bos(), *state, tiny.dictionary.eos()]
            tokens[site + 1] = tiny.dictionary.unk()
            logits = model.decoder(normalize=False, prev_output_tokens=torch.tensor([tokens]), encoder_out=encoder_out)[
                0, site + 1
            ]
            raw -= logits[symbol].item()
            norm -= logits[words].log_softmax(0)[words.index(symbol)].item()
        result.append({"raw": raw, "norm": norm})
    return result


BLOCKS = ("--mh-scan", "random", "--mh-block-size", 0, "--mh-final-block-size", 1)
BLOCKS += ("--mh-nucleus", 0.95)


@pytest.mark.usefixtures("large_queries")
@pytest.mark.parametrize(
    ("energy", "moves", "sweeps"),
    [("raw", SINGLE, 8), ("norm", BLOCKS, 12), ("norm", (), 12), ("two-stream", (), 12)],
)
def test_the_whole_path_samples_the_enumerated_distribution(tiny, stock, tmp_path, energy, moves, sweeps):
    """5,000 chains of one sentence: total variation to the enumerated target within its sampling error.

    The distance is total variation. For C chains over S states, a right sampler's expected distance is at most
    sqrt(S / C) / 2 = 0.037, and exceeds that by more than 0.043 with probability below exp(-2 C 0.043^2) = 1e-8
    (McDiarmid). The two-stream energy is E_norm here, because the model's decoder has one layer.
    """
    chains = 5000
    options = ("--gen-subset", "one", "--mh-gold-length", "--mh-init", "random", "--mh-energy", energy, *moves)
    options += ("--mh-temperature", 2.0, "--mh-final-temperature", 2.0, "--mh-proposal-temperature", 1.3)
    options += ("--mh-select", "last")  # the hypotheses of 5,000 states, and not of 65,000
    records = trace_of(tiny, tmp_path / "trace", *options, "--mh-chains", chains, "--mh-sweeps", sweeps)
    ends = [tuple(record["tokens"]) for record in records if record["sweep"] == sweeps]
    assert len(ends) == chains
    words = [tiny.dictionary.index(word) for word in "abc"]
    states = list(itertools.product(words, repeat=3))
    expected = energies_by_definition(stock, tiny, 0, states)
    name = "norm" if energy == "two-stream" else energy
    weights = np.exp([-by_name[name] / 2.0 for by_name in expected])
    counts = Counter(ends)
    frequencies = np.array([counts[state] for state in states]) / chains
    bound = np.sqrt(len(states) / chains) / 2 + 0.043
    assert np.abs(frequencies - weights / weights.sum()).sum() / 2 < bound
    starts = Counter(tuple(record["tokens"]) for record in records if record["sweep"] == 0)
    uniform = np.array([starts[state] for state in states]) / chains
    assert np.abs(uniform - weights / weights.sum()).sum() / 2 > bound, "the start already has the target's law"
    number = {state: i for i, state in enumerate(states)}
    for record in records[:200]:  # the stock decoder has a float32 softmax, even in float64
        by_name = expected[number[tuple(record["tokens"])]]
        assert record["energy"] == pytest.approx(by_name[name], abs=1e-6)
        terms = {"raw": ["raw", "norm"]}.get(energy, [energy])  # no other terms are traced
        assert [field for field in record if field.startswith("energy_")] == [f"energy_{term}" for term in terms]
        for term in terms:
            assert record[f"energy_{term}"] == pytest.approx(by_name["raw" if term == "raw" else "norm"], abs=1e-6)


BATCHES = [("--batch-size", 1), ("--batch-size", 6), ("--max-tokens", 14)]  # of one, of all six, of one or two


CHAINS = {
    "the default": (),
    "single": SINGLE,
    "single Gibbs": ("--mh-decoding", "gibbs", *SINGLE),
    "informed": ("--mh-block-size", 1),
    "blocks": ("--mh-scan", "random", "--mh-nucleus", 0.9),
    "Gibbs": ("--mh-decoding", "gibbs"),
    "two-stream": ("--mh-energy", "two-stream"),
    "two terms": ("--mh-energy", "two-stream:0.5,norm:0.7"),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_does_not_depend_on_its_batch(tiny, tmp_path, kind):
    """Alone, padded beside longer ones, or in another split of the batch: token for token, in float64."""
    options = ("--mh-chains", 2, "--iter-decode-with-beam", 2, *CHAINS[kind], "--mh-sweeps", 3)
    runs = [trace_of(tiny, tmp_path / "trace", *options, *batch) for batch in BATCHES]
    exact = [
        {
            (r["id"], r["length"], r["chain"], r["sweep"]): (
                r["tokens"],
                [r[count] for count in ("proposals", "accepted", "novel", "rows")],
                r["temperature"],
            )
            for r in records
        }
        for records in runs
    ]
    assert len(exact[0]) == 6 * 2 * 2 * 4
    assert all(other == exact[0] for other in exact[1:])
    for records in runs[1:]:
        energies = {(r["id"], r["length"], r["chain"], r["sweep"]): r["energy"] for r in records}
        for r in runs[0]:
            assert r["energy"] == pytest.approx(energies[r["id"], r["length"], r["chain"], r["sweep"]], abs=1e-9)


def test_another_seed_gives_another_chain(tiny, tmp_path):
    runs = [trace_of(tiny, tmp_path / "trace", *SHORT, "--seed", seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_the_cost_is_counted(tiny, tmp_path):
    """A start takes one row to fill and one per token; an update takes at most one per token that it keeps."""
    records = trace_of(tiny, tmp_path / "trace", *SHORT)
    assert [r["rows"] for r in records if r["sweep"] == 0] == [1 + r["length"] for r in records if r["sweep"] == 0]
    for r in records:
        assert r["novel"] <= r["accepted"] <= r["proposals"] == (r["length"] if r["sweep"] else 0)
        if r["sweep"]:
            others = r["length"] - 1
            assert r["novel"] * others <= r["rows"] <= r["proposals"] * others
    whole = trace_of(tiny, tmp_path / "trace", *SHORT, "--mh-energy", "raw")
    assert all(
        r["rows"] % (r["length"] - 1) == 0 for r in whole if r["sweep"] and r["length"] > 1
    )  # E_raw has no bound, so candidates are evaluated whole
    gibbs = trace_of(tiny, tmp_path / "trace", *SHORT, "--mh-decoding", "gibbs")
    # Updates read the features of the energy until the state changes; then each takes a row. After the last change,
    # every other token takes a row, for an update or for the energy.
    for r in gibbs:
        if r["sweep"]:
            others = r["length"] - 1
            assert others <= r["rows"] <= 2 * others if r["novel"] else r["rows"] == 0
    assert any(r["novel"] for r in gibbs)


def test_mask_predict_equals_the_stock_generator(tiny, stock, tmp_path, capsys):
    """Both give the same tokens if the stock one fills every position with a word (forced iterations, one length)."""
    trace_of(tiny, tmp_path / "trace", "--mh-decoding", "mask-predict", "--iter-decode-max-iter", 3)
    ours = lines_of(capsys.readouterr().out, "H")
    model, dataset = stock
    generator = IterativeRefinementGenerator(tiny.dictionary, max_iter=3, adaptive=False)
    compared = 0
    for number in range(len(dataset)):
        sample = dataset.collater([dataset[number]])
        tokens = generator.generate([model], sample)[0][0]["tokens"]
        if len(tokens) > 2 and allowed_symbols(tiny.dictionary)[tokens[1:-1]].all():
            assert ours[number][0].split("\t")[1] == tiny.dictionary.string(tokens)
            compared += 1
    assert compared >= 3


def test_mask_predict_leaves_no_mask_and_gives_every_length(tiny, tmp_path, capsys):
    options = ("--mh-decoding", "mask-predict", "--iter-decode-with-beam", 3, "--nbest", 3)
    records = trace_of(tiny, tmp_path / "trace", *options)
    hypotheses = lines_of(capsys.readouterr().out, "H")
    assert {len(lines) for lines in hypotheses.values()} == {3}
    for lines in hypotheses.values():
        scores, texts = zip(*(line.split("\t") for line in lines), strict=True)
        assert sorted(map(float, scores), reverse=True) == list(map(float, scores))
        assert set("".join(texts)) <= set("abc ")
        assert len({len(text) for text in texts}) == 3
    assert all(1 <= r["rows"] <= 11 for r in records)


def test_nbest_is_distinct_and_best_first(tiny, tmp_path, capsys):
    records = trace_of(tiny, tmp_path / "trace", *SHORT, "--nbest", 4, "--mh-chains", 3, "--iter-decode-with-beam", 2)
    found = {}
    for record in records:
        key = record["id"], tuple(record["tokens"])
        found[key] = min(found.get(key, np.inf), record["energy"] / record["length"])
    for number, lines in lines_of(capsys.readouterr().out, "H").items():
        scores, texts = zip(*(line.split("\t") for line in lines), strict=True)
        seen = sum(sentence == number for sentence, _ in found)
        assert min(4, seen) <= len(set(texts)) == len(texts) <= 4
        assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)
        best = min(value for (sentence, _), value in found.items() if sentence == number)
        assert -float(scores[0]) * np.log(2) <= best + 1e-6


def test_steps_history_and_gold_length(tiny, tmp_path, capsys):
    options = ("--print-step", "--retain-iter-history", "--mh-gold-length", "--mh-init", "reference")
    records = trace_of(tiny, tmp_path / "trace", *SHORT, *options, "--mh-select", "last")
    output = capsys.readouterr().out
    assert all(steps == ["3"] for steps in lines_of(output, "I").values())
    references = lines_of(output, "T")
    for number, states in lines_of(output, "E").items():
        assert states[0] == references[number][0]  # the start
        assert len(states) == 4
        assert states[-1] == lines_of(output, "H")[number][0].split("\t")[1]
        assert {r["length"] for r in records if r["id"] == number} == {len(states[0].split())}


def test_select_and_burn_in(tiny, tmp_path, capsys):
    """The last state is chosen, or the state of lowest energy after burn-in, which never has a higher energy."""
    base = (*SHORT, "--mh-gold-length", "--mh-chains", 2)
    scores = {}
    for select in ("lowest-energy", "last"):
        for burn_in in (0, 3):
            records = trace_of(tiny, tmp_path / "trace", *base, "--mh-select", select, "--mh-burn-in", burn_in)
            lines = lines_of(capsys.readouterr().out, "H")
            scores[select, burn_in] = {n: float(line[0].split("\t")[0]) for n, line in lines.items()}
    ends = {n: max(-r["energy"] / r["length"] for r in records if r["id"] == n and r["sweep"] == 3) for n in range(6)}
    for n in range(6):
        assert scores["last", 0][n] * np.log(2) == pytest.approx(ends[n], abs=1e-6)
        assert scores["last", 3] == scores["lowest-energy", 3] == scores["last", 0]
        assert scores["lowest-energy", 0][n] >= scores["last", 0][n]


@pytest.mark.parametrize("beta", [0, 3.0])
@pytest.mark.parametrize("scores", [("token-mean",), ("length-model", "--mh-length-reward", 0.5)])
def test_mbr_puts_the_best_expected_utility_first(tiny, stock, tmp_path, capsys, beta, scores):
    """The expectation is over the distinct states at sweep ends, start included, with weights exp(beta score)."""
    options = ("--mh-chains", 3, "--iter-decode-with-beam", 2, "--mh-length-select", *scores)
    options += ("--mh-scan", "sequential", "--mh-utility", "chrf", "--mh-mbr-beta", beta)
    by_score = expected_by_score(trace_of(tiny, tmp_path / "trace", *SHORT, *options, "--nbest", 99), capsys)
    trace_of(tiny, tmp_path / "trace", *SHORT, *options, "--nbest", 16, "--mh-select", "mbr")
    lines = lines_of(capsys.readouterr().out, "H")
    assert len(lines) == len(by_score) == 6
    for number, weights in by_score.items():
        weights = {text: np.exp(beta * (score - max(weights.values()))) for text, score in weights.items()}
        scores, texts = zip(*(line.split("\t") for line in lines[number]), strict=True)
        assert set(texts) <= set(weights)
        assert len(texts) == min(len(weights), 16)
        if len(weights) <= 16:
            expected = {
                text: sum(sentence_chrf(text, [other]).score * weight for other, weight in weights.items())
                / sum(weights.values())
                for text in weights
            }
            assert [float(score) * np.log(2) for score in scores] == pytest.approx(
                sorted(expected.values(), reverse=True), abs=1e-3
            )


def expected_by_score(records, capsys) -> dict[int, dict[str, float]]:
    """Return, for each sentence, the score in nats of every text in the H- lines of a run."""
    lines = lines_of(capsys.readouterr().out, "H")
    return {
        number: {line.split("\t")[1]: float(line.split("\t")[0]) * np.log(2) for line in found}
        for number, found in lines.items()
    }


@torch.no_grad()
def test_length_model_is_the_joint_score(tiny, stock, tmp_path, capsys):
    """The score is log p(X) + log p(length | source) for the four likeliest lengths, in bits on the H- line."""
    options = ("--mh-decoding", "mask-predict", "--mh-length-select", "length-model", "--iter-decode-with-beam", 4)
    trace_of(tiny, tmp_path / "trace", *options, "--nbest", 4)
    output = capsys.readouterr().out
    model, dataset = stock
    for number in range(len(dataset)):
        source = dataset[number]["source"][None]
        encoder_out = model.encoder(source, torch.tensor([source.size(1)]))
        log_p = model.decoder.forward_length(normalize=True, encoder_out=encoder_out)[0]
        lines = list(zip(lines_of(output, "H")[number], lines_of(output, "P")[number], strict=True))
        lengths = [len(positional.split()) for _, positional in lines]
        assert set(lengths) == set((log_p[3:13].topk(4).indices + 3).tolist())
        for length, (hypothesis, positional) in zip(lengths, lines, strict=True):
            expected = sum(map(float, positional.split())) + log_p[length].item() / np.log(2)
            assert float(hypothesis.split("\t")[0]) == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("start", ["mask-predict", "masked"])
def test_mask_predict_chooses_the_length(tiny, tmp_path, capsys, start):
    """All chains have the length of its likeliest translation; its rows are counted once, and not spent again."""
    lengths = ("--iter-decode-with-beam", 4, "--iter-decode-max-iter", 2)
    heuristic = trace_of(tiny, tmp_path / "heuristic", "--mh-decoding", "mask-predict", *lengths)
    translations = [hypothesis.split("\t")[1] for hypothesis, *_ in lines_of(capsys.readouterr().out, "H").values()]
    options = (*SHORT, *lengths, "--mh-length-select", "mask-predict", "--mh-init", start, "--mh-chains", 2)
    records = [r for r in trace_of(tiny, tmp_path / "trace", *options) if r["sweep"] == 0]
    assert len(records) == 2 * len(translations)
    for record in records:
        sentence, spent = record["id"], sum(r["rows"] for r in heuristic if r["id"] == record["id"])
        assert record["length"] == len(translations[sentence].split())
        if start == "mask-predict":
            assert tiny.dictionary.string(torch.tensor(record["tokens"])) == translations[sentence]
        own = record["length"] + (start == "masked")
        assert record["rows"] == own + (spent if record["chain"] == 0 else 0)


def test_a_mixed_start_combines_mask_predict_and_the_masked_target(tiny, tmp_path):
    """The first chain of each length has the start and rows of mask-predict, and the others those of masked."""
    options = (*SHORT, "--mh-sweeps", 0, "--iter-decode-with-beam", 2, "--iter-decode-max-iter", 2, "--mh-chains", 3)
    begun = {
        start: {
            (r["id"], r["length"], r["chain"]): (r["tokens"], r["rows"])
            for r in trace_of(tiny, tmp_path / "trace", *options, "--mh-init", start)
        }
        for start in ("mixed", "mask-predict", "masked")
    }
    assert len(begun["mixed"]) == 6 * 2 * 3
    for (sentence, length, chain), found in begun["mixed"].items():
        assert found == begun["masked" if chain else "mask-predict"][sentence, length, chain]
