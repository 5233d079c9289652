"""doctor.py: what is built, loaded and why not; it never fails, and a missing part comes with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import distilmt
from distilmt.interface import doctor as module
from distilmt.interface.doctor import Diagnosis, doctor
from distilmt.translator import device


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return doctor()


def test_it_names_every_part(diagnosis: Diagnosis) -> None:
    from distilmt import _native

    parts = {part for part, _ in diagnosis.lines}
    native = {"_native", "_ops", "_cuda", "instruction set", "threads", "memory", "energy", "bfloat16", "CUDA"}
    assert native | {"torch", "transformers", "ctranslate2", "datasets"} <= parts
    text = str(diagnosis)
    assert _native.active_isa() in text and f"available: {', '.join(_native.available_isas())}" in text
    assert "unknown:" not in text
    assert diagnosis.exit_code == 0 and text.endswith("no problems")


def test_a_part_that_must_load_is_a_problem_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_native", "_ops"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda: (_ for _ in ()).throw(ImportError("undefined\n symbol")))
            found = doctor()
        assert found.exit_code == 4
        assert (name, "NOT LOADED: undefined symbol") in found.lines
        assert f"PROBLEM {name}: undefined symbol - build it anew: pip install" in str(found)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def version(package: str) -> str:
        if package in ("ctranslate2", "sacrebleu"):
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(module, "version", version)
    found = doctor()
    assert ("ctranslate2", "not installed: pip install 'distilmt[ctranslate2]'") in found.lines
    assert found.problems == ["sacrebleu: not installed - pip install sacrebleu"]


@pytest.mark.parametrize(
    ("torch", "built", "said"),
    [
        (SimpleNamespace(__version__="2.13+cpu", version=SimpleNamespace(cuda=None)), False, "not built: "),
        (SimpleNamespace(__version__="2.13+cpu", version=SimpleNamespace(cuda=None)), True, "is a CPU build"),
        (
            SimpleNamespace(version=SimpleNamespace(cuda="13.0"), cuda=SimpleNamespace(is_available=lambda: False)),
            True,
            "built; the translator has it where a device is (below), the losses do not: torch finds no CUDA device",
        ),
    ],
)
def test_case_46_why_the_cuda_kernels_are_not_used(torch, built, said, monkeypatch, tmp_path) -> None:
    if built:
        (tmp_path / "_cuda.so").touch()
    monkeypatch.setattr(device, "LIBRARY", tmp_path / "_cuda.so")
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert said in module._cuda()


def test_case_46_a_wrong_driver_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def is_available() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=1)
        return False

    torch = SimpleNamespace(version=SimpleNamespace(cuda="13.0"), cuda=SimpleNamespace(is_available=is_available))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert module._torch_cuda() == (
        "torch is built for CUDA 13.0, and finds no device: "
        "CUDA initialization: The NVIDIA driver on your system is too old"
    )


def command(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distilmt", "doctor"],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


def test_case_46_a_wrong_instruction_set_is_a_problem() -> None:
    done = command(DISTILMT_ISA="avx1024")
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert "PROBLEM instruction set: DISTILMT_ISA must be one of portable, avx2" in done.stdout
    assert "got avx1024 - unset DISTILMT_ISA" in done.stdout


def test_case_46_read_only_home_and_bare_environment(tmp_path: Path) -> None:
    done = command(HOME="/proc/nowhere", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", DISTILMT_ISA="portable")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "portable (forced by DISTILMT_ISA=portable)" in done.stdout
    assert done.stderr == ""


def test_case_46_native_parts_that_were_not_built(tmp_path: Path) -> None:
    """A package without its native files, as from a checkout on PYTHONPATH."""
    shutil.copytree(
        Path(distilmt.__file__).parent, tmp_path / "distilmt", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from distilmt.cli import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert "PROBLEM _native: " in done.stdout and "PROBLEM _ops: " in done.stdout and "pip install" in done.stdout
