"""The result for a sentence depends on that sentence alone, bit for bit, on every instruction set of the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distilmt import _native
from marian import random_model, save

# Runs in a child, since the instruction set is chosen once per process. Prints the results as JSON: floats as hex.
CHILD = """
import json, random, sys
from distilmt import _native
from distilmt.translate import Translator

rng = random.Random(1)
lengths = [1, 1, 2, 3, 38, 39] + [rng.randint(4, 30) for _ in range(34)]
sources = [[rng.randrange(1, 66) for _ in range(n)] for n in lengths]
targets = [[rng.randrange(1, 66) for _ in range(rng.randint(0, 20))] for _ in sources]

def show(translations):
    return [
        (t.status, [(h.ids, h.score.hex(), [p.hex() for p in h.log_probs]) for h in t.hypotheses]) for t in translations
    ]

def scores(scored):
    return [(s.status, s.score.hex(), [p.hex() for p in s.log_probs]) for s in scored]

def results(settings, **options):
    translator = Translator(sys.argv[1], compute_type=sys.argv[2], **options)
    order = list(range(len(sources)))
    if settings.pop("shuffled", False):
        rng.shuffle(order)
    if settings.pop("alone", False):
        found = [translator.translate_ids([sources[i]], **settings)[0] for i in order]
        forced = [translator.score_ids([sources[i]], [targets[i]])[0] for i in order]
    else:
        found = translator.translate_ids([sources[i] for i in order], **settings)
        forced = translator.score_ids([sources[i] for i in order], [targets[i] for i in order])
    back = sorted(range(len(order)), key=order.__getitem__)
    return [show([found[i] for i in back]), scores([forced[i] for i in back])]

for settings in (
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 4},
    {"beam_size": 3, "coverage_penalty": 0.4, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "patience": 2.0},
    {"sample": True, "n_best": 5, "temperature": 1.2, "repetition_penalty": 1.1},
    {"sample": True, "n_best": 2, "temperature": 3.0, "top_p": 0.98},
):
    settings["max_length"] = 25
    truth = results({**settings, "alone": True}, threads=1, slots=1)
    for options in (
        {"threads": 1}, {"threads": 2}, {"threads": 3, "slots": 2}, {"threads": 1, "slots": 7},
        {"threads": 1, "slots": 40},
    ):
        for shuffled in (False, True):
            assert results({**settings, "shuffled": shuffled}, **options) == truth, (settings, options, shuffled)
    assert results({**settings, "max_length": 9}, threads=1) != truth  # the comparison can fail
print(json.dumps([_native.active_isa(), truth]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(
        seed=3, std=0.8, end_bias=0.0, d_model=64, encoder_ffn_dim=50, decoder_ffn_dim=70, tie_word_embeddings=False
    )
    return save(model, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("compute_type", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("isa", _native.available_isas())
def test_results_do_not_depend_on_company_order_slots_or_threads(isa: str, compute_type: str, folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), compute_type],
        env={**os.environ, "DISTILMT_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    used, truth = json.loads(run.stdout)
    assert used == isa
    assert len({json.dumps(t) for t in truth[0]}) > 20
