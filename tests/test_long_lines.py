"""Fault case 12: a line of more tokens than the model has positions."""

from __future__ import annotations

import pytest

from distilmt.errors import ConfigError
from distilmt.translate import Hypothesis, Translation, Translator
from distilmt.translator.long_lines import join
from distilmt.translator.search import DEFAULTS


@pytest.fixture(scope="module")
def translator(tiny_model_folder) -> Translator:
    return Translator(tiny_model_folder, threads=1)


def long_text(translator: Translator, times: int = 3) -> str:
    words = "Maria hofft, dass der Hund im Garten schläft."
    while len(translator.vocab.encode_source([words])[0]) < times * translator._model.positions:
        words += " " + words
    return words


def test_case_12_skip_is_the_default(translator):
    short, long = translator.translate(["Maria hofft.", long_text(translator)], beam_size=2, max_length=8)
    assert long.status == "too_long" and long.text == "" and short.status != "too_long"


def test_case_12_truncate_translates_the_beginning_and_says_so(translator):
    text = long_text(translator)
    beginning = translator.vocab.encode_source([text])[0][: translator._model.positions - 1]
    (out,) = translator.translate([text], beam_size=2, max_length=8, too_long="truncate")
    (want,) = translator.translate_ids([beginning], beam_size=2, max_length=8)
    assert out.hypotheses[0].ids == want.hypotheses[0].ids
    assert out.status == ("truncated" if want.status == "ok" else want.status)


def test_case_12_split_translates_every_piece(translator):
    text = long_text(translator)
    limit, ids = translator._model.positions - 1, translator.vocab.encode_source([text])[0]
    texts = ["Maria hofft.", text, "Der Hund schläft."]
    first, out, last = translator.translate(texts, beam_size=2, max_length=8, too_long="split")
    alone = translator.translate([texts[0], texts[2]], beam_size=2, max_length=8)
    assert [first, last] == alone  # lines stay where they are
    tokens = len(out.hypotheses[0].log_probs)
    assert tokens > 8 * (len(ids) // limit - 1) and out.status in ("split", "max_length", "repetition")
    assert out.hypotheses[0].score == pytest.approx(sum(out.hypotheses[0].log_probs) / tokens)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (("ok", "ok"), "split"),
        (("redone_float32", "ok"), "split"),
        (("ok", "max_length", "not_finite", "repetition"), "not_finite"),
        (("max_length", "empty_hypothesis", "repetition"), "empty_hypothesis"),
        (("max_length", "repetition", "ok"), "repetition"),
    ],
)
def test_a_line_in_pieces_has_the_worst_of_their_statuses(pieces, said):
    parts = [Translation([Hypothesis([5], "a", -1.0, [-1.0])], status) for status in (*pieces, "redone_float32")]
    first, cut_short = join(parts, [len(pieces), 1], ["split", "truncated"], DEFAULTS)
    assert (first.status, cut_short.status) == (said, "truncated")


def test_case_12_split_gives_one_hypothesis(translator):
    with pytest.raises(ConfigError, match="n_best 1"):
        translator.translate(["a"], beam_size=2, n_best=2, too_long="split")
