"""The words of the generated corpus (`grammar.py`): small tables of German forms with their English ones.

A table is one string: rows end at commas or line ends, columns at spaces, `_` stands for a space and `-` for nothing.
Compounds are built, not listed: Garten + Stuhl -> Gartenstuhl, garden chair.
"""

from __future__ import annotations

from dataclasses import dataclass

Texts = tuple[str, str]  # the same in German and in English


@dataclass(frozen=True)
class Noun:
    german: str
    gender: str  # m, f, n; m* is masculine with weak endings: der Nachbar, den Nachbarn
    german_plural: str
    english: str
    english_plural: str
    kind: str  # person, name, we, thing, lamp, opening (can be opened), place


@dataclass(frozen=True)
class Verb:
    frame: str  # what stands beside it; see FRAMES
    particle: str  # of a separable verb: auf in aufmachen
    infinitive: str  # without the particle; also the plural form
    singular: str
    participle: str
    auxiliary: str  # hat or ist
    english: str  # also the plural form
    english_singular: str
    english_past: str


def rows(table: str) -> list[list[str]]:
    lines = (line.split() for line in table.replace("\n", ",").split(","))
    return [["" if word == "-" else word.replace("_", " ") for word in line] for line in lines]


def pairs(table: str) -> list[Texts]:
    return [(german, english) for german, english in rows(table)]


def compound(german: str, english: str, head: Noun) -> Noun:
    words = (german + head.german.lower(), head.gender, german + head.german_plural.lower())
    return Noun(*words, f"{english} {head.english}", f"{english} {head.english_plural}", head.kind)


PERSONS = """Lehrer m Lehrer teacher teachers, Lehrerin f Lehrerinnen teacher teachers
Arzt m Ärzte doctor doctors, Ärztin f Ärztinnen doctor doctors
Nachbar m* Nachbarn neighbour neighbours, Nachbarin f Nachbarinnen neighbour neighbours
Student m* Studenten student students, Studentin f Studentinnen student students
Koch m Köche cook cooks, Köchin f Köchinnen cook cooks
Bruder m Brüder brother brothers, Schwester f Schwestern sister sisters
Kind n Kinder child children, Mädchen n Mädchen girl girls"""
NAMES = "Paul m, Peter m, Jonas m, Max m, Anna f, Maria f, Laura f, Julia f"
# One of each and well known, so without a plural.
PLACES = """Küche f - kitchen -, Garten m - garden -, Büro n - office -, Keller m - cellar -, Hotel n - hotel -
Laden m - shop -, Schule f - school -"""
HEADS = """Schlüssel m Schlüssel key keys thing, Tisch m Tische table tables thing
Stuhl m Stühle chair chairs thing, Uhr f Uhren clock clocks thing, Bild n Bilder picture pictures thing
Lampe f Lampen lamp lamps lamp, Tür f Türen door doors opening, Fenster n Fenster window windows opening
Schrank m Schränke cupboard cupboards opening"""
MODIFIERS = """Haus house Schlüssel Tür, Garten garden Tisch Stuhl Lampe Tür
Küchen kitchen Tisch Stuhl Uhr Lampe Tür Fenster Schrank
Büro office Schlüssel Tisch Stuhl Uhr Lampe Tür Fenster Schrank
Keller cellar Schlüssel Lampe Tür Fenster Schrank
Hotel hotel Schlüssel Uhr Tür Fenster, Bahnhofs station Uhr Tür Fenster"""

PEOPLE = [Noun(*[*row, "person"]) for row in rows(PERSONS)]
NAMED = [Noun(name, gender, "", name, "", "name") for name, gender in rows(NAMES)]
ROOMS = [Noun(*[*row, "place"]) for row in rows(PLACES)]
WE = Noun("", "m", "wir", "", "we", "we")
SIMPLE = {row[0]: Noun(*row) for row in rows(HEADS)}
COMPOUNDS = [compound(row[0], row[1], SIMPLE[head]) for row in rows(MODIFIERS) for head in row[2:]]
THINGS = [*SIMPLE.values(), *COMPOUNDS]

