"""Chinese, Japanese and Korean are split into words by sacreBLEU's own ways, wherever a score is made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from distilmt.corpus import load_corpus
from distilmt.errors import ConfigError
from distilmt.evaluate import evaluate, score
from distilmt.text.files import language_of
from distilmt.train import TrainingOptions


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


LINES, OUT = ["一只狗在公园里跑。", "两个男人在街上说话。"], ["一只狗在花园里跑。", "两个人在街上说话。"]


def test_chinese_is_split_by_character_as_the_name_of_the_reference_asks(tmp_path):
    out, other, reference = (
        write(tmp_path / name, lines) for name, lines in (("out", OUT), ("ref", LINES), ("ref.zh_CN", LINES))
    )
    found, by_13a = (evaluate(hypotheses=out, references=(path,)).scores for path in (reference, other))
    assert "tok:zh" in found.bleu_signature and "tok:13a" in by_13a.bleu_signature and found.bleu > by_13a.bleu + 20
    assert evaluate(hypotheses=out, references=(other,), target_lang="zho").scores == found
    assert "tok:13a" in evaluate(hypotheses=out, references=(reference,), target_lang="de").scores.bleu_signature


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.zh.gz", "zh"),
        ("a.cmn_Hans", "zh"),
        ("hf:x:test:translation.ja", "ja"),
        ("jpn", ""),
        ("a.jpn", "ja"),
        ("a.lines", ""),
    ],
)
def test_languages_are_told_by_names(name, language):
    assert language_of(name) == language


def test_a_training_is_judged_the_same_way(tmp_path, monkeypatch):
    from distilmt.training import trainer_support

    class Fake:
        def __init__(self, *_, **__): ...
        def translate(self, *_, **__):
            return [SimpleNamespace(text=line) for line in OUT]

    monkeypatch.setattr(trainer_support, "Translator", Fake)
    dev = load_corpus((write(tmp_path / "dev.de", LINES), write(tmp_path / "dev.zh", LINES)))
    assert dev.target_language == "zh"
    found = trainer_support.dev_scores(tmp_path, (LINES, LINES), TrainingOptions(), dev.target_language)
    assert found["bleu"] == score(OUT, LINES, target_lang="zh").bleu > score(OUT, LINES).bleu


def test_what_cannot_be_split_is_said_before_anything_is_decoded(tmp_path, monkeypatch):
    def refuse(language):
        raise ConfigError(f"cannot split {language}")

    monkeypatch.setitem(evaluate.__globals__, "bleu_of", refuse)
    with pytest.raises(ConfigError, match="cannot split ja"):
        evaluate(model="none", test=(write(tmp_path / "a.de", LINES), write(tmp_path / "a.ja", LINES)))
