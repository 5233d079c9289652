"""Every benchmark runs by its own command line, at a size of no meaning, and signs what it found. No time is asserted.

Each has a process of its own, forked from one that has imported what all of them import, which takes longer than they do.
Left out: bench_products.cpp, which prints and keeps no results; it is compiled by hand (its first lines say how).
"""

from __future__ import annotations

import gc
import multiprocessing
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from distilmt.text.grammar import generate

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
IMPORTED = [
    "distilmt.training.trainer",
    "torch._dynamo",
    "torch.profiler",
    "transformers.models.marian.modeling_marian",
]
LOSS = "--rows 16 --vocab 64 --width 8 --threads 1 --rounds 1"
TEXT = "--model {model} --text {source} {target}"
STUDENT = "--size 1x1:16:32:2"
WORDS = {
    "bench_approximate": "--student {model} --teacher {model} --text {source} {target} --rows 64 --threads 1",
    "bench_chaos": "--rounds 1 --lines 30",
    "bench_forecast": "--model {model} --source {source} --beams 1 --types float32 --workers 1 --sample 4",
    "bench_knn": "--store {store} --tokens 40 --probes 1 --k 2 --queries 8 --threads 1",
    "bench_label": "--model {model} --source {source} --workers 1 --name tiny -- --beam-size 1",
    "bench_linear_kd": f"{LOSS} --peers",
    "bench_meter": "--seconds 1 --rounds 1",
    "bench_methods": f"{TEXT} {STUDENT} --lines 12 --batch-tokens 256 --updates 1",
    "bench_select": "--lines 8 --size 3 --threads 1 --rounds 1",
    "bench_selective": LOSS,
    "bench_soft_labels": f"{TEXT} {STUDENT} --lines 12 --updates 1 --threads 1",
    "bench_sparse_kd": LOSS,
    "bench_text": f"{TEXT} --beams 1 --rounds 1 --threads 1",
    "bench_train": f"--text {{source}} {{target}} {STUDENT} --vocab-size 80 --updates 5 --rounds 1 --threads 1",
    "bench_translate": "--size 1x1:32:64:4 --sentences 4 --beams 1 --rounds 1 --threads 1",
    "parity_translate": "--model {model} --source {source} --beams 2 --sentences 4",
}
SLOW = ("bench_chaos", "bench_train")  # start processes that import everything anew
NEEDS = {"bench_knn": "faiss", "bench_methods": "faiss", "bench_text": "ctranslate2"}


def run(script: Path, words: list[str], results: Path) -> None:
    """What `python SCRIPT WORDS` does, but for the folder of the results."""
    sys.path.insert(0, str(script.parent))
    import common

    common.RESULTS = results
    gc.freeze()  # they collect garbage before every run; what was imported is none
    sys.argv = [str(script), *words]
    runpy.run_path(str(script), run_name="__main__")


def test_all_are_here() -> None:
    shared = {"common", "losses"}
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == shared | set(WORDS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in WORDS]
)
def test_runs_and_signs(name: str, tiny_model_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name == "bench_chaos" and shutil.which("gcc") is None:
        pytest.skip("needs gcc, for the library that makes calls go wrong")
    given = {"model": tiny_model_folder, "source": tmp_path / "text.de", "target": tmp_path / "text.en"}
    for side, lines in zip(("source", "target"), zip(*generate(12, seed=1), strict=True), strict=True):
        given[side].write_text("".join(f"{line}\n" for line in lines))
    if "{store}" in WORDS[name]:
        given["store"] = request.getfixturevalue("store").folder
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    results = tmp_path / "results"
    words = [word.format(**given) for word in WORDS[name].split()]
    process = context.Process(target=run, args=(BENCHMARKS / f"{name}.py", words, results))
    process.start()
    process.join(600)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0
    (written,) = results.iterdir()
    signed = re.findall(r'"signature": "op:(.*?)"', written.read_text())
    assert signed and all(re.match(rf"{name.removeprefix('bench_')}.*\|shape:.+\|commit:.+", each) for each in signed)
