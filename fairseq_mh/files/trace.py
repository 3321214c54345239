"""The trace of chains (`--mh-trace`): a line of JSON for every sweep of every chain, the start included.

A warning about broken numbers goes to the log.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.record import Sweep
from fairseq_mh.mcmc.target import Energy

logger = logging.getLogger(__name__)


def open_trace(path: str) -> TextIO:
    """Open a trace for writing.

    Raises:
        UserError: where the file cannot be written.
    """
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--mh-trace cannot be written: {error}") from None


def trace_records(
    sweeps: list[Sweep], energy: Energy, ids: Sequence[int], lengths: Sequence[int], chains: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield a record for each sweep of N finished chains, one chain after the other.

    Args:
        sweeps: of the record of the run.
        energy: the target's.
        ids: the sentence of each chain.
        lengths: the tokens of each chain's states.
        chains: the number of each chain among those of its length.
    """
    energies = [(energy.total(sweep.end.scores), energy.by_name(sweep.end.scores)) for sweep in sweeps]
    for n, (sentence, length, chain) in enumerate(zip(ids, lengths, chains, strict=True)):
        for sweep, (total, by_name) in zip(sweeps, energies, strict=True):
            yield {
                "id": sentence,
                "length": length,
                "chain": chain,
                "sweep": int(sweep.end.sweep[n]),
                "temperature": sweep.temperature,
                "tokens": sweep.end.tokens[n, :length].tolist(),
                "energy": json_number(float(total[n])),
                **{f"energy_{name}": json_number(float(nats[n])) for name, nats in by_name.items()},
                "proposals": int(sweep.proposals[n]),
                "accepted": int(sweep.accepted[n]),
                "novel": int(sweep.novel[n]),
                "rows": int(sweep.rows[n]),
                "expert_rows": int(sweep.expert_rows[n]),
            }


def write_trace(
    file: TextIO, sweeps: list[Sweep], energy: Energy, ids: Sequence[int], lengths: Sequence[int], chains: Sequence[int]
) -> None:
    """Write the records of N finished chains (`trace_records`) as JSON lines."""
    file.writelines(json.dumps(record) + "\n" for record in trace_records(sweeps, energy, ids, lengths, chains))
    file.flush()


def warn_of_broken(sweeps: list[Sweep]) -> None:
    """Log a warning where proposals were rejected because the model's numbers were NaN."""
    broken = sum(int(sweep.broken.sum()) for sweep in sweeps)
    if broken:
        logger.warning("%d proposals left the state as it was: the model's numbers were broken (NaN)", broken)


def json_number(value: float) -> float | None:
    """Return the number, or None where JSON cannot hold it (an infinite or broken energy)."""
    return value if math.isfinite(value) else None
