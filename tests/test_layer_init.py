"""Copied layers: which, all of them trainable, and no more of them than the student has (trap 4)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import lively_model
from distilmt import models
from distilmt.distilling.methods import named
from distilmt.distilling.recipe_options import RecipeOptions
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.marian.sizes import parse_size
from distilmt.objectives.layer_tables import every_nth
from distilmt.train import TrainConfig, TrainingOptions, first_student
from distilmt.training.layer_init import copy_layers
from distilmt.vocab import Vocab


def test_layers_embeddings_and_output_are_the_teachers_trap_4(tiny_vocab: Vocab) -> None:
    teacher, student = lively_model(tiny_vocab, "6x3:32:64:4", seed=2), lively_model(tiny_vocab, "3x1:32:64:4")
    teacher.requires_grad_(False)  # as a teacher is
    assert copy_layers(student, teacher) == ([0, 2, 5], [0])
    theirs = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        parts = name.split(".")
        if "encoder" in parts and "layers" in parts:
            parts[3] = str([0, 2, 5][int(parts[3])])
        assert torch.equal(tensor, theirs[".".join(parts)]), name
    frozen = [name for name, p in student.named_parameters() if not p.requires_grad]
    assert all("embed_positions" in name for name in frozen) and len(frozen) == 2
    ids = torch.tensor([[5, 6, tiny_vocab.eos_id]])
    student.train()(input_ids=ids, decoder_input_ids=ids).logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in student.parameters() if p.requires_grad)
    with torch.no_grad():  # copies, not views
        student.model.encoder.layers[0].fc1.weight.zero_()
    assert bool(teacher.model.encoder.layers[0].fc1.weight.abs().sum() > 0)


def test_a_student_of_its_teachers_depth_is_its_teacher(tiny_vocab: Vocab) -> None:
    teacher, student = lively_model(tiny_vocab, seed=2), lively_model(tiny_vocab, seed=1)
    copy_layers(student, teacher)
    ids = torch.tensor([[5, 6, tiny_vocab.eos_id]])
    with torch.no_grad():
        assert torch.equal(*(m(input_ids=ids, decoder_input_ids=ids).logits for m in (teacher, student)))


@pytest.mark.parametrize(
    ("teacher", "student", "layers"),
    [(24, 3, [0, 8, 16]), (24, 1, [0]), (6, 4, [0, 2, 3, 5]), (6, 3, [0, 2, 4]), (3, 3, [0, 1, 2])],
)
def test_one_of_every_n_layers(teacher: int, student: int, layers: list[int]) -> None:
    assert every_nth(teacher, student) == layers


def test_one_of_every_n_by_its_flag(tiny_vocab: Vocab, tmp_path: Path) -> None:
    teacher = lively_model(tiny_vocab, "6x3:32:64:4", seed=2)
    models.save(teacher, tiny_vocab, tmp_path / "teacher")
    config = {"train": ("a", "b"), "dev": ("a", "b"), "out": "o", "init_layers": "every-nth"}
    layers = resolve(TrainConfig, **config).init_layers
    student = first_student(parse_size("3x1:32:64:4"), tiny_vocab, TrainingOptions(), tmp_path / "teacher", layers)
    for ours, theirs in zip(student.model.encoder.layers, (0, 2, 4), strict=True):
        assert torch.equal(ours.fc1.weight, teacher.model.encoder.layers[theirs].fc1.weight)
    phase = named("layers").phases[0]
    RecipeOptions(init_layers="every-nth").check(phase.readers)
    with pytest.raises(ConfigError, match="--init-layers is of layers, which this run has not"):
        RecipeOptions(init_layers="every-nth").check({"gold"})


def test_layers_by_name_and_what_does_not_fit(tiny_vocab: Vocab) -> None:
    teacher, student = lively_model(tiny_vocab, "3x3:32:64:4"), lively_model(tiny_vocab, "1x2:32:64:4")
    assert copy_layers(student, teacher, encoder=[2], decoder=[1, 2]) == ([2], [1, 2])
    with pytest.raises(ConfigError, match=r"expected 1 encoder layers from 0 to 2, got \[3\]"):
        copy_layers(student, teacher, encoder=[3])
    with pytest.raises(ConfigError, match="student and teacher must have one d_model, got 16 and 32"):
        copy_layers(lively_model(tiny_vocab, "1x1:16:64:4"), teacher)
    with pytest.raises(ConfigError, match="expected a student of 1 to 1 layers"):
        copy_layers(teacher, lively_model(tiny_vocab, "1x1:32:64:4"))


@pytest.mark.parametrize(
    "name", ["scale_embedding", "tie_word_embeddings", "share_encoder_decoder_embeddings", "activation_function"]
)
def test_a_teacher_that_computes_otherwise_is_refused(tiny_vocab: Vocab, name: str) -> None:
    student, teacher = (lively_model(tiny_vocab, "1x1:16:32:2") for _ in range(2))
    setattr(teacher.config, name, "swish" if name == "activation_function" else False)
    with pytest.raises(ConfigError, match=f"must have one {name}, got .* - start from another model"):
        copy_layers(student, teacher)
