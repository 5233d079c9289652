"""What a labelling has cost, over all its sessions: each is one process that was started, and its workers.

Meters count whole machines. Where n sessions of one machine ran at the same time (two shells, two `--shard`), what each
counted then is taken for the same joules n times, and its n-th part counts of each, at the session's mean power; so it is
with wall time. Shares (`--attribution`, `--gpu-share`) are of one process alone and add up as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt import energy
from distilmt.energy import Usage
from distilmt.labels.events import NOTE_SECONDS, Session, sessions
from distilmt.labels.merge import RESULT, header
from distilmt.state.storage import read_json

if TYPE_CHECKING:
    from distilmt.run import Run
    from distilmt.soft_labels import SoftLabelsStore

NAME = "cost.json"
ELSEWHERE = "soft-labels-made-elsewhere"


def cost(folder: Path) -> dict[str, Any]:
    """What the job has cost: seconds of workers, of these in decoding and in everything else (waiting for shards of others
    left out), of sessions that have ended; joules, null where those of a session are not known; known_joules: of the others,
    null where there is none; usage: time, memory and energy of all sessions together (`energy.Usage`), null where one did
    not live to tell. A session without an end was killed unless its process is known to live."""
    found = list(sessions(folder))
    ends = [session.end for session in found if session.end]
    busy = sum(end["worker_seconds"] for end in ends)
    decoding = sum(session.decoding for session in found if session.end)
    running = sum(session.lives is True for session in found)
    usages = _usages(found)
    told = [usage for usage in usages if usage is not None]
    known = [usage.joules for usage in told if usage.joules is not None]
    whole = energy.total(told) if len(told) == len(found) > 0 else None
    return {
        "sessions": len(found),
        "running_sessions": running,
        "killed_sessions": len(found) - len(ends) - running,
        "damaged_events": sum(session.damaged for session in found),
        "worker_seconds": busy,
        "decoding_seconds": decoding,
        "other_seconds": busy - decoding,
        "other_share": (busy - decoding) / busy if busy else None,
        "joules": whole and whole.joules,
        "known_joules": sum(known) if known else None,
        "usage": whole and asdict(whole),
    }


def of_store(store: SoftLabelsStore) -> tuple[Usage | None, dict[str, Any]]:
    """What the labelling cost that made a store, with its translations, and how much it labelled; None and nothing where
    that is not recorded: `distilmt score` made it, or the record is not of this store or has a session that did not tell.

    Raises: DataError: a damaged record.
    """
    folder = store.folder.resolve().parent
    if not (folder / RESULT).exists() or not (folder / NAME).exists():
        return None, {}
    labels = read_json(folder / RESULT, "run the same `distilmt label` again")
    usage = read_json(folder / NAME, "run the same `distilmt label` again").get("usage")
    if usage is None or labels["hashes"].get(header(store.folder.resolve().name)) != store.hash:
        return None, {}
    return Usage.of(usage), {key: labels[key] for key in ("lines", "target_tokens")}


def bill_elsewhere(run: Run, store: SoftLabelsStore) -> list[str]:
    """Makes a stage of a run of the labelling that made a store, and names it; none where that recorded no cost."""
    usage, work = of_store(store)
    if usage is None:
        return []
    with run.stage(ELSEWHERE, {"soft labels": store.hash}, "labelling") as stage:
        if not stage.done:
            stage.finish(outputs={}, facts={"work": work}, usage=usage)
    return [ELSEWHERE]


def _usages(found: Sequence[Session]) -> list[Usage | None]:
    """What each session used, without what is another's; None where it did not tell."""
    usages = [_usage(session) for session in found]
    times = _own(list(map(_span, found)))
    metered = [
        i
        for i, usage in enumerate(usages)
        if usage and usage.joules is not None and not all(" x " in name for name in usage.energy_coverage)
    ]
    energies = dict(zip(metered, _own([_span(found[i]) for i in metered]), strict=True))
    return [
        usage and _scaled(usage, time, energies.get(i, 1.0))
        for i, (usage, time) in enumerate(zip(usages, times, strict=True))
    ]


def _usage(session: Session) -> Usage | None:
    if session.usage is None:
        return None
    usage = Usage.of(session.usage)
    return usage if session.end or session.lives else energy.killed(usage, NOTE_SECONDS + session.longest)


def _span(session: Session) -> tuple[str, float, float]:
    """The machine's boot, which is one counter's for all its containers, and first and last event by its clock."""
    boot = session.begin.get("owner", {}).get("machine", "").split(" ")[0]
    return boot or session.begin.get("host", ""), session.first, max(session.first, session.last)


def _own(spans: Sequence[tuple[str, float, float]]) -> list[float]:
    """What share of each span (machine, begin, end) is its own, where time that n of a machine share is a 1/n of each."""
    own: dict[tuple[str, float], float] = {}
    at = before = 0.0
    running = 0
    edges = [(machine, time, step) for machine, *ends in spans for time, step in zip(ends, (1, -1), strict=True)]
    for machine, time, step in sorted(edges):
        at += (time - before) / running if running > 0 else 0.0
        own[machine, time] = at
        running, before = running + step, time
    return [
        (own[machine, end] - own[machine, begin]) / (end - begin) if end > begin else 1.0
        for machine, begin, end in spans
    ]


def _scaled(usage: Usage, time: float, share: float) -> Usage:
    names = ("joules", "joules_low", "joules_high", "idle_joules")
    parts: dict[str, Any] = {name: None if (value := getattr(usage, name)) is None else value * share for name in names}
    return replace(usage, seconds=usage.seconds * time, **parts)
