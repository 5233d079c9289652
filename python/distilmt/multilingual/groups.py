"""Which directions share a student: those whose languages are of one family, or those that the user puts together.

What is compared is the side where the directions differ: source languages on the way into one language, target languages on
the way out of one. Source of the idea: Do & Lee 2023 (doi:10.1145/3546067), whose groups have a teacher each; Tan et al. 2019
(D19-1089) compare families with learnt clusters.

FAMILIES follows the genealogical classification of Glottolog (Hammarström, Forkel, Haspelmath & Bank, glottolog.org, as of
October 2024): branches of Indo-European, which is too large for one student, elsewhere whole families. "romance" are its
Italic languages of today, slavic and baltic its Balto-Slavic ones. Codes are those of ISO 639-1.
"""

from __future__ import annotations

from collections.abc import Mapping

from distilmt.errors import ConfigError
from distilmt.multilingual.directions import Direction

_TABLE = {
    "germanic": "af da de en fo fy is lb nl nb nn no sv yi",
    "romance": "ca es fr gl it la oc pt ro",
    "slavic": "be bg bs cs hr mk pl ru sh sk sl sr uk",
    "baltic": "lt lv",
    "celtic": "br cy ga gd gv kw",
    "greek": "el",
    "albanian": "sq",
    "armenian": "hy",
    "indo-iranian": "as bn fa gu hi ku mr ne or pa ps sa sd si tg ur",
    "uralic": "et fi hu se",
    "turkic": "az ba kk ky tk tr tt ug uz",
    "afro-asiatic": "am ar ha he mt so ti",
    "atlantic-congo": "ig rn rw sn st sw tn wo xh yo zu",
    "austronesian": "fj id jv mg mi ms sm su tl",
    "dravidian": "kn ml ta te",
    "sino-tibetan": "bo my zh",
    "austroasiatic": "km vi",
    "tai-kadai": "lo th",
    "mongolic": "mn",
    "kartvelian": "ka",
    "koreanic": "ko",
    "japonic": "ja",
    "basque": "eu",
}
FAMILIES = {language: family for family, languages in _TABLE.items() for language in languages.split()}


def grouped(directions: Mapping[str, Direction], by: str) -> dict[str, list[str]]:
    """Names of the directions by group, in the order of the first of each.

    Args:
        by: "one" group of all, "family", or "given" by each direction's `group`.
    Raises: ConfigError: a language of no known family, directions that differ on both sides, or a group that is not given.
    """
    if by == "one":
        return {"all": list(directions)}
    sides = [{name.split("-")[side] for name in directions} for side in (0, 1)]
    if by == "family" and min(map(len, sides)) > 1:
        raise ConfigError(
            "--groups family: sources and targets both differ - write `group:` of each direction, --groups given"
        )
    side = 0 if len(sides[1]) == 1 else 1
    found: dict[str, list[str]] = {}
    for name, direction in directions.items():
        language = name.split("-")[side]
        group = direction.group if by == "given" else FAMILIES.get(language.split("_")[0].lower())
        if not group:
            why = f"no family of {language!r} is known" if by == "family" else "it has no `group:`"
            raise ConfigError(
                f"--groups {by}: directions.{name}: {why} - write `group:` of each direction, --groups given"
            )
        found.setdefault(group, []).append(name)
    return found
