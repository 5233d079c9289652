"""A German-English corpus that the package writes itself, for `distilmt quickstart` and for tests.

An abstract sentence is drawn from a seeded generator and spelled out twice, so both sides always say the same:

    sentence   clause | clause because clause | If clause, clause | somebody says that clause
    clause     subject verb [recipient] [object] [place, direction or price] [clock] [day] | thing costs | somebody is
    German     verb second (subject, day or masculine object in front), last after a conjunction; separable verbs
    phrase     determiner, number, adjective, noun: gender, case and number agree; weak, mixed and strong endings
    compound   Garten + Stuhl -> Gartenstuhl, garden chair
    pronoun    er, sie, ihn ... take the German gender of what they stand for: he or it, she or it or they
    tense      present; perfect with haben or sein -> simple past; werden -> will; modals
    numbers    dreiundvierzig -> forty-three; am dritten Mai -> on the third of May; um halb acht -> at half past seven
    one truth  a German sentence has one translation; where no form shows the case, the subject comes first

Source: ours; the rules are the common core of both languages. The words are in `lexicon.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from distilmt.text import lexicon as words
from distilmt.text.lexicon import ACTIONS, Noun, Texts, Verb

SHORTEST, LONGEST = 8, 16  # words in a line of either language
TENSES = ["present", "perfect", *words.MODALS]


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; count 0 is the plain singular, 1 the plain plural, and more is spoken as a number."""

    noun: Noun
    determiner: str = ""
    count: int = 0
    adjective: Texts = ("", "")
    pronoun: bool = False

    @property
    def plural(self) -> bool:
        return self.count > 0


@dataclass(frozen=True)
class Clause:
    subject: Phrase
    verb: Verb
    tense: str = "present"
    recipient: Phrase | None = None
    object: Phrase | None = None
    rest: Texts = ("", "")  # place, direction, price or predicate adjective
    clock: Texts = ("", "")
    day: Texts = ("", "")


WE = Phrase(words.WE, count=1)


