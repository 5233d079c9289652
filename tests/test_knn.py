"""The datastore of nearest neighbours: keys are the decoder's states, searches are exact, what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="nearest neighbours need FAISS: pip install 'distilmt[knn]'")

from distilmt import cli, knn
from distilmt.errors import ConfigError, DataError
from distilmt.train import train
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from knn_text import SOURCES, TARGETS, written


def test_keys_are_states_and_values_are_targets(
    store: knn.Datastore, tiny_model_folder: Path, tiny_vocab: Vocab
) -> None:
    translator = Translator(tiny_model_folder, compute_type="float32", threads=1)
    scored = translator.score(SOURCES, TARGETS, hidden_states=True)
    assert store.lines == 5 and store.offsets[1] == store.offsets[2]  # the empty line has none
    for line, (one, ids) in enumerate(zip(scored, tiny_vocab.encode_target(TARGETS), strict=True)):
        part = slice(store.offsets[line], store.offsets[line + 1])
        if line == 1:
            continue
        assert store.values[part].tolist() == [*ids, tiny_vocab.eos_id]
        assert one.hidden_states is not None
        assert np.array_equal(store.keys[part], one.hidden_states.astype(np.float16))
    store.verify()


@pytest.mark.parametrize("exclude", ["none", "token", "sentence"])
def test_neighbours_are_those_of_a_plain_search_trap_8(store: knn.Datastore, tmp_path: Path, exclude: str) -> None:
    found = knn.search(store=str(store.folder), k=4, exclude=exclude, out=str(tmp_path))
    keys = store.keys.astype(np.float64)
    lines = np.repeat(np.arange(store.lines), np.diff(store.offsets))
    for token in range(store.tokens):
        distances = ((keys - keys[token]) ** 2).sum(1)
        if exclude == "token":
            distances[token] = np.inf
        if exclude == "sentence":
            distances[lines == lines[token]] = np.inf
        expected = np.sort(distances)[:4]
        np.testing.assert_allclose(found._distances[token], expected, rtol=1e-4, atol=1e-4)
        for id, distance in zip(found._ids[token], found._distances[token], strict=True):
            assert any(
                abs(distances[j] - distance) < 1e-3 + 1e-4 * distance for j in np.flatnonzero(store.values == id)
            )
    if exclude == "none":  # the token itself: gold, at no distance
        assert np.array_equal(found._ids[:, 0], store.values) and (found._distances[:, 0] < 1e-3).all()


def test_rows_of_a_batch_and_lines_that_moved_trap_8(store: knn.Datastore, tmp_path: Path) -> None:
    found = knn.search(store=str(store.folder), k=3, out=str(tmp_path))
    third = store.values[store.offsets[2] : store.offsets[3]]
    labels = np.full((1, len(third) + 2), -100, np.int64)
    labels[0, : len(third)] = third
    rows = found.rows(np.array([3]), labels)
    assert rows["teacher_ids"].shape == (1, len(third) + 2, 3)
    assert rows["teacher_ids"][0, : len(third)].tolist() == found._ids[store.offsets[2] : store.offsets[3]].tolist()
    assert bool(rows["teacher_distances"][0, len(third) :].isinf().all())
    with pytest.raises(DataError, match=r"line 1: its \d+ tokens were searched, the batch has"):
        found.rows(np.array([1]), labels)
    found.require(vocab=store.facts["vocab"], source=store.facts["source"], target=store.facts["target"])
    with pytest.raises(DataError, match="these neighbours belong to another source"):
        found.require(vocab=store.facts["vocab"], source="0" * 64, target=store.facts["target"])


def test_case_28_a_damaged_datastore_names_what_is_missing(store: knn.Datastore, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(DataError, match="this is no datastore: distilmt knn build makes one"):
        knn.Datastore(tmp_path)
    folder = shutil.copytree(store.folder, tmp_path / "short", ignore=shutil.ignore_patterns("neighbours"))
    (folder / "keys.bin").write_bytes((folder / "keys.bin").read_bytes()[: -3 * 64])
    with pytest.raises(DataError, match=rf"keys.bin: entries {store.tokens - 3} to {store.tokens} are missing"):
        knn.Datastore(folder)
    folder = shutil.copytree(store.folder, tmp_path / "old", ignore=shutil.ignore_patterns("neighbours"))
    header = json.loads((folder / "datastore.json").read_text())
    (folder / "datastore.json").write_text(json.dumps({**header, "version": 9}))
    with pytest.raises(DataError, match="version 9 is not 1 - build the datastore again"):
        knn.Datastore(folder)
    with pytest.raises(ConfigError, match=r"k must lie in \[1, 1024\], got 0"):
        knn.search(store=str(store.folder), k=0)
    with pytest.raises(ConfigError, match="weight: expected a number from 0 to 1, got 2"):
        store.finder(weight=2)


def test_neighbours_that_changed_or_are_of_an_older_datastore(tiny_model_folder: Path, tmp_path: Path) -> None:
    given = {"model": str(tiny_model_folder), "out": str(tmp_path / "store"), "threads": 1, **written(tmp_path)}
    found = knn.search(store=str(knn.build(**given).folder), k=3)
    found.verify()
    header = json.loads((found.folder / "neighbours.json").read_text())
    (found.folder / "neighbours.json").write_text(json.dumps({n: v for n, v in header.items() if n != "vocab"}))
    with pytest.raises(DataError, match=r"neighbours.json: vocab is None, expected str - search again"):
        knn.StoredNeighbours.open(found.folder)
    (found.folder / "neighbours.json").write_text(json.dumps(header))
    with (found.folder / "ids.bin").open("r+b") as file:
        file.write(b"\1" * 64)
    text = (given["source"], given["target"])
    with pytest.raises(DataError, match=r"ids.bin: has changed since it was written - search again"):
        train(train=text, dev=text, out=str(tmp_path / "m"), objective="KNNKD()", neighbours=str(found.folder))
    knn.build(**given)
    with pytest.raises(DataError, match="no neighbours here"):
        knn.StoredNeighbours.open(found.folder)


def test_a_student_learns_from_neighbours(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = list(written(tmp_path).values())
    model, store = str(tiny_model_folder), str(tmp_path / "store")
    assert cli.main(["knn", "build", "--model", model, "--source", text[0], "--target", text[1], "--out", store]) == 0
    assert cli.main(["knn", "search", store, "--k", "3", "--exclude", "token"]) == 0
    assert "3 neighbours of" in capsys.readouterr().out
    command = [
        "train",
        "--train",
        *text,
        "--dev",
        *text,
        "--size",
        "1x1:16:32:2",
        "--updates",
        "6",
        "--batch-tokens",
        "64",
    ]
    command += [
        "--eval-every",
        "3",
        "--threads",
        "1",
        "--objective",
        "NLL(label_smoothing=0.1) + KNNKD(temperature=100)",
    ]
    given = ["--neighbours", f"{store}/neighbours", "--out", str(tmp_path / "student")]
    assert cli.main([*command, *given]) == 0, capsys.readouterr().err
    events = [json.loads(line) for line in (tmp_path / "student.training" / "events.jsonl").read_text().splitlines()]
    assert all(event["term_KNNKD"] > 0 for event in events if "loss" in event)
    wrong = [word.replace("KNNKD(temperature=100)", "WordKD()") for word in command]
    assert cli.main([*wrong, *given[:2], "--out", str(tmp_path / "other")]) == 2
    assert "WordKD cannot use Neighbours" in capsys.readouterr().err
