"""Tests of the scores of a run."""

import json

import pytest

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.scores import corpus_scores, read_trace, trace_scores
from tests.evaluation.report_results import STATES


def write_trace(path, energies):
    """Write two sentences with a start and two sweeps each; `energies` are those of the states, or None."""
    lines = []
    for number, states in STATES.items():
        for sweep, tokens in enumerate(states):
            counts = {"proposals": 2, "accepted": 1, "novel": 1, "rows": 3}
            nats = None if energies is None else energies[sweep]
            names = {"energy": nats, "energy_norm": nats, "energy_teacher": 1.0}
            key = {"id": number, "length": len(tokens), "chain": 0, "sweep": sweep, "temperature": 1.0}
            lines.append(json.dumps({**key, "tokens": tokens, **names, **counts}) + "\n")
    path.write_text("".join(lines))


def test_energies_and_rates(tmp_path):
    write_trace(tmp_path / "trace", [6.0, 1.5, 3.0])
    row = trace_scores(read_trace(tmp_path / "trace"))
    for name in ("energy", "energy_norm"):
        assert row[name] == pytest.approx((3 / 2 + 3 / 3) / 2)
        assert row[f"corpus_{name}"] == pytest.approx(6)
        assert row[f"best_{name}"] == pytest.approx((1.5 / 2 + 1.5 / 3) / 2)
    assert row["corpus_energy_teacher"] == 2
    assert (row["novel_rate"], row["rows"]) == (0.5, 18)


def test_energies_that_the_trace_lacks_are_none(tmp_path):
    write_trace(tmp_path / "trace", None)
    row = trace_scores(read_trace(tmp_path / "trace"))
    assert all(row[name] is None for name in ("energy", "energy_norm", "corpus_energy_norm", "best_energy_norm"))
    assert row["rows"] == 18


def test_a_trace_without_temperatures_is_refused(tmp_path):
    write_trace(tmp_path / "trace", None)
    text = (tmp_path / "trace").read_text()
    (tmp_path / "trace").write_text(text.replace('"temperature": 1.0, ', ""))
    with pytest.raises(UserError, match="it lacks temperature"):
        read_trace(tmp_path / "trace")


def test_intervals_come_from_resamples_and_do_not_change_the_signature():
    references = [f"the house number {n} stands on the old hill" for n in range(60)]
    hypotheses = [text if n % 2 else text.replace("old hill", "sea") for n, text in enumerate(references)]
    row = corpus_scores(hypotheses, references)
    half = corpus_scores(hypotheses[:30], references[:30])
    assert 1 < row["bleu_ci"] < half["bleu_ci"] < 20  # the interval of fewer sentences is wider
    assert 1 < row["chrf_ci"] < half["chrf_ci"] < 20
    assert corpus_scores(references, references)["bleu_ci"] == 0
    assert "bs:" not in row["bleu_signature"] + row["chrf_signature"]


def test_chrf_if_some_resamples_have_nothing_in_common_with_the_references():
    row = corpus_scores(["a", "qqqqqqq", "zz"], ["bc", "der qq", "x"])
    assert 0 < row["chrf"] < 100
    assert row["chrf_ci"] > 0
    assert row["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")
