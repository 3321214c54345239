#!/usr/bin/env python3
"""Count what makes the host wait for an accelerator, by place, on the pretend device of the tests.

    python -m benchmarks.synchronisations models/libreoffice-de-en
    python -m benchmarks.synchronisations models/libreoffice-de-en --sentences 32 --chains 4 --mh-preset fast

Neither an accelerator nor its speed is needed: which operations wait depends on the code alone. DATA is a fairseq data
folder with a CMLM's checkpoint.pt in it. All other options are the decoder's.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from unittest.mock import patch

from tabulate import tabulate

from benchmarks.decoding import Decoder, load_decoder, sample_of
from benchmarks.pretend_device import PretendDevice
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.translation.chains import decoders


@dataclass
class Waits:
    """What made the host wait while chains ran."""

    rounds: list[int] = field(default_factory=list)  # how often in each round: up to and with its decoder rows
    places: Counter[tuple[str, str]] = field(default_factory=Counter)  # (what, where) -> how often
    updates: int = 0  # proposals of all chains

    def end_round(self) -> None:
        self.rounds.append(self.places.total() - sum(self.rounds))


def count(decoder: Decoder, sample: dict) -> Waits:
    """Count what happens in the sampler's rounds, from the first on, while a batch of the pretend device is decoded."""
    waits, run, advance, begin = Waits(), decoders.run, Kernel.advance, Kernel.begin
    running = False

    def told(what: str, where: str) -> None:
        if running:
            waits.places[what, where] += 1

    def count_run(*args, **kwargs):
        nonlocal running
        found = run(*args, **kwargs)
        running = False
        waits.updates += int(sum(sweep.proposals.sum() for sweep in found.sweeps))
        return found

    def count_from_first(*args, **kwargs):
        nonlocal running
        found = begin(*args, **kwargs)
        running = True
        return found

    def count_round(*args, **kwargs):
        found = advance(*args, **kwargs)
        waits.end_round()
        return found

    counted = patch.multiple(Kernel, begin=count_from_first, advance=count_round)
    with PretendDevice(told), counted, patch.object(decoders, "run", count_run):
        decoder.generator.decode(sample)
    return waits


def main():
    """Print the counts of a few sentences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--sentences", type=int, default=8, help="of the test set; default: %(default)s")
    parser.add_argument("--chains", type=int, default=3, help="of each length; default: %(default)s")
    args, more = parser.parse_known_args()
    with PretendDevice():
        decoder = load_decoder(args.data, "--mh-chains", str(args.chains), *more)
        sample = sample_of(decoder, args.sentences)
    waits = count(decoder, sample)
    rounds = len(waits.rounds)
    rows = [(number / rounds, what, where) for (what, where), number in waits.places.most_common()]
    print(tabulate(rows, headers=("a round", "what", "where"), floatfmt=".2f"))
    total = waits.places.total()
    print(
        f"{total / rounds:.1f} a round of {rounds}, at most {max(waits.rounds)}; {total / waits.updates:.3f} an update"
    )


if __name__ == "__main__":
    main()
