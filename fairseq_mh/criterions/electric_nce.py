"""Noise-contrastive estimation of Electric's energies (Clark et al., 2020, section 2.2).

Some positions M of a target X are masked. Each position of M keeps its own token or, with probability pi, gets a token
drawn from a noise model q. The result is X'. At each position of M, Electric tells noise from data by

    P(noise at t) = sigmoid(E(X')_t + log q_t(X'_t) + log(pi / (1 - pi)))

A drawn token counts as noise even if it equals the token that it replaces. q is the conditional of a CMLM given X
without M, or the conditional of the two-tower cloze model given X without t; the cloze model is trained at the same
time. No gradient of this loss flows through q.

The labels are noisy: if q is nearly p, only chance decides whether a token is noise. `--distil` adds a loss without
labels, the distance of E(X')_t from -log q_t(X'_t), so that Electric learns the noise model's own energy.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.data import data_utils
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor, nn

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.architectures.mask_predict_transformer import random_mask
from fairseq_mh.energies.electric import same_encoder, token_energies
from fairseq_mh.errors import UserError
from fairseq_mh.files.checkpoints import load_model
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM, cmlm_of, require_cmlm_transformer
from fairseq_mh.mcmc.energy import masked_scores, site_features
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, state_logits

MOMENTS = ("x", "y", "xx", "yy", "xy")  # x is Electric's energy and y is E_norm, both in nats a token


def moments(lm: MaskedLM, tokens: Tensor, energies: Tensor) -> dict[str, Tensor]:
    """Return the sum of each of MOMENTS over a batch.

    Args:
        lm: the CMLM, with one context for each sentence.
        tokens: (B, T) long, padded.
        energies: (B, T) nats, Electric's energy of each token.

    Returns:
        name of the moment -> scalar float64.
    """
    valid, context = tokens.ne(lm.pad), torch.arange(len(tokens), device=tokens.device)
    norm = torch.zeros_like(energies, dtype=torch.float64)
    places = valid.nonzero(as_tuple=True)
    features = site_features(lm, tokens, context, places)
    norm[places] = -masked_scores(lm, features, tokens[places])[:, 0].double()
    x, y = ((part.double() * valid).sum(1) / valid.sum(1) for part in (energies, norm))
    return dict(zip(MOMENTS, (x.sum(), y.sum(), x.square().sum(), y.square().sum(), (x * y).sum()), strict=True))


def correlation(meters) -> float:
    """Return the correlation, given fairseq's meters of the means of MOMENTS, whose names begin with an underscore."""
    x, y, xx, yy, xy = (meters[f"_{name}"].avg for name in MOMENTS)
    return (xy - x * y) / max(math.sqrt(max((xx - x * x) * (yy - y * y), 0)), 1e-12)


class Noised(NamedTuple):
    """A batch of B targets that contain noise, X'."""

    tokens: Tensor  # (B, T) long, padded
    sites: Tensor  # (B, T) bool, the masked positions M, except where the symbol was outside the state space
    is_noise: Tensor  # (P,) bool, the sites whose symbols were drawn from q
    log_q: Tensor  # (P,) nats, the log-probabilities of the symbols that are now at the sites


def add_noise(log_q: Tensor, tokens: Tensor, masked: Tensor, is_noise: Tensor, outside: Tensor) -> Noised:
    """Replace the symbols at some of the masked positions by draws from q.

    Args:
        log_q: (P, V) nats, at the masked positions.
        tokens: (B, T) long, the targets, padded.
        masked: (B, T) bool, P positions in all.
        is_noise: (P,) bool, the masked positions to draw.
        outside: (B, T) bool, masked positions whose symbols are outside the state space; they are always drawn, and
            the result's sites leave them out.

    Returns:
        The targets with noise.
    """
    inside = ~outside[masked]
    symbols = log_q.exp().multinomial(1)[:, 0].where(is_noise | ~inside, tokens[masked])
    log_q = log_q.gather(-1, symbols[:, None])[:, 0]
    return Noised(tokens.masked_scatter(masked, symbols), masked & ~outside, is_noise[inside], log_q[inside])


