"""Models whose energies of whole targets are terms of the sampled energy, beside the CMLM's own.

Each kind of model is a class behind `ModelEnergy` and a line in `KINDS`.
"""

from typing import Any, Protocol

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.two_stream import OtherCMLM
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.energy import OnePassEnergy


class ModelEnergy(Protocol):
    """A loaded model with the energy that it gives to targets.

    Attributes:
        bounded: whether no position's share is ever below 0.
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
            model: in eval mode, in the CMLM's precision and on its device.
            dictionary: of the targets.
            cmlm: the model of the chains.

        Raises:
            UserError: for a model or a CMLM that this kind cannot work with.
        """
        ...

    @staticmethod
    def reads(model: Any) -> bool:
        """Return whether a loaded model is of this kind."""
        ...

    def bind(self, encoder_out: dict, source: tuple[Tensor, Tensor]) -> OnePassEnergy:
        """Return the energy of targets of these sources.

        Args:
            encoder_out: the output of the CMLM's encoder.
            source: the sources' tokens (B, S) long and lengths (B,) long.
        """
        ...


def model_energy(path: str, model: Any, dictionary: Dictionary, cmlm: CMLM) -> ModelEnergy:
    """Return the energy that a loaded model gives; the arguments are those of `ModelEnergy`.

    Raises:
        UserError: for a model of no kind.
    """
    model = model.eval().to(next(cmlm.model.parameters()))
    for kind in KINDS:
        if kind.reads(model):
            return kind(model, dictionary, cmlm)
    raise UserError(
        f"{path} holds a {type(model).__name__}, which gives no energy; use an autoregressive transformer, an "
        "electric_transformer or a cmlm_transformer"
    )


KINDS: tuple[type[ModelEnergy], ...] = (Electric, OtherCMLM, Autoregressive)
