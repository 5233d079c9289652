"""The publications behind what a run used, found by the words that call for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# By the keys of references.bib: what calls for it in methods, objectives and the report's own sentences, besides its name.
_CALLS: dict[str, tuple[str, ...]] = {
    "hinton2015": ("WordKD(", "WordCE("), "kim2016": ("seq-kd", "WordKD(", "WordCE("), "szegedy2016": ("label_smoothing",),
    "freitag2017": ("Ensemble(",), "vaswani2017": ("Transformer",), "kudo2018": ("SentencePiece",),
    "junczysdowmunt2018": ("Marian",), "loshchilov2019": ("AdamW",),
    "popovic2015": ("chrF",), "post2018": ("sacreBLEU",), "koehn2004": ("bootstrap",),
    "riezler2005": ("approximate randomisation",), "holm1979": ("Holm",), "sun2019": ("map='skip'",), "sanh2019": ("Cosine(",),
    "shleifer2020": ("HiddenMSE(", "teacher's layers"), "lin2020": ("on-policy",), "wu2020": ("LayerCombination(",),
    "jafari2021": ("LogitMSE(",), "khandelwal2021": ("KNNKD(",), "wang2021": ("SelectiveKD(",), "yang2022": ("KNNKD(",),
    "wen2023": ("TotalVariation(", "ReverseKD(", "f-distill"), "zhang2023a": ("Ranking(", "Top1("),
    "zhang2023b": ("Inheritance(",), "agarwal2024": ("JensenShannon(", "on-policy"), "jin2024": ("AttentionAlignment(",),
    "ko2024": ("SkewKD(",), "wu2024": ("AdaptiveKD(",),
}  # fmt: skip
_ENTRY = re.compile(r"^@\w+\{(?P<key>\w+),\n.*?^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{+(.*?)\}+,?$", re.MULTILINE)


@dataclass(frozen=True)
class Publication:
    """Its name in text, as in "Kim & Rush 2016"; the reference in a list, and as BibTeX."""

    name: str
    reference: str
    bibtex: str
    calls: tuple[str, ...]


@cache
def _publications() -> tuple[Publication, ...]:
    text = (files("distilmt.report") / "references.bib").read_text(encoding="utf-8")
    found = []
    for entry in _ENTRY.finditer(text):
        key, fields = entry["key"], dict(_FIELD.findall(entry[0]))
        first, *others = [author.partition(",")[0] for author in fields["author"].split(" and ")]
        name = f"{first} et al." if len(others) > 1 else " & ".join([first, *others])
        where = f"arXiv:{fields['eprint']}" if "eprint" in fields else fields.get("note", "")
        parts = [fields["title"], fields.get("booktitle") or fields.get("journal"), where]
        name = f"{name} {key[re.search(r'[0-9]', key).start() :]}"  # type: ignore[union-attr]  # every key has a year
        reference = f"{name}. {'. '.join(part for part in parts if part)}."
        found.append(Publication(name, reference, entry[0], _CALLS.get(key, ())))
    return tuple(sorted(found, key=lambda each: each.name))


def cited(text: str) -> list[Publication]:
    """Every publication that a text names or calls for, by name."""
    return [each for each in _publications() if any(word in text for word in (each.name, *each.calls))]


def bibtex(publications: Iterable[Publication]) -> str:
    """Their entries, for a .bib file."""
    return "\n\n".join(each.bibtex for each in publications)


def citation(*words: str, besides: str = "") -> str:
    """ "(A 2015; B 2016)" for words that call for these, but for those that `besides` names; empty for none."""
    names = [each.name for each in cited(" ".join(words)) if each.name not in besides]
    return f" ({'; '.join(names)})" if names else ""
