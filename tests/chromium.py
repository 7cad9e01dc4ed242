"""Debian's Chromium without a window, controlled over pipes with the DevTools protocol."""

import base64
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.conftest import judge

PHONE, DESKTOP = 390, 1280


class Browser:
    """One tab. Chromium reads messages from its descriptor 3 and writes to 4, each ended by a zero byte."""

    def __init__(self, to: IO[bytes], back: IO[bytes]) -> None:
        self._to, self._back, self._numbers, self._rest = to, back, count(1), b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _call(self, method: str, session: str | None = None, **params: object) -> Any:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            more = os.read(self._back.fileno(), 1 << 16)
            assert more, "Chromium ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def tab(self, method: str, **params: object) -> Any:
        """Call a method of the tab, and return its result."""
        return self._call(method, self._session, **params)

    def show(self, page: str, *, width: int, dark: bool = False) -> None:
        """Show HTML in a window of that width, in light or dark mode."""
        self.tab(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width == PHONE
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tab("Emulation.setEmulatedMedia", features=[scheme])
        frame = self.tab("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.tab("Page.setDocumentContent", frameId=frame, html=page)

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.tab("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        shot = self.tab("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium with its profile in a folder."""
    low, to_chromium = os.pipe()
    from_chromium, high = os.pipe()
    # They must not be 3 or 4 themselves.
    ours, theirs = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (low, high))
    command = [
        *("bash", "-c", f'exec "$@" 3<&{ours} 4>&{theirs}', "bash"),
        *(judge("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder}", "--remote-debugging-pipe"),
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    process = subprocess.Popen(
        command, env=env, pass_fds=(ours, theirs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for each in (low, high, ours, theirs):
        os.close(each)
    try:
        with os.fdopen(to_chromium, "wb") as to, os.fdopen(from_chromium, "rb") as back:
            yield Browser(to, back)
    finally:
        process.terminate()
        process.wait()
