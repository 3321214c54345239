"""The model of Mask-Predict's published checkpoints (Ghazvininejad et al., 2019), on fairseq's own layers.

It differs from fairseq's `cmlm_transformer`:

- The encoder reads a length token before the source, and predicts from it how many tokens the target has.
- A target has no BOS, and its EOS is treated like any other token: it is masked, predicted and counted.
- Targets are masked with `<mask>`, a symbol of the dictionary.
- Embeddings are not scaled, positions are learned, and LayerNorm has another epsilon.

This model reads BOS, which `translation_lev` puts before every line, as padding.
"""

import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.nat import CMLMNATransformerModel, FairseqNATEncoder
from fairseq.models.nat.cmlm_transformer import cmlm_base_architecture
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from torch import Tensor, nn

MASK = "<mask>"
EPSILON = 1e-12  # of LayerNorm
LENGTH_TOKEN = 0  # index of the length token in the length embeddings; index n > 0 stands for n tokens


class LengthTokenEncoder(FairseqNATEncoder):
    """An encoder that reads a length token before the source and returns that token's output separately."""

    def __init__(self, args, dictionary, embed_tokens):
        super().__init__(args, dictionary, embed_tokens)
        self.bos, self.eos = dictionary.bos(), dictionary.eos()
        self.embed_lengths = nn.Embedding(args.max_target_positions, embed_tokens.embedding_dim)

    def forward(self, src_tokens: Tensor, *args, **kwargs) -> dict:
        """Return the output of fairseq's encoder with `length_token` added: [(B, D)]."""
        first = torch.full_like(src_tokens[:, :1], self.eos)  # any symbol will do, because its embedding is not used
        sources = src_tokens.masked_fill(src_tokens == self.bos, self.padding_idx)
        encoded = super().forward(torch.cat([first, sources], 1), *args, **kwargs)
        x, padding = encoded["encoder_out"][0], encoded["encoder_padding_mask"][0]
        return {**encoded, "encoder_out": [x[1:]], "encoder_padding_mask": [padding[:, 1:]], "length_token": [x[0]]}

    def forward_embedding(self, src_tokens: Tensor, token_embedding=None) -> tuple[Tensor, Tensor]:
        x, embedded = super().forward_embedding(src_tokens[:, 1:], token_embedding)
        token = self.embed_lengths.weight[LENGTH_TOKEN].expand(len(x), 1, -1)
        return torch.cat([token, x], 1), embedded


@register_model("mask_predict_transformer")
class MaskPredictTransformer(CMLMNATransformerModel):
    """Mask-Predict's model, which fairseq's `nat_loss` trains and this plugin decodes.

    Raises:
        ValueError: if the target dictionary has no `<mask>`.
    """

    def __init__(self, args, encoder: LengthTokenEncoder, decoder):
        super().__init__(args, encoder, decoder)
        self.mask = decoder.dictionary.index(MASK)
        if self.mask == self.unk:
            raise ValueError(
                f"the target dictionary has no {MASK}: put the line '{MASK} 0' in front of it, and binarise"
            )
        del decoder.embed_length  # here the encoder predicts the length
        for norm in self.modules():
            if hasattr(norm, "eps"):
                norm.eps = EPSILON

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens) -> LengthTokenEncoder:
        encoder = LengthTokenEncoder(args, src_dict, embed_tokens)
        return encoder.apply(init_bert_params) if args.apply_bert_init else encoder

    def length_logits(self, encoder_out: dict) -> Tensor:
        """Return the logits of the number of tokens, EOS included: (B, max_target_positions).

        The logit of 0 tokens is minus infinity.
        """
        logits = nn.functional.linear(encoder_out["length_token"][0], self.encoder.embed_lengths.weight)
        return logits.index_fill(1, torch.zeros(1, dtype=torch.long, device=logits.device), -torch.inf)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor, tgt_tokens: Tensor, **kwargs
    ):
        """Return the logits of words and lengths with their targets, in the form that `nat_loss` reads.

        The model masks the targets itself, because the noise of fairseq's task never masks EOS.
        """
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **kwargs)
        targets = tgt_tokens.masked_fill(tgt_tokens == self.bos, self.pad)
        lengths = targets.ne(self.pad).sum(1)
        masked = random_mask(targets.ne(self.pad))
        words = self.decoder(
            normalize=False, prev_output_tokens=targets.masked_fill(masked, self.mask), encoder_out=encoder_out
        )
        smoothing, factor = self.args.label_smoothing, self.decoder.length_loss_factor
        logits = self.length_logits(encoder_out)
        return {
            "word_ins": {"out": words, "tgt": targets, "mask": masked, "ls": smoothing, "nll_loss": True},
            "length": {"out": logits, "tgt": lengths.clamp(max=logits.size(1) - 1), "factor": factor},
        }


def random_mask(valid: Tensor, max_share: float = 1.0) -> Tensor:
    """Mask a random number of each sequence's positions.

    The number is uniform between 1 and the largest share of the positions; the positions are drawn uniformly, too.

    Args:
        valid: (B, T) bool, the positions to choose from.
        max_share: the largest share of a sequence's positions.

    Returns:
        (B, T) bool.
    """
    lengths = valid.sum(1, keepdim=True)
    count = (torch.rand(len(valid), 1, device=valid.device) * lengths * max_share).long() + 1
    order = torch.rand(valid.shape, device=valid.device).masked_fill(~valid, 2).argsort(1)
    return torch.zeros_like(valid).scatter(1, order, torch.arange(valid.size(1), device=valid.device) < count)


@register_model_architecture("mask_predict_transformer", "mask_predict_transformer")
def mask_predict_architecture(args) -> None:
    """Set the defaults of the published models: transformer_base with learned positions, gelu, shared embeddings."""
    defaults = {
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "no_scale_embedding": True,
        "activation_fn": "gelu",
        "share_all_embeddings": not getattr(args, "share_decoder_input_output_embed", False),
        "apply_bert_init": True,
        "max_target_positions": 1024,
    }
    for name in defaults.keys() - vars(args).keys():
        setattr(args, name, defaults[name])
    cmlm_base_architecture(args)
