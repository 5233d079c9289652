"""Fault cases 19 to 26: damaged, hostile and contradictory model files end in one sentence, never in a wrong model."""

from __future__ import annotations

import io
import json
import logging
import pickle
import random
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilmt import models
from distilmt.errors import DataError, UserError
from distilmt.marian.weights import WEIGHTS, read_header
from distilmt.vocab import Vocab, require_same


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def refused(folder: Path, **options: Any) -> str:
    """The one sentence with which a folder is refused; it names the folder."""
    with pytest.raises(DataError) as info:
        models.load(folder, **options)
    text = str(info.value)
    assert "\n" not in text and str(folder) in text and " - " in text
    assert info.value.exit_code == 3
    return text


def write_file(folder: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_case_19_truncated_weights_name_the_tensor_and_its_size(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    entries = read_header(folder / WEIGHTS).entries
    name, entry = list(entries.items())[-2]
    (folder / WEIGHTS).write_bytes(whole[: entry.begin + 5])
    text = refused(folder)
    assert f"tensor {name} needs {entry.end - entry.begin} bytes from byte {entry.begin}" in text
    assert f"the file ends at byte {entry.begin + 5}" in text
    for length in [0, 1, 7, 8, 9, 100, *range(0, len(whole), len(whole) // 50)]:
        (folder / WEIGHTS).write_bytes(whole[:length])
        refused(folder)
    (folder / WEIGHTS).write_bytes(whole + b"x")
    assert f"the tensors end at byte {len(whole)}, the file at {len(whole) + 1}" in refused(folder)


def test_case_19_one_flipped_bit_in_a_tensor_is_named(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    for name, entry in read_header(folder / WEIGHTS).entries.items():
        damaged = bytearray(whole)
        damaged[(entry.begin + entry.end) // 2] ^= 1
        (folder / WEIGHTS).write_bytes(damaged)
        assert f"tensor {name} ({entry.end - entry.begin} bytes) has CRC32" in refused(folder)


def test_case_19_flipped_bits_in_the_header_never_give_another_model(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    expected = models.load(folder).state_dict()
    chance = random.Random(1)
    refusals = 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[chance.randrange(8 + int.from_bytes(whole[:8], "little"))] ^= 1 << chance.randrange(8)
        (folder / WEIGHTS).write_bytes(damaged)
        try:
            found = models.load(folder).state_dict()
        except DataError:
            refusals += 1
        else:  # bits in the words "format" or "pt" change nothing
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert refusals > 80


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 8]}},
            r"tensor a of shape \[2, 2\] F32 needs 16 bytes",
        ),
        ({"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}}, "tensor a of shape"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, "tensor a starts at byte"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, "tensor a of shape"),
        ({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}, "tensor b starts at byte"),
        ({"a": {"dtype": "X9", "shape": [], "data_offsets": [0, 8]}}, "unknown dtype 'X9'"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, "must be lists of sizes"),
        ({"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}, "must be lists of sizes"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 8]}}, "must be lists of sizes"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "needs dtype, shape and data_offsets"),
        ({"__metadata__": {"crc32": "[1]"}}, "damaged header"),
        ({"__metadata__": {"crc32": '{"a": "x"}'}}, "crc32 is not a table of numbers"),
        (b'{"a": 1, "a": 1}', "a name occurs twice"),
        (b"[" * 100_000, "damaged header"),
        (b"\xff\xfe{}", "damaged header"),
        (b'{"a": ' + b"9" * 5000 + b"}", "damaged header"),
    ],
)
def test_case_19_contradictory_header(folder: Path, header: object, says: str) -> None:
    write_file(folder, header, bytes(8))
    with pytest.raises(DataError, match=says):
        models.load(folder)


def test_case_20_header_of_2_to_the_63_bytes_is_refused_without_allocation(folder: Path) -> None:
    for claim in (1 << 63, (1 << 64) - 1, 101 << 20, 5 << 20):
        with (folder / WEIGHTS).open("wb") as file:
            file.write(struct.pack("<Q", claim))
            file.truncate(6 << 20)  # sparse
        tracemalloc.start()
        with pytest.raises(DataError, match=f"header claims {claim} bytes"):
            read_header(folder / WEIGHTS)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
        refused(folder)


class Evil:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_case_21_pickle_needs_the_unsafe_flag(folder: Path, tmp_path: Path) -> None:
    expected = models.load(folder).state_dict()
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    text = refused(folder)
    assert f"convert it: `distilmt check {folder} --unsafe-pickle`" in text
    found = models.load(folder, unsafe_pickle=True).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    buffer = io.BytesIO()
    torch.save({"model.shared.weight": Evil(tmp_path / "owned")}, buffer)
    for hostile in (buffer.getvalue(), pickle.dumps(Evil(tmp_path / "owned")), b"", b"\x80\x04."):
        (folder / "pytorch_model.bin").write_bytes(hostile)
        assert "not a loadable checkpoint" in refused(folder, unsafe_pickle=True)
    assert not (tmp_path / "owned").exists()
    (folder / "pytorch_model.bin").unlink()
    assert "model.safetensors: missing" in refused(folder)


def test_case_21_converted_pickle_is_an_ordinary_folder(folder: Path, tiny_model_folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    assert models.convert_pickle(folder) == folder
    assert models.weights_hash(folder) == models.weights_hash(tiny_model_folder)
    assert models.convert_pickle(folder) == folder  # nothing left to do


def test_case_22_damaged_sentencepiece_model_is_refused_before_the_weights(folder: Path) -> None:
    (folder / "source.spm").write_bytes((folder / "source.spm").read_bytes()[:1000])
    assert "source.spm" in refused(folder)


def test_case_23_vocabulary_that_disagrees_is_refused_with_ids(folder: Path) -> None:
    path = folder / "vocab.json"
    pieces: dict[str, int] = json.loads(path.read_text())
    names = list(pieces)

    def with_ids(**changed: int) -> str:
        path.write_text(json.dumps(pieces | changed))
        return refused(folder)

    size = len(pieces)
    assert "50" in with_ids(**{names[50]: size})  # a gap
    assert "twice" in with_ids(**{names[50]: 51})
    assert "<pad>" in with_ids(**{names[40]: size - 1, "<pad>": 40})
    assert "disagree on 2 ids: 50, 51" in with_ids(**{names[50]: 51, names[51]: 50})
    config = json.loads((folder / "config.json").read_text())
    path.write_text(json.dumps(pieces))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size + 1, "decoder_vocab_size": size + 1}))
    assert f"vocab_size is {size + 1} in config.json and {size} in vocab.json" in refused(folder)


def test_case_24_vocabulary_of_the_same_size_is_not_the_same(folder: Path, tiny_vocab: Vocab) -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklm", k=6)) for _ in range(300)]
    other = Vocab.train(words, tiny_vocab.size, seed=1)
    assert other.size == tiny_vocab.size
    with pytest.raises(UserError):
        require_same(other, tiny_vocab)
    other.save(folder)  # the files are sound and of the right size, but not those of the weights
    assert f"hash {tiny_vocab.hash[:12]}, the files here have {other.hash[:12]}" in refused(folder)


def test_case_25_ties_that_came_apart_in_the_file(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["lm_head.weight"] = tensors["model.shared.weight"].clone()
    tensors["lm_head.weight"][[3, 7]] += 1e-3
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    assert "lm_head.weight differs from model.shared.weight in 2 of 120 rows" in refused(folder)


def test_case_25_ties_that_came_apart_in_memory(folder: Path, tiny_vocab: Vocab, tmp_path: Path) -> None:
    model = models.load(folder)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with pytest.raises(DataError, match=r"lm_head\.weight is no longer model\.shared\.weight"):
        models.save(model, tiny_vocab, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_case_26_half_precision_is_converted_with_a_notice(
    folder: Path, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    name = str(dtype).removeprefix("torch.")
    tensors = {key: tensor.to(dtype) for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": name}))
    with caplog.at_level(logging.WARNING, logger="distilmt"):
        model = models.load(folder)
    assert f"{name} weights are converted to float32" in caplog.text
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.lm_head.weight, tensors["model.shared.weight"].float())


def test_case_26_no_notice_for_float32(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    models.load(folder)
    assert not caplog.records
