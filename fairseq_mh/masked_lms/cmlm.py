"""fairseq's CMLMs behind the `MaskedLM` protocol: the only file that knows which special tokens a model expects.

All other files see only the tokens X of a target. fairseq's `cmlm_transformer` reads BOS X EOS, masks with <unk>, and
predicts the length of BOS X EOS. Mask-Predict's own model treats EOS as a token of X like any other.

Shapes: B sources, M targets of a query, T positions, P sites, D features, V symbols.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.architectures.mask_predict_transformer import MaskPredictTransformer
from fairseq_mh.engine.decoder import Decode, DecoderEngine
from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.dictionaries import allowed_symbols
from fairseq_mh.masked_lms.stock_decoder import decoder_of


class BoundCMLM:
    """A `MaskedLM`: a `CMLM` bound to a batch of encoded sources, each of which is a context.

    Args:
        cmlm: the model.
        encoder_out: the output of its encoder for the B sources.
    """

    def __init__(self, cmlm: "CMLM", encoder_out: dict):
        self.cmlm = cmlm
        self.sources = cast(Any, cmlm.decoder.prepare_sources(encoder_out))  # large: two streams read the same
        self.decode = cmlm.decoder.bind(self.sources)
        self.pad, self.mask, self.allowed = cmlm.pad, cmlm.mask, cmlm.allowed

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        return self.read(tokens.masked_fill(masked, self.mask), masked, context, self.decode)

    def read(self, tokens: Tensor, sites: Tensor, context: Tensor, decode: Decode) -> Tensor:
        """Return a decoder's features at some sites of targets, which it reads without further masking.

        Args:
            tokens: (M, T) long, padded.
            sites: (M, T) bool, the P sites.
            context: (M,) long, the source of each target.
            decode: the decoder.

        Returns:
            (P, D), in row-major order of the sites.
        """
        longest = int(tokens.ne(self.pad).sum(1).max())
        inputs = self.cmlm.add_special_tokens(tokens[:, :longest])
        return decode(inputs, self.cmlm.shift_positions(sites[:, :longest]), context)

    def no_features(self, *sizes: int) -> Tensor:
        weight = self.cmlm.model.decoder.output_projection.weight
        return weight.new_zeros(*sizes, weight.size(1))

    def project(self, features: Tensor) -> Tensor:
        decoder = self.cmlm.model.decoder
        if type(decoder).output_layer is not TransformerDecoderBase.output_layer:
            return decoder.output_layer(features)  # a subclass may have its own output layer
        return apply_linear(decoder.output_projection, features)


class CMLM:
    """fairseq's `cmlm_transformer` with its dictionary.

    The state space is fixed when the object is made, because fairseq adds words to the dictionary while it scores
    translations.

    Args:
        model: the model, in eval mode.
        dictionary: the dictionary of the targets.
    """

    def __init__(self, model: CMLMNATransformerModel, dictionary: Dictionary):
        self.model, self.decoder = model, decoder_of(model)
        self.pad, self.bos, self.eos = dictionary.pad(), dictionary.bos(), dictionary.eos()
        self.mask = dictionary.unk()
        self.allowed = allowed_symbols(dictionary).to(next(model.parameters()).device)

    def bind(self, encoder_out: dict) -> BoundCMLM:
        """Return the masked LM of the targets of these encoded sources."""
        return BoundCMLM(self, encoder_out)

    @property
    def has_two_streams(self) -> bool:
        """Whether two-stream attention can be computed for this model."""
        return isinstance(self.decoder, DecoderEngine)

    @property
    def longest(self) -> int:
        """The largest number of tokens that a target may have."""
        return self.model.max_decoder_positions() - 2  # BOS and EOS

    def add_special_tokens(self, tokens: Tensor) -> Tensor:
        """Return the decoder's inputs for targets, with BOS and EOS: (M, T) long -> (M, T + 2) long."""
        inputs = tokens.new_full((len(tokens), tokens.size(1) + 2), self.pad)
        inputs[:, 0] = self.bos
        inputs[:, 1:-1] = tokens
        return inputs.scatter_(1, tokens.ne(self.pad).sum(1, keepdim=True) + 1, self.eos)

    def shift_positions(self, sites: Tensor) -> Tensor:
        """Return the sites of targets as sites of the decoder's inputs: (M, T) bool -> (M, T + 2) bool."""
        return F.pad(sites, (1, 1))

    def target(self, line: Tensor) -> Tensor:
        """Return a reference's tokens without BOS, EOS and padding: (L,) long as in fairseq's batches -> (T,) long."""
        return line[~torch.isin(line, line.new_tensor([self.bos, self.eos, self.pad]))]

    def hypothesis(self, tokens: Tensor) -> Tensor:
        """Put BOS and EOS around a target's tokens, as the stock generator does: (T,) long -> (T + 2,) long."""
        return torch.cat([tokens.new_tensor([self.bos]), tokens, tokens.new_tensor([self.eos])])

    def length_log_probs(self, encoder_out: dict) -> Tensor:
        """Return log p(T | source): (B, longest + 1) float32, in nats, minus infinity at impossible lengths."""
        decoder = self.model.decoder
        log_p = decoder.forward_length(normalize=False, encoder_out=encoder_out).float().log_softmax(-1)
        classes = torch.arange(self.longest + 1, device=log_p.device) + 2  # BOS and EOS
        classes = classes.expand(len(log_p), -1)
        if decoder.pred_length_offset:  # the class is the difference from the source's length, plus 128
            source_lengths = (~encoder_out["encoder_padding_mask"][0]).sum(1, keepdim=True)
            classes = classes - source_lengths + log_p.size(1) // 2
        possible = (classes >= 0) & (classes < log_p.size(1))
        possible[:, 0] = False
        return log_p.gather(1, classes.clamp(0, log_p.size(1) - 1)).masked_fill(~possible, -torch.inf)


