"""Noise-contrastive estimation of Electric's energies (Clark et al., 2020, section 2.2).

Some positions M of a target are masked, and each of them keeps its own token or, with probability pi, gets one drawn
from a noise model q. What results, X', is told apart at the positions of M by

    P(noise at t) = sigmoid(E(X')_t + log q_t(X'_t) + log(pi / (1 - pi)))

A token drawn is noise also where it is the one that stood there. q is a CMLM's conditional given X without M, or the
two-tower cloze model's given X without t, which learns beside it. No gradient of this loss flows through q.

The labels are noisy: where q is nearly p, a token is noise or not by the toss of a coin. `--distil` adds what is known
without them, the distance of E(X')_t from - log q_t(X'_t), which has Electric learn the noise model's own energy.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq import checkpoint_utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.data import data_utils
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.criterions.correlation import MOMENTS, correlation, moments
from fairseq_mh.criterions.noise import conditionals, noised
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, Bound, cmlm_of
from fairseq_mh.masked_lms.electric import same_encoder, stock
from fairseq_mh.models.electric_transformer import ElectricTransformer
from fairseq_mh.models.mask_predict_transformer import uniformly_masked

MASKED = 0.5  # of a target's positions, at most


@dataclass
class ElectricNCEConfig(FairseqDataclass):
    noise_model: str = field(
        default="", metadata={"help": "checkpoint of the CMLM that draws the noise; empty: the model's --noise-layers"}
    )
    noise_share: float = field(default=0.5, metadata={"help": "pi: of the masked positions, the share drawn anew"})
    distil: float = field(
        default=0.0, metadata={"help": "weight of the distance (Huber's) of an energy from minus the noise's log q"}
    )


def targets_of(sample: dict, reader: CMLM) -> Tensor:
    """The targets' tokens (B, T), padded. Raises UserError for an empty one."""
    lines = [reader.target(line) for line in sample["target"]]
    for number, line in zip(sample["id"].tolist(), lines, strict=True):
        if not len(line):
            raise UserError(
                f"target {number} is empty; an Electric learns from tokens: take such pairs out of the data"
            )
    return data_utils.collate_tokens(lines, reader.pad)


def noise_logits(energies: Tensor, log_q: Tensor, share: float) -> Tensor:
    """The logits of P(noise): E(X')_t and log q_t (P,) -> (P,)."""
    return energies + log_q.to(energies) + math.log(share / (1 - share))


@register_criterion("electric_nce", dataclass=ElectricNCEConfig)
class ElectricNCE(FairseqCriterion):
    """For an `electric_transformer`; loss and gradients are sums over the masked positions.

    Raises:
        UserError: for another model, without a noise model or with one that is no CMLM, and for a share outside (0, 1).
    """

    def __init__(self, task, noise_model: str, noise_share: float, distil: float):
        super().__init__(task)
        if not 0 < noise_share < 1:
            raise UserError("--noise-share must be above 0 and below 1")
        self.share, self.distil = noise_share, distil
        self.noise_model = [self._frozen(noise_model)] if noise_model else []  # no part of what is trained and stored
        self.readers: list[CMLM] = []  # of the noise model, or of a model that draws its own
        self.shared = False  # one encoding for both

    def _frozen(self, path: str) -> CMLMNATransformerModel:
        (model,), _ = checkpoint_utils.load_model_ensemble([path], task=self.task)
        return model.eval().requires_grad_(False)

    def forward(self, model, sample: dict, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        electric = getattr(model, "module", model)
        source = sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]
        reader = self._reader(electric)
        encoded = electric.forward_encoder(source)
        tokens = targets_of(sample, reader)
        valid = tokens.ne(reader.pad)
        strange = valid & ~reader.allowed[tokens]
        masked = uniformly_masked(valid, MASKED) | strange
        lm = self._bound(reader, source, encoded)
        log_q, own_loss = conditionals(lm, electric, encoded, tokens, masked, reader.allowed)
        found = noised(log_q, tokens, masked, torch.rand(len(log_q), device=tokens.device) < self.share, strange)

        at_inputs = model(encoded, reader.add_special_tokens(found.tokens)).float()
        energies = torch.zeros_like(tokens, dtype=at_inputs.dtype).masked_scatter(
            valid, at_inputs[reader.shift_positions(valid)]
        )
        logits = noise_logits(energies[found.sites], found.log_q, self.share)
        loss = F.binary_cross_entropy_with_logits(logits, found.drawn.to(logits), reduction="sum")
        distance = F.smooth_l1_loss(energies[found.sites], -found.log_q.to(energies), reduction="sum")
        right = (logits > 0) == found.drawn
        logging = {
            "loss": loss.data,
            "distance": distance.data,
            "cloze_loss": own_loss.data,
            "sample_size": len(logits),
            "ntokens": sample["ntokens"],
            "nsentences": len(tokens),
            "noise": found.drawn.sum(),
            "noise_right": right[found.drawn].sum(),
            "data_right": right[~found.drawn].sum(),
        }
        if lm is not None and not model.training:
            logging |= moments(lm, found.tokens, energies)
        return loss + self.distil * distance + own_loss, len(logits), logging

    def _reader(self, electric: ElectricTransformer) -> CMLM:
        if not self.readers:
            if not isinstance(electric, ElectricTransformer):
                raise UserError(
                    f"--criterion electric_nce trains an electric_transformer, and no {type(electric).__name__}"
                )
            if bool(self.noise_model) == (electric.cloze is not None):
                raise UserError("the noise is drawn by a CMLM (--noise-model) or by --noise-layers: give one of them")
            dictionary = self.task.target_dictionary
            if not self.noise_model:
                self.readers = [CMLM(electric, dictionary)]
            else:  # in the precision of what is trained
                self.readers = [stock(cmlm_of(self.noise_model[0].to(next(electric.parameters())), dictionary))]
                self.shared = electric.encoder_frozen and same_encoder(electric.encoder, self.noise_model[0].encoder)
        return self.readers[0]

    def _bound(self, reader: CMLM, source, encoded: dict) -> Bound | None:
        """The CMLM that draws the noise, if one does."""
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
        metrics.log_scalar("noise_accuracy", total("noise_right") / max(drawn, 1), drawn, round=3)
        metrics.log_scalar("data_accuracy", total("data_right") / max(positions - drawn, 1), positions - drawn, round=3)
        if total("cloze_loss"):
            metrics.log_scalar("cloze_loss", total("cloze_loss") / positions, positions, round=4)
        if any("xy" in log for log in logging_outputs):
            for name in MOMENTS:
                metrics.log_scalar(f"_{name}", total(name) / total("nsentences"), total("nsentences"))
            metrics.log_derived("correlation", correlation)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
