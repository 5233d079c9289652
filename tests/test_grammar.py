"""The generated corpus: reproducible, unambiguous, correct in both languages, and of the promised size."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from random import Random
from statistics import mean

import pytest

from distilmt.text import lexicon
from distilmt.text.grammar import (
    Phrase,
    clock,
    draw_sentence,
    english_phrase,
    generate,
    german_phrase,
    number,
    ordinal,
    splits,
)
from distilmt.text.lexicon import Noun

CORPUS = generate(20_000, seed=1)
NOUNS = {noun.german: noun for noun in lexicon.PEOPLE + lexicon.THINGS}


def words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text)


def test_equal_seeds_give_equal_corpora_in_every_process():
    code = "from distilmt.text.grammar import generate; print(ascii(generate(500, 7)))"
    hashes = set()
    for hash_seed in ("1", "2"):  # the order of sets and dictionaries of strings must not matter
        run = [sys.executable, "-c", code]
        done = subprocess.run(
            run, env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1 and eval(hashes.pop()) == generate(500, 7)
    assert generate(300, 7) == generate(500, 7)[:300]
    assert generate(300, 7) != generate(300, 8)


def test_no_sentence_comes_twice_and_splits_are_disjoint():
    train, dev, test = splits(3_000, 300, 200, seed=3)
    assert (len(train), len(dev), len(test)) == (3_000, 300, 200)
    for side in (0, 1):
        assert len({pair[side] for pair in train + dev + test}) == 3_500


def test_one_german_sentence_has_one_translation():
    rng, seen = Random(5), dict[str, str]()
    for source, target in (draw_sentence(rng) for _ in range(60_000)):  # short sentences too: they collide often
        assert seen.setdefault(source, target) == target, source
    assert len(seen) < 60_000  # some did come twice, so the loop has compared something


def test_there_are_more_than_a_million_sentences():
    """Birthday bound: n draws with c equal pairs among them come from about n^2 / 2c equally likely sentences."""
    rng, seen, collisions, draws = Random(6), set[str](), 0, 40_000
    for source, _ in (draw_sentence(rng) for _ in range(draws)):
        if 8 <= len(source.split()) <= 16:
            collisions += source in seen
            seen.add(source)
    assert len(seen) ** 2 / (2 * max(collisions, 1)) > 1e6  # sentences differ in likelihood: the true count is larger


def test_size_of_lines_and_vocabulary():
    vocabulary = {word for pair in CORPUS for text in pair for word in re.findall(r"\w+", text)}
    assert len(vocabulary) <= 1_000
    for side in (0, 1):
        lengths = [len(pair[side].split()) for pair in CORPUS]
        assert min(lengths) >= 8 and max(lengths) <= 16 and 10.5 <= mean(lengths) <= 13.5


# Written down by hand, not by the rules: noun, determiner, count, adjective; nominative, accusative, dative; English.
FORMS = """
Koch der 0 alt | der alte Koch | den alten Koch | dem alten Koch | the old cook
Köchin ein 0 alt | eine alte Köchin | eine alte Köchin | einer alten Köchin | an old cook
Kind mein 0 klein | mein kleines Kind | mein kleines Kind | meinem kleinen Kind | my small child
Nachbar dies 0 nett | dieser nette Nachbar | diesen netten Nachbarn | diesem netten Nachbarn | this nice neighbour
Student unser 0 jung | unser junger Student | unseren jungen Studenten | unserem jungen Studenten | our young student
Arzt der 1 reich | die reichen Ärzte | die reichen Ärzte | den reichen Ärzten | the rich doctors
Kind - 11 nett | elf nette Kinder | elf nette Kinder | elf netten Kindern | eleven nice children
Mädchen dies 1 - | diese Mädchen | diese Mädchen | diesen Mädchen | these girls
Schwester mein 1 alt | meine alten Schwestern | meine alten Schwestern | meinen alten Schwestern | my old sisters
Küchenstuhl ein 0 rot | ein roter Küchenstuhl | einen roten Küchenstuhl | einem roten Küchenstuhl | a red kitchen chair
Bahnhofsuhr der 0 - | die Bahnhofsuhr | die Bahnhofsuhr | der Bahnhofsuhr | the station clock
Kellerfenster - 3 - | drei Kellerfenster | drei Kellerfenster | drei Kellerfenstern | three cellar windows
Hausschlüssel unser 1 - | unsere Hausschlüssel | unsere Hausschlüssel | unseren Hausschlüsseln | our house keys"""


@pytest.mark.parametrize("line", FORMS.strip().splitlines())
def test_agreement(line: str):
    head, *german, english = line.split(" | ")
    name, determiner, count, adjective = head.split()
    translation = dict(lexicon.PERSON_ADJECTIVES + lexicon.THING_ADJECTIVES)
    adjectives = (adjective, translation[adjective]) if adjective != "-" else ("", "")
    phrase = Phrase(NOUNS[name], determiner.replace("-", ""), int(count), adjectives)
    assert [german_phrase(phrase, case) for case in ("nominative", "accusative", "dative")] == german
    assert english_phrase(phrase, "object") == english


def test_every_phrase_agrees():
    """Independently of the tables: article and adjective show gender and case the way German grammars list them."""
    endings = ("", "e", "en", "em", "er", "es")
    articles = {"der", "die", "das", "den", "dem"} | {
        stem + end for stem in ("dies", "mein", "ein", "unser") for end in endings
    }
    for noun, determiner, count, case in product(NOUNS.values(), lexicon.DETERMINERS, (0, 1), ("accusative", "dative")):
        article, adjective, name = german_phrase(Phrase(noun, determiner, count, ("neu", "new")), case).split()
        assert article in articles
        if case == "dative":
            assert adjective == "neuen" and article[-1] == (
                "n" if count else {"m": "m", "f": "r", "n": "m"}[noun.gender[0]]
            )
            assert not count or name[-1] in "ns"
        elif not count and noun.gender[0] == "m":
            assert article.endswith("en") and adjective == "neuen"


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        (number(1), ("eins", "one")),
        (number(17), ("siebzehn", "seventeen")),
        (number(21), ("einundzwanzig", "twenty-one")),
        (number(60), ("sechzig", "sixty")),
        (number(76), ("sechsundsiebzig", "seventy-six")),
        (ordinal(3), ("dritten", "third")),
        (ordinal(16), ("sechzehnten", "sixteenth")),
        (ordinal(20), ("zwanzigsten", "twentieth")),
        (ordinal(28), ("achtundzwanzigsten", "twenty-eighth")),
        (clock(7, "half", ("", "")), ("um halb acht", "at half past seven")),
        (clock(12, "half", ("", "")), ("um halb eins", "at half past twelve")),
        (clock(1, "full", ("", "")), ("um ein Uhr", "at one o'clock")),
        (clock(9, "to", ("Viertel", "a quarter")), ("um Viertel vor neun", "at a quarter to nine")),
    ],
)
def test_spoken_numbers(spoken: tuple[str, str], expected: tuple[str, str]):
    assert spoken == expected


def test_numbers_are_all_different():
    assert len({number(n) for n in range(1, 100)}) == len({ordinal(n) for n in range(1, 100)}) == 99


def test_both_sides_say_the_same():
    """What has one fixed translation stands on both sides equally often: numbers, names, months, conjunctions."""
    together = dict(number(n) for n in range(13, 100))
    together |= dict(lexicon.MONTHS) | {name.german: name.english for name in lexicon.NAMED}
    together |= {
        "dass": "that",
        "weil": "because",
        "obwohl": "although",
        "Wenn": "If",
        "Bevor": "Before",
        "Euro": "euros",
    }
    together |= {ordinal(n)[0]: ordinal(n)[1] for n in range(1, 29)}
    capital = {german.capitalize(): english.capitalize() for german, english in together.items()}
    back = set(together.values()) | set(capital.values())
    for source, target in CORPUS:
        expected = [together.get(word) or capital.get(word) for word in words(source)]
        assert sorted(e for e in expected if e) == sorted(w for w in words(target) if w in back), (source, target)


def test_english_articles_and_german_order():
    for source, target in CORPUS:
        assert all(word[0] in "aeiou" for word in re.findall(r"\b[Aa]n (\w+)", target)), target
        assert not any(word[0] in "aeiou" for word in re.findall(r"\b[Aa] (\w+)", target)), target
        clause = re.search(r", (?:dass|weil|obwohl) (.*)\.$", source)
        if clause:  # verb last
            assert clause[1].split()[-1] in FINITE, source
        assert source[0].isupper() and target[0].isupper() and source.endswith(".") and target.endswith(".")


def finite_forms() -> set[str]:
    forms = {"hat", "haben", "ist", "sind", "kostet", "kosten"}
    forms |= {form for modal in lexicon.MODALS.values() for form in modal[:2]}
    return forms | {verb.particle + form for verb in lexicon.ACTIONS for form in (verb.singular, verb.infinitive)}


FINITE = finite_forms()


def test_compounds_are_made_from_their_parts():
    house_key = next(noun for noun in lexicon.COMPOUNDS if noun.german == "Hausschlüssel")
    assert house_key == Noun("Hausschlüssel", "m", "Hausschlüssel", "house key", "house keys", "thing")
    assert len(lexicon.COMPOUNDS) >= 25