# Columns: frame particle infinitive singular participle auxiliary english english_singular english_past.
VERBS = """trade - kaufen kauft gekauft hat buy buys bought, trade - verkaufen verkauft verkauft hat sell sells sold
find - suchen sucht gesucht hat look_for looks_for looked_for, find - finden findet gefunden hat find finds found
take - brauchen braucht gebraucht hat need needs needed
take aus suchen sucht ausgesucht hat choose chooses chose
take mit bringen bringt mitgebracht hat bring_along brings_along brought_along
take zurück bringen bringt zurückgebracht hat bring_back brings_back brought_back
open auf machen macht aufgemacht hat open opens opened, open zu machen macht zugemacht hat close closes closed
light an machen macht angemacht hat turn_on turns_on turned_on
light aus machen macht ausgemacht hat turn_off turns_off turned_off
see an rufen ruft angerufen hat call calls called, see - besuchen besucht besucht hat visit visits visited
see ab holen holt abgeholt hat pick_up picks_up picked_up, meet - treffen trifft getroffen hat meet meets met
help - helfen hilft geholfen hat help helps helped
help zu hören hört zugehört hat listen_to listens_to listened_to
give - geben gibt gegeben hat give gives gave, give - zeigen zeigt gezeigt hat show shows showed
give - schicken schickt geschickt hat send sends sent, give an bieten bietet angeboten hat offer offers offered
carry - bringen bringt gebracht hat bring brings brought, carry - tragen trägt getragen hat carry carries carried
go an kommen kommt angekommen ist arrive arrives arrived
go zurück kommen kommt zurückgekommen ist come_back comes_back came_back
go auf stehen steht aufgestanden ist get_up gets_up got_up
stay - arbeiten arbeitet gearbeitet hat work works worked, stay - schlafen schläft geschlafen hat sleep sleeps slept
stay ein schlafen schläft eingeschlafen ist fall_asleep falls_asleep fell_asleep"""
SAYING = """that - sagen sagt gesagt hat say says said, that - wissen weiß gewusst hat know knows knew
that - glauben glaubt geglaubt hat believe believes believed, that - hoffen hofft gehofft hat hope hopes hoped"""
FRAMES = {  # kinds of the object; what the rest of the clause tells
    "trade": ("thing lamp opening", "price"),
    "find": ("thing lamp opening", "place"),
    "take": ("thing lamp", ""),
    "open": ("opening", "place"),
    "light": ("lamp", "place"),
    "see": ("person name", ""),
    "meet": ("person name", "place"),
    "help": ("person name", "place"),  # in the dative
    "give": ("thing lamp", ""),  # and a recipient
    "carry": ("thing lamp", "direction"),
    "go": ("", ""),
    "stay": ("", "place"),
}
ACTIONS = [Verb(*row) for row in rows(VERBS)]
SPEECH = [Verb(*row) for row in rows(SAYING)]
USES = [verb for verb in ACTIONS if verb.english in ("buy", "sell", "need", "find")]  # `it` and `them` fit behind these
COST = Verb("cost", "", "kosten", "kostet", "", "", "cost", "costs", "")
BE = Verb("be", "", "sind", "ist", "", "", "are", "is", "")
MODALS = {  # singular and plural in German, in English
    "werden": ("wird", "werden", "will", "will"),
    "müssen": ("muss", "müssen", "must", "must"),
    "können": ("kann", "können", "can", "can"),
    "sollen": ("soll", "sollen", "should", "should"),
    "wollen": ("will", "wollen", "wants to", "want to"),
}

PERSON_ADJECTIVES = pairs("alt old, jung young, nett nice, klug clever, freundlich friendly, reich rich")
THING_ADJECTIVES = pairs("alt old, neu new, klein small, groß big, rot red, blau blue, schwarz black, schön beautiful")
PERSON_STATES = pairs("müde tired, krank ill")  # never of a thing,
THING_STATES = pairs(
    "teuer expensive, billig cheap, kaputt broken"
)  # never of a person: they tell what `er` stands for
REASONS = pairs("weil because, obwohl although")
CONDITIONS = pairs("wenn if, bevor before")

DAYS = pairs("""Montag Monday, Dienstag Tuesday, Mittwoch Wednesday, Donnerstag Thursday, Freitag Friday
Samstag Saturday, Sonntag Sunday""")
PARTS = pairs("- -, morgen morning, nachmittag afternoon, abend evening")
MONTHS = pairs("""Januar January, Februar February, März March, April April, Mai May, Juni June, Juli July
August August, September September, Oktober October, November November, Dezember December""")
MINUTES = pairs("fünf five, zehn ten, zwanzig twenty, Viertel a_quarter")
UNITS = pairs("""eins one, zwei two, drei three, vier four, fünf five, sechs six, sieben seven, acht eight, neun nine
zehn ten, elf eleven, zwölf twelve, dreizehn thirteen, vierzehn fourteen, fünfzehn fifteen, sechzehn sixteen
siebzehn seventeen, achtzehn eighteen, neunzehn nineteen""")
TENS = pairs("""zwanzig twenty, dreißig thirty, vierzig forty, fünfzig fifty, sechzig sixty, siebzig seventy
achtzig eighty, neunzig ninety""")
IRREGULAR_ORDINALS = {
    1: ("ersten", "first"),
    2: ("zweiten", "second"),
    3: ("dritten", "third"),
    5: ("fünften", "fifth"),
    7: ("siebten", "seventh"),
    8: ("achten", "eighth"),
    9: ("neunten", "ninth"),
    12: ("zwölften", "twelfth"),
}

# Endings for masculine, feminine, neuter, plural; "-" is no ending.
DER = {"nominative": "der die das die", "accusative": "den die das die", "dative": "dem der dem den"}
DIES = {"nominative": "er e es e", "accusative": "en e es e", "dative": "em er em en"}
EIN = {"nominative": "- e - e", "accusative": "en e - e", "dative": "em er em en"}
WEAK = {"nominative": "e e e en", "accusative": "en e e en", "dative": "en en en en"}  # adjectives after der, dieser
MIXED = {"nominative": "er e es en", "accusative": "en e es en", "dative": "en en en en"}  # after ein, mein, unser
STRONG = DIES  # after a number
PRONOUNS = {"nominative": "er sie es sie", "accusative": "ihn sie es sie"}
DETERMINERS = {  # singular and plural
    "der": ("the", "the"),
    "dies": ("this", "these"),
    "ein": ("a", ""),
    "mein": ("my", "my"),
    "unser": ("our", "our"),
}
