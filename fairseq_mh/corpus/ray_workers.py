"""Workers as actors of Ray Data, a device each.

An actor is given a span, reads its lines itself, and gives the chunk back; the driver alone writes. So an actor that
dies takes nothing with it but its time: Ray starts another, and gives it the span again.
"""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk, Job
from fairseq_mh.errors import UserError, one_line

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning
except ImportError:
    raise UserError("workers are Ray's, which is not installed (pip install 'fairseq-mh[ray]')") from None
from fairseq_mh.corpus.ray_actor import SECONDS, Actor, Tally

DEATHS = 3  # of workers at the same chunk, after which it is given up: it would kill the next one, too
RESTARTS = 30  # of the same actor, at whatever: a machine on which none lives


def with_sweeps(rows: Iterator[dict[str, Any]], tally: Any) -> Iterator[dict[str, Any] | int]:
    """Yield rows, and now and then the number of sweeps that the workers have ended since the last time."""
    known, reader = 0, ThreadPoolExecutor(1)
    try:
        while True:
            row = reader.submit(next, rows, None)
            while not wait([row], timeout=SECONDS).done:
                with suppress(ray.exceptions.RayError):
                    found = ray.get(tally.value.remote())
                    yield found - known
                    known = found
            if (finished := row.result()) is None:
                return
            yield finished
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def on_ray(job: Job, spans: list[Span], workers: int | None, address: str | None, cpu: bool) -> Iterator[Chunk | int]:
    """Yield the chunks of these spans, in the order in which they are done, and numbers of sweeps that have ended.

    Args:
        workers: how many; None: one for each GPU, or each core where there is none.
        address: of a cluster, on whose machines model and corpus have the same paths; None: a Ray of this run alone.
        cpu: whether GPUs are to be left alone.

    Raises:
        UserError: where Ray cannot be reached, is too small, a worker met what its user must mend, or workers keep
            dying.
    """
    connect(workers, address)
    try:
        kind = "CPU" if cpu or not resources("GPU") else "GPU"
        if (workers or 1) > resources(kind):
            raise UserError(f"--workers {workers}: there are {resources(kind)} {kind}s")
        pool = ActorPoolStrategy(size=min(workers or resources(kind), len(spans)), max_tasks_in_flight_per_actor=1)
        tally = ray.remote(num_cpus=0)(Tally).remote()
        for row in with_sweeps(_rows(job, spans, pool, kind == "GPU", tally), tally):
            if isinstance(row, int):
                yield row
                continue
            if error := row.pop("error"):
                raise UserError(error)
            yield Chunk(**row)
    except ray.exceptions.RayActorError as error:
        raise UserError(f"workers keep dying (of too little memory?): {one_line(error)}") from None
    finally:
        ray.shutdown()


def connect(workers: int | None, address: str | None) -> None:
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells what it raises, too
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)  # how retries will be named (setup.py: < 2.64)
    own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        if address and address != "auto":  # Ray itself would wait for it, for ever
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"Ray cannot be reached or started: {one_line(error)}") from None


def resources(kind: str) -> int:
    return int(ray.cluster_resources().get(kind, 0))


def _rows(job: Job, spans: list[Span], pool: ActorPoolStrategy, gpu: bool, tally: Any) -> Iterator[dict[str, Any]]:
    """Yield rows as the actors give them; in the pool no span waits for its actor while another is idle."""
    DataContext.get_current().enable_progress_bars = False  # the driver has one, of sentences
    found = ray.data.from_items([span._asdict() for span in spans], override_num_blocks=len(spans)).map(
        Actor,
        fn_constructor_args=(job, tally),
        compute=pool,
        num_cpus=not gpu,
        num_gpus=int(gpu),
        max_task_retries=DEATHS,
        max_restarts=RESTARTS,
    )
    for row in found.iter_batches(batch_size=1, prefetch_batches=0):  # `iter_rows` holds back what it has
        yield {name: values.tolist()[0] for name, values in row.items()}
