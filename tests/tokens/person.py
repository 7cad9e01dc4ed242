"""A person who gives the test's answers in order. Questions and messages are recorded."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mfa_kit.core.otp import Secret

T = TypeVar("T")


class Person:
    """An Interaction with prepared answers. It raises StopIteration after the last answer."""

    def __init__(self, answers: Iterable[str] = ()) -> None:
        self._answers = iter(answers)
        self.asked: list[str] = []
        self.told: list[str] = []

    def check(self, *parts: Secret[str], instead: str) -> None:
        pass

    def say(self, text: str) -> None:
        self.told.append(text)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        self.asked.append(prompt)
        return next(self._answers)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        self.asked.append(prompt)
        return Secret(next(self._answers))

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        return self.ask_secret(prompt, instead=instead)

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        self.told.append(action)

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        return options.index(next(self._answers))

    def pause(self, prompt: str, *, instead: str) -> None:
        self.told.append(prompt)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        self.asked.append(prompt)
        came = comes()
        return next(self._answers) if came is None else came

    def show(self, *parts: Secret[str], instead: str) -> None:
        self.told.append(f"{len(parts)} shown")

    def clear(self) -> None:
        self.told.append("cleared")
