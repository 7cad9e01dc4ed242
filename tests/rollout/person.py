"""A scripted person at a station, in the process of the command line: what they do at each prompt for a row."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from unittest import mock

from mfa_kit.cli import terminal
from tests.tokens.person import Person

T = TypeVar("T")
# Moves, each of which must be noticed before the next one.
Act = Sequence[Callable[[], object]]
# Seconds to wait until a move is noticed.
SEEN = 20.0


class AtStation(Person):
    """Acts at each prompt, in order: types a line, or moves keys and waits until the program notices."""

    def __init__(self, *acts: "str | Act", codes: Iterable[str] = ()) -> None:
        super().__init__(codes)
        self._acts = iter(acts)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        self.asked.append(prompt)
        act = next(self._acts)
        if isinstance(act, str):
            return act
        *moves, last = act
        for move in moves:
            move()
            comes()
        last()
        until = time.monotonic() + SEEN
        while time.monotonic() < until:
            if (came := comes()) is not None:
                return came
            time.sleep(0.01)
        raise AssertionError(f"nothing came at: {prompt}")

    @contextmanager
    def there(self) -> Iterator[None]:
        """Replace the person at the terminal, and check at the end that every act was used."""
        with mock.patch.object(terminal, "find_person", return_value=self):
            yield
        left = list(self._acts)
        assert not left, f"{len(left)} more were wanted; asked: {self.asked}"
