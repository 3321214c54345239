#!/usr/bin/env python3
"""Hold what chains and queries are said to take in memory (docs/gpu.md) against measured peaks.

    python -m benchmarks.memory models/libreoffice-de-en

Every allocation of torch is counted by its own profiler, on the CPU, whose allocator keeps nothing back. The model is
not run for the chains: its features are zeros, so that what they hold is seen alone. Then a query is run alone.
"""

import argparse

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from benchmarks.decoding import load_decoder
from benchmarks.row_cost import Rows
from fairseq_mh.mcmc.chain import AHEAD, chain_stream, run
from fairseq_mh.mcmc.energy import ENERGIES, score
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.logits_lm import LogitsLM
from fairseq_mh.mcmc.masked_lm import query_size
from fairseq_mh.mcmc.schedule import Schedule

COPIES = 5  # of a chain's features: the state's, the candidate's, those that are settled, reached and begun from
AHEAD_BYTES = 80  # of a position in a proposal: uniforms, tokens, scores, what is masked
LOGITS = 5  # of a position's logits in float32: as projected, masked, and what the energies make of them


def chain_bytes(tokens: int, width: int, sweeps: int, number: int = 4) -> int:
    """Return what a chain takes at its peak.

    Args:
        tokens: T.
        width: D, the numbers of a position's features.
        sweeps: each of which is recorded, and the start.
        number: bytes of a feature's number.
    """
    recorded = (sweeps + 1) * tokens * (8 + 4 * len(ENERGIES))
    return COPIES * tokens * width * number + AHEAD * AHEAD_BYTES * tokens + recorded


def position_bytes(vocabulary: int) -> int:
    """Return what the logits of one position take while its energies are found."""
    return LOGITS * 4 * vocabulary


def row_bytes(tokens: int, width: int, inner: int, number: int = 4) -> int:
    """Return what a row takes within the decoder, where it is widest: in its feed-forward layer.

    Args:
        tokens: that the decoder reads, T + 2.
        width: D.
        inner: of the feed-forward layer.
        number: bytes of a number.
    """
    return number * tokens * (2 * inner + 5 * width)


def peak(work) -> int:
    """Return the most bytes that torch holds at once of what `work` allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


class Zeros(LogitsLM):
    """A model whose features are zeros of any width, and whose logits are few."""

    def __init__(self, width: int):
        super().__init__(lambda tokens, masked, context: torch.zeros(int(masked.sum()), width), 8)
        self.width = width

    def no_features(self, *sizes: int):
        return torch.zeros(*sizes, self.width)

    def project(self, features):
        return features[..., : self.vocabulary]


def measured_chain(chains: int, tokens: int, width: int, sweeps: int) -> float:
    """Return the bytes that a further chain adds to the peak."""

    def held(number: int) -> int:
        lm, streams = Zeros(width), [chain_stream(1, 0, tokens, chain) for chain in range(number)]
        start, context = torch.zeros(number, tokens, dtype=torch.long), torch.zeros(number, dtype=torch.long)
        return peak(lambda: run(Kernel(lm), start, context, streams, Schedule(sweeps)))

    return (held(2 * chains) - held(chains)) / chains


def measured_position(vocabulary: int) -> float:
    """Return the bytes of a position's logits at the peak of a query."""
    lm = LogitsLM(lambda tokens, masked, context: torch.empty(0), vocabulary)
    positions = query_size(torch.empty(0))
    features = torch.zeros(positions, vocabulary)
    return (peak(lambda: score(lm, features, torch.zeros(positions, dtype=torch.long))) / positions) + 4 * vocabulary


def measured_row(rows: Rows) -> float:
    """Return the bytes of a row at the peak of a query of them."""
    lm, tokens = rows.cmlm.bind(rows.encoder_out), rows.tokens
    masked, context = torch.zeros_like(tokens, dtype=torch.bool), torch.arange(len(tokens))
    masked[:, 0] = True
    query = [part.repeat_interleave(tokens.size(1), 0) for part in (tokens, masked, context)]
    return peak(lambda: lm.features(*query)) / len(query[0])


@torch.no_grad()
def main():
    """Print what was said and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--chains", type=int, default=50, help="default: %(default)s")
    args = parser.parse_args()
    rows = []
    for tokens, width, sweeps in ((12, 256, 3), (28, 512, 3), (28, 512, 6)):
        said, found = chain_bytes(tokens, width, sweeps), measured_chain(args.chains, tokens, width, sweeps)
        rows.append((f"a chain, T = {tokens}, D = {width}, {sweeps} sweeps", said, found, found / said))
    for vocabulary in (8000, 40000):
        said, found = position_bytes(vocabulary), measured_position(vocabulary)
        rows.append((f"a position's logits, V = {vocabulary}", said, found, found / said))
    decoder = load_decoder(args.data)
    for tokens in (12, 28):
        queried, layer = Rows(decoder.model, decoder.task.target_dictionary, tokens), decoder.model.decoder.layers[0]
        said, found = row_bytes(tokens + 2, layer.embed_dim, layer.fc1.out_features), measured_row(queried)
        rows.append((f"a row, T = {tokens}", said, found, found / said))
    print(tabulate(rows, headers=("what", "said, bytes", "measured", "ratio"), floatfmt=",.2f"))


if __name__ == "__main__":
    main()
