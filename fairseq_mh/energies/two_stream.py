"""A pseudo-likelihood from one pass, by two-stream attention (Yang et al., 2019), without any training.

    E(X) = - sum_t log softmax(W g_t)[X_t]

g_t are the features of a mask at t that sees the other symbols of X. All of them come from one row of twice the
length, where E_norm takes T rows. With a decoder of one layer this energy is E_norm. With more layers the features of
the other symbols depend on X_t already, which makes X_t likelier.
"""

import torch
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import BoundCMLM
from fairseq_mh.mcmc.energy import score, site_scores
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
        scores = score(self.bound, features_of(self, tokens, valid, context), tokens[places])
        shares[places] = site_scores(scores, "norm").double()
        return shares, torch.full_like(context, ROWS_PER_TARGET)
