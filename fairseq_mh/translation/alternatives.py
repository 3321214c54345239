"""What else could stand at a position of a translation, and what the translation's energy would then be."""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.energies.target import translation_energy
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import features_of, state_logits
from fairseq_mh.translation.generator import MHGenerator


class Alternative(NamedTuple):
    """A symbol at a position of a translation, all other positions being as they are."""

    token: int
    log_prob: float  # nats: of the symbol given all others
    tokens: Tensor  # (T,) long: the translation with this symbol
    energy: float  # nats: the target's, of that translation
    token_log_probs: Tensor  # (T,) nats: as in `Translation`, of that translation


@torch.no_grad()
def alternatives(
    generator: MHGenerator, source: tuple[Tensor, Tensor], tokens: Tensor, position: int, count: int
) -> list[Alternative]:
    """Return the likeliest symbols at a position, the likeliest one first.

    The probabilities take one decoder row: the masked conditional. The energies take those of so many translations.

    Args:
        generator: whose model and energy are asked.
        source: tokens (1, S) long and lengths (1,) long.
        tokens: (T,) long, the translation, on any device.
        position: from 0.
        count: how many symbols; the one that stands there comes on top of them where it is not one of them.

    Raises:
        UserError: for a translation that is no state of the model, and for a position outside it.
    """
    cmlm = generator.cmlm
    check_state(cmlm, tokens)
    if not 0 <= position < len(tokens):
        raise UserError(f"there is no position {position}: the translation has {len(tokens)}")
    encoder_out = cmlm.model.forward_encoder(source)
    lm = cmlm.bind(encoder_out)
    tokens = tokens.to(source[0].device)
    here = torch.arange(len(tokens), device=tokens.device)[None] == position  # (1, T)
    context = tokens.new_zeros(1)
    log_p = state_logits(lm, features_of(lm, tokens[None], here, context)).log_softmax(-1)[0]  # (V,)
    symbols = log_p.topk(min(count, int(lm.allowed.sum()))).indices
    current = tokens[position : position + 1]
    if not (symbols == current).any():
        symbols = torch.cat([symbols, current])
    candidates = tokens.repeat(len(symbols), 1)  # (K, T)
    candidates[:, position] = symbols
    energy = translation_energy(generator.cfg, lm, encoder_out, source, generator.electric, generator.experts)
    scores = Kernel(lm, energy).init(candidates, context.expand(len(symbols)))[0].scores.cpu()
    found = zip(symbols.tolist(), log_p[symbols].tolist(), candidates.cpu(), energy.total(scores).tolist(), strict=True)
    return [Alternative(*parts, own) for parts, own in zip(found, scores[..., energy.certainty], strict=True)]


def check_state(cmlm: CMLM, tokens: Tensor) -> None:
    """Raise UserError where these tokens (T,) long are no state of the model's chains."""
    if not 1 <= len(tokens) <= cmlm.longest:
        raise UserError(f"the translation has {len(tokens)} tokens; this model's targets hold 1 to {cmlm.longest}")
    allowed = cmlm.allowed.cpu()
    if tokens.min() < 0 or tokens.max() >= len(allowed) or not allowed[tokens].all():
        raise UserError("the translation holds a token that is no word of the model's")
