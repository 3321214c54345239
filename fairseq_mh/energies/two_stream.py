"""A pseudo-likelihood from one pass, by two-stream attention (Yang et al., 2019), without any training.

    E(X) = - sum_t log softmax(W g_t)[X_t]

g_t are the features of a mask at t that sees the other symbols of X. One row of twice the length gives all of them,
while E_norm takes T rows. If the decoder has one layer, this energy equals E_norm. If it has more layers, the features
of the other symbols already depend on X_t, which makes X_t likelier.
"""

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM, cmlm_of, require_cmlm_transformer
from fairseq_mh.masked_lms.stock_decoder import StockDecoder
from fairseq_mh.mcmc.energy import masked_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of

ROWS_PER_TARGET = 2  # a row of twice the length is counted as two rows


class TwoStream:
    """A `OnePassEnergy`: the two-stream energy of a CMLM that is bound to a batch of sources.

    Args:
        bound: the CMLM with its sources.

    Raises:
        UserError: if the engine does not know the decoder.
    """

    def __init__(self, bound: BoundCMLM):
        self.bound, self.pad = bound, bound.pad
        self.decode = bound.cmlm.decoder.bind_two_streams(bound.sources, bound.mask)

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return the features g_t at these sites; the arguments are those of `MaskedLM.features`."""
        return self.bound.read(tokens, sites, context, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E(X)_t of each target (M, T) float64 and its rows (M,) long."""
        valid = tokens.ne(self.pad)
        places = valid.nonzero(as_tuple=True)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        scores = masked_scores(self.bound, features_of(self, tokens, valid, context), tokens[places])
        shares[places] = scores[:, 0].double()
        return shares, torch.full_like(context, ROWS_PER_TARGET)


class OtherCMLM:
    """A `ModelEnergy`: the two-stream energy of another CMLM; takes the arguments of `ModelEnergy`."""

    bounded, autoregressive = True, False

    def __init__(self, model: CMLMNATransformerModel, dictionary: Dictionary, cmlm: CMLM):
        require_cmlm_transformer(cmlm)
        self.cmlm = require_cmlm_transformer(cmlm_of(model, dictionary))
        if isinstance(self.cmlm.decoder, StockDecoder):
            self.cmlm.decoder.refuse_two_streams()
        self.longest_source, self.longest_target = model.max_positions()[0], self.cmlm.longest

    @staticmethod
    def reads(model: Any) -> bool:
        """Tell whether a model is a CMLM of fairseq's."""
        return isinstance(model, CMLMNATransformerModel)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> TwoStream:
        """Encode the sources by this model, and return the energy of their targets; see `ModelEnergy.bind`."""
        return TwoStream(self.cmlm.bind(self.cmlm.model.forward_encoder(source)))
