"""Who computes the encoder's attention on a device: names, what cuDNN does not take, where it is looked for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilmt import ConfigError, Translator, _native
from distilmt.errors import DeviceFailed, ResourceError
from distilmt.interface.doctor import doctor
from distilmt.translator import attention, device, libraries
from distilmt.translator.attention import chosen
from marian import random_model, save


@pytest.fixture
def cudnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Makes the one library of cuDNN that is found, of a version as it says it: 92000 for 9.20.0."""

    def make(version: int) -> Path:
        folder = tmp_path / "nvidia/cudnn/lib"
        folder.mkdir(parents=True)
        library = folder / "libcudnn.so.9"
        source = tmp_path / "cudnn.c"
        source.write_text(f"unsigned long cudnnGetVersion(void) {{ return {version}; }}\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.setattr(libraries.sys, "path", [str(tmp_path)])
        return library

    return make


@pytest.fixture
def no_cudnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cudnn", lambda: None)


def test_names() -> None:
    with pytest.raises(ConfigError, match="attention: expected auto, cudnn or own, got 'flash'"):
        chosen("flash", "cuda", "float16")
    assert chosen("own", "cuda", "float32") == "own" and chosen("auto", "cpu", "int8") is None
    for name in ("own", "cudnn"):
        with pytest.raises(
            ConfigError, match=f'attention: expected auto on the processor, got {name!r} - .*device="cuda"'
        ):
            chosen(name, "cpu", "float32")


@pytest.mark.parametrize("compute_type", ["float16", "bfloat16", "int8"])
def test_cudnn_where_it_is_found(cudnn: Callable[[int], Path], compute_type: str) -> None:
    library = cudnn(92000)
    assert chosen("auto", "cuda", compute_type) == chosen("cudnn", "cuda", compute_type, 64) == "cudnn"
    assert attention.found() == f"cuDNN 9.20.0, {library}"
    assert ("its attention", attention.found()) in doctor().lines


@pytest.mark.parametrize(
    ("compute_type", "columns", "said"),
    [
        ("float32", 64, r'cuDNN has none in float32 - choose attention="own", or another compute_type'),
        ("float16", 12, r'cuDNN takes heads of a multiple of 8 columns, got 12 - choose attention="own"'),
    ],
)
def test_what_cudnn_does_not_take(cudnn: Callable[[int], Path], compute_type: str, columns: int, said: str) -> None:
    cudnn(92000)
    assert chosen("auto", "cuda", compute_type, columns) == "own"
    with pytest.raises(ConfigError, match=said):
        chosen("cudnn", "cuda", compute_type, columns)


def test_an_old_cudnn_is_refused(cudnn: Callable[[int], Path]) -> None:
    library = cudnn(91002)
    with pytest.raises(ResourceError, match=r"cuDNN 9.10.2 is too old, expected 9.18.1 or later .* - install"):
        chosen("cudnn", "cuda", "float16")
    assert chosen("auto", "cuda", "float16") == "own"
    assert attention.found() == f"own kernel: cuDNN 9.10.2 is too old, expected 9.18.1 or later ({library})"


def test_a_damaged_cudnn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libcudnn.so.9").write_bytes(b"no library")
    for found in (tmp_path / "libcudnn.so.9", Path(str(_native.__file__))):
        monkeypatch.setattr(libraries, "cudnn", lambda found=found: found)
        with pytest.raises(ResourceError, match=r"attention: cuDNN cannot be opened \(.*(so\.9|cudnnGetVersion)"):
            chosen("cudnn", "cuda", "float16")


@pytest.mark.usefixtures("no_cudnn")
def test_without_cudnn_it_is_said() -> None:
    with pytest.raises(
        ResourceError, match=r"attention: cuDNN not found, looked for libcudnn.so.9 .* - install nvidia-"
    ):
        chosen("cudnn", "cuda", "float16")
    assert chosen("auto", "cuda", "float16") == "own"
    assert attention.found().startswith("own kernel: cuDNN not found")


def test_the_processor_has_nothing_to_choose(tiny_model_folder: Path) -> None:
    assert Translator(tiny_model_folder).attention is None
    with pytest.raises(ConfigError, match="attention: expected auto on the processor, got 'own'"):
        Translator(tiny_model_folder, attention="own")
    with pytest.raises(ConfigError, match="attention: expected auto on the processor"):
        Translator(tiny_model_folder, engine="transformers", attention="cudnn")


class Device:
    """A device whose cuDNN takes every model, or has a reason not to."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal

    def prepare_attention(self, weights: Any, compute_type: str) -> None:
        if self.refusal:
            raise _native.DeviceError(self.refusal)


def test_auto_asks_cudnn_before_it_is_chosen(
    cudnn: Callable[[int], Path],
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where it has no plan after all the own kernel serves, and that is said; by name it is asked for in earnest."""
    cudnn(92000)
    why = "cuDNN cannot attend with 2 heads: it proposes none"

    def made(on: Device, weights: Any, numbers: str, by_cudnn: bool) -> None:
        if by_cudnn:
            on.prepare_attention(weights, numbers)

    monkeypatch.setattr(device, "opened", lambda number: Device(why))
    monkeypatch.setattr(_native, "DeviceModel", made)
    assert Translator(tiny_model_folder, device="cuda").attention == "own"
    assert f"{tiny_model_folder}: its attention on cuda is the own kernel's: {why}" in capsys.readouterr().err
    with pytest.raises(DeviceFailed, match=f"cannot be put on cuda: {why} - see"):
        Translator(tiny_model_folder, device="cuda", attention="cudnn")


def test_a_translator_says_and_does_what_was_chosen(
    cudnn: Callable[[int], Path], tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model goes to the device with the choice; what is redone in float32 has the own kernel."""
    cudnn(92000)
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(device, "opened", lambda number: Device())
    monkeypatch.setattr(_native, "DeviceModel", lambda on, weights, numbers, by_cudnn: made.append((numbers, by_cudnn)))
    found = [Translator(tiny_model_folder, device="cuda", attention=name) for name in ("auto", "cudnn", "own")]  # type: ignore[arg-type]
    assert [each.attention for each in found] == ["cudnn", "cudnn", "own"]
    assert made == [("float16", True), ("float16", True), ("float16", False)]
    shapes = ({}, {"d_model": 24})  # heads of 8 columns, and of 6
    folders = [save(random_model(seed=1, std=0.3, end_bias=2.0, **each), tmp_path / str(each)) for each in shapes]  # type: ignore[arg-type]
    assert Translator(folders, device="cuda").attention == "cudnn and own"
    del made[3:]
    found[0]._in_float32()
    assert made[3:] == [("float32", False)]
    assert Translator(tiny_model_folder, device="cuda", compute_type="float32").attention == "own"


def test_a_labelling_job_is_of_one_attention(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of its workers: cuDNN's for heads of 8 columns, not for heads of 6."""
    monkeypatch.setattr(attention, "missing", lambda: None)
    narrow = save(random_model(seed=1, std=0.3, end_bias=2.0, d_model=24), tmp_path / "narrow")
    from distilmt.label import LabelConfig
    from distilmt.labels.job import read_texts
    from distilmt.labels.manifest import describe
    from distilmt.translator.model_options import ModelOptions

    (tmp_path / "text").write_text("Ein Hund .\n")

    def numbers(model: Path = tiny_model_folder, **asked: Any) -> Any:
        config = LabelConfig(
            model=str(model), source=str(tmp_path / "text"), out="o", compute_type="float16" if asked else "auto",
            asked=ModelOptions(**asked),
        )  # fmt: skip
        return describe(config, model, *read_texts(config))["numbers"]

    assert numbers(device="cuda:1")["attention"] == "cudnn"
    assert numbers(narrow, device="cuda:1")["attention"] == "own"
    assert "attention" not in numbers()
