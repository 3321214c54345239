"""The choice between the decoder engine and fairseq's own decoder, which knows every model and is slower."""

import logging
from typing import NoReturn

from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.engine.decoder import Decode, DecoderEngine
from fairseq_mh.errors import UserError

logger = logging.getLogger(__name__)


class StockDecoder:
    """fairseq's own decoder, which reads a repeated copy of the encoder's output for every row.

    Args:
        model: the CMLM.
        reason: the error of the engine, which names the part of the decoder that it does not know.
    """

    def __init__(self, model: CMLMNATransformerModel, reason: ValueError):
        self.model, self.reason = model, reason
        logger.info("the stock decoder is used, several times slower: this model has %s", reason)

    def prepare_sources(self, encoder_out: dict) -> dict:
        """Return the encoded sources as they are: this decoder computes nothing ahead."""
        return encoder_out

    def bind(self, encoder_out: dict) -> Decode:
        """Return the decoder of these encoded sources, as `DecoderEngine.bind` does."""

        def decode(inputs: Tensor, sites: Tensor, context: Tensor) -> Tensor:
            repeated = self.model.encoder.reorder_encoder_out(encoder_out, context)
            return self.model.decoder.extract_features(inputs, encoder_out=repeated)[0][sites]

        return decode

    def bind_two_streams(self, encoder_out: dict, mask: int) -> Decode:
        """Refuse: only the engine can compute two-stream attention; raises UserError."""
        self.refuse_two_streams()

    def refuse_two_streams(self) -> NoReturn:
        """Raise the UserError that says why two-stream attention cannot be computed."""
        raise UserError(f"two streams need a plain decoder; this model has {self.reason}")


def decoder_of(model: CMLMNATransformerModel) -> DecoderEngine | StockDecoder:
    """Return the engine, or the stock decoder if the engine does not know a part of the model's decoder."""
    try:
        return DecoderEngine(model.decoder)
    except ValueError as reason:
        return StockDecoder(model, reason)
