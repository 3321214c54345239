#!/usr/bin/env python3
"""What a decoder row takes, counted, and how many rows a second an accelerator's published peaks then allow.

    python -m benchmarks.roofline models/libreoffice-de-en --data DATA

A row of T tokens that masks one position, with its logits, takes F operations and moves A bytes, and a query of M rows
reads the W bytes of the weights once:

    seconds(M) = max(M F / peak, (W + M A) / bandwidth)

F and the larger A, in which no two operations are fused, are counted by torch while the package's decoder runs; the
smaller A is what enters and leaves each layer. The same formula with this machine's measured peaks is held against its
measured rows a second. None of it was measured on an accelerator: a real one stays below its roofline.
"""

import argparse
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
from tabulate import tabulate
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decoding import load_decoder
from benchmarks.rates import REPEATS, product_rates, seconds
from fairseq_mh.engine import layer, linear
from fairseq_mh.engine.source_attention import PlainAttention
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.energy import evaluate
from fairseq_mh.mcmc.masked_lm import query_size

H100 = {"fp32": (67e12, 4), "tf32": (495e12, 4), "bf16": (989e12, 2), "fp16": (989e12, 2)}  # dense FLOP/s, bytes
H100_BANDWIDTH = 3.35e12  # bytes a second (SXM5, HBM3)
ROWS = (64, 2048, 16384)  # of a query
BASE_VOCABULARY, TOKENS = 40000, 28  # of WMT14 en-de: a joint dictionary, and tokens a sentence


class Row(NamedTuple):
    """What a row takes in float32."""

    operations: float
    unfused: float  # bytes, each operation reading and writing what it works on
    fused: float  # bytes, what enters and leaves each layer
    weights: float  # bytes, once a query

    def per_second(self, rows: int, peak: float, bandwidth: float, width: int, moved: float) -> float:
        """Return rows a second in queries of so many rows, numbers being `width` bytes wide."""
        share = width / 4
        return rows / max(rows * self.operations / peak, (self.weights + rows * moved) * share / bandwidth)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        written = [one for one in (found if isinstance(found, list | tuple) else [found]) if isinstance(one, Tensor)]
        read = [one for one in args if isinstance(one, Tensor)]
        if not {one.untyped_storage().data_ptr() for one in written} & {o.untyped_storage().data_ptr() for o in read}:
            self.bytes += sum(one.numel() * one.element_size() for one in (*read, *written))
        return found


@contextmanager
def as_on_an_accelerator() -> Iterator[None]:
    """Compute as the package does there: torch's products, and plain attention to the source."""
    kept, linear.ONEDNN = (linear.ONEDNN, layer.source_attention), False
    layer.source_attention = PlainAttention
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        linear.ONEDNN, layer.source_attention = kept


def transformer_base() -> tuple[Any, Dictionary]:
    """Return a CMLM of the size of a Transformer base, with random weights."""
    dictionary = Dictionary()
    for n in range(BASE_VOCABULARY - len(dictionary)):
        dictionary.add_symbol(f"w{n}")
    args = Namespace(arch="cmlm_transformer", source_lang="de", target_lang="en", data="", share_all_embeddings=True)
    ARCH_CONFIG_REGISTRY["cmlm_transformer"](args)
    task = TranslationLevenshteinTask(TranslationLevenshteinConfig(), dictionary, dictionary)
    return task.build_model(args).eval(), dictionary


class Rows:
    """The rows of a random sentence's E_norm, a query full of them.

    Args:
        model: a stock `cmlm_transformer`.
        dictionary: of its targets.
        tokens: of source and target.
    """

    def __init__(self, model: Any, dictionary: Dictionary, tokens: int):
        self.model, self.cmlm, self.number = model, CMLM(model, dictionary), query_size(torch.empty(0)) // tokens
        symbols = self.cmlm.allowed.nonzero()[:, 0]
        draws = torch.randint(len(symbols), (self.number, tokens), generator=torch.Generator().manual_seed(1))
        self.tokens = symbols[draws]
        source = (self.cmlm.add_special_tokens(self.tokens), torch.full((self.number,), tokens + 2))
        self.encoder_out = model.forward_encoder(source)

    def __call__(self) -> None:
        lm = self.cmlm.bind(self.encoder_out)
        evaluate(lm, self.tokens, torch.arange(self.number), torch.ones_like(self.tokens, dtype=torch.bool))

    def counted(self) -> Row:
        """Return what one of them takes."""
        decoder, rows = self.model.decoder, self.tokens.numel()
        with as_on_an_accelerator(), FlopCounterMode(display=False) as products:
            self()
        with as_on_an_accelerator(), Traffic() as traffic:
            self()
        weights = sum(one.numel() for one in decoder.layers.parameters()) + decoder.output_projection.weight.numel()
        length, width = self.tokens.size(1) + 2, decoder.output_embed_dim
        between = 2 * length * width * len(decoder.layers) + 2 * len(self.cmlm.allowed)  # in, out; logits
        return Row(products.get_total_flops() / rows, traffic.bytes / rows, 4 * between, 4 * weights)

    def measured(self) -> float:
        """Return this machine's rows a second."""
        self()
        return self.tokens.numel() / min(seconds(self) for _ in range(REPEATS))


def bandwidth(size: int = 2**26) -> float:
    """Return the bytes a second that a copy larger than the caches moves on this machine."""
    source, target = torch.ones(size // 4), torch.empty(size // 4)
    return 2 * size / min(seconds(lambda: target.copy_(source)) for _ in range(2 * REPEATS))


@torch.no_grad()
def main():
    """Print rows a second for each model, and the formula against this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="fairseq data folders with a checkpoint.pt")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a sentence; default: %(default)s")
    args = parser.parse_args()
    models = {
        data: (decoder.model, decoder.task.target_dictionary) for data in args.data for decoder in [load_decoder(data)]
    }
    peak, moved = max(product_rates().values()) * 1e9, bandwidth()
    table, own = [], []
    for name, (model, dictionary) in {**models, "Transformer base": transformer_base()}.items():
        rows = Rows(model, dictionary, args.tokens)
        row = rows.counted()
        for precision, (rate, width) in H100.items():
            limits = [
                [row.per_second(number, rate, H100_BANDWIDTH, width, bytes_) for bytes_ in (row.unfused, row.fused)]
                for number in ROWS
            ]
            table.append((name, precision, *(f"{low:,.0f} to {high:,.0f}" for low, high in limits)))
        said = f"{row.operations / 1e6:.1f} MFLOP, {row.fused / 1e6:.2f} to {row.unfused / 1e6:.2f} MB a row"
        expected = [row.per_second(query_size(rows.tokens), peak, moved, 4, one) for one in (row.unfused, row.fused)]
        own.append((name, said, f"{row.weights / 1e6:.1f}", *expected, rows.measured()))
    print(tabulate(table, headers=("model", "precision", *(f"{number} rows a query" for number in ROWS))))
    print(tabulate(own, headers=("model", "row", "MB of weights", "unfused", "fused", "measured"), floatfmt=",.0f"))
    print(f"this machine: {peak / 1e9:.0f} GFLOP/s in products, {moved / 1e9:.1f} GB/s in copies")


if __name__ == "__main__":
    main()
