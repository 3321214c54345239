#!/usr/bin/env python3
"""Compare the estimated memory of chains and queries (docs/gpu.md) with measured peaks.

    python -m benchmarks.memory models/libreoffice-de-en

Torch's profiler counts every allocation on the CPU, whose allocator does not keep freed memory. The chains run without
a model: their features are zeros, so that only the chains' own memory is measured. A query is measured separately.
"""

import argparse

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from benchmarks.decoding import load_decoder
from benchmarks.row_cost import Rows
from fairseq_mh.mcmc.chain import AHEAD, chain_stream, finish, run
from fairseq_mh.mcmc.energy import as_energy, masked_scores
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import LogitsLM, query_size
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.schedule import Schedule

COPIES = 5  # copies of a chain's features: of the state, the candidate, the settled, the reached and the start state
AHEAD_BYTES = 80  # bytes for a position in a proposal: uniforms, tokens, scores, mask
LOGITS = 3  # copies of a position's logits in float32: projected, masked, and an intermediate result of the energy


def chain_bytes(tokens: int, width: int, sweeps: int, number: int = 4, terms: int = 1) -> int:
    """Return the bytes that a chain needs at its peak.

    Args:
        tokens: T.
        width: D, the size of a position's features.
        sweeps: the number of sweeps, which are all recorded, as is the start.
        number: bytes of a number in the features.
        terms: the number of terms of the energy, which are all recorded.
    """
    recorded = (sweeps + 1) * tokens * (8 + 4 * terms)
    return COPIES * tokens * width * number + AHEAD * AHEAD_BYTES * tokens + recorded


def position_bytes(vocabulary: int) -> int:
    """Return the bytes that the logits of one position need while its energy is computed."""
    return LOGITS * 4 * vocabulary


def row_bytes(tokens: int, width: int, inner: int, number: int = 4) -> int:
    """Return the bytes that a row needs in the decoder's feed-forward layer, where it needs most.

    Args:
        tokens: the number of tokens that the decoder reads, T + 2.
        width: D.
        inner: the inner size of the feed-forward layer.
        number: bytes of a number.
    """
    return number * tokens * (2 * inner + 5 * width)


def peak(work) -> int:
    """Return the largest number of bytes allocated by `work` that torch holds at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak_bytes = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak_bytes = max(peak_bytes, held)
    return peak_bytes


class Zeros(LogitsLM):
    """A model whose features are zeros of any width, and whose vocabulary is tiny."""

    def __init__(self, width: int):
        super().__init__(lambda tokens, masked, context: torch.zeros(int(masked.sum()), width), 8)
        self.width = width

    def no_features(self, *sizes: int):
        return torch.zeros(*sizes, self.width)

    def project(self, features):
        return features[..., : self.vocabulary]


def measured_chain(chains: int, tokens: int, width: int, sweeps: int) -> float:
    """Return the bytes that one more chain adds to the peak."""

    def peak_of(number: int) -> int:
        kernel = Kernel(Zeros(width), as_energy("norm"), MaskedConditional())
        streams = [chain_stream(1, 0, tokens, chain) for chain in range(number)]
        start, context = torch.zeros(number, tokens, dtype=torch.long), torch.zeros(number, dtype=torch.long)
        return peak(lambda: finish(run(kernel, start, context, streams, Schedule(sweeps))))

    return (peak_of(2 * chains) - peak_of(chains)) / chains


def measured_position(vocabulary: int) -> float:
    """Return the bytes for a position's logits at the peak of a query."""
    lm = LogitsLM(lambda tokens, masked, context: torch.empty(0), vocabulary)
    positions = query_size(torch.empty(0))
    features = torch.zeros(positions, vocabulary)
    symbols = torch.zeros(positions, dtype=torch.long)
    return peak(lambda: masked_scores(lm, features, symbols)) / positions + 4 * vocabulary


def measured_row(rows: Rows) -> float:
    """Return the bytes for a row at the peak of a query of many rows."""
    lm, tokens = rows.cmlm.bind(rows.encoder_out), rows.tokens
    masked, context = torch.zeros_like(tokens, dtype=torch.bool), torch.arange(len(tokens))
    masked[:, 0] = True
    query = [part.repeat_interleave(tokens.size(1), 0) for part in (tokens, masked, context)]
    return peak(lambda: lm.features(*query)) / len(query[0])


@torch.no_grad()
def main():
    """Print the estimated and the measured bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--chains", type=int, default=50, help="chains in a measurement; default: %(default)s")
    args = parser.parse_args()
    rows = []
    for tokens, width, sweeps in ((12, 256, 3), (28, 512, 3), (28, 512, 6)):
        estimate, measured = chain_bytes(tokens, width, sweeps), measured_chain(args.chains, tokens, width, sweeps)
        rows.append((f"a chain, T = {tokens}, D = {width}, {sweeps} sweeps", estimate, measured, measured / estimate))
    for vocabulary in (8000, 40000):
        estimate, measured = position_bytes(vocabulary), measured_position(vocabulary)
        rows.append((f"a position's logits, V = {vocabulary}", estimate, measured, measured / estimate))
    decoder = load_decoder(args.data)
    for tokens in (12, 28):
        query, layer = Rows(decoder.model, decoder.task.target_dictionary, tokens), decoder.model.decoder.layers[0]
        estimate, measured = row_bytes(tokens + 2, layer.embed_dim, layer.fc1.out_features), measured_row(query)
        rows.append((f"a row, T = {tokens}", estimate, measured, measured / estimate))
    print(tabulate(rows, headers=("memory of", "estimated, bytes", "measured, bytes", "ratio"), floatfmt=",.2f"))


if __name__ == "__main__":
    main()
