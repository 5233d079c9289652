"""A learned metric in a process and an interpreter of its own (learned_metrics.py starts it): PYTHON metric_worker.py METRIC MODEL

METRIC is comet, or FILE.py:FUNCTION. JSON lines. First it writes {"protocol", "metric", "version", "model"}, or {"error"}.
Then for each {"id", "sources", "hypotheses", "references"} that it reads {"id", "scores"}, one number per line, or {"id", "error"}.
It ends where its input ends. Imports nothing of distilmt.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this folder, whose modules have names of the standard library's

import json  # noqa: E402
import os  # noqa: E402
import runpy  # noqa: E402
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
        return list(model.predict(rows, batch_size=16, gpus=0, progress_bar=False).scores)

    return found, score


def own(metric: str, name: str) -> Any:
    """FILE.py:FUNCTION: called with the model's name or "", it returns its version and a function as `score` above."""
    file, _, function = metric.rpartition(":")
    sys.path.append(os.path.dirname(os.path.abspath(file)))  # last: a file may have the name of the package it imports
    made = runpy.run_path(file).get(function)
    if not callable(made):
        raise NameError(f"{file} has no function {function}")
    pair = made(name)
    if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[1])):
        raise TypeError(f"{metric} must return (version, score), score a function (docs/metrics.md)")
    return pair


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=out, flush=True)

    metric, model = sys.argv[1:3]
    try:
        found, score = comet(model) if metric == "comet" else own(metric, model)
    except BaseException as error:
        say(error=f"{type(error).__name__}: {error}")
        return
    say(protocol=PROTOCOL, metric=metric, version=str(found), model=model)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            scores = score(asked["sources"], asked["hypotheses"], asked["references"])
            say(id=asked["id"], scores=[float(value) for value in scores])
        except Exception as error:
            say(id=asked["id"], error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
