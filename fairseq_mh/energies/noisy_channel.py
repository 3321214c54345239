"""An autoregressive model of the other direction as an energy of targets: the noisy channel (Yee et al., 2019).

E(X) = - sum_s log p(S_s | S_<s, X) - log p(EOS | S, X), with S the source

The model reads the target, so that nothing of it can be computed once for each source: a target takes two rows, one of
the encoder and one of the decoder. Both are fairseq's own.
"""

from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.models.transformer import TransformerModelBase
from torch import Tensor

from fairseq_mh.energies.autoregressive import Autoregressive, lines_without_bos, symbol_log_probs, with_eos
from fairseq_mh.masked_lms.cmlm import CMLM, require_all_logits, require_cmlm_transformer
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of

ROWS_PER_TARGET = 2


class NoisyChannel:
    """A `ModelEnergy`: fairseq's `transformer` that translates targets into sources.

    Args:
        model: the transformer, in eval mode.
        dictionary: the dictionary of the targets, which are what it reads.
        cmlm: the model of the chains.

    Raises:
        UserError: if the CMLM is not a `cmlm_transformer`, or the model has an adaptive softmax.
    """

    bounded, autoregressive = True, True

    def __init__(self, model: TransformerModelBase, dictionary: Dictionary, cmlm: CMLM):
        require_cmlm_transformer(cmlm)
        require_all_logits(model)
        read, written = model.max_positions()
        self.longest_source, self.longest_target = written + 1, read - 1  # sources without BOS, targets with EOS
        self.model, self.pad, self.eos, self.bos = model, dictionary.pad(), dictionary.eos(), dictionary.bos()

    @staticmethod
    def reads(model: Any) -> bool:
        """Tell whether a model is an autoregressive transformer; its checkpoint tells the direction."""
        return Autoregressive.reads(model)

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> "BoundNoisyChannel":
        """Return the energy of targets of these sources; see `ModelEnergy.bind`."""
        lines = lines_without_bos(source[0], self.pad, self.bos)
        return BoundNoisyChannel(self, data_utils.collate_tokens(lines, self.pad))


class BoundNoisyChannel:
    """A `OnePassEnergy`: a `NoisyChannel` with a batch of sources.

    Args:
        channel: the model.
        sources: (B, S) long, the sources with EOS and without BOS, padded on the right.
    """

    def __init__(self, channel: NoisyChannel, sources: Tensor):
        self.channel, self.pad, self.sources = channel, channel.pad, sources

    def features(self, tokens: Tensor, sites: Tensor, context: Tensor) -> Tensor:
        """Return log p(source | target) of each target, as the feature of its only site: (M, 1) nats.

        The arguments are those of `MaskedLM.features`, with one site in each row.
        """
        model, eos = self.channel.model, self.channel.eos
        lengths = tokens.ne(self.pad).sum(1)
        inputs = with_eos(tokens, self.pad, eos)[:, : int(lengths.max()) + 1]
        outputs = self.sources[context]
        outputs = outputs[:, : int(outputs.ne(self.pad).sum(1).max())]
        inside = outputs.ne(self.pad)
        before = torch.cat([outputs.new_full((len(outputs), 1), eos), outputs[:, :-1]], 1)
        before = before.masked_fill(before.eq(self.pad), eos)  # behind the end, which no output that counts sees
        features, _ = model(inputs, lengths + 1, before, features_only=True)
        log_p = torch.zeros(outputs.shape, dtype=torch.float64, device=outputs.device)
        log_p[inside] = symbol_log_probs(model.decoder, features[inside], outputs[inside]).double()
        return log_p.sum(1, keepdim=True)

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E(X) of each target, shared evenly by its tokens (M, T) float64, and its rows (M,) long."""
        valid = tokens.ne(self.pad)
        first = torch.zeros_like(valid)
        first[:, 0] = True
        log_p = features_of(self, tokens, first, context)
        shares = (log_p / valid.sum(1, keepdim=True)).expand(tokens.shape).masked_fill(~valid, 0)
        return shares, torch.full_like(context, ROWS_PER_TARGET)
