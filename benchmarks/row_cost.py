"""The cost of a decoder row in operations and moved bytes, which torch counts while the package's decoder runs."""

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
from fairseq_mh.mcmc.energy import Places, masked_scores, site_features
from fairseq_mh.mcmc.masked_lm import MaskedLM, query_size

BASE_VOCABULARY, TOKENS = 40000, 28  # size of a joint dictionary and tokens a sentence in WMT14 en-de


class Row(NamedTuple):
    """The cost of a row in float32."""

    operations: float  # number of floating-point operations
    unfused: float  # bytes that move if each operation reads and writes its operands
    fused: float  # bytes that enter and leave each layer
    weights: float  # bytes of the weights, which move once a query


class Traffic(TorchDispatchMode):
    """A counter of the bytes that operations read and write; views move nothing."""

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
def accelerator_kernels() -> Iterator[None]:
    """Use the same kernels as on an accelerator: torch's products, and plain attention to the source."""
    previous, linear.ONEDNN = (linear.ONEDNN, layer.source_attention), False
    layer.source_attention = PlainAttention
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        linear.ONEDNN, layer.source_attention = previous


def count_row(work: Callable[[], object], rows: int, cmlm: CMLM, tokens: float) -> Row:
    """Return the cost of a row.

    Args:
        work: a function that evaluates rows.
        rows: the number of rows that `work` evaluates.
        cmlm: the model that `work` runs.
        tokens: tokens in a row, without BOS and EOS.
    """
    with accelerator_kernels(), FlopCounterMode(display=False) as products:
        work()
    with accelerator_kernels(), Traffic() as traffic:
        work()
    decoder = cmlm.model.decoder
    weights = sum(one.numel() for one in decoder.layers.parameters()) + decoder.output_projection.weight.numel()
    layers = 2 * (tokens + 2) * decoder.output_embed_dim * len(decoder.layers)  # numbers that enter and leave layers
    logits = 2 * len(cmlm.allowed)
    return Row(products.get_total_flops() / rows, traffic.bytes / rows, 4 * (layers + logits), 4 * weights)


def site_scores(lm: MaskedLM, tokens: Tensor, context: Tensor, places: Places) -> Tensor:
    """Return log p(token | all other tokens) at each of these places, for one decoder row each.

    Args:
        lm: the model.
        tokens: (N, T) long, padded.
        context: (N,) long, the context of each sequence.
        places: P of them.

    Returns:
        (P,) nats.
    """
    return masked_scores(lm, site_features(lm, tokens, context, places), tokens[places])[:, 0]


class Rows:
    """The decoder rows of random sentences' E_norm; each row masks one position.

    Args:
        model: a stock `cmlm_transformer`.
        dictionary: the target dictionary.
        tokens: the number of tokens of source and target.
        rows: the approximate number of rows; None: as many as fill a query.
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
        site_scores(lm, self.tokens, self.context, self.tokens.ne(self.cmlm.pad).nonzero(as_tuple=True))

    def count(self) -> Row:
        """Return the cost of a row."""
        return count_row(self, self.tokens.numel(), self.cmlm, self.tokens.size(1))

    def measure_rate(self) -> float:
        """Return this machine's rows a second."""
        self()
        return self.tokens.numel() / min(seconds(self) for _ in range(REPEATS))


def transformer_base() -> tuple[Any, Dictionary]:
    """Return a CMLM of the size of a Transformer base, with random weights, and its dictionary."""
    dictionary = Dictionary()
    for n in range(BASE_VOCABULARY - len(dictionary)):
        dictionary.add_symbol(f"w{n}")
    args = Namespace(arch="cmlm_transformer", source_lang="de", target_lang="en", data="", share_all_embeddings=True)
    ARCH_CONFIG_REGISTRY["cmlm_transformer"](args)
    task = TranslationLevenshteinTask(TranslationLevenshteinConfig(), dictionary, dictionary)
    return task.build_model(args).eval(), dictionary
