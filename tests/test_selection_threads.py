"""A ranking that gets no threads: a sentence, and the process lives."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from distilmt.errors import ResourceError
from distilmt.labels.rank import RankOptions, rank
from distilmt.labels.records import Candidate, Record
records = [Record(i, "ok", [Candidate("a b", [1], 0.0, 0.0, 1)] * 2) for i in range(1, 1025)]
list(rank(records, None, RankOptions(rule="mbr")))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
try:
    list(rank(records, None, RankOptions(rule="mbr"), threads=1024))
except ResourceError as error:
    print(error)
print(len(list(rank(records, None, RankOptions(rule="mbr"), threads=2))))
"""


def test_threads_that_cannot_be_made_are_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1024 threads cannot be had (" in done.stdout and done.stdout.endswith("- use fewer threads\n1024\n")
