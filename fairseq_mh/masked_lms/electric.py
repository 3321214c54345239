"""An Electric at work: the energies of targets, one decoder row each, beside the CMLM whose chains it serves."""

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from fairseq.tasks import FairseqTask
from torch import Tensor

from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, Bound
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of
from fairseq_mh.models.electric_transformer import ElectricTransformer


class Electric:
    """An `electric_transformer` with its dictionary, that reads the encoder output of a CMLM where their encoders are
    the same (`--freeze-encoder`).

    Raises:
        UserError: beside a CMLM that is no `cmlm_transformer`.
    """

    def __init__(self, model: ElectricTransformer, dictionary: Dictionary, cmlm: CMLM):
        self.model, self.reader = model, CMLM(model, dictionary)
        self.shares_encoder = same_encoder(model.encoder, stock(cmlm).model.encoder)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundElectric":
        """Of these sources: the CMLM's encoding of them, and (tokens, lengths)."""
        return BoundElectric(self, encoder_out if self.shares_encoder else self.model.forward_encoder(source))


class BoundElectric(Bound):
    """An `Electric` of a batch of encoded sources, a `OnePassEnergy`: - E(X)_t of every position, for one row."""

    def __init__(self, electric: Electric, encoder_out: dict):
        super().__init__(electric.reader, encoder_out)
        self.energy = electric.model.energy

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Of these positions of targets as they are, nothing being masked."""
        return self.read(tokens, sites, context, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(self.pad)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        shares[valid] = -apply_linear(self.energy, features_of(self, tokens, valid, context))[:, 0].double()
        return shares, torch.ones_like(context)


def load_electric(path: str, task: FairseqTask, cmlm: CMLM) -> Electric:
    """In the CMLM's precision, on its device. Raises UserError for a checkpoint of another kind."""
    (model,), _ = checkpoint_utils.load_model_ensemble([path], task=task)
    if not isinstance(model, ElectricTransformer):
        raise UserError(f"{path} holds a {type(model).__name__}, and not an electric_transformer")
    return Electric(model.eval().to(next(cmlm.model.parameters())), task.target_dictionary, cmlm)


def stock(cmlm: CMLM) -> CMLM:
    """Raises UserError for a CMLM whose targets are not those that an Electric reads."""
    if type(cmlm) is not CMLM:
        raise UserError("an Electric reads targets as cmlm_transformer does; Mask-Predict's own model has EOS in them")
    return cmlm


def same_encoder(one: FairseqEncoder, other: FairseqEncoder) -> bool:
    """Whether two encoders compute the same, as a frozen one and the one that it was copied from do."""
    mine, theirs = one.state_dict(), other.state_dict()
    same = mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name].to(mine[name])) for name in mine)
    return same and _options(one) == _options(other)


def _options(encoder: FairseqEncoder) -> list[tuple]:
    """What the weights do not say."""
    layers = [(layer.self_attn.num_heads, layer.normalize_before, layer.activation_fn) for layer in encoder.layers]
    return [*layers, (encoder.embed_scale,)]
