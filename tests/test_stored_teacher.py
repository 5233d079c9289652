"""Training from stored soft labels: the same loss as with the teacher itself, the same targets, or an error."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import distilmt
from conftest import lively_model
from distilmt import cli, models
from distilmt.corpus import Corpus, load_corpus
from distilmt.errors import ConfigError, DataError
from distilmt.labels.cost import ELSEWHERE
from distilmt.marian.weights import weights_hash
from distilmt.objectives import Head, parse
from distilmt.soft_labels import SoftLabels, SoftLabelsStore, SoftLabelsWriter, encode
from distilmt.train import TrainingOptions
from distilmt.training.batches import collate, encode_pairs
from distilmt.training.stored_teacher import StoredTeacher
from distilmt.training.student_loss import StudentLoss, head
from distilmt.translate import Translator
from distilmt.translator.forced import store_forced
from distilmt.vocab import Vocab
from test_soft_labels import soft

SOURCES = [f"{a} sieht {b} ." for a in ("Hund", "Katze", "Baum") for b in ("Haus", "Garten", "Fluss", "Hund")] * 3
TARGETS = [f"the {a} sees {b} ." for a in ("dog", "cat", "tree") for b in ("house", "garden", "river", "dog")] * 3
TINY = {"updates": 4, "batch_tokens": 256, "eval_every": 2, "max_positions": 48, "threads": 1, "precision": "float32"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("text")
    for name, lines in (("t.de", SOURCES), ("t.en", TARGETS)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / "t.de"), str(folder / "t.en")


@pytest.fixture(scope="module")
def text(files: tuple[str, str]) -> Corpus:
    return load_corpus(files)


def stored(text: Corpus, teacher: Path, folder: Path, k: int, floor: float = 0.0) -> SoftLabelsStore:
    return store_forced(text, Translator(teacher, compute_type="float32", threads=1), folder, k=k, floor=floor)


def batch_of(vocab: Vocab, store: SoftLabelsStore, teacher: StoredTeacher | None = None) -> dict[str, Tensor]:
    pairs = encode_pairs(SOURCES, TARGETS, range(1, 37), vocab, max_tokens=64, what="t", store=store)
    batch = collate(pairs, [7, 30, 2, 19], eos=vocab.eos_id, pad=vocab.pad_id, pad_to=8, teacher=teacher)
    assert batch.pop("lines").tolist() == [8, 31, 3, 20]
    return batch


def outputs(model: Any, batch: dict[str, Tensor]) -> Head:
    return head(model, model.model(**batch, use_cache=False))


def online_and_stored(
    vocab: Vocab, store: SoftLabelsStore, model: Path, objective: str
) -> tuple[list[Tensor], list[dict[str, Tensor]], list[Tensor]]:
    """Loss, terms and a gradient of one batch with the model as the teacher, and with the store."""
    losses, terms, gradients = [], [], []
    for teacher in (models.load(model), StoredTeacher(store, vocab.size - 1)):
        student = lively_model(vocab, size="1x1:16:32:2", seed=3)
        batch = batch_of(vocab, store, teacher if isinstance(teacher, StoredTeacher) else None)
        loss, facts = StudentLoss(student, parse(objective), teacher)(denominator=torch.tensor(1.0), **batch)
        loss.backward()
        losses.append(loss.detach())
        terms.append(facts)
        gradients.append(student.model.shared.weight.grad)
    return losses, terms, gradients


def test_all_ids_without_a_floor_are_the_online_teacher(
    text: Corpus, tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path
) -> None:
    """Within the bound of docs/soft-labels.md, computed from the distance that was found."""
    store = stored(text, tiny_model_folder, tmp_path, k=tiny_vocab.size)
    teacher = StoredTeacher(store, tiny_vocab.size - 1)
    batch = batch_of(tiny_vocab, store, teacher)
    known = batch.pop("labels").reshape(-1) >= 0
    sparse = teacher.of({name: batch.pop(name) for name in list(batch) if name.startswith("teacher_")})
    q = torch.zeros(len(known), tiny_vocab.size - 1, dtype=torch.float64)
    q.scatter_add_(1, sparse.ids, sparse.log_probs.double().exp())
    q = (q / q.sum(1, keepdim=True))[known]
    with torch.no_grad():
        own = outputs(models.load(tiny_model_folder).eval(), batch)
        exact = torch.softmax((own.hidden @ own.weight.T).double(), 1)[known]
        student = outputs(lively_model(tiny_vocab, size="1x1:16:32:2", seed=3), batch)
        lp = torch.log_softmax((student.hidden @ student.weight.T).double(), 1)[known]
    tv = (q - exact).abs().sum(1) / 2
    assert 0 < tv.max() < 2e-3  # twice: the pad symbol and the tail are shared out
    h = -(tv * tv.log() + (1 - tv) * (1 - tv).log())
    bound = tv * (lp.max(1).values - lp.min(1).values + math.log(tiny_vocab.size)) + h
    losses, terms, gradients = online_and_stored(tiny_vocab, store, tiny_model_folder, "0.5*NLL() + 0.5*WordKD()")
    assert (losses[0] - losses[1]).abs() <= bound.sum() / 2
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=2e-3 * float(gradients[0].abs().max()))
    assert terms[0]["agreement"] == terms[1]["agreement"]


@pytest.mark.parametrize("objective", ["WordKD(temperature=2)", "NLL() + ReverseKD()", "WordCE()"])
def test_states_are_the_whole_distribution(
    text: Corpus, tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path, objective: str
) -> None:
    store = stored(text, tiny_model_folder, tmp_path, k=0)
    assert store.state_width == 32 and "head.safetensors" in store.sha256
    store.verify()
    losses, terms, gradients = online_and_stored(tiny_vocab, store, tiny_model_folder, objective)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=2e-2 * float(gradients[0].abs().max()))
    assert terms[0].keys() == terms[1].keys()


def test_states_of_another_vocabulary_are_refused(text: Corpus, tiny_model_folder: Path, tmp_path: Path) -> None:
    store = stored(text, tiny_model_folder, tmp_path, k=0)
    with pytest.raises(DataError, match=r"weight is \(119, 32\), expected \(99, 32\)"):
        StoredTeacher(store, 99)
    (tmp_path / "head.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match=r"head.safetensors: cannot be read"):
        StoredTeacher(store, 119)


def made_of(blobs: list[bytes], model: Path, folder: Path) -> SoftLabelsStore:
    with SoftLabelsWriter(folder, model=model, source="s", k=1) as writer:
        for blob in blobs:
            writer.append(blob)
        return writer.finish("t")


def sentence(ids: list[int]) -> bytes:
    return encode(ids, soft(np.full((len(ids), 1), 0.5)), 0.0)


def test_the_teachers_own_pieces_are_learnt_where_they_spell_the_text(
    tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["the dog sees", "the cat", "the", "river"]
    own = tiny_vocab.encode_target(texts)
    model = tiny_vocab.target.model
    letters = [model.piece_to_id(piece) for piece in ["▁", *"the"]]
    assert letters != own[2] and tiny_vocab.decode([letters]) == ["the"]
    eos = tiny_vocab.eos_id
    blobs = [sentence([*own[0], eos]), b"", sentence([*letters, eos]), sentence(own[3])]
    store = made_of(blobs, tiny_model_folder, tmp_path / "soft")
    pairs = encode_pairs(texts, texts, [1, 2, 3, 4], tiny_vocab, max_tokens=64, what="text", store=store)
    assert pairs.lines.tolist() == [1, 3] and pairs.skipped == {"no_soft_labels": 2}
    assert pairs.target[0].tolist() == own[0] and pairs.target[1].tolist() == letters
    assert "text: 2 of 4 pairs have no soft labels, or none up to an end symbol" in capsys.readouterr().err
    texts[2] = "cat"
    with pytest.raises(
        DataError, match=r"line 3: these soft labels are of 'the', the target text has 'cat' - train on"
    ):
        encode_pairs(texts, texts, [1, 2, 3, 4], tiny_vocab, max_tokens=64, what="text", store=store)


def test_score_and_train_from_the_command_line(
    files: tuple[str, str], tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["score", "--model", str(tiny_model_folder), "--source", files[0], "--target", files[1], "--threads", "1"]
    assert cli.main([*made, "--soft-labels", "4", "--out", str(tmp_path / "soft")]) == 0
    assert "at most 4 tokens of probability 0.001 or more at each of" in capsys.readouterr().out
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    train = ["train", "--train", *files, "--dev", *files, "--size", "1x1:16:32:2", *options]
    train += ["--objective", "0.5*NLL() + 0.5*WordKD(tail='rest')", "--soft-labels", str(tmp_path / "soft")]
    assert cli.main([*train, "--out", str(tmp_path / "student")]) == 0, capsys.readouterr().err
    assert "dev BLEU" in capsys.readouterr().out
    assert Vocab.load(tmp_path / "student").hash == SoftLabels.open(tmp_path / "soft").vocab
    swapped = [files[1] if word == files[0] else word for word in train]
    assert cli.main([*swapped, "--out", str(tmp_path / "other")]) == 3
    assert "these soft labels belong to another source - make the soft labels again" in capsys.readouterr().err
    assert cli.main([*train, "--teacher", str(tiny_model_folder), "--out", str(tmp_path / "both")]) == 2
    assert "take the place of --teacher - give one of them" in capsys.readouterr().err
    whole = [word.replace("WordKD(tail='rest')", "ReverseKD()") for word in train]
    assert cli.main([*whole, "--out", str(tmp_path / "whole")]) == 2
    assert "ReverseKD" in capsys.readouterr().err


def test_distill_learns_from_a_store(
    files: tuple[str, str], text: Corpus, tiny_model_folder: Path, tmp_path: Path
) -> None:
    store = stored(text, tiny_model_folder, tmp_path / "soft", k=4)
    job: dict[str, Any] = {
        "train": files, "dev": files, "test": (files,), "student_size": "1x1:16:32:2", "teacher": str(tiny_model_folder),
        "method": "word-kd", "training": TrainingOptions(**TINY), "test_beam_size": 1, "soft_labels": str(store.folder),
    }  # fmt: skip
    distilmt.distill(out=str(tmp_path / "run"), **job)
    report = json.loads((tmp_path / "run/report.json").read_text())
    stages = {stage["name"] for stage in report["stages"]}
    assert "student-word-kd-1" in stages and ELSEWHERE not in stages
    assert any("what they cost is in no stage of this run" in note for note in report["notes"])
    other = tmp_path / "other"
    models.save(lively_model(Vocab.load(tiny_model_folder), seed=9), Vocab.load(tiny_model_folder), other)
    assert weights_hash(other) != store.teacher
    with pytest.raises(DataError, match="belong to another teacher"):
        distilmt.distill(out=str(tmp_path / "run2"), **{**job, "teacher": str(other)})
    with pytest.raises(ConfigError, match="name it with --teacher"):
        distilmt.distill(out=str(tmp_path / "run3"), **{**job, "teacher": None, "teacher_size": "tiny"})


def test_train_on_the_labels_of_a_job(files: tuple[str, str], tiny_vocab: Vocab, tmp_path: Path) -> None:
    """Its own words, whose pieces and length are the teacher's, and the given targets."""
    teacher, out = lively_model(tiny_vocab), tmp_path / "labels"
    teacher.final_logits_bias[0, tiny_vocab.eos_id] = (
        50.0  # it ends as soon as it may: untrained, it would go on for ever
    )
    teacher.save_pretrained(tmp_path / "teacher")
    tiny_vocab.save(tmp_path / "teacher")
    distilmt.label(
        model=str(tmp_path / "teacher"), source=files[0], target=files[1], out=str(out), soft_labels=4, threads=1,
        beam_size=2, min_length=6,
    )  # fmt: skip
    for name, target in (("soft", str(out / "pseudo.txt")), ("forced", files[1])):
        found = distilmt.train(
            train=(files[0], target), dev=files, size="1x1:16:32:2", out=str(tmp_path / name), objective="WordKD(tail='drop')",
            soft_labels=str(out / name), **TINY,
        )  # fmt: skip
        assert found.fit.updates == 4 and found.fit.target_tokens > 0


def test_iterations_on_the_students_own_words_need_the_teacher(
    text: Corpus, tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path
) -> None:
    teacher = StoredTeacher(stored(text, tiny_model_folder, tmp_path, k=4), 119)
    with pytest.raises(ConfigError, match="asks the teacher about the student's words"):
        StudentLoss(lively_model(tiny_vocab), parse("NLL() + Ranking(iterations=2)"), teacher)


def test_a_head_is_what_states_become(text: Corpus, tiny_model_folder: Path, tmp_path: Path) -> None:
    teacher = StoredTeacher(stored(text, tiny_model_folder, tmp_path, k=0), 119)
    lines = np.array([5])
    ids = teacher.store.targets(lines)[0]
    found = teacher.of(teacher.rows(lines, ids[None].astype(np.int64)))
    assert isinstance(found, Head) and found.hidden.shape == (len(ids), 32) and found.weight is not None
    assert replace(found, bias=None).weight is found.weight
