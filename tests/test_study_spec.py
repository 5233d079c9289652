"""study/spec.py, records.py: what a study file says, what is wrong with it, and which cells it makes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from distilmt.errors import ConfigError
from distilmt.state.storage import write_json
from distilmt.study import read, status
from distilmt.study.records import choose, difference, duration, open_folder, path_of
from study_data import made, record, study_file


def test_blocks_are_complete_random_and_reproducible(tmp_path: Path) -> None:
    study = read(study_file(tmp_path, repeats=20))
    orders = [[cell.treatment for cell in study.cells() if cell.block == block] for block in range(1, 21)]
    assert all(Counter(order) == Counter(orders[0]) for order in orders) and len(orders[0]) == 4
    assert len({tuple(order) for order in orders}) > 10  # of 24 possible ones
    assert study.cells() == read(study_file(tmp_path, repeats=20)).cells()
    assert [c.treatment for c in study.cells()] != [c.treatment for c in read(study_file(tmp_path, seed=2)).cells()]
    # What comes first is left to chance: each treatment about 5 times in 20; never one in all.
    assert max(Counter(order[0] for order in orders).values()) < 14
    assert study.cells()[0].name == "001-" + orders[0][0] and [c.position for c in study.cells()[:4]] == [1, 2, 3, 4]


def test_levels_are_values_or_names_of_settings(tmp_path: Path) -> None:
    text = (
        "factors:\n  beam_size: [1, 4]\n  direction:\n    de-en: {model: m1, test: [a.de, a.en]}\n"
        "    en-de: {model: m2, test: [a.en, a.de]}\nfixed: {threads: 1, length_penalty: 3e-1}"
    )
    study = read(study_file(tmp_path, text, task="decode"))
    assert study.levels == {"beam_size": ["1", "4"], "direction": ["de-en", "en-de"]}
    levels, settings = study.treatments[1]
    assert levels == {"beam_size": "1", "direction": "en-de"}
    assert settings == {"beam_size": 1, "model": "m2", "test": ("a.en", "a.de"), "threads": 1, "length_penalty": 0.3}


def test_what_another_file_fixes(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    study_file(
        tmp_path / "other", "factors:\n  beam_size: [1, 4]\nfixed: {model: m, test: [a, b], threads: 1}", task="decode"
    )
    own = "factors:\n  lines: [5, 6]\n  kind: {a: {threads: 2}, b: {}}\nfixed: {model: n}"
    file = study_file(tmp_path, own, task="decode", like="other/study.yaml")
    assert [settings for _, settings in read(file).treatments][:2] == [
        {"model": "n", "test": ("a", "b"), "lines": 5, "threads": 2},
        {"model": "n", "test": ("a", "b"), "lines": 5, "threads": 1},
    ]
    with pytest.raises(ConfigError, match="gone"):
        read(study_file(tmp_path, own, task="decode", like="gone.yaml"))


def test_values_of_functions_are_numbers_where_they_read_as_numbers(tmp_path: Path) -> None:
    study = read(study_file(tmp_path, "factors:\n  size: [1, 2.5, 1e3, true, x, [1, y], null]", repeats=1))
    assert [settings["size"] for _, settings in study.treatments] == [1, 2.5, 1000.0, True, "x", [1, "y"], None]
    assert study.levels["size"] == ["1", "2.5", "1e3", "true", "x", "1 y", "None"]


def test_a_distillation_without_a_seed_takes_that_of_its_block(tmp_path: Path) -> None:
    fixed = "fixed: {train: [a, b], dev: [a, b], test: [a, b], teacher: t, student_size: tiny"
    text = "factors:\n  method: [alone, seq-kd]\n" + fixed
    for more, seeds in (("}", [1, 1, 2, 2]), (", seed: 7}", [7] * 4)):
        cells = read(study_file(tmp_path, text + more, task="distill", repeats=2)).cells()
        assert [cell.settings["training.seed"] for cell in cells] == seeds


FACTOR = "factors:\n  size: [1, 2]\n"


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        (FACTOR, {"repeat": 3}, "study.yaml:8: repeat: unknown option - did you mean 'repeats'?"),
        (FACTOR, {"repeats": 0}, "repeats must be 1 or more, got 0"),
        (FACTOR, {"cool_down": "nan"}, "study.yaml:5: cool_down: must be number, got 'nan'"),
        (FACTOR, {"task": "decoding"}, "task must be decode, distill, or a function as MODULE:FUNCTION, got 'decoding'"),
        ("factors:\n  size: [1]", {}, "study.yaml:9: factors.size: has 1 level - a factor needs two"),
        ("factors:\n  size: [1, 1]", {}, "study.yaml:9: factors.size: a level is given twice"),
        ("factors:\n  size: 3", {}, "study.yaml:9: factors.size: must be a list of levels, or levels by name, got '3'"),
        ("factors:\n  block: [1, 2]", {}, "study.yaml:9: factors.block: is the name of a column"),
        ("factors:\n  load_before: [1, 2]", {}, "study.yaml:9: factors.load_before: is the name of a column"),
        ("factors:\n  money: [1, 2]", {}, "study.yaml:9: factors.money: is the name of a column"),
        ("factors:\n  seconds: [1, 2]", {}, "study.yaml:9: factors.seconds: is the name of a column"),
        ("factors:\n  bleu: [1, 2]", {"task": "decode"}, "study.yaml:9: factors.bleu: is the name of a column"),
        ("factors: [1, 2]", {}, "study.yaml:8: factors: must be `key: value` lines"),
        (FACTOR + "  size: [3, 4]", {}, "study.yaml:10: factors.size: given twice - keep one"),
        (FACTOR + "fixed: {size: 1}", {}, "study.yaml:10: fixed.size: is a factor too - keep one"),
        ("factors:\n  beam_sizes: [1, 2]\nfixed: {model: m, test: [a, b]}", {"task": "decode"},
         "study.yaml:9: factors.beam_sizes: unknown option - did you mean 'beam_size'?"),
        ("factors:\n  beam_size: [1, two]\nfixed: {model: m, test: [a, b]}", {"task": "decode"},
         "study.yaml:9: factors.beam_size: must be integer, got 'two'"),
        ("factors:\n  beam_size: [1, 2]\nfixed: {test: [a, b]}", {"task": "decode"}, "model: must be given"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: sizes, pairs: [[1, 2]]}", {}, "no factor 'sizes' - there are size"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pairs: [[1, 3]]}", {}, "size has no level '3' - it has 1, 2"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pair: [[1, 2]]}", {}, "did you mean 'pairs'?"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size}", {}, "study.yaml:10: contrasts: pairs: must be given"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pairs: [[1, 2]], test: sentences}", {},
         "study.yaml:10: contrasts: test sentences is of bleu or chrf"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pairs: []}", {},
         "study.yaml:10: contrasts: no pairs of size - name some, as in [[1, 2]]"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pairs: [[1, 1]]}", {},
         "study.yaml:10: contrasts: compares '1' of size with itself"),
        (FACTOR + "contrasts:\n- {outcome: s, factor: size, pairs: [[1, 2], [2, 1]]}", {},
         "study.yaml:10: contrasts: s of 2 and 1 is compared twice - keep one"),
        (FACTOR + "contrasts: {outcome: s}", {}, "study.yaml:10: contrasts: must be a list of comparisons"),
        (FACTOR + "contrasts:\n" + "- {outcome: s, factor: size, pairs: [[1, 2]]}\n" * 6, {},
         "contrasts: at most 5 comparisons, got 6 - with many"),
        (FACTOR + "attribution: 7", {}, "--attribution must be"),
    ],
)  # fmt: skip
def test_bad_study_files(tmp_path: Path, text: str, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(study_file(tmp_path, text, **keys))
    assert message in str(error.value)


def test_a_mapping_has_the_values_of_python() -> None:
    keys = {"name": "n", "out": "o", "task": "t:f", "factors": {"x": [1, 2.5], "y": [True, None]}}
    plan = [
        {"outcome": "seconds", "factor": "x", "pairs": [[1, 2.5]]},
        {"outcome": "a", "factor": "y", "pairs": [[True, None]]},
    ]
    study = read(keys | {"contrasts": plan})
    assert [settings for _, settings in study.treatments][1] == {"x": 1, "y": None}
    assert [one.pairs for one in study.contrasts] == [(("1", "2.5"),), (("true", "None"),)]
    with pytest.raises(ConfigError, match="repeats: must be integer, got '3'"):
        read(keys | {"repeats": "3"})


def test_filters_and_shards(tmp_path: Path) -> None:
    study = read(study_file(tmp_path, repeats=5))
    parts = [{cell.name for cell in choose(study, shard=f"{part}/3")} for part in (1, 2, 3)]
    assert set().union(*parts) == {cell.name for cell in study.cells()} and sum(map(len, parts)) == 20
    assert all(len({part for part in range(3) for name in parts[part] if name.startswith(f"00{block}")}) == 1
               for block in range(1, 6))  # fmt: skip
    chosen = choose(study, ["size=1", "block=2", "block=3"])
    assert sorted(cell.name for cell in chosen) == [f"00{b}-size=1,word={w}" for b in (2, 3) for w in "ab"]
    for cells, shard, message in (
        (["sise=1"], None, "--cells sise=1: no factor 'sise' - write FACTOR=LEVEL, of size, word, block"),
        (["size=3"], None, "--cells size=3: size has no level '3' - it has 1, 2"),
        ([], "0/3", "--shard must be I/N with I from 1 to N, as in 1/4, got '0/3'"),
        ([], "6/6", "no cell is left of 20 - there are 5 blocks to share"),
    ):
        with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
            choose(study, cells, shard)


def test_a_begun_study_can_grow_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    open_folder(read(study_file(tmp_path)))
    more = "factors:\n  size: [1, 2, 3]\n  word: [a, b]"
    open_folder(read(study_file(tmp_path, more, repeats=4, name="another title", price_per_hour=2)))
    with pytest.raises(ConfigError) as error:
        open_folder(read(study_file(tmp_path, repeats=3, min_seconds=1)))
    assert "only repeats and levels can be added" in str(error.value)
    assert "  min_seconds: 0.0 -> 1.0\n" in str(error.value) + "\n" and "  repeats: 4 -> 3" in str(error.value)
    assert "  factors.size.3: true -> (absent)" in str(error.value)
    other = "factors:\n  size: [1, 2, 3]\n  word: [a, b]\nfixed: {seed: 4}"
    with pytest.raises(ConfigError, match="seed: \\(absent\\) -> 4"):
        open_folder(read(study_file(tmp_path, other, repeats=4)))
    none: dict[str, object] = {"treatments": {}}
    assert difference({"a": {"b": 1}} | none, {"a": {"b": 2}} | none) == ["  a.b: 1 -> 2"]
    (tmp_path / "out/study.json").unlink()
    with pytest.raises(ConfigError, match="holds 'cells' and is no study"):
        open_folder(read(study_file(tmp_path)))


def test_status_counts_and_estimates(tmp_path: Path) -> None:
    one = {"seconds": 1.0}
    study = made(tmp_path, {("a",): [one, one, None, None], ("b",): [one, None, None, None]}, cool_down=5)
    cells = {cell.name: cell for cell in study.cells()}
    write_json(path_of(study, cells["001-f0=b"]), record(1, one, wall_seconds=100.0))
    write_json(path_of(study, cells["003-f0=a"]), record(3, one, status="running"))
    failed = record(4, one, status="failed", error="no memory")
    write_json(path_of(study, cells["004-f0=b"]), failed)
    found = status(study)
    assert found.counts == {"done": 3, "failed": 1, "running": 1, "to do": 3}
    # a took 50 s, b 100 s; left are a in 3 and 4, b in 2, 3 and 4; each with its cool-down
    assert found.seconds_left == 2 * 50 + 3 * 100 + 5 * 5
    assert str(found).splitlines() == [
        "made: 3 of 8 cells done, 1 failed, 1 running, 3 to do; about 7 min left",
        f"failed: 004-f0=b: no memory (log: {study.folder / 'logs/x.log'})",
    ]
    assert [duration(s) for s in (99.4, 100, 5999, 7200)] == ["99 s", "2 min", "100 min", "2.0 h"]
