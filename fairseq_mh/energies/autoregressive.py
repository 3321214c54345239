"""An autoregressive model as an energy of whole targets, by teacher forcing in one row per target.

E(X) = - sum_t log p(X_t | X_<t, source) - log p(EOS | X, source)
"""

from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase
from torch import Tensor

from fairseq_mh.engine.causal import CausalEngine
from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, require_all_logits, require_cmlm_transformer
from fairseq_mh.mcmc.energy import norm
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size


class Autoregressive:
    """A `ModelEnergy`: fairseq's `transformer` with the dictionary of its targets.

    Args:
        model: the transformer, in eval mode.
        dictionary: the dictionary of the targets.
        cmlm: the model of the chains.

    Raises:
        UserError: if the engine does not know the decoder, the model has an adaptive softmax, or the CMLM is not a
            `cmlm_transformer`.
    """

    bounded, autoregressive = True, True

    def __init__(self, model: TransformerModelBase, dictionary: Dictionary, cmlm: CMLM):
        require_cmlm_transformer(cmlm)
        require_all_logits(model)
        source, target = model.max_positions()
        self.longest_source, self.longest_target = source + 1, target - 1  # its sources have no BOS
        self.model, self.pad, self.eos, self.bos = model, dictionary.pad(), dictionary.eos(), dictionary.bos()
        try:
            self.decoder = CausalEngine(model.decoder)
        except ValueError as reason:
            raise UserError(
                f"an expert needs a plain decoder, but this model has {reason}; use another model"
            ) from None

    @staticmethod
    def reads(model: Any) -> bool:
        """Tell whether a model is an autoregressive transformer."""
        return isinstance(model, TransformerModelBase) and type(model.decoder) in CausalEngine.kinds

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundAutoregressive":
        """Encode the sources by this model, and return the energy of their targets; see `ModelEnergy.bind`."""
        tokens = data_utils.collate_tokens(lines_without_bos(source[0], self.pad, self.bos), self.pad, left_pad=True)
        lengths = tokens.ne(self.pad).sum(1)
        return BoundAutoregressive(self, self.model.encoder(tokens, src_lengths=lengths))


class BoundAutoregressive:
    """A `OnePassEnergy`: an `Autoregressive` model bound to a batch of encoded sources.

    Args:
        expert: the model.
        encoder_out: the output of its encoder.
    """

    def __init__(self, expert: Autoregressive, encoder_out: dict):
        self.expert, self.pad = expert, expert.pad
        self.decode = expert.decoder.bind(expert.decoder.prepare_sources(encoder_out))

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return the decoder's features (P, D) at these sites; the arguments are those of `MaskedLM.features`."""
        longest = int(tokens.ne(self.pad).sum(1).max())
        return self.decode(tokens[:, :longest], sites[:, :longest], context)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E(X)_t of each target (M, T) float64 and its rows (M,) long; the last token's share includes EOS."""
        valid, eos = tokens.ne(self.pad), self.expert.eos
        length = valid.sum(1, keepdim=True)
        inputs = torch.cat([tokens.new_full((len(tokens), 1), eos), tokens], 1)  # (M, T + 1)
        outputs = with_eos(tokens, self.pad, eos)
        sites = inputs.ne(self.pad)
        places = sites.nonzero(as_tuple=True)
        features = features_of(self, inputs, sites, context)
        log_p = torch.zeros(inputs.shape, dtype=torch.float64, device=tokens.device)
        log_p[places] = symbol_log_probs(self.expert.model.decoder, features, outputs[places]).double()
        shares = log_p[:, :-1].masked_fill(~valid, 0)
        return shares.scatter_add(1, length - 1, log_p.gather(1, length)), torch.ones_like(context)


def lines_without_bos(source: Tensor, pad: int, bos: int) -> list[Tensor]:
    """Return the lines of a CMLM's sources (B, S) without padding and BOS, which autoregressive models do not see."""
    return [line[line.ne(pad) & line.ne(bos)] for line in source]


def with_eos(tokens: Tensor, pad: int, eos: int) -> Tensor:
    """Put EOS behind each target: (M, T) long -> (M, T + 1) long, both padded on the right."""
    longer = torch.cat([tokens, tokens.new_full((len(tokens), 1), pad)], 1)
    return longer.scatter(1, tokens.ne(pad).sum(1, keepdim=True), eos)


def symbol_log_probs(decoder: TransformerDecoderBase, features: Tensor, symbols: Tensor) -> Tensor:
    """Return log p of symbols over the whole vocabulary, in at least float32: (P, D), (P,) long -> (P,) nats."""
    found = []
    for some, of in zip(features.split(query_size(features)), symbols.split(query_size(features)), strict=True):
        logits = apply_linear(decoder.output_projection, some)
        found.append(norm(logits.to(torch.promote_types(logits.dtype, torch.float32)), of))
    return torch.cat(found)
