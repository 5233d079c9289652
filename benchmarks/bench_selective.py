"""Selective distillation: how much of the teacher's work a choice of rows saves.

    python benchmarks/bench_selective.py [--rows 4096] [--vocab 32000] [--width 256 512 1024] [--rate 0.5] [--threads 2]
        [--rounds 5]

NLL of all rows + KL of the rows with the largest NLL, against the same with the KL of all rows. Printed and written:

- saved_share = (all - selective) / (share of rows left out * the teacher's bare projection): 1 where leaving out rows
  saves all that projecting them would cost. The KL of those rows is saved too (which adds to it), the choice has its
  price (which takes away from it);
- queue_share = a push of one score per row into a queue of 50,000 and its gate, over the selective step.

Writes benchmarks/results/selective.json.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common import save
from distilmt.ops.linear_kd import Choice, DenseTeacher, NativeTerm, linear_kd
from distilmt.ops.score_queue import score_queue
from losses import Size, measured, new_head, new_student, options, sizes, training

QUEUE = 50_000
TERMS = [NativeTerm("nll", weight=0.5), NativeTerm("forward_kl", weight=0.5, gated=True)]


def compete(size: Size, rate: float, rounds: int) -> dict[str, object]:
    ours, (states, weight) = new_student(size), new_head(size)
    teachers = [DenseTeacher(states, weight)]
    choice = Choice("student_nll", rate=rate)

    def all_rows(*student: Tensor) -> Tensor:
        return linear_kd(*student, terms=TERMS, teachers=teachers).loss

    def selective(*student: Tensor) -> Tensor:
        return linear_kd(*student, terms=TERMS, teachers=teachers, choice=choice).loss

    left_out = 1 - linear_kd(*ours, terms=TERMS, teachers=teachers, choice=choice).chosen.mean().item()
    logits = states.new_empty(size.rows, size.vocab)
    values, state, scores = torch.rand(QUEUE), torch.tensor([0, QUEUE]), torch.rand(size.rows)
    runs = {
        "all": training(all_rows, ours),
        "selective": training(selective, ours),
        "projection": lambda: torch.mm(states, weight.T, out=logits),
        "queue": lambda: score_queue(values, state, scores, rate),
    }
    entry = measured("selective", size, runs, rounds, baseline="all", floor="projection", rate=rate, queue=QUEUE)
    seconds = {name: row["median_seconds"] for name, row in entry["seconds"].items()}
    entry["saved_share"] = (seconds["all"] - seconds["selective"]) / (left_out * seconds["projection"])
    entry["queue_share"] = seconds["queue"] / seconds["selective"]
    print(
        f"  saved share of the teacher's projection: {entry['saved_share']:.2f}; "
        f"the queue is {entry['queue_share']:.3%} of a selective step"
    )
    return entry


def main() -> None:
    parser = options(__doc__, rows=[4096])
    parser.add_argument("--rate", type=float, default=0.5)
    given = parser.parse_args()
    if not 0 < given.rate < 1:
        parser.error(f"--rate must lie between 0 and 1, got {given.rate}")
    print(save("selective", {"results": [compete(size, given.rate, given.rounds) for size in sizes(given)]}))


if __name__ == "__main__":
    main()
