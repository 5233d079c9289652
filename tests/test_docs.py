"""Every code block of README.md and docs/ runs, those of a page in order, or says why not and is read all the same.

Trainings are made short (`SHORT`, `MORE`); everything else is as written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import distilmt
from conftest import lively_model
from distilmt import cli, models
from distilmt.distill import DistillConfig
from distilmt.interface.config import resolve
from distilmt.quickstart import write_corpus
from distilmt.text.files import write_lines
from docs_pages import IDS, PAGES, ROOT, blocks, distilmt_lines, lines_of, options, parse, prose

SHORT = {"updates": 2, "batch_tokens": 256, "eval_every": 2, "max_positions": 64, "threads": 1}
SMALL = "1x1:32:64:4"
TRAIN = ("train", "multilingual", "distill")
# What commands are given besides; of the generated text no vocabulary of 8,000 pieces can be made.
MORE = {
    "train": ["--size", SMALL, "--vocab-size", "300"],
    "multilingual": ["--size", SMALL, "--vocab-size", "300"],
    "distill": ["--student-size", SMALL, "--no-microscope"],
    "split": ["--dev", "4", "--test", "6"],
}
RUNNING = ("sh", "python")


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, vocabulary) -> Path:
    """What the pages take for granted: texts and models."""
    folder = tmp_path_factory.mktemp("desk")
    write_corpus(folder, 1, train=60, dev=4, test=6)
    sources = (folder / "train.de").read_text().splitlines()
    write_lines(folder / "mono.de.zst", sources)
    (folder / "whole").mkdir()
    whole = write_corpus(folder / "whole", 2, train=80, dev=1, test=1)["train"]
    for side, path in zip(("de", "en"), whole, strict=True):
        shutil.move(path, folder / f"corpus.{side}")
        shutil.copy(folder / f"train.{side}", folder / f"new.{side}")
    for part in ("train", "dev"):
        shutil.copy(folder / f"{part}.de", folder / f"{part}.fr")
    teacher = lively_model(vocabulary)
    teacher.final_logits_bias[0, vocabulary.eos_id] = 1.5  # so that it comes to an end
    models.save(teacher, vocabulary, folder / "TEACHER")
    (folder / "models").mkdir()
    for name in ("MODEL_FOLDER", "STUDENT", "opus-mt-de-en", "models/de-en", "models/fr-en"):
        shutil.copytree(folder / "TEACHER", folder / name)
    return folder


@pytest.fixture(scope="session")
def run(desk: Path) -> Path:
    """A finished run of the desk's text and teacher."""
    text = {part: tuple(str(desk / f"{part}.{side}") for side in ("de", "en")) for part in ("train", "dev", "test")}
    config = resolve(
        DistillConfig, **(text | {"test": (text["test"],)}), teacher=str(desk / "TEACHER"), student_size=SMALL,
        method="seq-kd", out=str(desk.with_name("run")), **SHORT,
    )  # fmt: skip
    distilmt.distill(config)
    return desk.with_name("run")


def shell(line: str, page: Path) -> None:
    """One line of a shell block: `distilmt` in this process, all else by the shell."""
    short = [word for key, value in SHORT.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    (words,) = distilmt_lines(line)
    more = [*(short if words[0] in TRAIN else ()), *MORE.get(words[0], ())]
    if not set("<>|") & set(re.sub(r"#.*|\"[^\"]*\"", "", line)):
        assert cli.main([*words, *more]) == 0, f"{page.name}: {line}"
        return
    code = f'distilmt() {{ "{sys.executable}" -m distilmt "$@"; }}\nset -eo pipefail\n{line}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, f"{page.name}: {line}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language in RUNNING for b in blocks(page))],
                         ids=lambda page: page.stem)  # fmt: skip
def test_the_blocks_of_a_page_run_in_order(page: Path, desk: Path, tmp_path: Path, monkeypatch, request) -> None:
    shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    for name in {word for block in blocks(page) for word in re.findall(r"\bRUN\d?\b", block.code) if not block.not_run}:
        shutil.copytree(request.getfixturevalue("run"), name)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "yaml":
            yaml.safe_load(block.code)
            if named := re.match(r"# (\S+\.yaml)\n", block.code):
                short = block.code.replace("size: tiny", f"size: '{SMALL}'\nvocab_size: 300")
                Path(named[1]).write_text(short.replace("{updates: 20000}", str(SHORT)), encoding="utf-8")
        elif block.language == "python":
            code = block.code.replace("updates=20_000", ", ".join(f"{key}={value}" for key, value in SHORT.items()))
            compiled = compile(code.replace('size="tiny"', f'size="{SMALL}"'), where, "exec")
            if named := re.match(r"# (\S+\.py)\n", block.code):
                Path(named[1]).write_text(block.code, encoding="utf-8")
            if not block.not_run:
                exec(compiled, names)
        elif block.language == "sh":
            for line in lines_of(block.code):
                for words in distilmt_lines(line):
                    parse(words, monkeypatch)
                if not block.not_run:
                    shell(line, page)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_fenced_and_every_block_has_a_language(page: Path) -> None:
    assert not re.findall(r"^    (?:distilmt|pip|python3?|import|from) .*", prose(page), re.M)
    assert {block.language for block in blocks(page)} <= {"sh", "python", "yaml", "text", "bibtex"}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_what_a_sentence_says_of_the_command_line_is_so(page: Path) -> None:
    known = options()
    every = set().union(*known.values())
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", span))
        if not (match := re.match(r"distilmt ((?:labels |study |knn )?[a-z]+)", span)):
            continue
        name = match[1] if match[1] in known else match[1].split()[0]
        assert name in known, f"{span}: no such command"
        own = known[name].union(*(flags for words, flags in known.items() if words.startswith(f"{name} ")))
        assert flags <= own, f"{span}: {name} has no {', '.join(flags - own)}"
    said = {flag for span in re.findall(r"`(--[^`\n]+)`", prose(page)) for flag in re.findall(r"--[a-z][\w-]+", span)}
    assert said <= every, f"{page.name}: no command has {', '.join(said - every)}"


def slug(heading: str) -> str:
    """A heading's anchor, as Python-Markdown makes it."""
    text = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


def headings(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)", prose(page), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(there), f"{page.name}: {target}"
    named = re.findall(r"`((?:docs|examples|tests|notebooks|benchmarks|csrc|python)/[\w./-]*\w)`", text)
    assert not [path for path in named if not (ROOT / path).exists()]
