"""Pictures of a report: `python docs/screenshots.py RUN/report.html FOLDER` on a phone, on a desk, in the dark and on paper.

Drives Chromium (`apt-get install chromium`) by its DevTools protocol, through a pipe: no other package is needed. Writes 390.png,
390-dark.png, 1200.png, 1200-dark.png, paper.pdf, and the two pictures of the README: top.png and microscope.png.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Where the pictures of the README begin and end: down to the first table; the microscope, down to its figure.
README = {
    "top": "[0, document.querySelector('.scroll')?.getBoundingClientRect().bottom]",
    "microscope": """(() => {
        const from = [...document.querySelectorAll('h2')].find(e => e.textContent.includes('microscope'))
        let to = from
        while (to && to.tagName != 'FIGURE') to = to.nextElementSibling
        return [from?.getBoundingClientRect().top, to?.getBoundingClientRect().bottom]
    })()""",
}
WIDTHS = (390, 1200)  # a phone and a desk, CSS pixels
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page in a headless Chromium. Works within `with browser() as page`."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe, self._read, self._number, self._session = pipe, b"", 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """What Chromium answers to one command of the protocol (chromedevtools.github.io/devtools-protocol)."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        self._pipe.sendall(json.dumps(message).encode() + b"\0")
        answer = self._next(lambda each: each.get("id") == self._number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self, wanted: Any) -> dict[str, Any]:
        while True:
            while b"\0" not in self._read:
                if not (more := self._pipe.recv(1 << 16)):
                    raise RuntimeError("chromium ended before it answered - start it by hand to see why")
                self._read += more
            first, _, self._read = self._read.partition(b"\0")
            if wanted(message := json.loads(first)):
                found: dict[str, Any] = message
                return found

    def show(self, path: Path, width: int = 1200, *, dark: bool = False) -> None:
        """Opens a file in a window `width` CSS pixels wide, and waits until it is loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self._next(lambda each: each.get("method") == "Page.loadEventFired")

    def value(self, script: str) -> Any:
        """What a line of JavaScript gives on the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def picture(self, top: float = 0, height: float | None = None) -> bytes:
        """The page as PNG, from `top` on, `height` CSS pixels of it or all the rest."""
        width, whole = self.value("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": top, "width": width, "height": height or whole - top, "scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])

    def paper(self) -> bytes:
        """The page as it is printed, a PDF of A4 sheets."""
        return base64.b64decode(self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, ended at the end."""
    if CHROMIUM is None:
        raise SystemExit("there is no chromium - apt-get install chromium")
    ours, theirs = socket.socketpair()  # Chromium reads its descriptor 3 and writes to 4
    with ours, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # As root, in containers, its sandbox cannot start; nothing but our own files is opened.
        flags = [
            "--headless",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ]
        files = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3), (os.POSIX_SPAWN_DUP2, theirs.fileno(), 4)]
        quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        child = os.posix_spawn(CHROMIUM, [CHROMIUM, *flags, "about:blank"], os.environ, file_actions=[*files, quiet])
        theirs.close()
        try:
            yield Browser(ours)
        finally:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


def main() -> None:
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as view:
        for width in WIDTHS:
            for dark in (False, True):
                view.show(page, width, dark=dark)
                (folder / f"{width}{'-dark' * dark}.png").write_bytes(view.picture())
        view.show(page, 980)
        (folder / "paper.pdf").write_bytes(view.paper())
        for name, script in README.items():
            top, bottom = view.value(script)
            if bottom:
                (folder / f"{name}.png").write_bytes(view.picture(top, bottom - top + 10))


if __name__ == "__main__":
    main()
