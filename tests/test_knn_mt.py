"""kNN-MT: a datastore asked at every step of a translation, from Python and by flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="nearest neighbours need FAISS: pip install 'distilmt[knn]'")

from conftest import lively_model
from distilmt import knn, models
from distilmt.errors import ConfigError
from distilmt.evaluate import evaluate
from distilmt.interface.commands import TranslateConfig
from distilmt.interface.config import resolve
from distilmt.knn.datastore import shares
from distilmt.study.decode import DecodeTask, load
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from knn_text import SOURCES, TARGETS, written
from shell import distilmt


def test_knn_mt_says_what_the_text_says(store: knn.Datastore, tiny_model_folder: Path, tiny_vocab: Vocab) -> None:
    """With all weight on the one nearest neighbour, a sentence of the text is translated as it stands there."""
    translator = Translator(tiny_model_folder, compute_type="float32", threads=2)
    find = store.finder(k=1, temperature=10.0, weight=1.0)
    out = translator.translate(SOURCES[2:4], beam_size=1, max_length=40, neighbours=find)
    assert [t.hypotheses[0].ids for t in out] == tiny_vocab.encode_target(TARGETS[2:4])
    none = translator.translate(SOURCES[2:4], beam_size=2, max_length=9, neighbours=store.finder(weight=0.0))
    plain = translator.translate(SOURCES[2:4], beam_size=2, max_length=9)
    assert [t.hypotheses[0].ids for t in none] == [t.hypotheses[0].ids for t in plain]


def test_shares_by_hand_trap_8() -> None:
    """exp(0), exp(-1) and nothing."""
    given = np.array([[70_000.0, 70_010.0, np.inf]], np.float32)  # beyond float16
    np.testing.assert_allclose(
        shares(given, 10.0), [[1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1)), 0]], rtol=1e-6
    )
    assert shares(np.full((1, 2), np.inf, np.float32), 10.0).tolist() == [[0, 0]]  # nothing was found


def test_a_datastore_of_another_model(
    store: knn.Datastore, tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path
) -> None:
    models.save(lively_model(tiny_vocab, "1x1:16:32:2"), tiny_vocab, tmp_path / "other")
    store.finder(model=tiny_model_folder)
    with pytest.raises(ConfigError, match="the datastore of another model"):
        store.finder(model=tmp_path / "other")
    with pytest.raises(ConfigError, match="keys of 32 numbers, the model's states have 16"):
        store.finder()(np.zeros((1, 16), np.float32))


def test_by_flags_a_sentence_of_the_text_is_translated_as_it_stands_there(
    store: knn.Datastore, tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path
) -> None:
    said = tiny_vocab.decode(tiny_vocab.encode_target(TARGETS))  # it cannot spell all of them
    asked = ["--knn-datastore", str(store.folder), "--knn-k", "1", "--knn-weight", "1", "--knn-index", "ivf"]
    words = ["--model", str(tiny_model_folder), "--beam-size", "1", "--compute-type", "float32", "--threads", "1"]
    text = "\n".join(SOURCES[2:4]).encode() + b"\n"
    done = distilmt("translate", *words, "--max-length", "40", *asked, text=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == said[2:4]
    ensemble = distilmt("translate", *words, "--also", str(tiny_model_folder), *asked, text=text)
    assert ensemble.returncode == 2 and b"neighbours: expected none for an ensemble" in ensemble.stderr
    files = written(tmp_path)
    given = {"model": str(tiny_model_folder), "test": (files["source"], files["target"]), "beam_size": 1, "threads": 1}
    with_text = evaluate(**given, knn_datastore=str(store.folder), knn_k=1, knn_weight=1.0)
    assert [with_text.hypotheses[i] for i in (0, 2, 3, 4)] == [said[i] for i in (0, 2, 3, 4)]
    assert with_text.scores.bleu > evaluate(**given).scores.bleu
    keys = {"knn_datastore": str(store.folder), "knn_k": 1, "knn_weight": 1.0, "compute_type": "float32"}
    cell = load(resolve(DecodeTask, given | keys))  # of a study
    cell.once()
    assert cell.translations == list(with_text.hypotheses) and cell.inputs["datastore"] == store.hash


def test_flags_that_ask_no_datastore_or_none_that_there_is(tmp_path: Path, tiny_model_folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="--knn-k, --knn-weight: of a datastore that is asked: name it with --knn-datastore"
    ):
        resolve(TranslateConfig, model="m", knn_k=4, knn_weight=0.2)
    with pytest.raises(ConfigError, match="--knn-datastore: belongs to --model"):
        evaluate(hypotheses="a", references=("b",), knn_datastore="c")
    done = distilmt("translate", "--model", tiny_model_folder, "--knn-datastore", tmp_path, text=b"the dog\n")
    assert done.returncode == 3 and b"this is no datastore: distilmt knn build makes one" in done.stderr
