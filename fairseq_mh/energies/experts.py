"""Experts: other models whose energies of whole targets are terms of what the chains of a CMLM sample.

What an expert's energy is depends on its kind: minus the log-probability of an autoregressive model, the energy of an
Electric, or the two-stream energy of another CMLM.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fairseq import checkpoint_utils
from fairseq.models.nat import CMLMNATransformerModel
from fairseq.models.transformer import TransformerModelBase
from fairseq.tasks import FairseqTask
from torch import Tensor

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.electric import Electric, require_cmlm_transformer
from fairseq_mh.energies.two_stream import TwoStream
from fairseq_mh.engine.causal import CausalEngine
from fairseq_mh.errors import UserError, unloadable
from fairseq_mh.masked_lms.cmlm import CMLM, cmlm_of
from fairseq_mh.mcmc.one_pass import OnePassEnergy

# (the CMLM's encoder output, the sources' tokens (B, S) long and lengths (B,) long) -> the energy of their targets
Bind = Callable[[dict, tuple[Tensor, Tensor]], OnePassEnergy]


class Expert(NamedTuple):
    """A model whose energy is a term of the target."""

    bind: Bind
    weight: float  # of the term
    bounded: bool  # whether no position's share is ever below 0
    autoregressive: bool
    longest_source: int  # tokens, BOS and EOS included
    longest_target: int  # tokens, without BOS and EOS


def parse_experts(given: str) -> list[tuple[str, float]]:
    """Return the paths and weights of `PATH[:WEIGHT][,PATH[:WEIGHT]...]`; a weight that is not given is 1.

    Raises:
        UserError: for a weight that is no number above 0.
    """
    experts: list[tuple[str, float]] = []
    for part in given.split(",") if given else ():
        path, colon, weight = part.rpartition(":")
        try:
            number = float(weight) if colon else 1.0
        except ValueError:
            raise UserError(f"--mh-expert {part}: the weight {weight} is no number (PATH:WEIGHT)") from None
        if not 0 < number < float("inf"):
            raise UserError(f"--mh-expert {part}: the weight must be above 0, and finite")
        if not (path if colon else weight):
            raise UserError(f"--mh-expert {given}: a path is missing (PATH:WEIGHT)")
        experts.append((path if colon else weight, number))
    return experts


def load_experts(given: str | None, task: FairseqTask, cmlm: CMLM) -> list[Expert]:
    """Load the experts that `--mh-expert` gives (`parse_experts`), in the CMLM's precision, on its device.

    Raises:
        UserError: as `parse_experts` and `load_expert`.
    """
    return [load_expert(path, weight, task, cmlm) for path, weight in parse_experts(given or "")]


def load_expert(path: str, weight: float, task: FairseqTask, cmlm: CMLM) -> Expert:
    """Load an expert in the CMLM's precision, on its device.

    Args:
        path: of the checkpoint.
        weight: of its term.
        task: whose dictionaries the model was trained with.
        cmlm: the model of the chains.

    Raises:
        UserError: for a file or a model that cannot be an expert, or a CMLM whose targets hold EOS.
    """
    require_cmlm_transformer(cmlm)
    try:
        (model,), _ = checkpoint_utils.load_model_ensemble([path], task=task)
    except (UserError, FileNotFoundError):
        raise
    except OSError as error:
        raise UserError(f"--mh-expert: {error}") from None
    except Exception as error:  # fairseq and torch meet a damaged or unsuitable file in many ways
        raise UserError(f"--mh-expert {path}: {unloadable(error)}") from None
    model = model.eval().to(next(cmlm.model.parameters()))
    return _expert_of(path, model, weight, task, cmlm)


def reranker_of(model: Any, task: FairseqTask, cmlm: CMLM) -> Expert:
    """Return the second model of `--path` as an expert.

    Raises:
        UserError: for a model that is not autoregressive, or a CMLM whose targets hold EOS.
    """
    require_cmlm_transformer(cmlm)
    model.eval()  # returns nothing where fairseq has prepared the model for inference
    model.to(next(cmlm.model.parameters()))
    if type(getattr(model, "decoder", None)) not in CausalEngine.kinds:
        raise UserError(
            "--iter-decode-with-external-reranker needs an autoregressive transformer; the second model of --path is a "
            f"{type(model).__name__}"
        )
    return _expert_of("", model, 1.0, task, cmlm)


def _expert_of(path: str, model: Any, weight: float, task: FairseqTask, cmlm: CMLM) -> Expert:
    """Return a loaded model as an expert."""
    dictionary = task.target_dictionary
    source, target = model.max_positions() if hasattr(model, "max_positions") else (0, 0)
    if isinstance(model, ElectricTransformer):
        return Expert(Electric(model, dictionary, cmlm).bind, weight, False, False, source, target - 2)
    if isinstance(model, CMLMNATransformerModel):
        other = require_cmlm_transformer(cmlm_of(model, dictionary))

        def two_streams(encoder_out: dict, source: tuple[Tensor, Tensor]) -> OnePassEnergy:
            return TwoStream(other.bind(other.model.forward_encoder(source)))

        return Expert(two_streams, weight, True, False, source, other.longest)
    if isinstance(model, TransformerModelBase) and type(model.decoder) in CausalEngine.kinds:
        expert = Autoregressive(model, dictionary)
        return Expert(lambda encoder_out, source: expert.bind(source), weight, True, True, source + 1, target - 1)
    raise UserError(
        f"--mh-expert {path} holds a {type(model).__name__}; an expert is an autoregressive transformer, an "
        "electric_transformer or another cmlm_transformer"
    )
