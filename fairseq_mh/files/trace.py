"""The trace of chains (`--mh-trace`): a JSON line for every sweep of every chain, the start included."""

import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from fairseq_mh.errors import UserError, reason
from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.record import Sweep

logger = logging.getLogger(__name__)


class TraceFile:
    """A trace that is written while decoding goes on. The file is made when its first record is written.

    Args:
        path: of the file.

    Raises:
        UserError: if the file cannot be written.
    """

    def __init__(self, path: str):
        self._lock = threading.Lock()
        self.path, self._file = Path(path), None  # type: Path, TextIO | None
        place = self.path if self.path.exists() else self.path.parent
        if self.path.is_dir() or not place.exists() or not os.access(place, os.W_OK):
            why = "is a folder" if self.path.is_dir() else "its folder does not exist, or it is read-only"
            raise UserError(f"--mh-trace {path} cannot be written: {why}")

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Write records as JSON lines.

        Raises:
            UserError: if the file cannot be written.
        """
        try:
            with self._lock:
                self._file = self._file or self.path.open("w", encoding="utf-8")
                write_records(self._file, records)
        except OSError as error:
            raise UserError(f"--mh-trace cannot be written: {reason(error)}") from None


def write_records(file: TextIO, records: Iterable[dict[str, Any]]) -> None:
    """Write records as JSON lines."""
    file.writelines(json.dumps(record) + "\n" for record in records)
    file.flush()


def trace_records(
    sweeps: Sequence[Sweep], energy: Energy, ids: Sequence[int], lengths: Sequence[int], chains: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield a record for each sweep of N finished chains, one chain after another.

    Args:
        sweeps: of the record of the run.
        energy: of the target.
        ids: the sentence of each chain.
        lengths: the number of tokens of each chain's states.
        chains: the number of each chain among those of its length.
    """
    by_sweep = [_values(sweep, energy) for sweep in sweeps]  # as lists: indexing tensors takes much longer
    for n, (sentence, length, chain) in enumerate(zip(ids, lengths, chains, strict=True)):
        for sweep, tokens, energies, counts in by_sweep:
            yield {
                "id": sentence,
                "length": length,
                "chain": chain,
                "sweep": counts["sweep"][n],
                "temperature": sweep.temperature,
                "tokens": tokens[n][:length],
                **{name: json_number(nats[n]) for name, nats in energies.items()},
                **{name: values[n] for name, values in counts.items() if name != "sweep"},
            }


def _values(sweep: Sweep, energy: Energy) -> tuple[Sweep, list, dict[str, list], dict[str, list]]:
    """Return a sweep of N chains; its tokens, N lists; and its energies and counts, lists of N, by their fields."""
    scores = sweep.end.scores
    energies = {"energy": energy.total(scores)}
    energies |= {f"energy_{name}": nats for name, nats in energy.by_name(scores).items()}
    counts = {"sweep": sweep.end.sweep} | {name: getattr(sweep, name) for name in ("proposals", "accepted", "novel")}
    counts |= sweep.cost._asdict()
    energy_lists, count_lists = (
        {name: values.tolist() for name, values in part.items()} for part in (energies, counts)
    )
    return sweep, sweep.end.tokens.tolist(), energy_lists, count_lists


def warn_of_broken(sweeps: Sequence[Sweep]) -> None:
    """Log a warning if proposals were rejected because the model produced NaN."""
    broken = sum(int(sweep.broken.sum()) for sweep in sweeps)
    if broken:
        logger.warning("%d proposals left the state as it was, because the model produced NaN", broken)


def json_number(value: float) -> float | None:
    """Return the number, or None if JSON cannot hold it (an infinite or broken energy)."""
    return value if math.isfinite(value) else None
