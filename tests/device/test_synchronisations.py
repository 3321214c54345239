"""How often the host waits for an accelerator: a few times a round, however many chains and sentences there are."""

import pytest

from benchmarks.decoding import load_decoder, sample_of
from benchmarks.pretend_device import PretendDevice
from benchmarks.synchronisations import count

HOT = ("--mh-temperature", "2", "--mh-energy", "norm", "--mh-init", "random")
SINGLE = (*HOT, "--mh-proposal", "single", "--mh-sweeps", "2")
# The most that a round takes: less where proposing takes no rows, and more where both do, or each term its own.
MOST = {
    "single": (SINGLE, 12),
    "single, random": ((*SINGLE, "--mh-scan", "random"), 12),
    "blocks": ((*HOT, "--mh-proposal", "block", "--mh-sweeps", "4"), 19),
    "two-stream": ((*SINGLE, "--mh-energy", "two-stream"), 16),
    "delayed": ((*SINGLE, "--mh-surrogate", "two-stream"), 16),
}


@pytest.mark.parametrize("name", MOST)
def test_waits_of_a_round_do_not_grow(tiny, name):
    options, most = MOST[name]
    seen = []
    for chains, sentences in ((1, 1), (12, 6)):
        with PretendDevice():
            decoder = load_decoder(str(tiny.folder), "--mh-chains", str(chains), *options)
            sample = sample_of(decoder, sentences)
        seen.append(count(decoder, sample))
    assert all(max(waits.rounds) <= most for waits in seen), [waits.places for waits in seen]
    assert seen[1].updates > 50 * seen[0].updates
    assert seen[1].places.total() / seen[1].updates < seen[0].places.total() / seen[0].updates / 5
