"""The decoder's rows a second, compared with the stock decoder and with the machine's matrix products."""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peaks import product_rates
from benchmarks.row_cost import Row, count_row, site_scores
from benchmarks.timing import REPEATS, seconds
from fairseq_mh.engine import linear
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.masked_lm import query_size


class EnergyRows:
    """The decoder rows of the references' energies; each row masks one position of one reference.

    Args:
        model: a stock `cmlm_transformer`.
        dictionary: the target dictionary.
        sample: fairseq's batch of sentences with their references.
    """

    def __init__(self, model, dictionary, sample: dict):
        self.model, self.dictionary = model, dictionary
        self.encoder_out = model.forward_encoder(
            [sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]]
        )
        self.cmlm = CMLM(model, dictionary)
        lines = [self.cmlm.target(line) for line in sample["target"]]
        self.tokens = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=dictionary.pad())
        self.valid = self.tokens != dictionary.pad()
        self.context = torch.arange(len(lines), device=self.tokens.device)

    def engine(self) -> Tensor:
        """Return log p(token | all other tokens) at each of the P positions, computed by the package: (P,) nats."""
        lm = self.cmlm.bind(self.encoder_out)
        return site_scores(lm, self.tokens, self.context, self.valid.nonzero(as_tuple=True))

    def stock(self) -> Tensor:
        """Return the same (P,) nats by the stock decoder, called as fairseq calls it, in batches of similar length."""
        sequence, site = self.valid.nonzero(as_tuple=True)
        lengths, scores = self.valid.sum(1), self.tokens.new_zeros(len(sequence), dtype=torch.float32)
        for part in lengths[sequence].argsort(stable=True).split(query_size(self.tokens)):
            m, t = sequence[part], site[part]
            inputs = m.new_full((len(part), int(lengths[m].max()) + 2), self.dictionary.pad())
            inputs[:, 0] = self.dictionary.bos()
            inputs[:, 1:-1] = self.tokens[m, : inputs.size(1) - 2]
            inputs.scatter_(1, lengths[m][:, None] + 1, self.dictionary.eos())
            inputs[torch.arange(len(part), device=m.device), t + 1] = self.dictionary.unk()
            repeated = self.model.encoder.reorder_encoder_out(self.encoder_out, self.context[m])
            logits = self.model.decoder(normalize=False, prev_output_tokens=inputs, encoder_out=repeated)
            at = logits[torch.arange(len(part), device=m.device), t + 1]
            log_p = at.masked_fill(~self.cmlm.allowed, -torch.inf).log_softmax(-1)
            scores[part] = log_p.gather(1, self.tokens[m, t, None])[:, 0]
        return scores

    def figures(self) -> dict[str, float]:
        """Return both decoders' rows a second, measured in turn, and the engine's share of the speed of products."""
        torch.testing.assert_close(self.engine(), self.stock(), atol=1e-4, rtol=0)
        times = {"engine": [], "stock": []}
        for _ in range(REPEATS):
            for name, taken in times.items():
                taken.append(seconds(getattr(self, name)))
        rows = int(self.valid.sum())
        rates = {name: rows / min(taken) for name, taken in times.items()}
        speed = product_rates(self.tokens.device.type)
        gflops = self._flops() / min(times["engine"]) / 1e9
        shares = {f"share of {name}": gflops / rate for name, rate in speed.items()}
        return {**rates, "times stock": rates["engine"] / rates["stock"], **speed, "in products": gflops, **shares}

    def cost(self) -> Row:
        """Return the cost of a row."""
        lengths = self.valid.sum(1)
        tokens = float((lengths**2).sum() / lengths.sum())  # the mean over rows: a long reference has more rows
        return count_row(self.engine, int(self.valid.sum()), self.cmlm, tokens)

    def _flops(self) -> int:
        """Return the operations of the engine's matrix products, without the products inside attention and padding."""
        previous, linear.ONEDNN = linear.ONEDNN, False  # the counter sees only torch's own products
        try:
            with FlopCounterMode(display=False) as counter:
                self.engine()
        finally:
            linear.ONEDNN = previous
        return counter.get_total_flops()
