"""From options to the energy that the chains of a batch sample: a weighted sum of terms."""

from collections.abc import Callable, Sequence

from torch import Tensor

from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.experts import Expert
from fairseq_mh.energies.two_stream import TwoStream
from fairseq_mh.masked_lms.cmlm import BoundCMLM
from fairseq_mh.mcmc.target import Energy, Term
from fairseq_mh.sampler_config import SamplerConfig, energy_of

ONE_PASS_ENERGIES = ("two-stream", "electric")  # energies that do not take a row for each position


def expert_names(experts: Sequence[object]) -> list[str]:
    """Return the names of the terms of these experts: `expert`, `expert-2`, ..."""
    return ["expert" if number == 0 else f"expert-{number + 1}" for number in range(len(experts))]


def translation_energy(
    cfg: SamplerConfig,
    lm: BoundCMLM,
    encoder_out: dict,
    source: tuple[Tensor, Tensor],
    electric: Electric | None = None,
    experts: Sequence[Expert] = (),
) -> Energy:
    """Return the energy of targets of these sources.

    Args:
        cfg: the options.
        lm: the CMLM with its sources.
        encoder_out: the output of its encoder.
        source: the sources' tokens (B, S) long and lengths (B,) long.
        electric: where the options name its energy.
        experts: further terms.
    """

    def electric_term() -> Term:
        assert electric is not None  # `check` refuses its energy without a checkpoint
        return Term("electric", electric.bind(encoder_out, source))

    one_pass: dict[str, Callable[[], Term]] = {
        "two-stream": lambda: Term("two-stream", TwoStream(lm), bounded=True),
        "electric": electric_term,
    }
    further = [
        Term(name, one.bind(encoder_out, source), one.weight, bounded=one.bounded, expert=one.autoregressive)
        for name, one in zip(expert_names(experts), experts, strict=True)
    ]
    return energy_of(cfg, one_pass, further)
