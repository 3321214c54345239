"""Tests that the host waits for an accelerator only a few times a round, for any number of chains and sentences."""

import pytest

from benchmarks.decoding import load_decoder, sample_of
from benchmarks.pretend_device import PretendDevice
from benchmarks.synchronisations import count

HOT = ("--mh-temperature", "2", "--mh-energy", "norm", "--mh-init", "random")
SINGLE = (*HOT, "--mh-block-size", "1", "--mh-sweeps", "2")
# Name -> (options, most waits in a round). A round waits less if proposing needs no rows, and more if proposing and
# evaluating both need rows, or if each term needs its own rows.
MOST = {
    "single": (SINGLE, 12),
    "single, random": ((*SINGLE, "--mh-scan", "random"), 12),
    "blocks": ((*HOT, "--mh-sweeps", "4"), 19),
    "two-stream": ((*SINGLE, "--mh-energy", "two-stream"), 16),
    "norm and two-stream": ((*SINGLE, "--mh-energy", "norm,two-stream"), 16),
}


@pytest.mark.parametrize("name", MOST)
def test_waits_of_a_round_do_not_grow(tiny, name):
    options, most = MOST[name]
    counts = []
    for chains, sentences in ((1, 1), (12, 6)):
        with PretendDevice():
            decoder = load_decoder(str(tiny.folder), "--mh-chains", str(chains), *options)
            sample = sample_of(decoder, sentences)
        counts.append(count(decoder, sample))
    assert all(max(waits.rounds) <= most for waits in counts), [waits.places for waits in counts]
    assert counts[1].updates > 50 * counts[0].updates
    assert counts[1].places.total() / counts[1].updates < counts[0].places.total() / counts[0].updates / 5
