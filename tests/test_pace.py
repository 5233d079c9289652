"""The time model of a forecast against a made-up decoder, whose steps and rows cost known seconds; and the drawn sample."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilmt.bill import pace
from distilmt.bill.sample import draw
from distilmt.energy import EnergyOptions, Usage
from distilmt.errors import DataError
from distilmt.text.lines import Line
from distilmt.translator.model_options import SearchFlags

STEP, ROW, LINE = 2e-3, 1e-4, 3e-4  # seconds of a step, of each row in it, and of each line besides (encoder, texts)


class Decoder:
    """Workers that step their slots together and refill them from one queue, longest first, as csrc/engine/worker.cpp."""

    def __init__(self, workers: int, beams: int, noise: float = 0.0):
        self.config = SimpleNamespace(search=SearchFlags(beam_size=beams))
        self.threads, self.slots, self.engine, self.translator = workers, 0, "native", self
        self.vocab = SimpleNamespace(encode_source=lambda texts: [text.split() for text in texts])
        self.chance, self.noise = random.Random(1), noise

    def seconds(self, lengths: list[int]) -> float:
        queue = sorted(lengths)
        beams = self.config.search.beam_size
        slots = self.slots or pace.slots(len(lengths), self.threads, beams)
        clocks, held = [0.0] * self.threads, [[] for _ in range(self.threads)]
        while queue or any(held):
            worker = min((i for i in range(self.threads) if queue or held[i]), key=lambda i: clocks[i])
            if queue and len(held[worker]) < slots:
                held[worker].append(queue.pop())
                clocks[worker] += LINE
                continue
            clocks[worker] += STEP + ROW * beams * len(held[worker])
            held[worker] = [left - 1 for left in held[worker] if left > 1]
        return max(clocks) * (1 + self.chance.uniform(-self.noise, self.noise))

    def label(self, lines: list[Line], targets: Any = None) -> list[Any]:
        lengths = [len(line.text.split()) for line in lines]
        self.spent = self.seconds(lengths)
        return [SimpleNamespace(candidates=[SimpleNamespace(tokens=length)], text="") for length in lengths]


@pytest.fixture
def metered(monkeypatch):
    """Time is what the decoder says."""

    def label(teacher: Any, lines: Any, targets: Any, metering: Any) -> tuple[Any, Usage]:
        records = teacher.label(lines, targets)
        return records, Usage(teacher.spent, teacher.spent, 1, None, "not measured")

    monkeypatch.setattr(pace, "label", label)


def text_of(path: Path, lines: int) -> list[int]:
    """Lines of 1 to 60 words, most near 12, no two equal; returns their lengths."""
    chance = random.Random(3)
    lengths = [min(60, max(1, round(chance.lognormvariate(2.5, 0.5)))) for _ in range(lines)]
    path.write_text("".join(" ".join(f"w{i}" for _ in range(n)) + "\n" for i, n in enumerate(lengths)))
    return lengths


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("beams", [1, 5])
def test_a_sample_of_300_foretells_the_whole_text_within_two_percent(workers, beams, metered, tmp_path):
    lengths = text_of(tmp_path / "text", 12_000)
    sample = draw(str(tmp_path / "text"), 300, shard=10_000)
    decoder = Decoder(workers, beams)
    found = pace.measure(decoder, sample.chosen, None, 3, EnergyOptions())
    block = 1000 * workers
    whole = sum(decoder.seconds(lengths[i : i + block]) for i in range(0, len(lengths), block))
    assert found.of(12_000, block).value == pytest.approx(whole, rel=0.02)
    low, high = found.of(12_000, block).low, found.of(12_000, block).high
    assert low < found.of(12_000, block).value < high
    # Without the correction a small sample says too much: its slots stand empty at the end.
    if beams == 1 and workers > 1:
        assert found.seconds[0] * 12_000 / 300 > 1.15 * whole
        assert found.drain > 0.1


def test_noise_widens_the_interval_and_one_repeat_has_none(metered, tmp_path):
    text_of(tmp_path / "text", 3000)
    sample = draw(str(tmp_path / "text"), 300, shard=10_000)
    quiet, loud = (
        pace.measure(Decoder(2, 5, noise), sample.chosen, None, 5, EnergyOptions()).of(3000, 1000) for noise in (0, 0.2)
    )
    assert loud.high - loud.low > 2 * (quiet.high - quiet.low) > 0
    once = pace.measure(Decoder(2, 5), sample.chosen, None, 1, EnergyOptions()).of(3000, 1000)
    assert (once.low, once.high) == (None, None)


def test_steps_and_slots_by_hand():
    assert pace.slots(300, 1, 5) == 19  # 96 rows are 19 slots of 5; 300 lines take 16 rounds of 19
    assert pace.slots(300, 2, 1) == 75  # 150 lines a worker are 2 rounds of 75, not 96 and 54
    assert pace.slots(3, 4, 5) == 1
    # Two slots: 5 and 4; the second is free at 4 and takes 3, the first at 5 takes 2; both end at 7.
    assert pace.steps([5, 4, 3, 2], workers=1, beams=5, of_slots=2) == 7
    assert pace.steps([5, 4, 3, 2], workers=2, beams=5, of_slots=1) == 7
    assert pace.steps([5, 4, 3, 2], workers=1, beams=5) == 5


def test_the_error_of_a_draw_by_hand():
    # sum of squared differences 1 + 4 + 1 = 6; 6 / (2 * 4 * 3) = 0.25; half the text seen: * 0.5; mean 3.5.
    assert pace._draw_error([2, 3, 5, 4], 8) == pytest.approx(math.sqrt(0.125) / 3.5)
    assert pace._draw_error([2, 3, 5, 4], 4) == 0.0


def test_the_sample_has_the_texts_lengths(tmp_path):
    lengths = text_of(tmp_path / "text", 5000)
    sample = draw(str(tmp_path / "text"), 250, shard=10_000)
    drawn = [len(line.text.split()) for line in sample.chosen]
    assert len(drawn) == 250 and drawn[0] < 4 and drawn[-1] > 35
    assert sum(drawn) / 250 == pytest.approx(sum(lengths) / 5000, rel=0.02)
    again = draw(str(tmp_path / "text"), 250, shard=10_000)
    assert again == sample
    other = draw(str(tmp_path / "text"), 250, shard=10_000, seed=2)
    assert {line.number for line in other.chosen} != {line.number for line in sample.chosen}
    # What stands at a number of the file is what was drawn under it.
    written = (tmp_path / "text").read_text().split("\n")
    assert all(written[line.number - 1] == line.text for line in sample.chosen)


def test_lines_that_are_not_decoded_are_counted_and_not_drawn(write):
    path = write(b"a\n\nb\na\n\x01\nc\na\n" + b"d\n")
    sample = draw(str(path), 100, shard=6)
    assert Counter(line.text for line in sample.chosen) == Counter("abcd")
    # The a of line 7 lies in the next shard, where it is decoded again; no text is drawn twice.
    assert (sample.lines, sample.decoded) == (8, 5)
    assert sample.left_out == {"empty": 1, "repeated": 1, "quarantined": 1}
    assert sample.notes == [
        "8 lines, 5 to decode (1 empty, 1 repeated, 1 quarantined); sample: 4 drawn by their length."
    ]


def test_references_are_those_of_the_drawn_lines(write):
    source = write(b"".join(b"line %d\n" % i for i in range(50)))
    target = write(b"".join(b"zeile %d\n" % i for i in range(50)), "text.en")
    sample = draw(str(source), 10, shard=100, reference=str(target))
    assert [text.split()[1] for text in sample.references] == [line.text.split()[1] for line in sample.chosen]
    short = write(b"a\n", "short.en")
    with pytest.raises(DataError, match=r"short.en: 1 lines, but .* has 50 - both must be the same text, in order"):
        draw(str(source), 10, shard=100, reference=str(short))


@pytest.mark.parametrize(("data", "said"), [(b"", r"0 lines \(empty\)"), (b"\n \n", r"2 lines \(2 empty\)")])
def test_a_text_without_a_line_is_refused(write, data, said):
    with pytest.raises(DataError, match=f"no line to decode in {said} - check the file"):
        draw(str(write(data)), 10, shard=100)