def join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def number(n: int) -> Texts:
    """The spoken form of 1..99: `dreiundvierzig`, `forty-three`."""
    if n < 20:
        return words.UNITS[n - 1]
    german_ten, english_ten = words.TENS[n // 10 - 2]
    if n % 10 == 0:
        return german_ten, english_ten
    german, english = words.UNITS[n % 10 - 1]
    return f"{'ein' if german == 'eins' else german}und{german_ten}", f"{english_ten}-{english}"


def ordinal(n: int) -> Texts:
    """The spoken ordinal of 1..99, with the German ending of `am`: `dreiundzwanzigsten`, `twenty-third`."""
    german, english = number(n)
    if n < 20:
        return words.IRREGULAR_ORDINALS.get(n, (german + "ten", english + "th"))
    if n % 10 == 0:
        return german + "sten", english[:-1] + "ieth"
    return german + "sten", f"{english.split('-')[0]}-{ordinal(n % 10)[1]}"


def clock(hour: int, side: str, minute: Texts) -> Texts:
    """A time of day; German counts the half hour towards the hour to come: `halb acht` is half past seven."""
    german, english = number(hour)
    if side == "full":
        return f"um {'ein' if german == 'eins' else german} Uhr", f"at {english} o'clock"
    if side == "half":
        return f"um halb {number(hour % 12 + 1)[0]}", f"at half past {english}"
    return f"um {minute[0]} {'nach' if side == 'past' else 'vor'} {german}", f"at {minute[1]} {side} {english}"


def euros(n: int, cents: int) -> Texts:
    (german, english), (german_cents, english_cents) = number(n), number(cents) if cents else ("", "")
    return join(german, "Euro", german_cents), join(english, "euros", english_cents)


def ending(endings: dict[str, str], case: str, phrase: Phrase) -> str:
    column = 3 if phrase.plural else "mfn".index(phrase.noun.gender[0])
    return endings[case].split()[column].replace("-", "")


def german_noun(phrase: Phrase, case: str) -> str:
    noun = phrase.noun
    if not phrase.plural:
        return noun.german_plural if noun.gender == "m*" and case != "nominative" else noun.german
    return noun.german_plural + ("n" if case == "dative" and noun.german_plural[-1] not in "ns" else "")


def german_phrase(phrase: Phrase, case: str) -> str:
    if phrase.pronoun:
        return ending(words.PRONOUNS, case, phrase)
    determiner, endings = number(phrase.count)[0] if phrase.count > 1 else "", words.STRONG
    if phrase.determiner == "der":
        determiner, endings = ending(words.DER, case, phrase), words.WEAK
    elif phrase.determiner == "dies":
        determiner, endings = "dies" + ending(words.DIES, case, phrase), words.WEAK
    elif phrase.determiner:
        determiner, endings = phrase.determiner + ending(words.EIN, case, phrase), words.MIXED
    adjective = phrase.adjective[0] + ending(endings, case, phrase) if phrase.adjective[0] else ""
    return join(determiner, adjective, german_noun(phrase, case))


def english_phrase(phrase: Phrase, role: str) -> str:
    if phrase.pronoun and phrase.plural:
        return "they" if role == "subject" else "them"
    if phrase.pronoun:  # of persons only subjects become pronouns
        return {"m": "he", "f": "she"}[phrase.noun.gender[0]] if phrase.noun.kind in ("person", "name") else "it"
    determiner = number(phrase.count)[1] if phrase.count > 1 else ""
    if phrase.determiner:
        determiner = words.DETERMINERS[phrase.determiner][phrase.plural]
    noun = join(phrase.adjective[1], phrase.noun.english_plural if phrase.plural else phrase.noun.english)
    return join("an" if determiner == "a" and noun[0] in "aeiou" else determiner, noun)


def inside(room: Phrase, case: str) -> Texts:
    """`im Garten`, in the garden (where: dative); `in den Garten`, into the garden (where to: accusative)."""
    german = f"in {german_phrase(room, case)}".replace("in dem ", "im ").replace("in das ", "ins ")
    return german, f"{'in' if case == 'dative' else 'into'} {english_phrase(room, 'object')}"


def german_verb(clause: Clause) -> tuple[str, str]:
    """The finite verb, and what stands at the end of a main clause: particle, participle or infinitive."""
    verb, plural = clause.verb, clause.subject.plural
    if clause.tense == "present":
        return (verb.infinitive if plural else verb.singular), verb.particle
    if clause.tense == "perfect":
        return {"hat": ("hat", "haben"), "ist": ("ist", "sind")}[verb.auxiliary][plural], verb.participle
    return words.MODALS[clause.tense][plural], verb.particle + verb.infinitive


def german_clause(clause: Clause, order: str) -> str:
    """Spell a clause; order tells what is in front: `subject`, `day`, `object` or the `verb`; `last` is verb last."""
    finite, end = german_verb(clause)
    case = "dative" if clause.verb.frame == "help" else "accusative"
    thing = german_phrase(clause.object, case) if clause.object else ""
    short = clause.object is not None and clause.object.pronoun  # a pronoun goes before the day, a noun after it
    parts = {
        "subject": german_phrase(clause.subject, "nominative"),
        "pronoun": thing if short else "",
        "day": clause.day[0],
        "clock": clause.clock[0],
        "recipient": german_phrase(clause.recipient, "dative") if clause.recipient else "",
        "object": "" if short else thing,
        "rest": clause.rest[0],
    }
    if order == "last":
        return join(*parts.values(), end + finite if clause.tense == "present" else join(end, finite))
    front = parts.pop(order, "")
    return join(front, finite, *parts.values(), end)


def english_clause(clause: Clause, order: str) -> str:
    """Spell a clause; the day comes first in order `day` and else last."""
    verb, plural = clause.verb, clause.subject.plural
    if clause.tense == "present":
        action = verb.english if plural else verb.english_singular
    elif clause.tense == "perfect":
        action = verb.english_past
    else:
        action = f"{words.MODALS[clause.tense][2 + plural]} {verb.english}"
    subject = english_phrase(clause.subject, "subject")
    recipient, thing = (english_phrase(one, "object") if one else "" for one in (clause.recipient, clause.object))
    front, end = (clause.day[1], "") if order == "day" else ("", clause.day[1])
    return join(front, subject, action, recipient, thing, clause.rest[1], clause.clock[1], end)


def draw_phrase(rng: Random, nouns: Sequence[Noun]) -> Phrase:
    noun = rng.choice(nouns)
    if noun.kind == "name":
        return Phrase(noun)
    if noun.kind == "place":
        return Phrase(noun, rng.choice(["der", "unser"]))
    adjectives = words.PERSON_ADJECTIVES if noun.kind == "person" else words.THING_ADJECTIVES
    adjective = rng.choice(adjectives) if rng.random() < 0.5 else ("", "")
    determiner = rng.choice(["der", "der", "der", "dies", "ein", "mein", "unser", ""])
    if not determiner:
        return Phrase(noun, "", rng.randrange(2, 13 if noun.kind == "person" else 100), adjective)
    return Phrase(noun, determiner, int(determiner != "ein" and rng.random() < 0.3), adjective)


def draw_subject(rng: Random) -> Phrase:
    if rng.random() < 0.1:
        return WE
    return draw_phrase(rng, words.NAMED if rng.random() < 0.3 else words.PEOPLE)


def refer(rng: Random, subject: Phrase) -> Phrase:
    """The pronoun for an earlier subject, or somebody else where that would be `es`: neither he nor she nor it."""
    if subject == WE:
        return WE
    return draw_subject(rng) if subject.noun.gender == "n" and not subject.plural else replace(subject, pronoun=True)


def draw_day(rng: Random, tense: str) -> Texts:
    (german, english), (german_part, english_part) = rng.choice(words.DAYS), rng.choice(words.PARTS)
    german, english = german + german_part, join(english, english_part)
    if tense == "present":
        return rng.choice([("heute", "today"), (f"jeden {german}", f"every {english}")])
    if rng.random() < 0.5:
        return f"am {german}", f"on {english}"
    (day, english_day), (month, english_month) = ordinal(rng.randrange(1, 29)), rng.choice(words.MONTHS)
    return f"am {day} {month}", f"on the {english_day} of {english_month}"


def draw_clock(rng: Random) -> Texts:
    return clock(rng.randrange(1, 13), rng.choice(["full", "half", "past", "to"]), rng.choice(words.MINUTES))


def draw_price(rng: Random) -> Texts:
    return euros(rng.randrange(2, 100), rng.choice([0, 0, 20, 50]))


def draw_rest(rng: Random, kind: str) -> Texts:
    """A price, a place (where: dative) or a direction (where to: accusative)."""
    if kind == "price":
        german, english = draw_price(rng)
        return f"für {german}", f"for {english}"
    return inside(draw_phrase(rng, words.ROOMS), "dative" if kind == "place" else "accusative")


def draw_clause(
    rng: Random, subject: Phrase, tenses: Sequence[str] = TENSES, verbs: Sequence[Verb] = ACTIONS
) -> Clause:
    """Draw what the subject does: a verb, what its frame asks for, perhaps a place or price, a time, a day."""
    verb, tense = rng.choice(verbs), rng.choice(tenses)
    kinds, rest = words.FRAMES[verb.frame]
    others = [noun for noun in words.PEOPLE + words.NAMED if noun != subject.noun]
    objects = [noun for noun in words.THINGS + others if noun.kind in kinds.split()]
    clause = Clause(subject, verb, tense, object=draw_phrase(rng, objects) if objects else None)
    if verb.frame == "give":
        clause = replace(clause, recipient=draw_phrase(rng, others))
    if rest and (verb.frame == "carry" or rng.random() < 0.6):
        clause = replace(clause, rest=draw_rest(rng, rest))
    if rng.random() < 0.35:
        clause = replace(clause, clock=draw_clock(rng))
    return replace(clause, day=draw_day(rng, tense)) if rng.random() < 0.5 else clause


def draw_state(rng: Random) -> Clause:
    """What something costs, or how something or somebody is."""
    chance, thing = rng.random(), draw_phrase(rng, words.THINGS)
    if chance < 0.3:
        return Clause(draw_subject(rng), words.BE, rest=rng.choice(words.PERSON_STATES))
    if chance < 0.5:
        return Clause(thing, words.BE, rest=rng.choice(words.THING_STATES))
    return Clause(thing, words.COST, rest=draw_price(rng))


def draw_reason(rng: Random, main: Clause) -> Clause:
    """A clause about the object of the main clause, about its subject, or about something else."""
    chance, person, thing = rng.random(), refer(rng, main.subject), main.object
    if thing and thing.noun.kind not in ("person", "name") and chance < 0.6:
        it = replace(thing, pronoun=True)
        if chance < 0.3:
            return Clause(it, words.BE, rest=rng.choice(words.THING_STATES))
        return replace(draw_clause(rng, person, ["present", *words.MODALS], words.USES), object=it)
    if chance < 0.7:
        return Clause(person, words.BE, rest=rng.choice(words.PERSON_STATES))
    return draw_state(rng) if chance < 0.85 else draw_clause(rng, draw_subject(rng))


def draw_order(rng: Random, clause: Clause) -> str:
    """What stands in front; an object only where its article shows the case: `den Tisch`, but not `das Bild`."""
    orders = ["subject", "day"] if clause.day[0] else ["subject"]
    thing = clause.object
    if thing and thing.determiner and thing.noun.gender[0] == "m" and not thing.plural:
        orders.append("object")
    return rng.choice(orders)


def draw_sentence(rng: Random) -> Texts:
    """One sentence in both languages, as long as it happens to be."""
    chance, subject = rng.random(), draw_subject(rng)
    if chance < 0.25:
        speech = Clause(subject, rng.choice(words.SPEECH))
        doer = refer(rng, subject) if rng.random() < 0.3 else draw_subject(rng)
        told = draw_state(rng) if rng.random() < 0.2 else draw_clause(rng, doer)
        german = f"{german_clause(speech, 'subject')}, dass {german_clause(told, 'last')}"
        english = f"{english_clause(speech, 'subject')} that {english_clause(told, 'subject')}"
    elif chance < 0.5:
        (if_german, if_english), first = rng.choice(words.CONDITIONS), draw_clause(rng, draw_subject(rng), ["present"])
        main = draw_clause(rng, subject, ["present", *words.MODALS])
        german = f"{if_german} {german_clause(first, 'last')}, {german_clause(main, 'verb')}"
        english = f"{if_english} {english_clause(first, 'subject')}, {english_clause(main, 'subject')}"
    elif chance < 0.75:
        (as_german, as_english), main = rng.choice(words.REASONS), draw_clause(rng, subject)
        reason = draw_reason(rng, main)
        german = f"{german_clause(main, 'subject')}, {as_german} {german_clause(reason, 'last')}"
        english = f"{english_clause(main, 'subject')} {as_english} {english_clause(reason, 'subject')}"
    else:
        main = draw_clause(rng, subject)
        order = draw_order(rng, main)
        german, english = german_clause(main, order), english_clause(main, order)
    return f"{german[0].upper()}{german[1:]}.", f"{english[0].upper()}{english[1:]}."


def generate(lines: int, seed: int) -> list[Texts]:
    """Write a corpus: (German, English) pairs in random order, no sentence of either language twice.

    Args:
        lines: number of pairs.
        seed: equal seeds give equal corpora, and a longer corpus begins with the shorter one.

    Returns:
        The pairs; both sides of each have 8 to 16 words.
    """
    rng, corpus = Random(seed), list[Texts]()
    sources, targets = set[str](), set[str]()
    while len(corpus) < lines:
        source, target = draw_sentence(rng)
        fits = all(SHORTEST <= len(text.split()) <= LONGEST for text in (source, target))
        if fits and source not in sources and target not in targets:
            corpus.append((source, target))
            sources.add(source)
            targets.add(target)
    return corpus


def splits(train: int, dev: int, test: int, seed: int) -> tuple[list[Texts], list[Texts], list[Texts]]:
    """Training, development and test pairs; no sentence of one is in another, in either language."""
    corpus = generate(test + dev + train, seed)
    return corpus[test + dev :], corpus[test : test + dev], corpus[:test]
