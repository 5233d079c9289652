"""The parts of a labelling job alone: records, segments, leases, the lines of a shard, verdicts, the manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from distilmt import _native
from distilmt.errors import ConfigError, DataError
from distilmt.label import LabelConfig
from distilmt.labels import segments
from distilmt.labels.lease import Lease, Watch, look
from distilmt.labels.manifest import open_manifest, read_manifest
from distilmt.labels.merge import shard_records
from distilmt.labels.records import VERDICTS, Candidate, Record, from_frames, to_frame
from distilmt.labels.shards import Shards
from distilmt.labels.source import Reader, read_text
from distilmt.labels.verdicts import VerdictOptions, verdict_of
from distilmt.labels.worker import Work, work
from distilmt.text.lines import Line, read_lines
from distilmt.translate import Hypothesis, Translation

RECORD = Record(5, "copy", [Candidate("ä b", [1, 2, 300_000], -0.5, -1.0, 4)], b"s\0", b"f", "why")
JOB = bytes(range(32))


def test_records_come_back_and_damage_ends_them() -> None:
    frame = to_frame(RECORD)
    assert from_frames(frame * 3) == [(RECORD, len(frame) * n) for n in (1, 2, 3)]
    assert from_frames(frame * 3, len(frame), 1) == [(RECORD, 2 * len(frame))]
    broken = bytearray(frame * 3)
    broken[len(frame) + 20] ^= 1
    assert [end for _, end in from_frames(bytes(broken))] == [len(frame)]
    assert from_frames(bytes(4096)) == [] == from_frames(b"")
    assert _native.crc32c(b"123456789") == 0xE3069283
    with pytest.raises(DataError, match="verdict 200 is unknown - a newer distilmt"):
        from_frames(_native.encode_record(1, 200, "", [], b"", b""))
    assert len(VERDICTS) == 11 and VERDICTS[0] == "ok"


def test_a_segment_is_read_up_to_the_first_bad_frame(tmp_path: Path) -> None:
    head, path = segments.header(JOB, 3), tmp_path / "s"
    writer = segments.Writer(path, head)
    for line in (31, 32, 33):
        writer.append(to_frame(replace(RECORD, line=line)))
    writer.close()
    assert segments.sound(path, head, range(31, 41)) == (3, writer.bytes)
    assert segments.sound(path, head, [31, 33])[0] == 1  # the second record is of another line
    assert segments.sound(path, segments.header(JOB, 4), range(31, 41)) == (0, segments.HEADER_BYTES)
    assert segments.sound(path, segments.header(bytes(32), 3), range(31, 41))[0] == 0
    with path.open("r+b") as stream:
        stream.truncate(writer.bytes - 1)
    assert segments.sound(path, head, range(31, 41))[0] == 2
    assert [r.line for r, _ in segments.read_segment(path, head, len(head) + len(to_frame(RECORD)))] == [31]
    with pytest.raises(OSError, match="File exists"):
        segments.Writer(path, head)


def test_a_lease_is_judged_by_its_beats_and_not_by_any_clock(tmp_path: Path) -> None:
    now = [0.0]
    watch = Watch(10.0, clock=lambda: now[0])
    lease = Lease.take(tmp_path, 7, 0, 1000.0, {"records": 0})
    assert lease is not None and Lease.take(tmp_path, 7, 0, 1000.0, {}) is None
    path = tmp_path / "000007.0"
    elsewhere = json.loads(path.read_bytes())
    elsewhere["owner"]["machine"] = "another"  # so that the process itself cannot be asked
    for beat in range(4):  # 4 times 9 seconds: it lives
        path.write_bytes(json.dumps(elsewhere | {"beats": beat}).encode().ljust(1024))
        os.utime(path, (0, beat * 1e9))  # clocks jump: nobody looks
        assert not watch.free(path)
        now[0] += 9
    now[0] += 1
    assert not watch.free(path)  # 10 s since the content was last seen to change
    now[0] += 0.1
    assert watch.free(path)
    second = Lease.take(tmp_path, 7, 1, 1000.0, {})
    assert second is not None and lease.superseded() and not second.superseded()
    second.end("released")
    assert look(second.path).state == "released" and watch.free(second.path)
    lease.end("done")


def test_a_dead_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        Lease.take(tmp_path, 1, 0, 1000.0, {})
        os._exit(0)
    os.waitpid(pid, 0)
    assert look(tmp_path / "000001.0").state == "held"
    assert Watch(1e9).free(tmp_path / "000001.0")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_shards_are_cut_where_their_lines_begin(tmp_path: Path, suffix: str) -> None:
    lines = [f"Zeile {i} \u2028 ä" if i % 3 else "" for i in range(1, 24)]
    for end in ("\n", ""):  # with and without the last line end
        data = ("\n".join(lines) + end).encode()
        path = tmp_path / f"text{end == ''}{suffix}"
        path.write_bytes(gzip.compress(data) if suffix else data)
        for size in (1, 5, 23, 100):
            text = read_text(str(path), size, "error")
            assert text.lines == 23 and len(text.starts) == -(-23 // size)
            assert text.sha256 == hashlib.sha256(data).hexdigest()
            reader = Reader(text)
            order = [*range(len(text.starts)), *reversed(range(len(text.starts)))]
            found = {shard: [(line.number, line.text) for line in reader.shard(shard)] for shard in order}
            assert [line for shard in sorted(found) for line in found[shard]] == list(enumerate(lines, 1))


def test_texts_that_cannot_be_labelled_are_refused_before_any_work(tmp_path: Path) -> None:
    for data, said in (
        (b"a\n\xff\n", "text:2:1: invalid UTF-8"),
        (b"a\n\xc3", "text:2:1: invalid UTF-8"),
        (b"\xff\xfea\0", "UTF-16LE"),
        (b"", "no lines to label"),
    ):
        (tmp_path / "text").write_bytes(data)
        with pytest.raises(DataError, match=said):
            read_text(str(tmp_path / "text"), 10, "error")
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\r\nb\xff\n")
    text = read_text(str(tmp_path / "text"), 1, "replace")
    assert [line.text for shard in (0, 1) for line in Reader(text).shard(shard)] == ["a", "b�"]
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"a\n" * 1000)[:-4])
    with pytest.raises(DataError, match="truncated"):
        read_text(str(tmp_path / "text.gz"), 10, "error")


def test_lines_are_read_from_an_offset(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"one\ntwo\r\nthree")
    assert [tuple(line[:2]) for line in read_lines(tmp_path / "text", begin=(4, 2))] == [(2, "two"), (3, "three")]


@pytest.mark.parametrize(
    ("source", "text", "status", "score", "verdict"),
    [
        ("Ein Hund bellt laut.", "A dog barks loudly.", "ok", -1.0, "ok"),
        ("Ein Hund bellt laut.", "ein  hund bellt LAUT.", "ok", -1.0, "copy"),
        ("Angela Merkel Berlin", "Angela Merkel Berlin", "ok", -1.0, "ok"),  # three words: a name
        ("a" * 30, "b" * 150, "ok", -1.0, "ok"),  # (150 + 10) / (30 + 10) is 4, not above it
        ("a" * 30, "b" * 151, "ok", -1.0, "length_ratio"),
        ("a" * 151, "b" * 30, "ok", -1.0, "length_ratio"),
        ("a b", "c d", "ok", -2.01, "low_score"),
        ("a b", "c d", "redone_float32", -1.0, "non_finite_redone"),
        ("a b", "", "empty_hypothesis", -1.0, "empty_target"),
        ("a b", "c", "split", -1.0, "too_long"),
        ("a b", "", "not_finite", 0.0, "quarantined"),
    ],
)
def test_verdicts(source: str, text: str, status: str, score: float, verdict: str) -> None:
    translation = Translation([Hypothesis([1], text, score, [score])], status)  # type: ignore[arg-type]
    assert verdict_of(source, translation, VerdictOptions(low_score=-2.0)) == verdict


def test_a_job_of_other_inputs_is_refused_with_a_diff(tmp_path: Path) -> None:
    manifest = {
        "format": 1, "engine": "1", "source": {"sha256": "a", "lines": 3}, "target": None, "model": {}, "numbers": {},
        "options": {"search": {"beam_size": 5}}, "shard_lines": 2,
    }  # fmt: skip
    folder = tmp_path / "job"
    identity = open_manifest(folder, manifest)
    assert open_manifest(folder, manifest) == identity == read_manifest(folder)[1] and len(identity) == 32
    other = manifest | {"options": {"search": {"beam_size": 4}}}
    with pytest.raises(ConfigError, match=r"(?s)--new-run.*\n  options.search.beam_size: 5 -> 4$"):
        open_manifest(folder, other)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").touch()
    with pytest.raises(ConfigError, match=r"'love\.txt' and is no labelling job"):
        open_manifest(tmp_path / "letters", manifest)


def test_a_done_record_that_was_changed_does_not_count(tmp_path: Path) -> None:
    shards = Shards(tmp_path, JOB, 2, 60.0)
    shards.make()
    lease = shards.take([0, 1], {})
    assert lease is not None and (lease.shard, lease.attempt) == (0, 0)
    writer = segments.Writer(shards.segment(0, 0), shards.head(0))
    writer.append(to_frame(replace(RECORD, line=1)))
    writer.close()
    shards.finish(lease, [1], 0)
    done = shards.done(0)
    assert done is not None and (done.records, done.tokens, done.verdicts) == (1, 4, {"copy": 1})
    assert shards.finished() == {0} and Shards(tmp_path, bytes(32), 2, 60.0).done(0) is None
    path = tmp_path / "done" / "000000.json"
    path.write_text(path.read_text().replace('"tokens": 4', '"tokens": 5'))
    assert shards.done(0) is None


def test_the_manifest_is_read_with_suspicion(tmp_path: Path) -> None:
    """Any bytes: a sentence, never another error. DISTILMT_FUZZ gives the number of inputs."""
    manifest = {
        "format": 1, "engine": "1", "source": {"sha256": "a", "lines": 3}, "target": None, "model": {}, "numbers": {},
        "options": {}, "shard_lines": 2,
    }  # fmt: skip
    open_manifest(tmp_path, manifest)
    path, dice = tmp_path / "manifest.json", random.Random(1)
    good = path.read_bytes()
    for _ in range(int(os.environ.get("DISTILMT_FUZZ", "2000"))):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 4)] = dice.choice(
                [b"", b"[", b"{", b"9", b"-1", b"null", b'"', bytes([dice.randrange(256)])]
            )
        path.write_bytes(data)
        try:
            found, _ = read_manifest(tmp_path)
            assert found["source"]["lines"] > 0 and found["shard_lines"] > 0
        except DataError as error:
            assert "damaged" in str(error) and " - " in str(error)


def test_a_repeated_sentence_is_decoded_once_in_a_shard(tmp_path: Path) -> None:
    class Teacher:
        """Remembers what it was asked."""

        asked: ClassVar[list[str]] = []

        def label(self, lines: list[Line], targets: list[str] | None) -> list[Record]:
            self.asked += [line.text for line in lines]
            return [Record(line.number, "ok", [Candidate(line.text.upper(), [1], 0.0, 0.0, 1)]) for line in lines]

    (tmp_path / "text").write_text("a\nb\na\na\nc\nb\na\n")
    text = read_text(str(tmp_path / "text"), 6, "error")
    config = LabelConfig(model="m", source="s", out="o", batch_lines=2, shard_lines=6)
    job = Work(str(tmp_path / "job"), JOB.hex(), text, None, config)
    said: list[dict[str, object]] = []
    work(job, Teacher(), said.append)
    assert Teacher.asked == ["a", "b", "c", "a"]  # the second shard does not know the first
    assert [m["repeated"] for m in said if "done" in m] == [3, 0]
    records = [record.text for shard in (0, 1) for record in shard_records(job.shards, shard, job.numbers(shard))]
    assert records == ["A", "B", "A", "A", "C", "B", "A"]
