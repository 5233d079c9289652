"""A labelling from command to results: the job's identity, its workers, what they report, the merge."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from distilmt.energy import Meter
from distilmt.errors import DataError, ResourceError
from distilmt.interface.config import to_dict
from distilmt.label import LabelConfig, Labels
from distilmt.labels import merge as merging
from distilmt.labels.cost import NAME, cost
from distilmt.labels.events import Log
from distilmt.labels.lease import look
from distilmt.labels.manifest import describe, open_manifest
from distilmt.labels.pool import run_workers
from distilmt.labels.proof import proven
from distilmt.labels.shards import Shards
from distilmt.labels.source import Text, read_text
from distilmt.labels.worker import Work
from distilmt.state.storage import disk_errors, write_json
from distilmt.translator import search
from distilmt.translator.model_options import folder_of

REPAIRS = 3  # times that a shard is labelled anew because the disk gave back something else


def run(config: LabelConfig) -> Labels | None:
    """`distilmt label`; see there."""
    folder = Path(config.out)
    if config.new_run:
        move_aside(folder)
    job = prepare(config)
    return carry_out(job, folder)


def prepare(config: LabelConfig) -> Work:
    """Reads texts and model, and opens the job's folder.

    Raises: ConfigError: it is a job of other inputs. DataError: the texts cannot be labelled.
    """
    from distilmt.translator.native_model import Generation  # the command line starts without the native part

    folder, model = Path(config.out), folder_of(config.model)
    # What cannot be is said before a manifest binds the folder to it.
    search.resolve(config.search.options(), Generation(eos=0, start=0))
    if not (model / "config.json").is_file():
        raise DataError(f"{model}: no model (config.json is missing) - name the folder of a trained one")
    if config.soft_labels:
        from distilmt.labels.teacher import soft_vocab

        soft_vocab(model)
    text, target = read_texts(config)
    identity = open_manifest(folder, describe(config, model, text, target))
    absolute = {
        name: os.path.abspath(path) for name in ("model", "source", "target") if (path := getattr(config, name))
    }
    asked = replace(config.asked, also=tuple(str(folder_of(each).resolve()) for each in config.asked.also))
    config = replace(config, **absolute | {"model": str(model.resolve()), "asked": asked, "new_run": False})
    # For `distilmt labels redo`, which has to find model and text again.
    write_json(folder / "job.json", to_dict(config))
    return Work(str(folder), identity.hex(), text, target, config)


def read_texts(config: LabelConfig) -> tuple[Text, Text | None]:
    """Source and gold target. Raises: DataError: they are not aligned, or no text."""
    text = read_text(config.source, config.shard_lines, config.on_invalid_utf8)
    if config.target is None:
        return text, None
    target = read_text(config.target, config.shard_lines, config.on_invalid_utf8)
    if target.lines != text.lines:
        from distilmt.corpus import read_pairs

        read_pairs(config.source, config.target, on_invalid_utf8=config.on_invalid_utf8)  # says where they part
    return text, target


def carry_out(job: Work, folder: Path) -> Labels | None:
    """Has the work done and merges it.

    Args:
        job: what is to be done; its folder is `folder`, or one below it for what is redone.
    Returns: None where shards of others are still to be done.
    """
    from distilmt.energy.machine import usable_cpus

    config, shards, log = job.config, job.shards, Log(folder)
    threads = config.threads or usable_cpus()
    log.begin(config.workers, threads, shards.count)
    repairs: Counter[tuple[Path, int]] = Counter()
    with _sigterm_interrupts(), Meter(config.metering) as meter, _Show(job, log, meter) as show:
        began = time.perf_counter()
        try:
            while True:
                if not shards.finished().issuperset(job.wanted()):
                    run_workers(job, config.workers, show, threads)
                if not shards.finished().issuperset(job.wanted(everyone=True)):
                    print(f"distilmt: {folder}: shards of others (--shard) are still to be done", file=sys.stderr)
                    return None
                try:
                    labels = _merged(folder, config)
                    break
                except merging.Damaged as error:
                    place = (error.shards.folder, error.shard)
                    repairs[place] += 1
                    if repairs[place] > REPAIRS or error.shards.folder != shards.folder:
                        raise
                    print(f"distilmt: {error}", file=sys.stderr)
                    log.add("redo_shard", shard=error.shard, cause=str(error))
                    error.shards.reopen(error.shard)
            log.add("merged", lines=labels.lines)
        finally:
            seconds = time.perf_counter() - began
            with suppress(ResourceError):
                log.add("end", worker_seconds=seconds * config.workers - show.waiting, usage=asdict(meter.so_far()))
    with suppress(ResourceError):
        write_json(folder / NAME, cost(folder))
    return labels


def _merged(folder: Path, config: LabelConfig) -> Labels:
    """Merges, or waits for the process that does: the merge, of redone lines too, is one more shard of the job."""
    stored = merging.Stored(folder)
    base = Shards(folder, stored.job, stored.base.count, config.lease_seconds)
    suffix = "" if config.compress == "none" else f".{config.compress}"
    while True:
        lease = base.take([base.count], {})
        try:
            labels = proven(folder, segments=lease is not None)
            if labels is not None and labels.files["pseudo"] == f"pseudo.txt{suffix}":
                return labels
            if lease is not None:
                return merging.merge(folder, folder_of(config.model), suffix, lease)
        except merging.Superseded:
            continue
        finally:
            if lease is not None:
                lease.end("done")
        time.sleep(min(0.5, config.lease_seconds / 6))


class _Show:
    """Takes what workers report: to the log, and to a progress bar."""

    def __init__(self, job: Work, log: Log, meter: Meter) -> None:
        self.job, self.log, self.meter, self.waiting = job, log, meter, 0.0
        self.verdicts: Counter[str] = Counter()
        self.tokens, self.began = 0, time.perf_counter()
        self.at: dict[int, int] = {}  # lines behind which the latest attempt at a shard is,
        self.shown: Counter[int] = Counter()  # and how many of the shard the bar has seen

    def __enter__(self) -> _Show:
        from distilmt.interface import progress

        shards = self.job.shards
        self.shown.update({shard: len(self.job.numbers(shard)) for shard in shards.finished() if shard < shards.count})
        total = self.job.text.lines if self.job.lines is None else sum(map(len, self.job.lines.values()))
        self.bar = progress.bar(total, "labelling", "line", self.shown.total())
        self.log.add("cost", usage=asdict(self.meter.so_far()))
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, message: dict[str, Any]) -> None:
        self.waiting += message.get("waiting", 0.0)
        self.log.tell(message)
        if "decoding" in message:
            self.verdicts.update(message["verdicts"])
            self.tokens += message["tokens"]
            speed = self.tokens / (time.perf_counter() - self.began)
            doubtful = ", ".join(f"{count:,} {name}" for name, count in self.verdicts.most_common() if name != "ok")
            used = self.meter.so_far()
            self.log.used(used)
            energy = f"; {used.joules:,.0f} J" if used.joules is not None else ""
            said = f"{speed:,.0f} tokens/s{energy}" + (f"; {doubtful}" if doubtful else "")
            self.bar.set_postfix_str(said, refresh=False)
        self.bar.update(self._unseen(message))

    def _unseen(self, message: dict[str, Any]) -> int:
        """Lines of a report that the bar lacks: what an attempt keeps of another was counted if this session wrote it."""
        if "lines" not in message:
            return 0
        shard = message["shard"]
        self.at[shard] = message["lines"] + (0 if "kept" in message else self.at.get(shard, 0))
        more = max(0, self.at[shard] - self.shown[shard])
        self.shown[shard] += more
        return more


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A scheduler's SIGTERM ends a job as Ctrl-C does: in good order, to be continued."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def move_aside(folder: Path) -> None:
    """Keeps a job under another name.

    Raises: ResourceError: a worker is at work in it.
    """
    if not (folder / "manifest.json").exists():
        return
    latest = [
        generation / "leases" / f"{shard:06}.{attempt}"
        for generation in (folder, *folder.glob("redo/*"))
        for shard, attempt in Shards(generation, bytes(32), 0, 0.0).attempts().items()
    ]
    for seen in map(look, latest):
        if seen.state == "held" and not seen.gone:
            owner = seen.content["owner"]
            raise ResourceError(
                f"{folder}: process {owner.get('pid')} on host {owner.get('host')} works in it - end it first, or choose "
                f"another --out (if it is dead: delete {folder})"
            )
    number = 1
    while (old := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    with disk_errors(folder):
        os.rename(folder, old)
    print(f"distilmt: the old job is kept in {old}", file=sys.stderr)
