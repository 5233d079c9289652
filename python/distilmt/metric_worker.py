"""A learned metric in a process and an interpreter of its own (learned_metrics.py starts it): PYTHON metric_worker.py METRIC MODEL

JSON lines. First it writes {"protocol", "metric", "version", "model"}, or {"error"}. Then for each
{"id", "sources", "hypotheses", "references"} that it reads {"id", "scores"}, one number per line, or {"id", "error"}.
It ends where its input ends. Imports nothing of distilmt.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this folder, whose modules have names of the standard library's

import json  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

PROTOCOL = 1


def comet(name: str) -> Any:
    """COMET (Rei et al. 2020, arXiv:2009.09025), of the package unbabel-comet 2 or later; a model's name or a checkpoint."""
    from importlib.metadata import version

    from comet import download_model, load_from_checkpoint

    found = version("unbabel-comet")
    if int(found.split(".")[0]) < 2:
        raise RuntimeError(f"unbabel-comet {found} is too old - install 2 or later")
    model = load_from_checkpoint(name if os.path.exists(name) else download_model(name))

    def score(sources: list[str], hypotheses: list[str], references: list[str]) -> list[float]:
        rows = [{"src": s, "mt": h, "ref": r} for s, h, r in zip(sources, hypotheses, references)]  # noqa: B905
        return [float(value) for value in model.predict(rows, batch_size=16, gpus=0, progress_bar=False).scores]

    return found, score


METRICS = {"comet": comet}


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=out, flush=True)

    metric, model = sys.argv[1:3]
    try:
        found, score = METRICS[metric](model)
    except BaseException as error:
        say(error=f"{type(error).__name__}: {error}")
        return
    say(protocol=PROTOCOL, metric=metric, version=found, model=model)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            say(id=asked["id"], scores=score(asked["sources"], asked["hypotheses"], asked["references"]))
        except Exception as error:
            say(id=asked["id"], error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
