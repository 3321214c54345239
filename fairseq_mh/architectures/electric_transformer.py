"""Electric for translation (Clark et al., 2020), which gives the energies of all tokens of a target in one pass.

    E(X)_t = w . h(X)_t + b,    E(X) = sum_t E(X)_t

h is the decoder's output on a target without masks. Noise-contrastive estimation (`electric_nce`) trains the model such
that p(X_t | X_\\t) is proportional to exp(-E(X)_t).
"""

from argparse import ArgumentParser

from fairseq.models import register_model, register_model_architecture
from fairseq.models.nat import CMLMNATransformerModel
from fairseq.models.nat.cmlm_transformer import cmlm_base_architecture
from torch import Tensor, nn

from fairseq_mh.architectures.two_tower_cloze import TwoTowerCloze


@register_model("electric_transformer")
class ElectricTransformer(CMLMNATransformerModel):
    """A `cmlm_transformer` whose head gives an energy for each token.

    With `--finetune-from-model`, training starts from the weights of a `cmlm_transformer`.
    """

    def __init__(self, args, encoder, decoder):
        super().__init__(args, encoder, decoder)
        self.energy = nn.Linear(decoder.output_embed_dim, 1)
        self.cloze = TwoTowerCloze(args, decoder.dictionary, decoder.embed_tokens) if args.noise_layers else None
        self.encoder_frozen = args.freeze_encoder
        if self.encoder_frozen:
            self.encoder.requires_grad_(False)

    @staticmethod
    def add_args(parser: ArgumentParser) -> None:
        CMLMNATransformerModel.add_args(parser)
        parser.add_argument(
            "--freeze-encoder",
            action="store_true",
            help="do not train the encoder and its embeddings; with --finetune-from-model they stay the CMLM's, so "
            "that both models read one encoding",
        )
        parser.add_argument(
            "--noise-layers",
            type=int,
            metavar="N",
            help="layers in each tower of a cloze model that draws the noise and is trained at the same time; "
            "0: a CMLM draws it",
        )

    def train(self, mode: bool = True) -> "ElectricTransformer":
        super().train(mode)
        self.encoder.train(mode and not self.encoder_frozen)
        return self

    def forward(self, encoder_out: dict, inputs: Tensor) -> Tensor:
        """Return E(X)_t at every position of the decoder's input.

        Args:
            encoder_out: the encoder's output for the B sources.
            inputs: (B, L) long, as `CMLM.add_special_tokens` makes them.

        Returns:
            (B, L) nats; the numbers at special tokens mean nothing.
        """
        features, _ = self.decoder.extract_features(inputs, encoder_out=encoder_out)
        return self.energy(features)[..., 0]

    def upgrade_state_dict_named(self, state_dict: dict, name: str) -> None:
        """Add the initial values of the head, which a CMLM's checkpoint lacks."""
        super().upgrade_state_dict_named(state_dict, name)
        for part, weight in self.state_dict().items():
            if part.startswith(("energy.", "cloze.")):
                state_dict.setdefault(part, weight)


@register_model_architecture("electric_transformer", "electric_transformer")
def electric_architecture(args) -> None:
    """Set the defaults of `cmlm_transformer`, a trained encoder, and noise from a CMLM."""
    args.freeze_encoder = getattr(args, "freeze_encoder", False)
    args.noise_layers = getattr(args, "noise_layers", 0)
    cmlm_base_architecture(args)
