"""A two-tower cloze model (Clark et al., 2020, section 2.3): the conditionals of all positions from one pass.

    q(. | X_\\t) = softmax(W g(l_t, r_t))

l_t comes from a decoder that reads X from the left up to t - 1, and r_t from one that reads X from the right down to
t + 1. Both see the source. This is Electric's own source of noise, for users who have no CMLM.
"""

from argparse import Namespace
from copy import deepcopy

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from torch import Tensor, nn


class TwoTowerCloze(nn.Module):
    """The two towers, and the layer g that joins them.

    Args:
        args: of the Electric; `noise_layers` is the number of layers of each tower.
        dictionary: of the targets.
        embeddings: of the targets, for inputs and outputs; they are the Electric's.
    """

    def __init__(self, args: Namespace, dictionary: Dictionary, embeddings: nn.Embedding):
        super().__init__()
        cfg = deepcopy(TransformerConfig.from_namespace(args))
        cfg.decoder.layers = args.noise_layers
        cfg.share_decoder_input_output_embed = True  # the towers have no output layer of their own
        self.pad, self.bos = dictionary.pad(), dictionary.bos()
        self.towers = nn.ModuleList(TransformerDecoderBase(cfg, dictionary, embeddings) for _ in range(2))
        width = embeddings.embedding_dim
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.LayerNorm(width))
        self.embeddings = [embeddings]  # in a list, so that they are the Electric's parameters, not this module's

    def forward(self, encoder_out: dict, tokens: Tensor) -> Tensor:
        """Return the logits of every symbol at every position.

        Args:
            encoder_out: of the B sources.
            tokens: (B, T) long, padded.

        Returns:
            (B, T, V).
        """
        left_to_right, right_to_left = self.towers
        index = self._reversing_index(tokens)
        left = self._read(left_to_right, tokens, encoder_out)  # (B, T, D)
        right = self._read(right_to_left, tokens.gather(1, index), encoder_out)
        right = right.gather(1, index[..., None].expand_as(right))
        return F.linear(self.join(torch.cat([left, right], -1)), self.embeddings[0].weight)

    def _read(self, tower: TransformerDecoderBase, tokens: Tensor, encoder_out: dict) -> Tensor:
        """Return features (B, T, D) of each position from the tokens before it."""
        shifted = F.pad(tokens[:, :-1], (1, 0), value=self.bos)
        return tower.extract_features(shifted, encoder_out=encoder_out)[0]

    def _reversing_index(self, tokens: Tensor) -> Tensor:
        """Return the index (B, T) long that reverses each target and leaves padding where it is.

        It is its own inverse.
        """
        lengths = tokens.ne(self.pad).sum(1, keepdim=True)
        positions = torch.arange(tokens.size(1), device=tokens.device)
        return torch.where(positions < lengths, lengths - 1 - positions, positions)
