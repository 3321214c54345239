#!/usr/bin/env python3
"""Count the operations that make the host wait for an accelerator, by place, on a pretend device.

    python -m benchmarks.synchronisations models/libreoffice-de-en
    python -m benchmarks.synchronisations models/libreoffice-de-en --sentences 32 --chains 4 --mh-preset fast

No accelerator is needed, because only the code decides which operations wait. DATA is a fairseq data folder that holds
a CMLM's checkpoint.pt. All other options are passed to the decoder.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from unittest.mock import patch

from tabulate import tabulate

from benchmarks.decoding import Decoder, load_decoder, sample_of
from benchmarks.pretend_device import PretendDevice
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.translation.chains import decoders


@dataclass
class Waits:
    """A count of the operations that made the host wait while chains ran."""

    rounds: list[int] = field(default_factory=list)  # number of waits in each round, including its decoder rows
    places: Counter[tuple[str, str]] = field(default_factory=Counter)  # (operation, place) -> number of waits
    updates: int = 0  # number of proposals of all chains

    def end_round(self) -> None:
        self.rounds.append(self.places.total() - sum(self.rounds))


def count(decoder: Decoder, sample: dict) -> Waits:
    """Count the waits of the sampler's rounds while a batch is decoded on the pretend device.

    Args:
        decoder: a decoder on the pretend device.
        sample: fairseq's batch on the pretend device.
    """
    waits, run, advance, begin = Waits(), decoders.run, Kernel.advance, Kernel.begin
    running = False

    def count_wait(what: str, where: str) -> None:
        if running:
            waits.places[what, where] += 1

    def count_run(*args, **kwargs):
        nonlocal running
        found = yield from run(*args, **kwargs)
        running = False
        waits.updates += int(sum(sweep.proposals.sum() for sweep in found.sweeps))
        return found

    def begin_counting(*args, **kwargs):
        nonlocal running
        found = begin(*args, **kwargs)
        running = True
        return found

    def count_round(*args, **kwargs):
        found = advance(*args, **kwargs)
        waits.end_round()
        return found

    counting = patch.multiple(Kernel, begin=begin_counting, advance=count_round)
    with PretendDevice(count_wait), counting, patch.object(decoders, "run", count_run):
        finish(decoder.generator.events(sample))
    return waits


def main():
    """Print the counts for a few sentences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--sentences", type=int, default=8, help="sentences of the test set; default: %(default)s")
    parser.add_argument("--chains", type=int, default=3, help="chains for each length; default: %(default)s")
    args, more = parser.parse_known_args()
    with PretendDevice():
        decoder = load_decoder(args.data, "--mh-chains", str(args.chains), *more)
        sample = sample_of(decoder, args.sentences)
    waits = count(decoder, sample)
    rounds = len(waits.rounds)
    rows = [(number / rounds, what, where) for (what, where), number in waits.places.most_common()]
    print(tabulate(rows, headers=("waits a round", "operation", "place"), floatfmt=".2f"))
    total = waits.places.total()
    print(
        f"{total / rounds:.1f} waits a round in {rounds} rounds, at most {max(waits.rounds)}; "
        f"{total / waits.updates:.3f} waits an update"
    )


if __name__ == "__main__":
    main()
