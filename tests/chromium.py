"""Debian's Chromium without a window, controlled over pipes with the DevTools protocol."""

import base64
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.conftest import judge
from tests.limits import wait_until

PHONE, DESKTOP = 390, 1280
# Seconds to wait until something happens in a page. A slow computer that runs much else may need most of them.
WAIT = 30.0
# The value of an expression, or true for an element, or null if the page is not there yet.
SEEN = (
    """(() => {{ try {{ const it = {script}; return it instanceof Node ? true : it }} catch {{ return null }} }})()"""
)


class Refused(AssertionError):
    """Chromium did not do what a message asked for, for example because the tab went to another page meanwhile."""


class Wire:
    """The connection to Chromium, which all tabs share.

    Chromium reads messages from its descriptor 3 and writes to 4, each ended by a zero byte.
    """

    def __init__(self, to: IO[bytes], back: IO[bytes]) -> None:
        self._to, self._back, self._numbers, self._rest = to, back, count(1), b""

    def call(self, method: str, session: str | None = None, **params: object) -> Any:
        """Call a method of the browser or of a tab (`session`), and return its result."""
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != number:
            pass
        if "error" in answer:
            raise Refused(answer)
        return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            more = os.read(self._back.fileno(), 1 << 16)
            assert more, "Chromium ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)


class Browser:
    """One tab: a new one, or the one with the ID `target`."""

    def __init__(self, wire: Wire, target: str = "") -> None:
        self._wire = wire
        self._target = target or wire.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = wire.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]

    def tabs(self) -> set[str]:
        """Return the IDs of all tabs of this browser."""
        return {each["targetId"] for each in self._wire.call("Target.getTargets")["targetInfos"]}

    def opened(self, before: set[str]) -> "Browser":
        """Return a tab that is not one of those before. Wait until there is one."""
        new = wait_until(lambda: self.tabs() - before, seconds=WAIT, said=lambda: "no tab was opened", pause=0.05)
        return Browser(self._wire, new.pop())

    def new_tab(self) -> "Browser":
        """Return another tab of this browser, which is empty."""
        return Browser(self._wire)

    def close(self) -> None:
        """Close the tab."""
        self._wire.call("Target.closeTarget", targetId=self._target)

    def cookies(self) -> list[dict[str, Any]]:
        """Return the cookies of the browser."""
        found: list[dict[str, Any]] = self._wire.call("Storage.getCookies")["cookies"]
        return found

    def tab(self, method: str, **params: object) -> Any:
        """Call a method of the tab, and return its result."""
        return self._wire.call(method, self._session, **params)

    def go(self, address: str) -> None:
        """Open an address, as from the address bar."""
        self.tab("Page.navigate", url=address, transitionType="typed")

    def reload(self) -> None:
        """Reload the page, and wait until the old document is gone."""
        self.ask("void (globalThis.isOld = true)")
        self.tab("Page.reload")
        self.see("!globalThis.isOld")

    def see(self, script: str, *, seconds: float = WAIT) -> Any:
        """Wait until a JavaScript expression in the page is true, and return its value."""

        def ask() -> Any:
            with suppress(Refused):
                return self.ask(SEEN.format(script=script))

        return wait_until(
            ask, seconds=seconds, said=lambda: f"{script} is not true in: {self.ask('document.body.innerText')}"
        )

    def press(self, key: str, *, code: int, text: str = "") -> None:
        """Press a key, as on a keyboard."""
        how = {"key": key, "code": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.tab("Input.dispatchKeyEvent", type="keyDown", **how)
        self.tab("Input.dispatchKeyEvent", type="keyUp", **how)

    def type(self, text: str) -> None:
        """Type a text, letter by letter."""
        for letter in text:
            self.press(letter, code=ord(letter.upper()), text=letter)

    def paste(self, text: str) -> None:
        """Enter a text at once, as from the clipboard."""
        self.tab("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click an element, as its user does. It may move meanwhile, so this does not use its place on the screen."""
        self.see(f"document.querySelector({selector!r})")
        self.tab("Runtime.evaluate", expression=f"document.querySelector({selector!r}).click()", userGesture=True)

    def size(self, *, width: int, dark: bool = False, height: int = 800, scale: int = 1) -> None:
        """Give the window a size in CSS pixels, and choose light or dark mode. `scale` is 2 at 200 % zoom."""
        self.tab(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width == PHONE,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tab("Emulation.setEmulatedMedia", features=[scheme])

    def show(self, page: str, *, width: int, dark: bool = False) -> None:
        """Show HTML in a window of that width, in light or dark mode."""
        self.size(width=width, dark=dark)
        frame = self.tab("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.tab("Page.setDocumentContent", frameId=frame, html=page)

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.tab("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, *, visible: bool = False) -> bytes:
        """Return the whole page as PNG, or only what the window shows of it."""
        self.tab("Page.bringToFront")  # a tab in the background is not drawn
        shot = self.tab("Page.captureScreenshot", captureBeyondViewport=not visible)
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
            yield Browser(Wire(to, back))
    finally:
        process.terminate()
        process.wait()
