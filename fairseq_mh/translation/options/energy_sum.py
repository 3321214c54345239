"""The value of `--mh-energy`: a list of terms, `two-stream,teacher.pt:0.5,ranker.pt:0.2`.

A term is the name of one of the CMLM's own energies, or a checkpoint, and may have a weight. A weight of 0 puts the
term into trace and output only.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_mh.errors import UserError, did_you_mean
from fairseq_mh.mcmc.energy import ENERGIES

TWO_STREAM = "two-stream"
OWN_ENERGIES = (*ENERGIES, TWO_STREAM)


class Summand(NamedTuple):
    """A term that a user asks for.

    Attributes:
        name: of its column in trace and output.
        path: of its checkpoint; None for an energy of the CMLM's own.
        weight: 0 or more.
    """

    name: str
    path: str | None
    weight: float


def parse_energy(given: str) -> list[Summand]:
    """Return the terms of `TERM[:WEIGHT][,TERM[:WEIGHT]...]`; a weight is 1 unless given.

    Raises:
        UserError: for an unknown name, a weight that is no number, or terms that cannot be summed.
    """
    found: list[Summand] = []
    for part in given.split(","):
        term, colon, weight = part.strip().rpartition(":")
        name, number = (term, _weight(weight, part)) if colon else (weight, 1.0)
        if name in OWN_ENERGIES:
            found.append(Summand(name, None, number))
        elif Path(name).suffix or "/" in name:
            found.append(Summand(_unused(Path(name).stem, found), name, number))
        else:
            near = did_you_mean(name, OWN_ENERGIES)
            raise UserError(
                f"--mh-energy {given}: there is no energy {name!r}{near} (name {', '.join(OWN_ENERGIES)}, or a "
                "checkpoint, each perhaps with :WEIGHT)"
            )
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UserError(f"--mh-energy {given}: a term is named twice")
    if not any(one.weight for one in found):
        raise UserError(f"--mh-energy {given}: at least one weight must be above 0")
    return found


def checkpoints_of(given: str | None) -> list[str]:
    """Return the paths of the checkpoints that a value of `--mh-energy` names."""
    return [one.path for one in parse_energy(given) if one.path] if given else []


def _weight(given: str, part: str) -> float:
    try:
        number = float(given)
    except ValueError:
        raise UserError(f"--mh-energy {part}: the weight {given!r} is no number (TERM:WEIGHT)") from None
    if not 0 <= number < math.inf:
        raise UserError(f"--mh-energy {part}: the weight must be at least 0, and finite")
    return number


def _unused(stem: str, found: Sequence[Summand]) -> str:
    """Return a name for a checkpoint's column: its stem, and a number if that is taken."""
    taken = {one.name for one in found} | set(OWN_ENERGIES)
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
