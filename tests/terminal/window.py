"""A terminal for tests: it returns a program's output as text, as scrollback and as a picture."""

import io
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pyte
from PIL import Image, ImageDraw, ImageFont
from pyte.screens import Char

from tests.terminal.spawn import spawn

# What is between two words: a space, a line break, or beside a QR code the next line with its part of the code.
BETWEEN = r"(?: |\r\n|\x1b\[\d+;1H[^G]*G)"
BLOCKS = {"▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


@dataclass(frozen=True, slots=True)
class Theme:
    """Colors of text and background, as set in a terminal."""

    ink: str
    ground: str


DARK = Theme("d0d0d0", "101418")
LIGHT = Theme("303030", "fdf6e3")


class Screen(pyte.HistoryScreen):
    """pyte's screen, with an alternate screen that has no scrollback."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines, history=10_000)
        self.normal: Any = None

    def set_mode(self, *modes: int, **how: Any) -> None:
        if how.get("private") and 1049 in modes and self.normal is None:
            self.normal = dict(self.buffer), self.cursor.x, self.cursor.y, deque(self.history.top)
            self.buffer.clear()
        super().set_mode(*modes, **how)

    def reset_mode(self, *modes: int, **how: Any) -> None:
        if how.get("private") and 1049 in modes and self.normal is not None:
            rows, self.cursor.x, self.cursor.y, above = self.normal
            self.buffer.clear()
            self.buffer.update(rows)
            self.history.top.clear()
            self.history.top.extend(above)
            self.normal = None
        super().reset_mode(*modes, **how)

    def text(self) -> str:
        """Return the scrollback, followed by the screen."""
        above = ["".join(row[x].data for x in range(self.columns)) for row in self.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.display]).rstrip("\n")


class Window:
    """A program with a pseudo-terminal as controlling terminal. stdout and stderr go to files, or to the terminal."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        size: tuple[int, int] = (100, 40),
        apart: bool = True,
        fork: bool = True,
    ) -> None:
        self.folder, columns, lines = cwd, *size
        self.screen = Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)
        self.child = spawn(
            command,
            env=env,
            cwd=cwd,
            apart=cwd / "printed" if apart else None,
            fork=fork,
            dimensions=(lines, columns),
            codec_errors="replace",  # the kernel may write the echo of a key into a character of the program
            timeout=60,
        )
        self.child.delaybeforesend = None
        self.log = io.StringIO()
        self.child.logfile_read = self.log

    def see(self, text: str) -> None:
        """Wait until the program has written this text, even if it is wrapped."""
        try:
            self.child.expect(BETWEEN.join(map(re.escape, text.split(" "))))
        except pexpect.TIMEOUT as error:
            error.add_note(self.look().text())
            raise

    def type(self, text: str, *, end: str = "\r") -> None:
        self.child.send(text + end)

    def resize(self, columns: int, lines: int) -> None:
        self.child.setwinsize(lines, columns)
        self.look().resize(lines, columns)

    def kill(self, number: int) -> None:
        self.child.kill(number)

    def look(self) -> Screen:
        """Return the current screen."""
        self.stream.feed(self.log.getvalue())
        self.log.seek(0)
        self.log.truncate()
        return self.screen

    def end(self) -> int:
        """Wait until the program ends. Return its exit code, negative for a signal."""
        self.child.expect(pexpect.EOF)
        self.child.wait()
        self.child.close()
        self.look()
        status = self.child.exitstatus
        return -(self.child.signalstatus or 0) if status is None else int(status)

    def printed(self, where: str) -> str:
        return (self.folder / f"printed.{where}").read_text("utf-8")


def picture(screen: Screen, theme: Theme, *, cell: tuple[int, int] = (8, 16)) -> Image.Image:
    """Draw the screen as terminals do: block characters fill their half of a cell, whatever the font is."""
    wide, high = cell
    page = Image.new("RGB", (screen.columns * wide, screen.lines * high), f"#{theme.ground}")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(high * 0.75)
    for y in range(screen.lines):
        for x in range(screen.columns):
            char: Char = screen.buffer[y][x]
            ink = theme.ink if char.fg == "default" else char.fg
            ground = theme.ground if char.bg == "default" else char.bg
            left, top = x * wide, y * high
            draw.rectangle((left, top, left + wide - 1, top + high - 1), f"#{ground}")
            if char.data in BLOCKS:
                for half, full in enumerate(BLOCKS[char.data]):
                    if full:
                        start = top + half * high // 2
                        draw.rectangle((left, start, left + wide - 1, start + high // 2 - 1), f"#{ink}")
            elif char.data.strip():
                draw.text((left, top), char.data, f"#{ink}", font=font)
    return page


def read(page: Image.Image, file: Path) -> str:
    """Return the text that zbarimg reads in a picture, or "" if there is none."""
    page.save(file)
    done = subprocess.run(["zbarimg", "--quiet", "--raw", file], capture_output=True, text=True, check=False)
    return done.stdout.strip()
