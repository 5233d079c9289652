"""Scores against published ones, counts checked first, and decoding that keeps every line."""

from __future__ import annotations

import gzip
import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest
from sacrebleu import DATASETS

from distilmt.energy import EnergyOptions, Usage
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.evaluate import EvaluateConfig, evaluate, score
from distilmt.evaluate import test_set as named_test_set

HYPOTHESES = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
FIRST = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
SECOND = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def translator(monkeypatch):
    """In place of the engine: a translator that upper-cases, so that these tests see what is done with its output."""

    class Upper:
        def __init__(self, folder: str, *, threads: int | None = None, **asked: object):
            assert Path(folder).is_dir()

        def translate(self, texts: list[str], *, beam_size: int, neighbours: None) -> list[SimpleNamespace]:
            return [self.one(text, beam_size) for text in texts]

        def one(self, text: str, beam_size: int) -> SimpleNamespace:
            if not text:
                return SimpleNamespace(text="", status="empty_source", hypotheses=[])
            tokens = [-0.1] * (len(text.split()) + 1)  # the end symbol is one
            return SimpleNamespace(text=text.upper(), status="ok", hypotheses=[SimpleNamespace(log_probs=tokens)])

    monkeypatch.setitem(sys.modules, "distilmt.translate", SimpleNamespace(Translator=Upper))


def test_known_scores():
    scores = score(HYPOTHESES, [FIRST, SECOND])
    assert scores.bleu == pytest.approx(100)
    assert scores.exact == 1
    assert scores.sentences == 3
    assert scores.bleu_signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert scores.chrf_signature.startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    worse = score(["The dog bit a man.", *SECOND[1:]], FIRST)
    assert worse.bleu < 100
    assert worse.exact == 0
    assert "nrefs:1|" in str(worse)


@pytest.mark.data
def test_published_scores_of_the_bergamot_students(shared):
    """BLEU as Mozilla published it (one decimal), and as sacreBLEU's own command gives it (two)."""
    table = gzip.decompress((shared / "data/bergamot/scores.de-en.tsv.gz").read_bytes()).decode()
    checked = 0
    for name, system, published, _, recomputed, reproduced in (row.split("\t") for row in table.splitlines()[1:]):
        if name != "newstest2019" or reproduced != "yes":  # the other sets agree as well, and take minutes
            continue
        scores = evaluate(
            hypotheses=str(shared / f"data/bergamot/{name}.de-en.{system}.en.gz"),
            references=(str(shared / "data/newstest2019.de-en.en.gz"),),
        ).scores
        assert f"{scores.bleu:.2f}" == recomputed
        assert f"{scores.bleu:.1f}" == published
        checked += 1
    assert checked == 3


def test_counts_are_checked_and_both_are_named():
    with pytest.raises(DataError, match="3 hypotheses, but 2 lines in reference 1 of 1"):
        score(HYPOTHESES, FIRST[:2])
    with pytest.raises(DataError, match="3 hypotheses, but 4 lines in reference 2 of 2"):
        score(HYPOTHESES, [FIRST, [*SECOND, "One more."]])


@pytest.mark.parametrize(("hypotheses", "references"), [([], []), ([], FIRST), (FIRST, [])])
def test_nothing_to_score_is_an_error(hypotheses, references):
    with pytest.raises(DataError, match="nothing to score"):
        score(hypotheses, references)


def test_files_are_scored_and_counted(tmp_path):
    out, first, second = (
        write(tmp_path / name, lines) for name, lines in [("out", HYPOTHESES), ("a", FIRST), ("b", SECOND)]
    )
    result = evaluate(hypotheses=out, references=(first, second))
    assert result.scores == score(HYPOTHESES, [FIRST, SECOND])
    assert result.tokens_per_second is None
    assert "target tokens/s" not in str(result)
    short = write(tmp_path / "short", FIRST[:1])
    with pytest.raises(DataError, match=rf"{out}: 3 lines, but {short} has 1"):
        evaluate(hypotheses=out, references=(first, short))


def test_a_line_that_cannot_be_scored_is_named(tmp_path):
    out = write(tmp_path / "out", ["good", "bad \x00 line"])
    references = (write(tmp_path / "ref", ["good", "bad line"]),)
    with pytest.raises(DataError, match="out:2:"):
        evaluate(hypotheses=out, references=references)


def test_a_model_is_scored_and_timed_and_empty_lines_keep_their_place(tmp_path, translator):
    sources = write(tmp_path / "a.de", ["ein hund", "", "zwei hunde laufen schnell"])
    targets = write(tmp_path / "a.en", ["EIN HUND", "nothing", "ZWEI HUNDE LAUFEN SCHNELL"])
    result = evaluate(model=str(tmp_path), test=(sources, targets), out=str(tmp_path / "out.en"))
    assert result.hypotheses == ["EIN HUND", "", "ZWEI HUNDE LAUFEN SCHNELL"]
    assert result.statuses == {"ok": 2, "empty_source": 1}
    assert result.target_tokens == 3 + 5
    assert result.scores == score(result.hypotheses, ["EIN HUND", "nothing", "ZWEI HUNDE LAUFEN SCHNELL"])
    assert result.scores.exact == pytest.approx(2 / 3)
    assert isinstance(result.usage, Usage)
    assert result.tokens_per_second == 8 / result.seconds
    assert result.peak_rss_bytes > 0
    assert (tmp_path / "out.en").read_text() == "EIN HUND\n\nZWEI HUNDE LAUFEN SCHNELL\n"
    assert "8 tokens; 1 empty_source, 2 ok" in str(result)


