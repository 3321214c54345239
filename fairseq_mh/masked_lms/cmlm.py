"""fairseq's CMLMs behind the `MaskedLM` protocol: the only file that knows what a model wants around a target.

Everything outside this file sees a target's tokens X alone. fairseq's `cmlm_transformer` is given BOS X EOS, masks with
<unk>, and predicts the length of BOS X EOS. To Mask-Predict's own model EOS is a token of X as any other.
"""

import logging

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.engine.decoder import Decode, DecoderEngine
from fairseq_mh.engine.linear import apply_linear
from fairseq_mh.errors import UserError
from fairseq_mh.models.electric_transformer import ElectricTransformer
from fairseq_mh.models.mask_predict_transformer import MaskPredictTransformer

logger = logging.getLogger(__name__)


class Bound:
    """A `CMLM` with a batch of encoded sources, one a context: a `MaskedLM`."""

    def __init__(self, cmlm: "CMLM", encoder_out: dict):
        self.cmlm, self.encoder_out, self.decode = cmlm, encoder_out, cmlm.decoder.bind(encoder_out)
        self.pad, self.mask, self.allowed = cmlm.pad, cmlm.mask, cmlm.allowed

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        return self.read(tokens.masked_fill(masked, self.mask), masked, context, self.decode)

    def read(self, tokens: Tensor, sites: Tensor, context: Tensor, decode: Decode) -> Tensor:
        """A decoder's features (P, D) at these sites (M, T) of targets (M, T) as they are."""
        longest = int(tokens.ne(self.pad).sum(1).max())
        inputs = self.cmlm.add_special_tokens(tokens[:, :longest])
        return decode(inputs, self.cmlm.shift_positions(sites[:, :longest]), context)

    def no_features(self, *sizes: int) -> Tensor:
        weight = self.cmlm.model.decoder.output_projection.weight
        return weight.new_zeros(*sizes, weight.size(1))

    def project(self, features: Tensor) -> Tensor:
        return apply_linear(self.cmlm.model.decoder.output_projection, features)


class CMLM:
    """fairseq's `cmlm_transformer` with its dictionary.

    The state space is fixed here, once: fairseq adds words to the dictionary while it scores.
    """

    def __init__(self, model: CMLMNATransformerModel, dictionary: Dictionary):
        self.model, self.decoder = model, decoder_of(model)
        self.pad, self.bos, self.eos = dictionary.pad(), dictionary.bos(), dictionary.eos()
        self.mask = dictionary.unk()
        self.allowed = allowed_symbols(dictionary).to(next(model.parameters()).device)

    def bind(self, encoder_out: dict) -> Bound:
        return Bound(self, encoder_out)

    @property
    def longest(self) -> int:
        """The most tokens that a target may hold."""
        return self.model.max_decoder_positions() - 2  # BOS and EOS

    def add_special_tokens(self, tokens: Tensor) -> Tensor:
        """What the decoder reads: (M, T) -> (M, T + 2)."""
        inputs = tokens.new_full((len(tokens), tokens.size(1) + 2), self.pad)
        inputs[:, 0] = self.bos
        inputs[:, 1:-1] = tokens
        return inputs.scatter_(1, tokens.ne(self.pad).sum(1, keepdim=True) + 1, self.eos)

    def shift_positions(self, sites: Tensor) -> Tensor:
        """These positions of X among those that the decoder reads: (M, T) bool -> (M, T + 2)."""
        return F.pad(sites, (1, 1))

    def target(self, line: Tensor) -> Tensor:
        """The tokens of a reference (L,) as fairseq hands it out: without BOS, EOS and padding."""
        return line[~torch.isin(line, line.new_tensor([self.bos, self.eos, self.pad]))]

    def hypothesis(self, tokens: Tensor) -> Tensor:
        """A target's tokens (T,) with BOS and EOS around them, as in the stock generator's hypotheses: (T + 2,)."""
        return torch.cat([tokens.new_tensor([self.bos]), tokens, tokens.new_tensor([self.eos])])

    def length_log_probs(self, encoder_out: dict) -> Tensor:
        """log p(T | source): (B, longest + 1) float32, minus infinity where impossible."""
        decoder = self.model.decoder
        log_p = decoder.forward_length(normalize=False, encoder_out=encoder_out).float().log_softmax(-1)
        classes = torch.arange(self.longest + 1, device=log_p.device) + 2  # BOS and EOS
        classes = classes.expand(len(log_p), -1)
        if decoder.pred_length_offset:  # the class is then the difference to the source's length, plus 128
            source = (~encoder_out["encoder_padding_mask"][0]).sum(1, keepdim=True)
            classes = classes - source + log_p.size(1) // 2
        possible = (classes >= 0) & (classes < log_p.size(1))
        possible[:, 0] = False
        return log_p.gather(1, classes.clamp(0, log_p.size(1) - 1)).masked_fill(~possible, -torch.inf)


class MaskPredictCMLM(CMLM):
    """Mask-Predict's own model: a target X ends with EOS, wherever the model puts it, and is masked with <mask>."""

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
        log_p[:, 1] = -torch.inf  # EOS alone; the published decoder takes 2 tokens instead
        return log_p


def cmlm_of(model: CMLMNATransformerModel, dictionary: Dictionary) -> CMLM:
    """Raises UserError for a model that is none."""
    if not isinstance(model, CMLMNATransformerModel) or isinstance(model, ElectricTransformer):
        kinds = "cmlm_transformer, mask_predict_transformer"
        raise UserError(f"the checkpoint holds a {type(model).__name__}, and not a CMLM ({kinds})")
    if model.decoder.src_embedding_copy:
        raise UserError("a model with --src-embedding-copy is no CMLM: its first pass does not see the mask")
    return (MaskPredictCMLM if isinstance(model, MaskPredictTransformer) else CMLM)(model, dictionary)


class StockDecoder:
    """fairseq's own, the encoder's output repeated for every row."""

    def __init__(self, model: CMLMNATransformerModel, reason: ValueError):
        self.model, self.reason = model, reason
        logger.info("the stock decoder is used, several times slower: this model has %s", reason)

    def bind(self, encoder_out: dict) -> Decode:
        def decode(inputs: Tensor, asked: Tensor, context: Tensor) -> Tensor:
            repeated = self.model.encoder.reorder_encoder_out(encoder_out, context)
            return self.model.decoder.extract_features(inputs, encoder_out=repeated)[0][asked]

        return decode

    def bind_two_streams(self, encoder_out: dict, mask: int) -> Decode:
        raise UserError(f"two streams need a plain decoder; this model has {self.reason}")


def decoder_of(model: CMLMNATransformerModel) -> DecoderEngine | StockDecoder:
    """The engine, or the stock decoder where the engine lacks a part."""
    try:
        return DecoderEngine(model.decoder)
    except ValueError as reason:
        return StockDecoder(model, reason)


def allowed_symbols(dictionary: Dictionary) -> Tensor:
    """(V,) bool: no special symbols, and none of the words that only pad the dictionary to a multiple of 8."""
    return torch.tensor(
        [i >= dictionary.nspecial and not dictionary[i].startswith("madeupword") for i in range(len(dictionary))]
    )


def subwords(dictionary: Dictionary) -> str | None:
    """The name under which fairseq joins this dictionary's pieces to words, by what the pieces look like."""
    if any(symbol.startswith("\u2581") for symbol in dictionary.symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in dictionary.symbols) else None
