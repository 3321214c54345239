"""An autoregressive decoder for many whole targets of few sentences: teacher forcing with less work.

Like `DecoderEngine`, it computes what depends only on the source once for each sentence, and the first layer's queries,
keys and values once for each different pair of symbol and position.
"""

import torch
from fairseq.models.transformer import TransformerDecoder, TransformerDecoderBase
from torch import Tensor

from fairseq_mh.engine.decoder import Decode, DecoderEngine, unique_inputs
from fairseq_mh.engine.layer import UniqueInputs
from fairseq_mh.engine.source_attention import SourceAttention


class CausalEngine(DecoderEngine):
    """A stock `transformer`'s decoder whose weights are arranged for many rows.

    Args:
        decoder: the stock decoder.

    Raises:
        ValueError: if the decoder has a part that this engine does not know and would leave out.
    """

    kinds = (TransformerDecoder, TransformerDecoderBase)

    def bind(self, sources: list[SourceAttention]) -> Decode:
        """Return the decoder of these prepared sources; each input sees itself and the inputs before it."""

        def decode(inputs: Tensor, sites: Tensor, context: Tensor) -> Tensor:
            length, x = inputs.size(1), self._embed(inputs)
            unique: UniqueInputs | None = unique_inputs(inputs)
            visible = torch.ones(length, length, dtype=torch.bool, device=inputs.device).tril()[None, None]
            for layer, source in zip(self.layers, sources, strict=True):
                x = layer.forward(layer.self_attention(x, visible, unique), source, context)
                unique = None  # after the first layer, x also depends on earlier inputs
            return self._after_layers(x[sites])

        return decode

    def _embed(self, inputs: Tensor) -> Tensor:
        """Return the embedded inputs: (M, L) long -> (M, L, D)."""
        decoder = self.decoder
        x = decoder.embed_scale * decoder.embed_tokens(inputs)
        x = x if decoder.project_in_dim is None else decoder.project_in_dim(x)
        x = x if decoder.embed_positions is None else x + decoder.embed_positions(inputs)
        return x if decoder.layernorm_embedding is None else decoder.layernorm_embedding(x)
