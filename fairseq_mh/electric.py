"""An Electric at work: the energies of targets, one decoder row each, beside the CMLM whose chains it serves."""

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from fairseq_mh.cmlm import CMLM, Bound
from fairseq_mh.errors import UserError
from fairseq_mh.linear import apply
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of
from fairseq_mh.models.electric_transformer import ElectricTransformer


class Electric:
    """An `electric_transformer` with its dictionary, that reads the encoder output of a CMLM where their encoders are
    the same (`--freeze-encoder`)."""

    def __init__(self, model: ElectricTransformer, dictionary: Dictionary, cmlm: CMLM):
        self.model, self.reader = model, CMLM(model, dictionary)
        self.shares_encoder = same_weights(model.encoder, cmlm.model.encoder)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundElectric":
        """Of these sources: the CMLM's encoding of them, and (tokens, lengths)."""
        return BoundElectric(self, encoder_out if self.shares_encoder else self.model.forward_encoder(source))


class BoundElectric(Bound):
    """An `Electric` of a batch of encoded sources, a `Surrogate`: - E(X)_t of every position, for one row."""

    def __init__(self, electric: Electric, encoder_out: dict):
        super().__init__(electric.reader, encoder_out)
        self.energy = electric.model.energy

    def features(self, tokens: Tensor, sites: Tensor, rows: Tensor) -> Tensor:
        """Of these positions of targets as they are, nothing being masked."""
        return self.read(tokens, sites, rows, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(self.pad)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        if len(tokens):
            shares[valid] = -apply(self.energy, features_of(self, tokens, valid, rows))[:, 0].double()
        return shares, torch.ones_like(rows)


def load_electric(path: str, task: FairseqTask, cmlm: CMLM) -> Electric:
    """In the CMLM's precision, on its device. Raises UserError for a checkpoint of another kind."""
    (model,), _ = checkpoint_utils.load_model_ensemble([path], task=task)
    if not isinstance(model, ElectricTransformer):
        raise UserError(f"{path} holds a {type(model).__name__}, and not an electric_transformer")
    return Electric(model.eval().to(next(cmlm.model.parameters())), task.target_dictionary, cmlm)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules compute the same: a frozen encoder and the one that it was copied from."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name].to(mine[name])) for name in mine)
