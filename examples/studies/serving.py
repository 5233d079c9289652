"""What serving costs: the tasks of serving-cost.yaml and serving-architectures.yaml; serving_report.py reports them.

After the CAIN 2024 energy study (10.1145/3644815.3644966): original and distilled models on the same inputs, ten runs each
in random order. Unlike there, loading is not timed. Beside what every cell has, a pass returns rss_bytes (memory held at
its end), and every second of a cell is written down, for the sake of the published analysis alone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from distilmt.study import decode, noise

TOKENS = {"SST-2": 27, "STS-B": 33, "MNLI": 42}  # serving-architectures.yaml says where from
SAMPLED = ("watts", "cpu_utilisation", "rss_bytes")
PAGE = os.sysconf("SC_PAGE_SIZE")
Row = dict[str, Any]


def rss_bytes() -> int:
    """Memory that this process holds, as `ps` sees it: proc(5), statm."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Sampler(threading.Thread):
    """Writes a line of JSON each second: SAMPLED, watts by the declared model of docs/energy.md."""

    def __init__(self, file: Path, watts: tuple[float, float]) -> None:
        super().__init__(daemon=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.watts = file.open("w"), watts

    def run(self) -> None:
        before, cpus = noise.read(), os.cpu_count() or 1
        while True:
            time.sleep(1)
            now = noise.read()
            ticks = {name: getattr(now, name) - (getattr(before, name) or 0) for name in ("total", "idle", "steal")}
            busy = 1 - ticks["idle"] / (ticks["total"] - ticks["steal"])
            own = (now.own - before.own) / (now.seconds - before.seconds) / cpus
            watts = self.watts[0] + (self.watts[1] - self.watts[0]) * busy
            self.file.write(json.dumps(dict(zip(SAMPLED, (watts, own, rss_bytes()), strict=True))) + "\n")
            self.file.flush()
            before = now


class Task:
    """A pass of `once`, sampled; the first pass of a cell starts the samples, so that loading is in none."""

    def __init__(self, cell: str, samples: str, watts: tuple[float, float]) -> None:
        self.sampler = Sampler(Path(samples) / f"{cell}.jsonl", watts)

    def once(self) -> Row:
        raise NotImplementedError

    def __call__(self) -> Row:
        if not self.sampler.ident:
            self.sampler.start()
        return self.once() | {"rss_bytes": rss_bytes()}


class Translation(Task):
    """A translation of a test set; keywords of the task `decode`. A first pass, not timed, is scored."""

    def __init__(self, cell: str, samples: str, watts: tuple[float, float], **decoding: Any) -> None:
        super().__init__(cell, samples, watts)
        self.work = decode.load(decode.DecodeTask(**decoding))
        self.work.once()
        self.scores = {name: value for name, value in self.work.outcomes(1.0).items() if name in ("bleu", "chrf")}

    def once(self) -> Row:
        return dict(self.work.once()) | self.scores


def configuration(architecture: str) -> Any:
    """The published configuration; DistilGPT-2 is GPT-2 with six layers."""
    from transformers import AutoConfig

    kind, layers = {"distilgpt2": ("gpt2", {"n_layer": 6})}.get(architecture, (architecture, {}))
    return AutoConfig.for_model(kind, **layers)


class Classifier(Task):
    """One of the study's four architectures with random weights: what it costs does not depend on them.

    Reads `count` inputs of each length, one at a time. `weights` is a folder where its weights stay, for loading to be
    of a file: `load_seconds` is from_pretrained's.
    """

    def __init__(
        self, architecture: str, cell: str, samples: str, watts: tuple[float, float], weights: str, count: int, threads: int
    ) -> None:  # fmt: skip
        import torch
        from transformers import AutoModelForSequenceClassification

        super().__init__(cell, samples, watts)
        torch.set_num_threads(threads)
        folder = Path(weights) / architecture
        if not folder.exists():
            model = AutoModelForSequenceClassification.from_config(configuration(architecture))
            model.save_pretrained(folder.with_suffix(".new"))
            folder.with_suffix(".new").rename(folder)
        start = time.monotonic()
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.load_seconds = time.monotonic() - start
        drawn = torch.Generator().manual_seed(1)
        self.inputs = {
            name: [torch.randint(1000, 20000, (1, tokens), generator=drawn) for _ in range(count)]
            for name, tokens in TOKENS.items()
        }
        self.parameters = sum(each.numel() for each in self.model.parameters())
        self.once()

    def once(self) -> Row:
        import torch

        found: Row = {"load_seconds": self.load_seconds, "parameters": self.parameters}
        with torch.inference_mode():
            for name, inputs in self.inputs.items():
                start = time.monotonic()
                for ids in inputs:
                    self.model(ids)
                found[f"seconds_{name}"] = time.monotonic() - start
        return found
