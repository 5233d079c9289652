"""What leaving words of small gradients out saves, and what it costs, on the states of trained models.

    python benchmarks/bench_approximate.py --student MODEL --teacher MODEL --text SOURCE TARGET [--rows 1024]

NLL with label smoothing and KL with all gradients; exact, and with `dropped_mass` at several levels, the teacher's logits in
float32 or bfloat16. Beside the time of
each: the share of sum |d loss / d logits| that was dropped, the relative error of the gradients with respect to hidden
states and output embedding, and the cosine between exact and filtered gradient of the latter.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from common import interleaved, save, signature, summary
from distilmt import models
from distilmt.corpus import load_corpus
from distilmt.objectives import NLL, Head, WordKD
from distilmt.training.batches import collate, encode_pairs
from distilmt.training.student_loss import head
from distilmt.vocab import Vocab

OBJECTIVE = 0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD()
MODES = [(mass, bf16) for bf16 in (False, True) for mass in (0.0, 0.01, 0.05, 0.1, 0.2)]


def states(folder: str, batch: dict[str, torch.Tensor]) -> Head:
    """Hidden states of a model on the batch, and leaves of its output layer."""
    model = models.load(folder).eval()
    with torch.no_grad():
        h = head(model, model.model(**{k: batch[k] for k in ("input_ids", "attention_mask", "decoder_input_ids")}))
    rows = batch["labels"].flatten() != -100
    assert h.weight is not None
    return Head(h.hidden[rows].clone(), h.weight.detach().clone(), h.bias)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--student", required=True)
    arguments.add_argument("--teacher", required=True)
    arguments.add_argument("--text", nargs=2, required=True)
    arguments.add_argument("--rows", type=int, default=1024)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    vocab = Vocab.load(given.teacher)
    text = [pair[1:] for pair in load_corpus(given.text).pairs()][: given.rows // 8]
    pairs = encode_pairs(
        [s for s, _ in text], [t for _, t in text], range(len(text)), vocab, max_tokens=128, what="text"
    )
    batch = collate(pairs, range(len(pairs)), eos=vocab.eos_id, pad=vocab.pad_id)
    batch.pop("lines")
    student, teacher = states(given.student, batch), states(given.teacher, batch)
    targets = batch["labels"][batch["labels"] != -100]
    assert student.weight is not None
    wanted = [student.hidden.requires_grad_(), student.weight.requires_grad_()]

    def gradients(mass: float, bf16: bool) -> list[torch.Tensor]:
        out = OBJECTIVE.evaluate(
            student=student, targets=targets, teacher=teacher, dropped_mass=mass, teacher_bfloat16=bf16
        )
        return list(torch.autograd.grad(out.loss, wanted))

    times = summary(interleaved({str(mode): partial(gradients, *mode) for mode in MODES}), str(MODES[0]))
    exact = gradients(*MODES[0])
    shape = f"{len(targets)}x{student.hidden.shape[1]}+{teacher.hidden.shape[1]}x{student.vocab}"
    print(signed := signature("approximate", shape, dtype="f32"))
    results = []
    for mass, bf16 in MODES:
        time, found = times[str((mass, bf16))], gradients(mass, bf16)
        errors = [float((e - f).norm() / e.norm()) for e, f in zip(exact, found, strict=True)]
        cosine = float(torch.cosine_similarity(exact[1].double().flatten(), found[1].double().flatten(), 0))
        results.append(
            {
                "dropped_mass": mass,
                "teacher_bfloat16": bf16,
                **time,
                "error_hidden": errors[0],
                "error_weight": errors[1],
                "cosine": cosine,
            }
        )
        seconds, speedup = time["median_seconds"], time["speedup"]
        print(
            f"  dropped mass {mass:<5} teacher {'bf16' if bf16 else 'fp32'}  {seconds:.3f} s   {speedup:.2f}x exact   "
            f"error of gradients {errors[0]:.1e} (hidden) {errors[1]:.1e} (weight), cosine {cosine:.5f}"
        )
    print(save("approximate", {"signature": signed, "results": results}))


if __name__ == "__main__":
    main()
