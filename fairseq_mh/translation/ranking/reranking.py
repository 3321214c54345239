"""Reranking by an autoregressive model's log-probability per token, as in fairseq's decoder of such models.

The mean includes the log-probability of EOS.
"""

import torch
from fairseq.data import data_utils

from fairseq_mh.mcmc.energy import OnePassEnergy
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.translation.chains.decoders import Decoded

AT_ONCE = 1024  # translations in one call, so that their features fit into memory


@torch.no_grad()
def reranked(decoded: Decoded, lm: MaskedLM, energy: OnePassEnergy) -> Decoded:
    """Score every hypothesis of a decoded batch by the model's log-probability per token.

    Args:
        decoded: the batch.
        lm: the CMLM of its chains.
        energy: minus the model's log-probability of a target.

    Returns:
        The batch with the new scores, and with the rows that they took.
    """
    context = decoded.plan.context.tolist()
    keys = [(context[one.chain], tuple(one.tokens.tolist())) for one in decoded.found]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}  # each translation once
    device = decoded.plan.context.device
    tokens = data_utils.collate_tokens([decoded.found[number].tokens for number in first.values()], lm.pad)
    sentences = torch.tensor([sentence for sentence, _ in first], device=device)
    parts = zip(tokens.to(device).split(AT_ONCE), sentences.split(AT_ONCE), strict=True)
    log_p, rows = map(torch.cat, zip(*(energy(lm, *part) for part in parts), strict=True))
    lengths = tokens.ne(lm.pad).sum(1) + 1  # EOS included
    scores = dict(zip(first, (log_p.sum(1).cpu() / lengths).tolist(), strict=True))
    found = [one._replace(score=scores[key]) for one, key in zip(decoded.found, keys, strict=True)]
    chains = torch.tensor([decoded.found[number].chain for number in first.values()])
    spent = torch.zeros_like(decoded.cost.rows).index_add(0, chains, rows.cpu())
    return decoded._replace(found=found, cost=decoded.cost.plus(spent, expert=True))
