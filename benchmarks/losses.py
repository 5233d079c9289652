"""What the benchmarks of losses share: sizes and options, the bare matrix products, one table and one entry per size.

All is float32 on torch's default device. Memory is what a call and its backward hold at their peak beyond the inputs,
gradients included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common import interleaved, peak_bytes, signature, summary


class Size(NamedTuple):
    rows: int
    width: int
    vocab: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


class Student(NamedTuple):
    hidden: Tensor  # [rows, width]
    weight: Tensor  # [vocab, width]
    targets: Tensor  # [rows]


def options(doc: str | None, rows: list[int]) -> argparse.ArgumentParser:
    """A parser with what every benchmark of a loss takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=rows)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--width", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def sizes(given: argparse.Namespace) -> Iterator[Size]:
    """Sets the threads, then every size asked for."""
    torch.set_num_threads(given.threads)
    for width in given.width:
        for rows in given.rows:
            torch.manual_seed(1)
            torch.compiler.reset()  # else a second size would be compiled for sizes of any kind
            yield Size(rows, width, given.vocab)


def new_head(size: Size, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Hidden states and output embedding whose logits have variance 1."""
    hidden, weight = torch.randn(size.rows, size.width), torch.randn(size.vocab, size.width) / size.width**0.5
    return hidden.to(dtype), weight.to(dtype)


def new_student(size: Size, dtype: torch.dtype = torch.float32) -> Student:
    hidden, weight = new_head(size, dtype)
    return Student(hidden.requires_grad_(), weight.requires_grad_(), torch.randint(size.vocab, (size.rows,)))


def training(loss: Callable[..., Tensor], student: Student, *teacher: Tensor) -> Callable[[], object]:
    """A forward and a backward pass of `loss(*student, *teacher)`."""
    return lambda: torch.autograd.grad(loss(*student, *teacher), (student.hidden, student.weight))


def products(student: Student, *teacher: Tensor) -> Callable[[], None]:
    """The floor of any exact loss: each projection and the two gradients, of whole matrices, into buffers that exist."""
    hidden, weight, _ = student
    logits = hidden.new_empty(len(hidden), len(weight))
    grad_hidden, grad_weight = torch.empty_like(hidden), torch.empty_like(weight)

    @torch.no_grad()
    def run() -> None:
        torch.mm(hidden, weight.T, out=logits)
        if teacher:
            torch.mm(teacher[0], teacher[1].T, out=logits)
        torch.mm(logits, weight, out=grad_hidden)
        torch.mm(logits.T, hidden, out=grad_weight)

    return run


def measured(
    op: str,
    size: Size,
    runs: dict[str, Callable[[], Any]],
    rounds: int,
    *,
    baseline: str,
    floor: str,
    dtype: str = "f32",
    **facts: Any,
) -> dict[str, Any]:
    """Seconds of all and peak memory of all but the floor; prints them as ratios to baseline and floor."""
    if torch.get_default_device().type == "cuda":
        runs = {name: _to_the_end(run) for name, run in runs.items()}
        facts["device"] = torch.cuda.get_device_name()
    memory = {name: peak_bytes(run) for name, run in runs.items() if name != floor}
    seconds = interleaved(runs, rounds)
    table = summary(seconds, baseline)
    entry = {"signature": signature(op, str(size), dtype=dtype, **facts), "seconds": table, "peak_bytes": memory}
    print(entry["signature"])
    least = median(seconds[floor])
    for name, row in table.items():
        print(
            f"  {name:20} {row['median_seconds']:7.3f} s [{row['min_seconds']:.3f}, {row['max_seconds']:.3f}]"
            f"  {row['speedup']:5.2f}x {baseline}  {row['median_seconds'] / least:5.2f}x the {floor}"
            + (f"  {memory[name] / 2**20:7.0f} MiB" if name in memory else ""),
            flush=True,
        )
    return entry


def _to_the_end(run: Callable[[], Any]) -> Callable[[], None]:
    """A run that is over when the device is done."""

    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited
