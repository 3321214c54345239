"""Electric's energies of targets, one decoder row each, for the chains of a CMLM."""

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from fairseq.tasks import FairseqTask
from torch import Tensor

from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of
from fairseq_mh.models.electric_transformer import ElectricTransformer


class Electric:
    """An `electric_transformer` with its dictionary.

    It reads the encoder output of the CMLM where both encoders are the same (`--freeze-encoder`).

    Args:
        model: in eval mode, in the CMLM's precision and on its device.
        dictionary: of the targets.
        cmlm: the model of the chains.

    Raises:
        UserError: for a CMLM that is no `cmlm_transformer`.
    """

    def __init__(self, model: ElectricTransformer, dictionary: Dictionary, cmlm: CMLM):
        self.model, self.reader = model, CMLM(model, dictionary)
        self.shares_encoder = same_encoder(model.encoder, require_cmlm_transformer(cmlm).model.encoder)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundElectric":
        """Return the energy of targets of these sources.

        Args:
            encoder_out: the output of the CMLM's encoder.
            source: the sources' tokens (B, S) long and lengths (B,) long.
        """
        return BoundElectric(self, encoder_out if self.shares_encoder else self.model.forward_encoder(source))


class BoundElectric(BoundCMLM):
    """A `OnePassEnergy`: an `Electric` bound to a batch of encoded sources, with -E(X)_t at each position for one row.

    Args:
        electric: the model.
        encoder_out: the output of the encoder that it reads.
    """

    def __init__(self, electric: Electric, encoder_out: dict):
        super().__init__(electric.reader, encoder_out)
        self.energy = electric.model.energy

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return the features at these sites of targets in which nothing is masked; shapes as in `MaskedLM`."""
        return self.read(tokens, sites, context, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(self.pad)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        shares[valid] = -apply_linear(self.energy, features_of(self, tokens, valid, context))[:, 0].double()
        return shares, torch.ones_like(context)


def load_electric(path: str, task: FairseqTask, cmlm: CMLM) -> Electric:
    """Load an Electric in the CMLM's precision, on its device.

    Args:
        path: of the checkpoint.
        task: whose dictionaries the model was trained with.
        cmlm: the model of the chains.

    Raises:
        UserError: for a checkpoint of another kind, or a CMLM that is no `cmlm_transformer`.
    """
    (model,), _ = checkpoint_utils.load_model_ensemble([path], task=task)
    if not isinstance(model, ElectricTransformer):
        raise UserError(f"{path} holds a {type(model).__name__}, and not an electric_transformer")
    return Electric(model.eval().to(next(cmlm.model.parameters())), task.target_dictionary, cmlm)


def require_cmlm_transformer(cmlm: CMLM) -> CMLM:
    """Return this CMLM if its targets are those that an Electric reads.

    Raises:
        UserError: for a CMLM that is no `cmlm_transformer`.
    """
    if type(cmlm) is not CMLM:
        raise UserError("an Electric reads targets as cmlm_transformer does; Mask-Predict's own model has EOS in them")
    return cmlm


def same_encoder(one: FairseqEncoder, other: FairseqEncoder) -> bool:
    """Return whether two encoders compute the same, as a frozen encoder and the one it was copied from do."""
    weights, others = one.state_dict(), other.state_dict()
    same_weights = weights.keys() == others.keys() and all(
        torch.equal(weights[name], others[name].to(weights[name])) for name in weights
    )
    return same_weights and _settings(one) == _settings(other)


def _settings(encoder: FairseqEncoder) -> list[tuple]:
    """Return what an encoder computes with besides its weights."""
    layers = [(layer.self_attn.num_heads, layer.normalize_before, layer.activation_fn) for layer in encoder.layers]
    return [*layers, (encoder.embed_scale,)]