def test_the_native_translator_is_what_is_scored(tmp_path, tiny_model_folder):
    from distilmt.translate import Translator

    lines = ["the dog sees the cat .", "", "Haus 7 Uhr"]
    sources, targets = write(tmp_path / "a.de", lines), write(tmp_path / "a.en", ["the dog", "nothing", "house"])
    result = evaluate(model=str(tiny_model_folder), test=(sources, targets), beam_size=2, threads=1)
    expected = Translator(tiny_model_folder, compute_type="float32", threads=1).translate(lines, beam_size=2)
    assert result.hypotheses == [each.text for each in expected]
    assert result.target_tokens == sum(len(each.hypotheses[0].log_probs) for each in expected) > 0
    assert result.statuses["empty_source"] == 1


def test_a_hub_name_that_is_not_one_is_an_error(tmp_path):
    pair = write(tmp_path / "a.de", ["a"]), write(tmp_path / "a.en", ["b"])
    with pytest.raises(ConfigError, match="no such folder"):
        evaluate(model=str(tmp_path / "none"), test=pair)


def test_pairs_that_do_not_match_stop_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distilmt.translate", None)  # importing it would raise
    sources, targets = write(tmp_path / "a.de", ["eins", "zwei"]), write(tmp_path / "a.en", ["one"])
    with pytest.raises(DataError, match=r"2.*1"):
        evaluate(model=str(tmp_path), test=(sources, targets))


@pytest.fixture
def wmt14(tmp_path, monkeypatch):
    """sacreBLEU's wmt14/de-en as if it had been downloaded: two lines."""
    files = {"src": ["Ein Hund .", "Zwei Hunde ."], "ref": ["A dog .", "Two dogs ."]}
    paths = {field: write(tmp_path / field, lines) for field, lines in files.items()}
    monkeypatch.setattr(type(DATASETS["wmt14"]), "get_files", lambda self, pair: [paths["src"], paths["ref"]])


def test_named_test_sets(wmt14, translator, tmp_path):
    assert named_test_set("wmt14/de-en") == (["Ein Hund .", "Zwei Hunde ."], [["A dog .", "Two dogs ."]])
    assert named_test_set("wmt14/full/de-en")[0] == ["Ein Hund .", "Zwei Hunde ."]
    assert evaluate(model=str(tmp_path), test_set="wmt14/de-en").hypotheses == ["EIN HUND .", "ZWEI HUNDE ."]
    out = write(tmp_path / "out", ["A dog .", "Two dogs ."])
    assert evaluate(hypotheses=out, test_set="wmt14/de-en").scores.exact == 1
    short = write(tmp_path / "short", ["A dog ."])
    with pytest.raises(DataError, match="1 lines, but wmt14/de-en has 2"):
        evaluate(hypotheses=short, test_set="wmt14/de-en")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wmt14/de-xx", "wmt14 has no pair 'de-xx' - it has cs-en"),
        ("wmt1/de-en", "did you mean wmt"),
        ("wmt14", "write SET/PAIR"),
    ],
)
def test_unknown_test_sets(name, hint):
    with pytest.raises(ConfigError, match=hint):
        named_test_set(name)


@pytest.mark.parametrize("failure", [urllib.error.URLError("Name or service not known"), SystemExit(1)])
def test_no_network_is_one_line_and_exit_code_4(monkeypatch, failure):
    def fail(self: object, pair: str) -> list[str]:
        raise failure

    monkeypatch.setattr(type(DATASETS["wmt14"]), "get_files", fail)
    with pytest.raises(ResourceError, match="--test-set wmt14/de-en: sacreBLEU could not fetch it") as caught:
        named_test_set("wmt14/de-en")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("repeats", 2),
        ("beam_size", 1),
        ("threads", 1),
        ("compute_type", "int8"),
        ("metering", EnergyOptions(energy="none")),
    ],
)
def test_how_a_model_decodes_is_no_option_of_a_file(option, value):
    with pytest.raises(ConfigError, match=r"--[a-z-]+: belongs to --model, for a file is only scored"):
        EvaluateConfig(hypotheses="out", references=("ref",), **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either --model MODEL or --hypotheses"),
        ({"model": "m", "hypotheses": "h"}, "either --model MODEL or --hypotheses"),
        ({"model": "m"}, "either --test or --test-set"),
        ({"model": "m", "test": ("a", "b"), "test_set": "wmt14/de-en"}, "either --test or --test-set"),
        ({"hypotheses": "h"}, "either --references or --test-set"),
        ({"hypotheses": "h", "test": ("a", "b")}, "--test goes with --model"),
        ({"model": "m", "references": ("r",)}, "--references goes with --hypotheses"),
        ({"hypotheses": "h", "references": ("r",), "out": "o"}, "--out writes translations"),
        ({"model": "m", "test": ("a", "b"), "beam_size": 0}, "--beam-size must be 1 or more"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateConfig(**options)
