"""A pseudo-likelihood from one pass, by two-stream attention (Yang et al., 2019), without any training.

    E(X) = - sum_t log softmax(W g_t)[X_t]

g_t are the features of a mask at t that sees the other symbols of X. All of them come from one row of twice the
length, where E_norm takes T rows. With a decoder of one layer this energy is E_norm. With more layers the features of
the other symbols depend on X_t already, which makes X_t likelier.
"""

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM, cmlm_of, require_cmlm_transformer
from fairseq_mh.mcmc.energy import masked_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of

ROWS_PER_TARGET = 2  # a row of twice the length is counted as two rows


class TwoStream:
    """A `OnePassEnergy` of targets of the sources that a CMLM is bound to.

    Args:
        bound: the CMLM with its sources.

    Raises:
        UserError: for a decoder that the engine does not know.
    """

    def __init__(self, bound: BoundCMLM):
        self.bound, self.pad = bound, bound.pad
        self.decode = bound.cmlm.decoder.bind_two_streams(bound.encoder_out, bound.mask)

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return the features g_t at all of these sites; shapes as in `MaskedLM`."""
        return self.bound.read(tokens, sites, context, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(self.pad)
        places = valid.nonzero(as_tuple=True)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        scores = masked_scores(self.bound, features_of(self, tokens, valid, context), tokens[places])
        shares[places] = scores[:, 0].double()
        return shares, torch.full_like(context, ROWS_PER_TARGET)


class OtherCMLM:
    """A `ModelEnergy`: the two-stream energy of another CMLM; the arguments are those of `ModelEnergy`."""

    bounded, autoregressive = True, False

    def __init__(self, model: CMLMNATransformerModel, dictionary: Dictionary, cmlm: CMLM):
        require_cmlm_transformer(cmlm)
        self.cmlm = require_cmlm_transformer(cmlm_of(model, dictionary))
        self.longest_source, self.longest_target = model.max_positions()[0], self.cmlm.longest

    @staticmethod
    def reads(model: Any) -> bool:
        return isinstance(model, CMLMNATransformerModel)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> TwoStream:
        return TwoStream(self.cmlm.bind(self.cmlm.model.forward_encoder(source)))
