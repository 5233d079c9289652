"""The translator's door: statuses, arguments, progress, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from distilmt.energy.machine import usable_cpus
from distilmt.errors import ConfigError, DataError
from distilmt.translate import Translator
from distilmt.translator.results import repeats
from marian import random_model, random_sources, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(
        random_model(seed=3, std=0.8, end_bias=0.0, d_model=64, decoder_layers=1), tmp_path_factory.mktemp("model")
    )


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator(folder, compute_type="float32", threads=2)


def test_nothing_in_nothing_out(translator: Translator) -> None:
    assert translator.translate_ids([]) == []
    assert translator.score_ids([], []) == []
    assert translator.stats.sentences == 0 and translator.stats.tokens_per_second == 0.0


def test_c3_02_empty_source_keeps_its_place_and_is_not_decoded(translator: Translator) -> None:
    sources = random_sources(3)
    first, empty, second = translator.translate_ids([sources[0], [], sources[1]], beam_size=2)
    assert (empty.status, empty.text, empty.hypotheses[0].ids, empty.hypotheses[0].log_probs) == (
        "empty_source",
        "",
        [],
        [],
    )
    assert [first, second] == translator.translate_ids(sources[:2], beam_size=2)
    assert translator.score_ids([[]], [[5]])[0].status == "empty_source"


def test_c3_12_more_tokens_than_positions_are_not_decoded(translator: Translator) -> None:
    fits, too_long = [5] * 39, [5] * 40  # 40 positions, one for the end symbol
    results = translator.translate_ids([too_long, fits], beam_size=2, max_length=5)
    assert [t.status == "too_long" for t in results] == [True, False]
    assert (results[0].text, results[0].hypotheses[0].ids) == ("", [])
    scored = translator.score_ids([fits, fits], [too_long, fits])
    assert [s.status for s in scored] == ["too_long", "ok"] and len(scored[1].log_probs) == 40


def test_c3_35_a_hypothesis_that_does_not_end(translator: Translator) -> None:
    sources = random_sources(12)
    for translation in translator.translate_ids(sources, beam_size=3, max_length=4):
        best = translation.hypotheses[0]
        unfinished = len(best.log_probs) == len(best.ids)
        assert translation.status == ("max_length" if unfinished else "ok" if best.ids else "empty_hypothesis")
        assert len(best.log_probs) <= 4 and (not unfinished or len(best.ids) == 4)
    # The model's 40 positions cap what the caller allows.
    capped = translator.translate_ids(sources, beam_size=1, min_length=50, max_length=100)
    assert {len(t.hypotheses[0].ids) for t in capped} == {40}
    assert {t.status for t in capped} == {"max_length", "repetition"}
    assert all((t.status == "repetition") == repeats(t.hypotheses[0].ids) for t in capped)


def test_repetition_is_a_phrase_eight_times_in_a_row() -> None:
    assert repeats([3, 4] + [5] * 8) and not repeats([3, 4] + [5] * 7) and not repeats([5] * 8 + [6])
    phrase = [1, 2, 3, 4, 5, 6, 7, 1]
    assert repeats([9, *phrase * 8]) and repeats(phrase * 8 + phrase[:3]) and not repeats(phrase * 7 + phrase[:7])
    assert not repeats(list(range(9)) * 9) and not repeats([])


def test_c3_36_empty_best_hypothesis() -> None:
    translator = Translator.of(random_model(seed=3, std=0.1, end_bias=20.0), compute_type="float32", threads=1)
    for beam_size in (1, 4):
        translation = translator.translate_ids([[5, 6]], beam_size=beam_size, n_best=beam_size)[0]
        assert (translation.status, translation.text, translation.hypotheses[0].ids) == ("empty_hypothesis", "", [])
        assert len(translation.hypotheses[0].log_probs) == 1
    assert translation.hypotheses[1].ids  # the next one


def test_n_best_is_sorted_and_distinct(translator: Translator) -> None:
    for translation in translator.translate_ids(random_sources(10), beam_size=6, n_best=6, max_length=12):
        scores = [h.score for h in translation.hypotheses]
        assert scores == sorted(scores, reverse=True) and len(scores) == 6
        assert len({(tuple(h.ids), len(h.log_probs)) for h in translation.hypotheses}) == 6


def test_progress_ends_with_all_sentences(translator: Translator) -> None:
    seen: list[int] = []
    translator.translate_ids(random_sources(30), beam_size=2, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 30
    assert translator.stats.sentences == 30 and translator.stats.target_tokens > 0


def test_an_exception_of_progress_stops_the_work_and_is_passed_on(translator: Translator) -> None:
    def fail(done: int) -> None:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        translator.translate_ids(random_sources(400), beam_size=12, max_length=40, min_length=40, progress=fail)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "beam_size: expected a whole number from 1 to 256, got 0"),
        ({"beam_size": 2.0}, "beam_size"),
        ({"beam_size": True}, "beam_size"),
        ({"beam_size": 2, "n_best": 3}, "n_best: expected a whole number from 1 to beam_size 2, got 3"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 5, "min_length": 6}, "min_length: expected a whole number from 0 to max_length 5, got 6"),
        ({"length_penalty": float("nan")}, "length_penalty"),
        ({"length_penalty": "1"}, "length_penalty"),
        ({"early_stopping": "always"}, 'early_stopping: expected True, False, "never" or "exact", got .always.'),
        ({"length_penalty_form": "log"}, 'length_penalty_form: expected "power" or "gnmt", got .log.'),
        ({"coverage_penalty": -0.1}, "coverage_penalty: expected a number from 0 to 100, got -0.1"),
        ({"beam_size": 4, "patience": 0.2}, "patience: expected a number from 0.25 to 100, got 0.2"),
        ({"beam_size": 4, "patience": 0.5, "n_best": 3}, r"n_best: .* 1 to beam_size \* patience 2, got 3"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected a number from 0.01 to 100, got 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: expected a whole number from 0"),
        ({"sample": 1}, "sample: expected True or False, got 1"),
        ({"sample": True, "n_best": 2000}, "n_best: expected a whole number from 1 to 1024, got 2000"),
        ({"temperature": 0.0}, "temperature: expected a number from 0.001 to 1000, got 0.0"),
        ({"top_k": 1.5}, "top_k: expected a whole number"),
        ({"top_p": 1.01}, "top_p: expected a number from 1e-09 to 1, got 1.01"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"beams": 4}, "beams: no option of this translator - there are beam_size, n_best"),
        ({"prefixes": [[5], [6]]}, "prefixes: expected one per source, 1, got 2"),
        ({"neighbours": 5}, "neighbours: expected a callable, got 5"),
    ],
    ids=str,
)
def test_wrong_arguments(translator: Translator, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translator.translate_ids([[5]], **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, 'device: expected "cpu", "cuda" or "cuda:N", got \'tpu\''),
        ({"compute_type": "float16"}, "compute_type: expected auto, float32, bfloat16 or int8, got 'float16'"),
        ({"compute_type": "int4"}, "compute_type: expected auto, float32, bfloat16 or int8, got 'int4'"),
        ({"threads": 0}, "threads"),
        ({"slots": -1}, "slots"),
    ],
    ids=str,
)
def test_wrong_options(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Translator(folder, **options)


def test_no_single_text_and_ids_of_the_vocabulary(folder: Path, translator: Translator) -> None:
    with pytest.raises(ConfigError, match="expected a list of texts"):
        translator.translate("Ein Hund.")
    with pytest.raises(DataError, match=r"id_lists\[1\]: ids must lie in \[0, 67\), got 67"):
        translator.translate_ids([[5], [6, 67]])
    with pytest.raises(DataError, match=r"targets\[0\]: ids must lie in \[0, 67\), got -1"):
        translator.score_ids([[5]], [[-1]])
    with pytest.raises(ConfigError, match="expected one per source, 1, got 2"):
        translator.score_ids([[5]], [[5], [6]])


def test_calls_from_several_python_threads(translator: Translator) -> None:
    sources = random_sources(20)
    truth = translator.translate_ids(sources, beam_size=4)
    found: list[Any] = [None] * 4

    def work(index: int) -> None:
        found[index] = translator.translate_ids(sources, beam_size=4)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [truth] * 4


def test_c3_45_fork_after_use(translator: Translator) -> None:
    sources = random_sources(5)
    truth = translator.translate_ids(sources, beam_size=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if translator.translate_ids(sources, beam_size=2) == truth else 1)
    assert os.waitpid(child, 0)[1] == 0


LONG = """
import sys
from distilmt.translate import Translator

def progress(done):
    print("running", flush=True)

try:
    translator = Translator(sys.argv[1], compute_type="float32", threads=2)
    sources = [[5] * 27 + [1 + i % 60, 1 + i // 60 % 60, 1 + i // 3600] for i in range(100_000)]
    translator.translate_ids(sources, beam_size=12, min_length=40, max_length=40, progress=progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise
"""


def test_c3_40_ctrl_c_within_a_second(folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LONG, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=60)
    assert rest.endswith("interrupted\n")
    assert time.monotonic() - start < 1.0
    assert child.returncode == -signal.SIGINT


LIGHT = """
import json, sys
from distilmt.translate import Translator
Translator(sys.argv[1]).translate_ids([[5]])
print(json.dumps([name for name in ("torch", "transformers") if name in sys.modules]))
"""


def test_the_start_needs_no_pytorch(folder: Path) -> None:
    run = subprocess.run([sys.executable, "-c", LIGHT, str(folder)], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []


def test_usable_cpus_are_those_of_the_affinity() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
