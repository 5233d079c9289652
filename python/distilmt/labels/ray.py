"""A labelling on a Ray cluster: one actor per worker, and no more than that.

Ray starts the workers and the job replaces those that die; what is done, by whom, and what counts is the business of the job's
folder, which all nodes must see, so the guarantees and the bytes are those of `distilmt label`, and other workers may
join. `distilmt labels status` shows how far it is.

    from distilmt.labels.ray import label
    labels = label(workers=32, threads_each=4, model="TEACHER", source="mono.de", out="labels/", n_best=8)
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from distilmt.energy import Meter
from distilmt.errors import ConfigError, DeviceFailed, ResourceError
from distilmt.interface.config import resolve
from distilmt.label import LabelConfig, Labels
from distilmt.labels.events import Log
from distilmt.labels.job import carry_out, prepare
from distilmt.labels.pool import DEATHS
from distilmt.labels.worker import Work, from_json, to_json, work
from distilmt.translator.device import kind


class _Actor:
    """One worker; `run` ends when all shards are done."""

    def run(self, data: str) -> None:
        from distilmt.labels.teacher import Teacher

        job = from_json(data)
        log, began, waiting = Log(Path(job.folder)), time.perf_counter(), 0.0
        log.begin(1, job.threads, job.shards.count)

        def report(message: dict[str, Any]) -> None:
            nonlocal waiting
            waiting += message.get("waiting", 0.0)
            log.tell(message)
            if "decoding" in message:
                log.used(meter.so_far())

        with Meter(job.config.metering) as meter:
            try:
                work(job, Teacher(job.config, job.threads), report)
            finally:
                with suppress(ResourceError):
                    seconds = time.perf_counter() - began - waiting
                    log.add("end", worker_seconds=seconds, usage=asdict(meter.so_far()))


def label(config: LabelConfig | None = None, *, threads_each: int = 1, **options: Any) -> Labels:
    """`distilmt.label` with its `workers` as Ray actors.

    Args:
        threads_each: CPUs that Ray reserves for a worker, and its threads; with device="cuda" a GPU too, the only one
            that it sees.
    Raises: ConfigError: Ray is not installed, or an option; DataError, ResourceError: as `distilmt.label`.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("labelling on a cluster needs Ray: pip install 'distilmt[ray]'") from None
    config = resolve(LabelConfig, config, **options)
    if config.shard is not None or config.dry_run:
        raise ConfigError("--shard and --dry-run have no meaning on Ray: leave them out")
    job = prepare(config)
    if not ray.is_initialized():
        ray.init()

    device = kind(config.asked.device)
    gpus = 1 if device == "cuda" else 0
    actor_class: Any = ray.remote(num_cpus=threads_each, num_gpus=gpus, max_restarts=0)(_Actor)
    own = replace(job.config, asked=replace(job.config.asked, device=device))  # an actor's GPU is its first
    data = to_json(replace(job, config=own, threads=threads_each))
    running: dict[Any, Any] = {}
    for _ in range(config.workers):
        actor = actor_class.remote()
        running[actor.run.remote(data)] = actor
    deaths = 0
    while running:
        done, _ = ray.wait(list(running))
        for task in done:
            running.pop(task)
            try:
                ray.get(task)
            except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError) as error:
                cause: BaseException = getattr(error, "cause", error)
                if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(cause, DeviceFailed):
                    raise cause from None
                deaths += 1
                if deaths > DEATHS:
                    raise ResourceError(f"{config.out}: {deaths} workers died ({error}) - see the cluster") from None
                actor = actor_class.remote()
                running[actor.run.remote(data)] = actor
    return _merged(job, Path(config.out))


def _merged(job: Work, folder: Path) -> Labels:
    labels = carry_out(replace(job, config=replace(job.config, workers=1)), folder)
    assert labels is not None  # no --shard
    return labels