def noise_log_probs(
    lm: BoundCMLM | None, electric: ElectricTransformer, encoded: dict, tokens: Tensor, masked: Tensor, allowed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log q at the masked positions, and the loss of the cloze model that learns q.

    Args:
        lm: the CMLM that draws the noise, or None if Electric's own cloze model draws it.
        electric: the model that is trained.
        encoded: the output of Electric's encoder.
        tokens: (B, T) long, the targets, padded.
        masked: (B, T) bool, P positions in all.
        allowed: (V,) bool, the state space.

    Returns:
        (P, V) nats, log q, which is minus infinity outside the state space; and the sum of the loss over the positions,
        a scalar in nats, which is 0 if a CMLM draws the noise.
    """
    if lm is not None:
        with torch.no_grad():
            context = torch.arange(len(tokens), device=tokens.device)
            return state_logits(lm, features_of(lm, tokens, masked, context)).log_softmax(-1), tokens.new_zeros(())
    assert electric.cloze is not None  # the criterion refuses an Electric that has no source of noise
    logits = electric.cloze(encoded, tokens)[masked].float()
    log_q = logits.detach().masked_fill(~allowed, -torch.inf).log_softmax(-1)
    return log_q, F.cross_entropy(logits, tokens[masked], reduction="sum")


MAX_MASKED = 0.5  # the largest share of a target's positions that may be masked


@dataclass
class ElectricNCEConfig(FairseqDataclass):
    """The options of `--criterion electric_nce`."""

    noise_model: str = field(
        default="", metadata={"help": "checkpoint of the CMLM that draws the noise; empty: the model's --noise-layers"}
    )
    noise_share: float = field(
        default=0.5, metadata={"help": "pi: the share of the masked positions whose tokens the noise model draws"}
    )
    distil: float = field(
        default=0.0,
        metadata={"help": "weight of the Huber distance of an energy from minus log q, where q is the noise model"},
    )


def targets_of(sample: dict, reader: CMLM) -> Tensor:
    """Return the targets' tokens.

    Args:
        sample: fairseq's batch.
        reader: the model that reads the targets.

    Returns:
        (B, T) long, padded.

    Raises:
        UserError: if a target is empty.
    """
    lines = [reader.target(line) for line in sample["target"]]
    for number, line in zip(sample["id"].tolist(), lines, strict=True):
        if not len(line):
            raise UserError(
                f"target {number} is empty, and an Electric learns from tokens: remove such pairs from the data"
            )
    return data_utils.collate_tokens(lines, reader.pad)


def noise_logits(energies: Tensor, log_q: Tensor, share: float) -> Tensor:
    """Return the logits of P(noise).

    Args:
        energies: (P,) nats, E(X')_t.
        log_q: (P,) nats, log q_t(X'_t).
        share: pi.

    Returns:
        (P,).
    """
    return energies + log_q.to(energies) + math.log(share / (1 - share))


def without_wrappers(model: nn.Module) -> Any:
    """Return the model inside fairseq's wrappers for distributed training, of which there may be two."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


@register_criterion("electric_nce", dataclass=ElectricNCEConfig)
class ElectricNCE(FairseqCriterion):
    """The loss of an `electric_transformer`; loss and gradients are sums over the masked positions.

    Args:
        task: the training's fairseq task.
        noise_model: checkpoint of the CMLM that draws the noise, or an empty string.
        noise_share: pi.
        distil: weight of the distance from the noise model's energy.

    Raises:
        UserError: if the trained model is no `electric_transformer`; if there is no source of noise, or two of them; if
            the noise model is no `cmlm_transformer`; or if the share is outside (0, 1).
    """

    def __init__(self, task, noise_model: str, noise_share: float, distil: float):
        super().__init__(task)
        if not 0 < noise_share < 1:
            raise UserError("--noise-share must be above 0 and below 1")
        self.share, self.distil = noise_share, distil
        # The list keeps the noise model from becoming a submodule, which would be trained and stored.
        self.noise_model = [self._load_frozen(noise_model)] if noise_model else []
        self.reader: CMLM | None = None  # reads the targets: the noise model, or Electric if it draws its own noise
        self.shared = False  # whether the noise model reads Electric's encoding

    def _load_frozen(self, path: str) -> CMLMNATransformerModel:
        model, _ = load_model(path, "--noise-model", task=self.task)
        return model.eval().requires_grad_(False)

    def forward(self, model, sample: dict, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        electric = without_wrappers(model)
        source = sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]
        reader = self.reader or self._prepare_reader(electric)
        encoded = electric.forward_encoder(source)
        tokens = targets_of(sample, reader)
        valid = tokens.ne(reader.pad)
        outside = valid & ~reader.allowed[tokens]  # tokens outside the state space, such as <unk>
        masked = random_mask(valid, MAX_MASKED) | outside
        lm = self._bind_noise_model(reader, source, encoded)
        log_q, cloze_loss = noise_log_probs(lm, electric, encoded, tokens, masked, reader.allowed)
        noised = add_noise(log_q, tokens, masked, torch.rand(len(log_q), device=tokens.device) < self.share, outside)

        energies = token_energies(model, reader, encoded, noised.tokens)
        logits = noise_logits(energies[noised.sites], noised.log_q, self.share)
        loss = F.binary_cross_entropy_with_logits(logits, noised.is_noise.to(logits), reduction="sum")
        distance = F.smooth_l1_loss(energies[noised.sites], -noised.log_q.to(energies), reduction="sum")
        correct = (logits > 0) == noised.is_noise
        logging = {
            "loss": loss.data,
            "distance": distance.data,
            "cloze_loss": cloze_loss.data,
            "sample_size": len(logits),
            "ntokens": sample["ntokens"],
            "nsentences": len(tokens),
            "noise": noised.is_noise.sum(),
            "noise_correct": correct[noised.is_noise].sum(),
            "data_correct": correct[~noised.is_noise].sum(),
        }
        if lm is not None and not model.training:
            logging |= moments(lm, noised.tokens, energies)
        return loss + self.distil * distance + cloze_loss, len(logits), logging

    def _prepare_reader(self, electric: ElectricTransformer) -> CMLM:
        """Set and return `reader`, and set `shared`; this needs the trained model, which `__init__` does not know."""
        if not isinstance(electric, ElectricTransformer):
            raise UserError(f"--criterion electric_nce trains an electric_transformer, not a {type(electric).__name__}")
        if bool(self.noise_model) == (electric.cloze is not None):
            raise UserError("a CMLM (--noise-model) or --noise-layers must draw the noise: give one of them")
        dictionary = self.task.target_dictionary
        if self.noise_model:
            noise_model = self.noise_model[0].to(next(electric.parameters()))  # device and precision of the training
            self.reader = require_cmlm_transformer(cmlm_of(noise_model, dictionary))
            self.shared = electric.encoder_frozen and same_encoder(electric.encoder, noise_model.encoder)
        else:
            self.reader = CMLM(electric, dictionary)
        return self.reader

    def _bind_noise_model(self, reader: CMLM, source: tuple[Tensor, Tensor], encoded: dict) -> BoundCMLM | None:
        """Return the CMLM that draws the noise, bound to the batch's sources, or None if there is no such CMLM."""
        if not self.noise_model:
            return None
        with torch.no_grad():
            return reader.bind(encoded if self.shared else reader.model.forward_encoder(source))

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict]) -> None:
        def total(name: str) -> float:
            return sum(float(log.get(name, 0)) for log in logging_outputs)

        positions, drawn = total("sample_size"), total("noise")
        metrics.log_scalar("loss", total("loss") / positions, positions, round=4)
        metrics.log_scalar("distance", total("distance") / positions, positions, round=4)
        kept = positions - drawn
        metrics.log_scalar("noise_accuracy", total("noise_correct") / max(drawn, 1), drawn, round=3)
        metrics.log_scalar("data_accuracy", total("data_correct") / max(kept, 1), kept, round=3)
        if total("cloze_loss"):
            metrics.log_scalar("cloze_loss", total("cloze_loss") / positions, positions, round=4)
        if any("xy" in log for log in logging_outputs):
            for name in MOMENTS:
                metrics.log_scalar(f"_{name}", total(name) / total("nsentences"), total("nsentences"))
            metrics.log_derived("correlation", correlation)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
