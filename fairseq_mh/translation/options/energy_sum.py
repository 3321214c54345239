"""The value of `--mh-energy`: a list of terms, `two-stream,teacher.pt:0.5,electric.pt:0.2`.

A term is the name of one of the CMLM's own energies, or a checkpoint, and may have a weight. A term of weight 0 is only
written to trace and output. `teacher.pt:0/0.2` has weight 0 in the energy that chains sample, and 0.2 in the one that
orders their states. The name of an existing file may hold commas and colons.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_mh.errors import UserError, did_you_mean
from fairseq_mh.files.checkpoints import split_names
from fairseq_mh.mcmc.energy import ENERGIES

TWO_STREAM = "two-stream"
OWN_ENERGIES = (*ENERGIES, TWO_STREAM)


class Summand(NamedTuple):
    """A term of `--mh-energy`.

    Attributes:
        name: the name of its column in trace and output.
        path: the path of its checkpoint; None for one of the CMLM's own energies.
        weight: its weight in the energy that chains sample, 0 or more.
        order_weight: its weight in the energy that orders hypotheses, 0 or more.
    """

    name: str
    path: str | None
    weight: float
    order_weight: float


def parse_energy(given: str) -> list[Summand]:
    """Parse the terms `TERM[:WEIGHT[/ORDER_WEIGHT]],...`; the default weight is 1, and that of the order the same.

    Raises:
        UserError: if a name is unknown or used twice, a weight is not a number of 0 or more, or all weights of the
            chains or of the order are 0.
    """
    found: list[Summand] = []
    for part in split_names(given, ",", _names_file):
        whole, term = _readings(part)
        has_weight = term and not os.path.isfile(whole)
        name, weights = (term, _weights(whole[len(term) + 1 :], part)) if has_weight else (whole, (1.0, 1.0))
        if name in OWN_ENERGIES:
            found.append(Summand(name, None, *weights))
        elif Path(name).suffix or "/" in name or os.path.isfile(name):
            found.append(Summand(_unused(Path(name).stem, found), name, *weights))
        else:
            near = did_you_mean(name, OWN_ENERGIES)
            raise UserError(
                f"--mh-energy {given}: there is no energy {name!r}{near} (use {', '.join(OWN_ENERGIES)} or the path of "
                "a checkpoint, each with an optional :WEIGHT)"
            )
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UserError(f"--mh-energy {given}: a term is named twice; name each term once")
    if not (any(one.weight for one in found) and any(one.order_weight for one in found)):
        raise UserError(f"--mh-energy {given}: at least one weight must be above 0, also of those after a slash")
    return found


def _readings(part: str) -> tuple[str, str]:
    """Return a term as a name without a weight, and the name before its weight, if it has a colon."""
    return part.strip(), part.strip().rpartition(":")[0]


def _names_file(part: str) -> bool:
    """Tell whether a part of a list is an existing file, perhaps with a weight, which holds no comma."""
    whole, term = _readings(part)
    return os.path.isfile(whole) or (os.path.isfile(term) and "," not in whole[len(term) :])


def checkpoints_of(given: str | None) -> list[str]:
    """Return the paths of the checkpoints in a value of `--mh-energy`.

    Raises:
        UserError: as in `parse_energy`.
    """
    return [one.path for one in parse_energy(given) if one.path] if given else []


def _weights(given: str, part: str) -> tuple[float, float]:
    """Return the weights `WEIGHT[/ORDER_WEIGHT]` of a term."""
    first, slash, second = given.partition("/")
    try:
        weights = float(first), float(second if slash else first)
    except ValueError:
        raise UserError(
            f"--mh-energy {part}: the weight {given!r} is not a number (use TERM:WEIGHT, or TERM:WEIGHT/ORDER_WEIGHT)"
        ) from None
    if not all(0 <= weight < math.inf for weight in weights):
        raise UserError(f"--mh-energy {part}: the weight must be at least 0 and finite")
    return weights


def _unused(stem: str, found: Sequence[Summand]) -> str:
    """Return a name for a checkpoint's column: the stem of its path, with a number if that name is taken."""
    taken = {one.name for one in found} | set(OWN_ENERGIES)
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
