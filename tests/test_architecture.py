"""The arrows of the architecture: who may use whom. CMake keeps Torch and Python away from lower layers; this does the rest."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "python" / "distilmt"

# C++: the folders that a folder may include, besides itself.
BASE = {"common", "divergences"}
MAY_INCLUDE = {
    "common": set(),
    "divergences": {"common"},
    "terms": BASE | {"kernels"},
    "kernels": BASE | {"terms"},
    "cuda": BASE | {"kernels"},
    "engine": BASE | {"kernels"},
    "device": BASE | {"kernels", "cuda", "engine"},
    "labels": BASE,
    "text": BASE,
    "ops": BASE | {"kernels"},
    "bind": BASE | {"kernels", "engine", "device", "labels", "text"},
    "tests": BASE | {"kernels", "cuda", "engine", "device", "labels", "text"},
}

# Python: what a module must not reach, directly or through others; a folder stands for all its files.
TRAINING = {"ops", "objectives", "training.trainer", "train"}
JOBS = {"label", "labels", "evaluate", "distill", "report", "study", "cli"}
MUST_NOT_REACH = {
    **{name: {"translate"} | TRAINING | JOBS for name in ("errors", "corpus", "vocab", "models")},
    "energy": {"translate", "corpus", "vocab", "models", "run", "state.stage"} | TRAINING | JOBS,
    "ops": {"objectives", "translate", "corpus", "vocab", "models"} | JOBS,
    "objectives": {"training.trainer", "train", "translate", "corpus", "vocab", "models"} | JOBS,
    "translate": TRAINING | JOBS,
    "soft_labels": {"translate", "translator.forced"} | TRAINING | JOBS,
    "translator.forced": TRAINING | JOBS,
    "label": TRAINING | {"distill", "report", "cli"},
    "knn": {"training.trainer", "train"} | JOBS,
    "labels": TRAINING | {"distill", "report", "cli"},
    "evaluate": TRAINING | {"label", "labels", "distill", "report", "cli"},
    "train": {"distill", "report", "multilingual", "cli"},
    "multilingual": {"study", "cli"},
    "bill.payback": {"translate", "distill", "cli"} | TRAINING,
    "bill.forecast": {"distill", "report", "cli"} | TRAINING,
    "bill.rates": {"translate", "corpus", "models"} | TRAINING | JOBS,
    "bill.composite": {"translate"} | TRAINING | JOBS,
    "statistics": {"translate", "corpus", "models", "run"} | TRAINING | JOBS,
    "report": TRAINING | {"translate", "distill", "cli"},
    "report.microscope": TRAINING | {"distill", "report", "cli"},
    "distill": {"study", "cli"},
    "study": {"cli"},
}


def cpp_files() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu"})


@pytest.mark.parametrize("layer", MAY_INCLUDE)
def test_cpp_layers_include_only_what_lies_below(layer: str) -> None:
    for path in (p for p in cpp_files() if p.relative_to(CSRC).parts[0] == layer):
        # But for what nvcc alone sees.
        for_all = re.sub(r"#ifdef __CUDACC__\n.*?\n#e", "", path.read_text(), flags=re.DOTALL)
        for name in re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', for_all, re.MULTILINE):
            folder = name.split("/")[0]
            if folder in MAY_INCLUDE:
                assert folder in MAY_INCLUDE[layer] | {layer}, f"{path.name} includes {name}"
            assert folder != "torch" or layer == "ops", f"{path.name} includes {name}: only ops/ knows Torch"
            assert not name.startswith(("pybind11", "Python.h")) or layer == "bind", (
                f"{path.name}: only bind/ knows Python"
            )
            assert not name.startswith("cuda_") or path.suffix in {".cu", ".cuh"}, (
                f"{path.name}: only .cu files know CUDA"
            )


def test_every_cpp_folder_has_its_arrows() -> None:
    assert {p.relative_to(CSRC).parts[0] for p in cpp_files()} <= set(MAY_INCLUDE)


# Folders whose files are no one thing: each is a module by itself.
BY_FILE = {
    "bill", "distilling", "interface", "marian", "quality", "report", "state", "text", "training", "translator", "vocabulary",
}  # fmt: skip


def module_of(path: Path) -> str:
    """`corpus` for corpus.py, `objectives` for every file of that folder, `state.lock` for a file of those by file."""
    return room(path.relative_to(PACKAGE).with_suffix("").parts)


def room(parts: Sequence[str]) -> str:
    inner = parts[0] in BY_FILE and list(parts[1:2]) not in ([], ["__init__"])
    return ".".join(parts[:2]) if inner else parts[0]


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere but under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "distilmt":
            for whole in (f"{node.module}.{alias.name}" for alias in node.names):
                is_file = (PACKAGE.parent / (whole.replace(".", "/") + ".py")).exists()
                names.add(whole if is_file or node.module == "distilmt" else node.module or "")
    return {room(name.split(".")[1:]) for name in names if name.startswith("distilmt.")}


@cache
def graph() -> dict[str, set[str]]:
    arrows: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        module = module_of(path)
        if module != "__init__":  # the package itself only offers names, on demand
            arrows.setdefault(module, set()).update(imports(path) - {module})
    return arrows


@pytest.mark.parametrize("module", MUST_NOT_REACH)
def test_python_modules_reach_only_what_lies_below(module: str) -> None:
    arrows = graph()
    assert module in arrows
    came_from: dict[str, str] = {module: ""}
    queue = [module]
    for current in queue:
        for following in sorted(arrows.get(current, set()) - came_from.keys()):
            came_from[following] = current
            queue.append(following)
    forbidden = set(MUST_NOT_REACH[module])
    if "report" in forbidden:  # and all of its files but those that stand below the bill
        forbidden |= {name for name in arrows if name.startswith("report.")} - {
            "report.numbers",
            "report.cells",
            module,
        }
    for wrong in forbidden & came_from.keys():
        chain = [wrong]
        while came_from[chain[0]]:
            chain.insert(0, came_from[chain[0]])
        pytest.fail(" -> ".join(chain))


def test_the_worker_of_learned_metrics_imports_nothing_of_ours() -> None:
    assert graph()["quality.metric_worker"] == set()


def test_the_specification_is_never_a_fallback() -> None:
    assert not [module for module, used in graph().items() if "reference" in used]