class MaskPredictCMLM(CMLM):
    """Mask-Predict's own model: it masks with <mask>, and EOS is a symbol that it may draw at any position of X.

    Its arguments are those of `CMLM`.
    """

    def __init__(self, model: MaskPredictTransformer, dictionary: Dictionary):
        super().__init__(model, dictionary)
        self.mask = model.mask
        self.allowed[self.mask], self.allowed[self.eos] = False, True

    @property
    def longest(self) -> int:
        return self.model.encoder.embed_lengths.num_embeddings - 1

    def add_special_tokens(self, tokens: Tensor) -> Tensor:
        return tokens

    def shift_positions(self, sites: Tensor) -> Tensor:
        return sites

    def target(self, line: Tensor) -> Tensor:
        return line[~torch.isin(line, line.new_tensor([self.bos, self.pad]))]

    def hypothesis(self, tokens: Tensor) -> Tensor:
        return tokens

    def length_log_probs(self, encoder_out: dict) -> Tensor:
        log_p = self.model.length_logits(encoder_out).float().log_softmax(-1)
        log_p[:, 1] = -torch.inf  # a target that is only EOS; the published decoder takes 2 tokens instead
        return log_p


def require_cmlm_transformer(cmlm: CMLM) -> CMLM:
    """Return this CMLM if other models can read its targets.

    Raises:
        UserError: for Mask-Predict's own model, whose targets contain EOS.
    """
    if type(cmlm) is not CMLM:
        raise UserError("this needs a cmlm_transformer: only Mask-Predict's own model has targets that contain EOS")
    return cmlm


def require_all_logits(model: Any) -> None:
    """Refuse a model whose output layer is not one product with the logits of all symbols.

    Raises:
        UserError: if the model has an adaptive softmax.
    """
    if model.decoder.adaptive_softmax is not None:
        raise UserError("a model with --adaptive-softmax-cutoff lacks the logits of some symbols, which energies need")


def cmlm_of(model: CMLMNATransformerModel, dictionary: Dictionary) -> CMLM:
    """Return the CMLM of a loaded model.

    Raises:
        UserError: for a model that is not a CMLM, or that this package cannot sample from.
    """
    if not isinstance(model, CMLMNATransformerModel) or isinstance(model, ElectricTransformer):
        kinds = "cmlm_transformer, mask_predict_transformer"
        raise UserError(f"the checkpoint holds a {type(model).__name__}, not a CMLM ({kinds})")
    if model.decoder.src_embedding_copy:
        raise UserError("a model with --src-embedding-copy is not a CMLM: its first pass does not see the mask")
    require_all_logits(model)
    return (MaskPredictCMLM if isinstance(model, MaskPredictTransformer) else CMLM)(model, dictionary)
