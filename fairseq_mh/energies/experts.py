"""Other models whose energies of whole targets are terms of the sampled energy.

To add a kind of model, write a class with the methods of `ModelEnergy`, and add it to `KINDS`, or to `REVERSE_KINDS` if
the model translates targets into sources.
"""

from typing import Any, Protocol

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.noisy_channel import NoisyChannel
from fairseq_mh.energies.two_stream import OtherCMLM
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.energy import OnePassEnergy


class ModelEnergy(Protocol):
    """A loaded model and its energy of targets.

    Attributes:
        bounded: whether each position's share of the energy is at least 0.
        autoregressive: whether its rows are counted as rows of autoregressive models.
        longest_source: the most symbols of a source, BOS and EOS included.
        longest_target: the most tokens of a target, without BOS and EOS.
    """

    bounded: bool
    autoregressive: bool
    longest_source: int
    longest_target: int

    def __init__(self, model: Any, dictionary: Dictionary, cmlm: CMLM):
        """Wrap a loaded model.

        Args:
            model: the model, in eval mode, in the CMLM's precision and on its device.
            dictionary: the dictionary of the targets.
            cmlm: the model of the chains.

        Raises:
            UserError: if this kind cannot use the model or the CMLM.
        """
        ...

    @staticmethod
    def reads(model: Any) -> bool:
        """Tell whether a loaded model is of this kind."""
        ...

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> OnePassEnergy:
        """Return the energy of targets of these sources.

        Args:
            encoder_out: the output of the CMLM's encoder.
            source: the sources' tokens (B, S) long and lengths (B,) long.
        """
        ...


def model_energy(path: str, model: Any, dictionary: Dictionary, cmlm: CMLM, reverse: bool = False) -> ModelEnergy:
    """Return the energy of a loaded model.

    Args:
        path: the path of its checkpoint, for messages.
        model: the model; it is moved to the CMLM's precision and device.
        dictionary: the dictionary of the targets.
        cmlm: the model of the chains.
        reverse: whether the model translates targets into sources.

    Raises:
        UserError: if the model is of no kind in the list of its direction, or its kind cannot use it.
    """
    model = model.eval().to(next(cmlm.model.parameters()))
    for kind in REVERSE_KINDS if reverse else KINDS:
        if kind.reads(model):
            return kind(model, dictionary, cmlm)
    if reverse:
        raise UserError(
            f"{path} holds a {type(model).__name__} that translates targets into sources, which has no energy; of that "
            "direction, use an autoregressive transformer"
        )
    raise UserError(
        f"{path} holds a {type(model).__name__}, which has no energy; use an autoregressive transformer, an "
        "electric_transformer or a cmlm_transformer"
    )


KINDS: tuple[type[ModelEnergy], ...] = (Electric, OtherCMLM, Autoregressive)
REVERSE_KINDS: tuple[type[ModelEnergy], ...] = (NoisyChannel,)
