"""Learned metrics such as COMET, in a worker process with an interpreter of its own.

COMET 2.2 needs transformers below 5 and numpy below 2, so it cannot share our environment. Whatever goes wrong with the
worker is an answer and no error: the other scores stand.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count as counted
from pathlib import Path
from statistics import fmean
from typing import IO, Any

from distilmt.errors import ConfigError, ResourceError

WORKER = Path(__file__).with_name("metric_worker.py")
PROTOCOL = 1
BATCH = 256  # lines of one request
TIMEOUT = 1800.0  # seconds; a large model on a slow processor takes minutes for a request, its first download longer
MODELS = {"comet": "Unbabel/wmt22-comet-da"}
PACKAGES = {"comet": "unbabel-comet 'setuptools<81'"}


@dataclass(frozen=True)
class Learned:
    """What a learned metric found.

    Attributes:
        metric: its name.
        score: mean over the lines. scores: one per line.
        signature: metric, version and model; scores with different signatures are not comparable.
    """

    metric: str
    score: float
    scores: list[float]
    signature: str

    def __str__(self) -> str:
        return f"{self.metric} {self.score:.4f}  {self.signature}"


@dataclass(frozen=True)
class Unavailable:
    """Why a learned metric gave no score.

    Attributes:
        metric: its name. reason: what went wrong.
        command: that of the worker, to be tried by hand.
    """

    metric: str
    reason: str
    command: str

    def __str__(self) -> str:
        return f"{self.metric} unavailable: {self.reason}, {self.command}"


class MetricUnavailable(ResourceError):
    """A learned metric that gave no score, where there is nothing to go on with. answer: why."""

    def __init__(self, answer: Unavailable) -> None:
        super().__init__(str(answer))
        self.answer = answer


class Metric:
    """A learned metric at work, as `opened` gives it.

    Attributes:
        signature: metric, version and model; scores with different signatures are not comparable.
    """

    def __init__(self, name: str, worker: _Worker, failed: Callable[[Exception], MetricUnavailable]) -> None:
        about = worker.read()
        if (protocol := about.get("protocol")) != PROTOCOL:
            raise _Failed(
                f"it speaks protocol {_line(protocol)}, expected {PROTOCOL}: it is of another version of distilmt"
            )
        self.signature = f"{name}:{_line(about.get('version'))}|model:{_line(about.get('model'))}"
        self._worker, self._failed, self._questions = worker, failed, counted()

    def score(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        """One number per line; the three are line-aligned. A metric that reads no reference is given "" for it.

        Raises: MetricUnavailable.
        """
        try:
            return self._scores(list(zip(sources, hypotheses, references, strict=True)))
        except _FAULTS as error:
            raise self._failed(error) from None

    def _scores(self, lines: list[tuple[str, str, str]]) -> list[float]:
        scores: list[float] = []
        for first in range(0, len(lines), BATCH):
            number, columns = next(self._questions), zip(*lines[first : first + BATCH], strict=True)
            self._worker.write(
                {"id": number} | dict(zip(("sources", "hypotheses", "references"), columns, strict=True))
            )
            answer = self._worker.read()
            if answer.get("id") != number:
                raise _Failed(f"it answered {_line(answer.get('id'))} to question {number}")
            scores += _numbers(answer.get("scores"), len(lines[first : first + BATCH]))
        return scores


@contextmanager
def opened(metric: str, python: str, model: str | None = None, timeout: float = TIMEOUT) -> Iterator[Metric]:
    """A learned metric that another interpreter has, for as long as the context lasts.

    Args:
        metric: "comet", or "FILE.py:function" of one's own (docs/metrics.md).
        python: that interpreter.
        model: a name that the metric knows, or a checkpoint; None is its usual one, "" for one's own.
        timeout: seconds to wait for an answer, the one about its start or the scores of 256 lines.
    Raises: MetricUnavailable: whatever went wrong with the worker.
    """
    command = [python, str(WORKER), metric, model or MODELS.get(metric, "")]

    def failed(error: Exception) -> MetricUnavailable:
        return MetricUnavailable(Unavailable(metric, str(error), shlex.join(command)))

    with ExitStack() as stack:
        try:
            found = Metric(metric, stack.enter_context(_Worker(command, timeout)), failed)
        except _FAULTS as error:
            raise failed(error) from None
        yield found


def learned(
    metric: str,
    python: str,
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    model: str | None = None,
    timeout: float = TIMEOUT,
) -> Learned | Unavailable:
    """Scores translations by a metric that another interpreter has.

    Args:
        metric, python, model, timeout: as of `opened`.
        sources, hypotheses, references: line-aligned.
    """
    try:
        with opened(metric, python, model, timeout) as scorer:
            scores = scorer.score(sources, hypotheses, references)
            return Learned(metric, fmean(scores), scores, f"{scorer.signature}|nrefs:1")
    except MetricUnavailable as error:
        return error.answer


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """Which learned metric to ask, and where it lives."""

    metric: str | None = field(
        default=None,
        metadata={"help": "a learned metric: comet, or a function of yours", "metavar": "comet|FILE.py:FUNCTION"},
    )
    python: str | None = field(default=None, metadata={"help": "the interpreter that has it, of another environment"})
    metric_model: str | None = field(
        default=None, metadata={"help": f"its model, a name or a checkpoint [default: {MODELS['comet']}]"}
    )
    metric_timeout: float = field(
        default=TIMEOUT,
        metadata={
            "help": f"seconds to wait for its start, and for the scores of each {BATCH} lines",
            "metavar": "SECONDS",
        },
    )

    def __post_init__(self) -> None:
        if not 0 < self.metric_timeout <= threading.TIMEOUT_MAX:
            raise ConfigError(f"--metric-timeout must be a positive number of seconds, got {self.metric_timeout:g}")
        if self.metric is None:
            if self.python or self.metric_model or self.metric_timeout != TIMEOUT:
                raise ConfigError("--python, --metric-model and --metric-timeout go with --metric")
            return
        file, _, function = self.metric.rpartition(":")
        if self.metric not in MODELS and not (file.endswith(".py") and function.isidentifier()):
            raise ConfigError(f"--metric {self.metric}: must be {' or '.join(MODELS)}, or FILE.py:FUNCTION")
        if file and not os.path.isfile(file):
            raise ConfigError(f"--metric {self.metric}: there is no file {file}")
        if self.python is None:
            package = PACKAGES.get(self.metric, "PACKAGE")
            raise ConfigError(
                f"--metric {self.metric} runs in an environment of its own: name its interpreter by --python, as in "
                f"`python3 -m venv metric && metric/bin/pip install {package}`, then --python metric/bin/python"
            )

    def opened(self) -> AbstractContextManager[Metric] | nullcontext[None]:
        """As the function of this name; None where no metric is asked for."""
        if self.metric is None or self.python is None:
            return nullcontext()
        return opened(self.metric, self.python, self.metric_model, self.metric_timeout)


@dataclass(frozen=True, kw_only=True)
class LearnedOptions(MetricOptions):
    """A learned metric beside BLEU and chrF, and the source that it reads with a file of translations."""

    sources: str | None = field(default=None, metadata={"help": "source text of --hypotheses, for --metric"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric is None and self.sources:
            raise ConfigError("--sources goes with --metric")

    def score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
    ) -> Learned | Unavailable | None:
        """As `learned`; None where no metric is asked for."""
        if self.metric is None or self.python is None:
            return None
        return learned(
            self.metric, self.python, sources, hypotheses, references, self.metric_model, self.metric_timeout
        )  # fmt: skip


class _Failed(Exception):
    pass


_FAULTS = (_Failed, RecursionError)  # the latter of an answer that is nested deeply


class _Worker:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self.command, self.timeout, self.late = command, timeout, False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> _Worker:
        # Our own packages are not for another interpreter.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise _Failed(f"cannot start {self.command[0]}: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._process.communicate()
        self._errors.close()

    def _kill(self) -> None:
        """Ends the worker with all that it has started, which may hold its pipes open; they have nothing to lose."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        def end() -> None:
            self.late = True
            self._kill()

        timer = threading.Timer(self.timeout, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def write(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            with self._in_time():
                self._process.stdin.write(json.dumps(value).encode() + b"\n")
                self._process.stdin.flush()
        except BrokenPipeError:
            raise _Failed(self._ended()) from None

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        with self._in_time():
            line = self._process.stdout.readline()
        if not line:
            raise _Failed(self._ended())
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise _Failed(f"it wrote no JSON: {line[:60].decode(errors='replace').strip()!r}")
        if "error" in value:
            raise _Failed(_line(value["error"] or "") or "it failed and said nothing of why")
        return value

    def _ended(self) -> str:
        """How the worker ended, with its last words."""
        if self.late:
            return f"no answer in {self.timeout:g} s - raise --metric-timeout if the worker was still at work"
        code = self._process.wait()
        self._errors.seek(0)
        last = _line(self._errors.read().decode(errors="replace"), -1)
        return f"the worker ended with {f'signal {-code}' if code < 0 else f'code {code}'}{f': {last}' if last else ''}"


def _line(said: Any, which: int = 0) -> str:
    """The first or another line of what the worker said that is not blank, as it can be printed."""
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return lines[which].encode(errors="replace").decode() if lines else ""


def _numbers(values: Any, count: int) -> list[float]:
    """Scores whose mean is a number too."""
    sound = isinstance(values, list) and len(values) == count
    if not sound or not all(type(value) in (int, float) and abs(value) < 1e300 for value in values):
        raise _Failed(f"it did not answer with {count} finite numbers")
    return [float(value) for value in values]
