"""Indices of a datastore: what they find of the exact neighbours, a token's own entry, and whose they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="nearest neighbours need FAISS: pip install 'distilmt[knn]'")

from distilmt import knn
from distilmt.errors import ConfigError, DataError
from distilmt.knn import index
from distilmt.knn.datastore import write_header
from distilmt.knn.kind import chosen

FAISS = index.faiss()
TOKENS, WIDTH, SENTENCE = 4000, 16, 5


@pytest.fixture(scope="module")
def many(store: knn.Datastore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 keys in 100 heaps, sentences of five, each token a word of its own, so that ids say which entries were found."""
    random, folder = np.random.default_rng(1), tmp_path_factory.mktemp("many")
    heaps = random.normal(size=(100, WIDTH)) * 4
    keys = (heaps[random.integers(0, 100, TOKENS)] + random.normal(size=(TOKENS, WIDTH))).astype(np.float16)
    (folder / "keys.bin").write_bytes(keys.tobytes())
    (folder / "values.bin").write_bytes(np.arange(TOKENS, dtype=np.int32).tobytes())
    (folder / "offsets.bin").write_bytes(np.arange(0, TOKENS + 1, SENTENCE, dtype=np.int64).tobytes())
    shutil.copytree(store.folder / "vocab", folder / "vocab")
    counts = {"width": WIDTH, "tokens": TOKENS, "lines": TOKENS // SENTENCE, "vocab_size": TOKENS}
    write_header(folder, store.facts | counts)
    return folder


def exact(folder: Path, k: int, exclude: str) -> tuple[np.ndarray, np.ndarray]:
    keys = knn.Datastore(folder).keys.astype(np.float64)
    norms = (keys**2).sum(1)
    distances = norms[:, None] + norms[None] - 2 * keys @ keys.T
    rows = np.arange(TOKENS)
    if exclude == "token":
        distances[rows, rows] = np.inf
    elif exclude == "sentence":
        distances[rows[:, None] // SENTENCE == rows[None] // SENTENCE] = np.inf
    else:
        distances[rows, rows] = -1
    ids = distances.argsort(1, kind="stable")[:, :k]
    return ids, np.maximum(np.take_along_axis(distances, ids, 1), 0)


@pytest.mark.parametrize("exclude", ["none", "token", "sentence"])
@pytest.mark.parametrize(("kind", "least"), [("exact", 0.9999), ("ivf", 0.95), ("pq", 0.6)])
def test_what_an_index_finds_and_the_own_entry(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, least: float, exclude: str
) -> None:
    found = knn.search(store=str(many), k=6, exclude=exclude, index=kind, probes=8, threads=1, out=str(tmp_path))
    ids, distances = exact(many, 6, exclude)
    share = np.mean([len(np.intersect1d(a, b)) / 6 for a, b in zip(found._ids, ids, strict=True)])
    assert share > least
    rows = np.arange(TOKENS)
    if exclude == "none":  # first, whatever the index finds
        assert np.array_equal(found._ids[:, 0], rows) and not found._distances[:, 0].any()
        assert not (found._ids[:, 1:] == rows[:, None]).any()
    elif exclude == "token":
        assert not (found._ids == rows[:, None]).any()
    else:
        assert not (found._ids // SENTENCE == rows[:, None] // SENTENCE).any()
    if kind != "pq":  # a distance is that of the entry
        same = found._ids == ids
        np.testing.assert_allclose(found._distances[same], distances[same], rtol=1e-3, atol=1e-2)
    said = capsys.readouterr().err
    assert (f"index {kind}: " in said and "of the 6 exact nearest of a key are found" in said) == (kind != "exact")
    facts = json.loads((tmp_path / "neighbours.json").read_text())
    assert facts["index"] == kind and facts["recall"] > least - 0.05


def test_more_cells_find_more(many: Path) -> None:
    # 60 of a heap of some 40 keys: cells of other heaps are asked for
    shares = [index.recall(knn.Datastore(many, index="ivf", probes=probes), 60) for probes in (1, 4, 1000)]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.999


def test_the_kind_goes_by_the_number_of_tokens() -> None:
    assert [chosen("auto", n) for n in (200_000, 200_001, 10_000_001)] == ["exact", "ivf", "pq"]
    assert chosen("exact", 10**9) == "exact"


def test_a_search_takes_the_threads_given(many: Path) -> None:
    before = FAISS.omp_get_max_threads()
    try:
        knn.Datastore(many, threads=1).nearest(np.zeros((1, WIDTH), np.float32), 1)
        assert FAISS.omp_get_max_threads() == 1
    finally:
        FAISS.omp_set_num_threads(before)


def test_an_index_that_cannot_be(store: knn.Datastore, many: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pq learns codes from 256 tokens at least, got \d+ - use exact"):
        knn.search(store=str(store.folder), index="pq", out=str(tmp_path))
    with pytest.raises(ConfigError, match="index: expected auto, exact, ivf, pq, got 'flat'"):
        knn.Datastore(many, index="flat")  # type: ignore[arg-type]


def test_case_27_an_index_is_kept_and_belongs_to_its_keys(
    many: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(many, tmp_path / "copy", ignore=shutil.ignore_patterns("index*"))
    query = knn.Datastore(folder).keys[:3].astype(np.float32)
    one = knn.Datastore(folder, index="ivf").nearest(query, 2)
    with monkeypatch.context() as patch:
        patch.setattr(index, "_trained", None)  # not made again
        again = knn.Datastore(folder, index="ivf").nearest(query, 2)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    facts = json.loads((folder / "index-ivf.json").read_text())
    (folder / "index-ivf.json").write_text(json.dumps({**facts, "faiss": "0.0"}))
    with pytest.raises(
        DataError, match=r"another index \(faiss '0.0', expected .*to make it again: rm \S+, then"
    ) as found:
        _ = knn.Datastore(folder, index="ivf").index
    assert f"rm {folder / 'index-ivf.faiss'}, then distilmt knn search {folder} --index ivf, or" in str(found.value)
    (folder / "index-ivf.faiss").unlink()  # its facts alone are those of an index that is written anew
    monkeypatch.setattr(FAISS, "write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _ = knn.Datastore(folder, index="ivf").index
    assert not (folder / "index-ivf.json").exists()
