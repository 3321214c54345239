"""The paper's Algorithm 1 as printed, on the stock decoder: one chain, one proposal at a time, and no cache.

The T masked rows of a candidate are one batch. This module does not use the package.
"""

import math

import torch
from torch import Tensor


class Chain:
    """A Markov chain on one sentence.

    Args:
        model: a stock `cmlm_transformer`.
        dictionary: the target dictionary.
        allowed: (V,) bool, the symbols that a state may hold.
        source: (1, S) long.
        seed: the seed of the chain's random numbers.
    """

    def __init__(self, model, dictionary, allowed: Tensor, source: Tensor, seed: int):
        self.model, self.dictionary, self.allowed = model, dictionary, allowed
        self.device = source.device
        self.encoder_out = model.encoder(source, torch.tensor([source.size(1)], device=self.device))
        self.random = torch.Generator().manual_seed(seed)

    def log_p(self, rows: Tensor, sites: Tensor) -> Tensor:
        """Return the log-probabilities of all symbols at one masked position of each row.

        Args:
            rows: (M, T + 2) long.
            sites: (M,) long, the masked position of each row.

        Returns:
            (M, V) nats.
        """
        repeated = self.model.encoder.reorder_encoder_out(self.encoder_out, torch.zeros_like(sites))
        logits = self.model.decoder(normalize=False, prev_output_tokens=rows, encoder_out=repeated)
        at_sites = logits[torch.arange(len(rows), device=self.device), sites]
        return at_sites.masked_fill(~self.allowed, -math.inf).log_softmax(-1)

    def energy(self, state: Tensor) -> float:
        """Return E_norm, in nats, of a state (T + 2,) long, which includes BOS and EOS."""
        sites = torch.arange(1, len(state) - 1, device=self.device)
        rows = state.repeat(len(sites), 1)
        rows[sites - 1, sites] = self.dictionary.unk()
        return -self.log_p(rows, sites).gather(1, state[1:-1, None]).sum().item()

    def run(self, length: int, sweeps: int, first: float, last: float, proposal: float) -> tuple[Tensor, int]:
        """Anneal from a warm start.

        Args:
            length: T, the number of tokens.
            sweeps: the number of times that each position is redrawn.
            first, last: the target's temperature in the first and in the last sweep.
            proposal: the proposals' temperature.

        Returns:
            The last state (T + 2,) long, and the number of proposals.
        """
        state = torch.full((length + 2,), self.dictionary.unk(), device=self.device)
        state[0], state[-1] = self.dictionary.bos(), self.dictionary.eos()
        sites = torch.arange(1, length + 1, device=self.device)
        state[1:-1] = self.log_p(state.repeat(length, 1), sites).argmax(-1)
        energy, proposals = self.energy(state), 0
        for sweep in range(sweeps):
            temperature = first + sweep / max(sweeps - 1, 1) * (last - first)
            for site in (torch.randperm(length, generator=self.random) + 1).tolist():
                masked, candidate = state.clone(), state.clone()
                masked[site] = self.dictionary.unk()
                log_q = (self.log_p(masked[None], sites[site - 1, None])[0] / proposal).log_softmax(-1)
                candidate[site] = torch.multinomial(log_q.exp().cpu(), 1, generator=self.random)[0]
                candidate_energy = self.energy(candidate)
                rise = candidate_energy - energy
                log_ratio = -rise / temperature + (log_q[state[site]] - log_q[candidate[site]]).item()
                if torch.rand(1, generator=self.random).log().item() < log_ratio:
                    state, energy = candidate, candidate_energy
                proposals += 1
        return state, proposals
