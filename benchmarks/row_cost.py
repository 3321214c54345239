"""What a decoder row takes, counted by torch while the package's decoder runs: operations, and bytes moved."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import REPEATS, seconds
from fairseq_mh.engine import layer, linear
from fairseq_mh.engine.source_attention import PlainAttention
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.energy import evaluate
from fairseq_mh.mcmc.masked_lm import query_size

BASE_VOCABULARY, TOKENS = 40000, 28  # of WMT14 en-de: a joint dictionary, and tokens a sentence


class Row(NamedTuple):
    """What a row takes in float32."""

    operations: float
    unfused: float  # bytes, each operation reading and writing what it works on
    fused: float  # bytes, what enters and leaves each layer
    weights: float  # bytes, once a query


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


def counted(work: Callable[[], object], rows: int, cmlm: CMLM, tokens: float) -> Row:
    """Return what a row takes.

    Args:
        work: evaluates rows.
        rows: their number.
        cmlm: the model that `work` runs.
        tokens: of a row, without BOS and EOS.
    """
    with as_on_an_accelerator(), FlopCounterMode(display=False) as products:
        work()
    with as_on_an_accelerator(), Traffic() as traffic:
        work()
    decoder = cmlm.model.decoder
    weights = sum(one.numel() for one in decoder.layers.parameters()) + decoder.output_projection.weight.numel()
    layers = 2 * (tokens + 2) * decoder.output_embed_dim * len(decoder.layers)  # numbers in and out
    logits = 2 * len(cmlm.allowed)
    return Row(products.get_total_flops() / rows, traffic.bytes / rows, 4 * (layers + logits), 4 * weights)


class Rows:
    """The rows of random sentences' E_norm, each of which masks one position.

    Args:
        model: a stock `cmlm_transformer`.
        dictionary: of its targets.
        tokens: of source and target.
        rows: about so many; None: a query full of them.
    """

    def __init__(self, model: Any, dictionary: Dictionary, tokens: int, rows: int | None = None):
        self.cmlm, number = CMLM(model, dictionary), max(1, (rows or query_size(torch.empty(0))) // tokens)
        symbols = self.cmlm.allowed.nonzero()[:, 0]
        draws = torch.randint(len(symbols), (number, tokens), generator=torch.Generator().manual_seed(1))
        self.tokens, self.context = symbols[draws], torch.arange(number)
        source = (self.cmlm.add_special_tokens(self.tokens), torch.full((number,), tokens + 2))
        self.encoder_out = model.forward_encoder(source)

    def __call__(self) -> None:
        lm = self.cmlm.bind(self.encoder_out)
        evaluate(lm, self.tokens, self.context, torch.ones_like(self.tokens, dtype=torch.bool))

    def counted(self) -> Row:
        """Return what one of them takes."""
        return counted(self, self.tokens.numel(), self.cmlm, self.tokens.size(1))

    def measured(self) -> float:
        """Return this machine's rows a second."""
        self()
        return self.tokens.numel() / min(seconds(self) for _ in range(REPEATS))


def transformer_base() -> tuple[Any, Dictionary]:
    """Return a CMLM of the size of a Transformer base, with random weights."""
    dictionary = Dictionary()
    for n in range(BASE_VOCABULARY - len(dictionary)):
        dictionary.add_symbol(f"w{n}")
    args = Namespace(arch="cmlm_transformer", source_lang="de", target_lang="en", data="", share_all_embeddings=True)
    ARCH_CONFIG_REGISTRY["cmlm_transformer"](args)
    task = TranslationLevenshteinTask(TranslationLevenshteinConfig(), dictionary, dictionary)
    return task.build_model(args).eval(), dictionary
