"""Runs workers as actors of Ray Data, each with its own device.

The driver gives each actor a span. The actor reads the lines of the span itself and returns their chunk; only the
driver writes. If an actor dies, only its working time is lost: Ray starts another one and gives it the same span.
"""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from typing import Any

from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk, Job
from fairseq_mh.errors import UserError, WarnOnce, one_line

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning
except ImportError:
    raise UserError("workers need Ray, which is not installed (pip install 'fairseq-mh[ray]')") from None
from fairseq_mh.corpus.ray_actor import Actor
from fairseq_mh.corpus.tally import Tally

logger = logging.getLogger(__name__)
CHUNK_RETRIES = 3  # after so many workers have died on a chunk, the run ends: the chunk would kill the next one, too
ACTOR_RESTARTS = 30  # of one actor, for any reason; if it needs more, no worker survives on the machine


def on_ray(job: Job, spans: list[Span], workers: int | None, address: str | None, cpu: bool) -> Iterator[Chunk | int]:
    """Yield the chunks of these spans, in the order in which they are finished, and numbers of finished sweeps.

    Args:
        workers: the number of workers; None: one for each GPU, or for each core if there is no GPU.
        address: the address of a cluster, on whose machines model and corpus have the same paths; None: start Ray for
            this run only.
        cpu: whether to use cores even if there are GPUs.

    Raises:
        UserError: if Ray cannot be reached or has too few devices, if a worker meets an error that the user must fix,
            or if workers keep dying.
    """
    connect(workers, address)
    try:
        kind = "CPU" if cpu or not resources("GPU") else "GPU"
        if (workers or 1) > resources(kind):
            raise UserError(f"--workers {workers}: there are only {resources(kind)} {kind}s")
        pool = ActorPoolStrategy(size=min(workers or resources(kind), len(spans)), max_tasks_in_flight_per_actor=1)
        tally = ray.remote(num_cpus=0)(Tally).remote()
        warn_once = WarnOnce(logger)
        for row in _rows(job, spans, pool, kind == "GPU", tally):
            for warning in row.pop("warnings").splitlines():
                warn_once(warning, warning)
            if error := row.pop("error"):
                raise UserError(error)
            yield row.pop("sweeps")
            yield Chunk(**row)
    except ray.exceptions.RayActorError as error:
        raise UserError(f"workers keep dying (is there too little memory?): {one_line(error)}") from None
    finally:
        ray.shutdown()


def connect(workers: int | None, address: str | None) -> None:
    """Start Ray or connect to a cluster; raise UserError if that fails."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it also logs the errors that it raises
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)  # of options that pyproject.toml's Ray still has
    own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        if address and address != "auto":  # Ray itself would wait for a missing cluster for ever
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"Ray cannot be reached or started: {one_line(error)}") from None


def resources(kind: str) -> int:
    """Return the number of devices of a kind (`CPU` or `GPU`)."""
    return int(ray.cluster_resources().get(kind, 0))


def _rows(job: Job, spans: list[Span], pool: ActorPoolStrategy, gpu: bool, tally: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows that the actors return; no span waits for a busy actor while another one is idle."""
    DataContext.get_current().enable_progress_bars = False  # the driver shows its own bar
    translated = ray.data.from_items([span._asdict() for span in spans], override_num_blocks=len(spans)).map(
        Actor,
        fn_constructor_args=(job, tally),
        compute=pool,
        num_cpus=not gpu,
        num_gpus=int(gpu),
        max_task_retries=CHUNK_RETRIES,
        max_restarts=ACTOR_RESTARTS,
    )
    for row in translated.iter_batches(batch_size=1, prefetch_batches=0):  # `iter_rows` delays rows
        yield {name: values.tolist()[0] for name, values in row.items()}
