"""Devices of the translator: names, what is missing and how that is said, workers on several; and, with a device, parity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilmt import ConfigError, Translator
from distilmt.errors import ResourceError
from distilmt.translator import device
from distilmt.translator.compute_type import chosen


@pytest.fixture
def no_device() -> None:
    """Skips where there is a CUDA device."""
    try:
        device.count()
    except ResourceError:
        return
    pytest.skip("this machine has a CUDA device")


@pytest.mark.parametrize(("name", "number"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_names(name: str, number: int | None) -> None:
    assert device.ordinal(name) == number


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:1 ", "CPU", 0, None])
def test_no_names(name: Any) -> None:
    with pytest.raises(ConfigError, match='device: expected "cpu", "cuda" or "cuda:N", got'):
        device.ordinal(name)


def test_no_library_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "LIBRARY", tmp_path / "_cuda.so")
    with pytest.raises(ResourceError, match=r"no CUDA library, looked for _cuda.so .* build it where nvcc is"):
        device.count()
    (tmp_path / "_cuda.so").write_bytes(b"no library")
    with pytest.raises(ResourceError, match=r"device: cannot open .*_cuda.so.* build it anew"):
        device.count()


def test_the_library_is_looked_for_beside_the_other_native_parts() -> None:
    from distilmt import _native, ops

    assert device.LIBRARY == ops._CUDA_LIBRARY == Path(str(_native.__file__)).with_name("_cuda.so")


def test_a_library_without_the_translator_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from distilmt import _native

    monkeypatch.setattr(device, "LIBRARY", Path(str(_native.__file__)))
    with pytest.raises(ResourceError, match=r"distilmt_cuda_devices is missing.* headers of cuBLASLt"):
        device.count()


@pytest.mark.usefixtures("no_device")
def test_a_translator_never_falls_back_to_the_processor(tiny_model_folder: Path) -> None:
    with pytest.raises(ResourceError, match=r"device: (no CUDA (device|library)|.* is missing)"):
        Translator(tiny_model_folder, device="cuda")


def test_what_a_device_lacks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device.opened.cache_clear()
    monkeypatch.setattr(device, "count", lambda: 2)
    with pytest.raises(ResourceError, match="expected one below cuda:2, got cuda:2"):
        device.opened(2)
    monkeypatch.setattr(device.sys, "path", [str(tmp_path)])
    with pytest.raises(ResourceError, match=r"cuBLASLt not found, looked for libcublasLt.so.13"):
        device.opened(1)
    (tmp_path / "nvidia/cu13/lib").mkdir(parents=True)
    (tmp_path / "nvidia/cu13/lib/libcublasLt.so.13").touch()
    assert device.cublaslt() == tmp_path / "nvidia/cu13/lib/libcublasLt.so.13"


def test_numbers() -> None:
    assert chosen("auto", "cuda") == "float16" and chosen("bfloat16", "cuda") == "bfloat16"
    with pytest.raises(ConfigError, match="expected auto, float32, float16, bfloat16 or int8 on cuda, got 'int4'"):
        chosen("int4", "cuda")


def test_what_decodes_on_the_processor_alone(tiny_model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="device: expected cpu for engine"):
        Translator(tiny_model_folder, device="cuda", engine="transformers")


def test_workers_take_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "count", lambda: 3)
    assert [device.of_worker("cuda", i) for i in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert device.of_worker("cuda:1", 2) == "cuda:1" and device.of_worker("cpu", 2) == "cpu"


def test_ranks_of_torchrun_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from distilmt.label import LabelConfig
    from distilmt.labels.pool import _placed
    from distilmt.labels.worker import Work
    from distilmt.translator.model_options import ModelOptions

    monkeypatch.setattr(device, "count", lambda: 4)
    config = LabelConfig(model="m", source="s", out="o", workers=2, asked=ModelOptions(device="cuda"))
    job = Work("f", "", None, None, config)  # type: ignore[arg-type]
    for rank, expected in ((None, ["cuda:0", "cuda:1"]), ("1", ["cuda:2", "cuda:3"]), ("2", ["cuda:0", "cuda:1"])):
        if rank is not None:
            monkeypatch.setenv("LOCAL_RANK", rank)
        assert [_placed(job, i).config.asked.device for i in range(2)] == expected


def test_a_labelling_on_a_device_takes_more_lines_at_a_time() -> None:
    from distilmt.bill.forecast import ForecastConfig
    from distilmt.interface.config import resolve, to_dict
    from distilmt.label import LabelConfig
    from distilmt.translator.model_options import ModelOptions

    for name, lines in (("cpu", 1000), ("cuda", 16_000), ("cuda:1", 16_000)):
        config = LabelConfig(model="m", source="s", out="o", asked=ModelOptions(device=name))
        assert (config.shard_lines, config.batch_lines) == (lines, lines)
        assert resolve(LabelConfig, to_dict(config)) == config and replace(config, batch_lines=7).batch_lines == 7
        assert ForecastConfig(model="m", source="s", asked=config.asked).batch_lines == lines


@pytest.mark.parametrize("nvcc", [True, False])
def test_headers_are_asked_for_where_nvcc_is(monkeypatch: pytest.MonkeyPatch, nvcc: bool) -> None:
    pytest.importorskip("scikit_build_core", reason="needs scikit-build-core, which is there in builds alone")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "csrc"))
    import backend

    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setattr(backend.shutil, "which", lambda name: "/bin/nvcc" if nvcc and name == "nvcc" else None)
    asked = backend.get_requires_for_build_wheel()
    for package in ("nvidia-cublas", "nvidia-cudnn"):
        assert any(each.startswith(package) for each in asked) is nvcc
