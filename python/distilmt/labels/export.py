"""`distilmt labels export`: finished labels in the formats of others, streamed.

text      one translation a line
tsv       line, verdict, score, text; no score where there is no translation
parquet   columns line, verdict, text, score, log_prob, tokens, candidates (list of text and score); extra [parquet]
hf        the same as a Hugging Face dataset on disk; extra [datasets]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from distilmt.errors import ConfigError
from distilmt.labels.manifest import refuse_overwriting
from distilmt.labels.merge import merged_records
from distilmt.labels.records import Record
from distilmt.state.storage import disk_errors
from distilmt.text.files import line_writer

Format = Literal["text", "tsv", "parquet", "hf"]
ROWS = 10_000  # of a row group


def export(folder: str | Path, *, format: Format = "text", out: str | Path | None = None) -> None:
    """Writes the labels of a finished job, one row a line, in source order.

    Args:
        out: a file, compressed by suffix, or a folder for `hf`; standard output where none is given (text and tsv).
    Raises: ConfigError: a format that needs `out`, an `out` that is the job's or its text, or a missing extra. DataError: the
        job is unfinished or damaged.
    """
    if format not in get_args(Format):
        raise ConfigError(f"--format must be one of {', '.join(get_args(Format))}, got {format!r}")
    records = merged_records(Path(folder))
    if out is not None:
        refuse_overwriting(Path(folder), Path(out))
    if format in ("text", "tsv"):
        lines = (record.text if format == "text" else _tsv(record) for record in records)
        if out is None:
            for line in lines:
                sys.stdout.write(line + "\n")
            return
        with line_writer(out) as writer:
            for line in lines:
                writer.write(line)
        return
    if out is None:
        raise ConfigError(f"--format {format} needs --out: it is no text")
    (_parquet if format == "parquet" else _dataset)(records, Path(out))


def _tsv(record: Record) -> str:
    score = f"{record.candidates[0].score:.6f}" if record.candidates else ""
    return f"{record.line}\t{record.verdict}\t{score}\t{record.text}"


def _row(record: Record) -> dict[str, Any]:
    best = record.candidates[0] if record.candidates else None
    return {
        "line": record.line, "verdict": record.verdict, "text": record.text, "score": best and best.score,
        "log_prob": best and best.log_prob, "tokens": best.tokens if best else 0,
        "candidates": [{"text": each.text, "score": each.score} for each in record.candidates],
    }  # fmt: skip


def _parquet(records: Iterator[Record], out: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError("--format parquet needs pyarrow: pip install 'distilmt[parquet]'") from None
    candidate = pa.struct([("text", pa.string()), ("score", pa.float64())])
    schema = pa.schema([
        ("line", pa.int64()), ("verdict", pa.string()), ("text", pa.string()), ("score", pa.float64()),
        ("log_prob", pa.float64()), ("tokens", pa.int64()), ("candidates", pa.list_(candidate)),
    ])  # fmt: skip
    part = out.with_name(f".{out.name}.part")
    with disk_errors(out):
        with pq.ParquetWriter(part, schema) as writer:
            while rows := [_row(record) for record in islice(records, ROWS)]:
                writer.write_table(pa.Table.from_pylist(rows, schema))
        part.replace(out)


def _dataset(records: Iterator[Record], out: Path) -> None:
    try:
        import datasets
    except ImportError:
        raise ConfigError("--format hf needs datasets: pip install 'distilmt[datasets]'") from None
    import tempfile

    # Through Parquet, which streams: a dataset made from Python objects would first be held in memory.
    with tempfile.TemporaryDirectory(dir=out.parent) as cache, disk_errors(out):
        _parquet(records, Path(cache) / "labels.parquet")
        datasets.Dataset.from_parquet(str(Path(cache) / "labels.parquet"), cache_dir=cache).save_to_disk(str(out))
