"""Electric's energies of targets, in one decoder row per target, for the chains of a CMLM."""

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM, require_cmlm_transformer
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of


class Electric:
    """A `ModelEnergy`: an `electric_transformer` with its dictionary.

    It uses the CMLM's encoder output if both encoders are the same (`--freeze-encoder`).

    Args:
        model: the Electric, in eval mode, in the CMLM's precision and on its device.
        dictionary: the dictionary of the targets.
        cmlm: the model of the chains.

    Raises:
        UserError: if the CMLM is not a `cmlm_transformer`.
    """

    bounded, autoregressive = False, False

    def __init__(self, model: ElectricTransformer, dictionary: Dictionary, cmlm: CMLM):
        self.model, self.reader = model, CMLM(model, dictionary)
        self.longest_source, target = model.max_positions()
        self.longest_target = target - 2  # BOS and EOS
        self.shares_encoder = same_encoder(model.encoder, require_cmlm_transformer(cmlm).model.encoder)

    @staticmethod
    def reads(model: Any) -> bool:
        """Tell whether a model is an `electric_transformer`."""
        return isinstance(model, ElectricTransformer)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundElectric":
        """Return the energy of targets of these sources; see `ModelEnergy.bind`."""
        return BoundElectric(self, encoder_out if self.shares_encoder else self.model.forward_encoder(source))


class BoundElectric(BoundCMLM):
    """A `OnePassEnergy`: an `Electric` bound to a batch of encoded sources; one row gives -E(X)_t at all positions.

    Args:
        electric: the model.
        encoder_out: the output of its encoder, or of the CMLM's if both are the same.
    """

    def __init__(self, electric: Electric, encoder_out: dict):
        super().__init__(electric.reader, encoder_out)
        self.energy = electric.model.energy

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return the features at these sites of unmasked targets; the arguments are those of `MaskedLM.features`."""
        return self.read(tokens, sites, context, self.decode)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E(X)_t of each target (M, T) float64 and its rows (M,) long."""
        valid = tokens.ne(self.pad)
        shares = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        shares[valid] = -apply_linear(self.energy, features_of(self, tokens, valid, context))[:, 0].double()
        return shares, torch.ones_like(context)


def token_energies(model: nn.Module, reader: CMLM, encoder_out: dict, tokens: Tensor) -> Tensor:
    """Compute an Electric's energy at each position in training, with gradients.

    Args:
        model: an `ElectricTransformer`, which may be wrapped for distributed training.
        reader: adds special tokens to the targets.
        encoder_out: the encoder output of each target's source.
        tokens: (N, T) long, padded.

    Returns:
        (N, T) float32; 0 at padding.
    """
    valid = tokens.ne(reader.pad)
    energies = model(encoder_out, reader.add_special_tokens(tokens)).float()  # special tokens included
    inside = energies[reader.shift_positions(valid)]
    return torch.zeros_like(tokens, dtype=energies.dtype).masked_scatter(valid, inside)


def same_encoder(one: FairseqEncoder, other: FairseqEncoder) -> bool:
    """Tell whether two encoders have the same weights and settings, such as a frozen encoder and its original."""
    weights, others = one.state_dict(), other.state_dict()
    same_weights = weights.keys() == others.keys() and all(
        torch.equal(weights[name], others[name].to(weights[name])) for name in weights
    )
    return same_weights and _settings(one) == _settings(other)


def _settings(encoder: FairseqEncoder) -> list[tuple]:
    """Return the settings that determine an encoder's output together with its weights."""
    layers = [(layer.self_attn.num_heads, layer.normalize_before, layer.activation_fn) for layer in encoder.layers]
    return [*layers, (encoder.embed_scale,)]
