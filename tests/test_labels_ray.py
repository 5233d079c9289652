"""The Ray adapter: two local actors, one of them killed; the bytes are those of one process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import distilmt
from distilmt.errors import ConfigError

OPTIONS = {"beam_size": 2, "max_length": 30, "shard_lines": 20, "batch_lines": 5, "threads": 1}


@pytest.mark.slow
def test_two_actors_of_which_one_is_killed(tmp_path: Path, tiny_model_folder: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'distilmt[ray]'")
    from distilmt.labels.ray import label

    (tmp_path / "text").write_text("".join(f"the dog sees {i} .\n" for i in range(400)))
    options = {"model": str(tiny_model_folder), "source": str(tmp_path / "text"), **OPTIONS}
    distilmt.label(**options, out=str(tmp_path / "one"))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            for path in (tmp_path / "two" / "leases").glob("*.0"):
                lease = json.loads(path.read_bytes())
                if lease["state"] == "held":
                    os.kill(lease["owner"]["pid"], signal.SIGKILL)
                    killed.append(lease["owner"]["pid"])
                    return
            time.sleep(0.005)

    threading.Thread(target=kill, daemon=True).start()
    try:
        label(**options, out=str(tmp_path / "two"), workers=2)
    finally:
        ray.shutdown()
    assert killed and os.getpid() not in killed
    for name in ("pseudo.txt", "statuses.txt", "labels.json", "manifest.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_options_that_ray_has_no_use_for(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'distilmt[ray]'")
    from distilmt.labels.ray import label

    with pytest.raises(ConfigError, match="--shard and --dry-run"):
        label(model="m", source="s", out=str(tmp_path), shard="1/2")
