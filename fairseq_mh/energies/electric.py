"""Electric's energies of targets, one decoder row each, for the chains of a CMLM."""

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor, nn

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM, require_cmlm_transformer
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of


class Electric:
    """A `ModelEnergy`: an `electric_transformer` with its dictionary.

    It reads the encoder output of the CMLM where both encoders are the same (`--freeze-encoder`).

    Args:
        model: in eval mode, in the CMLM's precision and on its device.
        dictionary: of the targets.
        cmlm: the model of the chains.

    Raises:
        UserError: for a CMLM that is no `cmlm_transformer`, or not the one whose weights the model needs.
    """

    bounded, autoregressive = False, False

    def __init__(self, model: ElectricTransformer, dictionary: Dictionary, cmlm: CMLM):
        self.model, self.reader = model, CMLM(model, dictionary)
        self.longest_source, target = model.max_positions()
        self.longest_target = target - 2  # BOS and EOS
        lender = require_cmlm_transformer(cmlm).model
        borrow_weights(model, lender)
        self.shares_encoder = same_encoder(model.encoder, lender.encoder)

    @staticmethod
    def reads(model: Any) -> bool:
        return isinstance(model, ElectricTransformer)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundElectric":
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


def token_energies(model: nn.Module, reader: CMLM, encoder_out: dict, tokens: Tensor) -> Tensor:
    """Return the energies of an Electric in training at each position (N, T) float32, with gradients; 0 at padding.

    Args:
        model: an `ElectricTransformer`, perhaps wrapped for distributed training.
        reader: of the targets.
        encoder_out: of each target's source.
        tokens: (N, T) long, padded.
    """
    valid = tokens.ne(reader.pad)
    energies = model(encoder_out, reader.add_special_tokens(tokens)).float()  # special tokens included
    inside = energies[reader.shift_positions(valid)]
    return torch.zeros_like(tokens, dtype=energies.dtype).masked_scatter(valid, inside)


def borrow_weights(model: ElectricTransformer, lender: CMLMNATransformerModel) -> None:
    """Take the weights that a model's checkpoint lacked from the CMLM that it was trained from.

    `without_lent_weights` leaves out matrices alone, so that the encoder's vectors tell whose encoder it was.

    Raises:
        UserError: where this is another CMLM.
    """
    own, lent = model.state_dict(), lender.state_dict()
    there = [name for name in own if name.startswith("encoder.") and name not in model.absent]
    fits = all(name in lent and lent[name].shape == own[name].shape for name in model.absent)
    if model.absent and not (fits and all(name in lent and torch.equal(own[name], lent[name]) for name in there)):
        raise UserError(
            "the Electric's checkpoint leaves weights to the CMLM that it was trained from; this is another"
        )
    nn.Module.load_state_dict(model, {name: lent[name] for name in model.absent}, strict=False)


def without_lent_weights(weights: dict[str, Tensor], lent: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return an Electric's weights without the matrices that it has of a CMLM, for `borrow_weights` to take them."""
    return {
        name: weight
        for name, weight in weights.items()
        if weight.dim() < 2 or name not in lent or not torch.equal(weight, lent[name])
    }


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
