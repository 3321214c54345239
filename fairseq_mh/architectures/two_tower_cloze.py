"""A two-tower cloze model (Clark et al., 2020, section 2.3), which gives all positions' conditionals in one pass.

    q(. | X_\\t) = softmax(W g(l_t, r_t))

A decoder that reads X from the left up to t - 1 gives l_t, and a decoder that reads X from the right down to t + 1
gives r_t. Both see the source. This is Electric's own source of noise, for users who have no CMLM.
"""

from argparse import Namespace
from copy import deepcopy

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from torch import Tensor, nn


class TwoTowerCloze(nn.Module):
    """A cloze model of two towers and the layer g that joins them.

    Args:
        args: the Electric's options; `noise_layers` is the number of layers in each tower.
        dictionary: the target dictionary.
        embeddings: the Electric's target embeddings, which are used for inputs and outputs.
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
        self.embeddings = [embeddings]  # the list keeps them from becoming parameters of this module, too

    def forward(self, encoder_out: dict, tokens: Tensor) -> Tensor:
        """Return the logits of every symbol at every position.

        Args:
            encoder_out: the encoder's output for the B sources.
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
        """Return the features (B, T, D) of each position, computed from the tokens before it."""
        shifted = F.pad(tokens[:, :-1], (1, 0), value=self.bos)
        return tower.extract_features(shifted, encoder_out=encoder_out)[0]

    def _reversing_index(self, tokens: Tensor) -> Tensor:
        """Return the index (B, T) long that reverses each target and leaves padding in place; it is its own inverse."""
        lengths = tokens.ne(self.pad).sum(1, keepdim=True)
        positions = torch.arange(tokens.size(1), device=tokens.device)
        return torch.where(positions < lengths, lengths - 1 - positions, positions)
