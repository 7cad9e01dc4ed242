"""Exceptions that nothing foresees, raised by the methods of the ports that a command calls."""

import builtins
import errno
import functools
import importlib
import inspect
import pkgutil
import sqlite3
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

import mfa_kit
from mfa_kit.core.errors import DeviceFault
from tests.conftest import Result
from tests.test_secrets import loudest

SECRET = "JBSWY3DPEHPK3PXPCANARY"
STOPS = (SystemExit, KeyboardInterrupt, GeneratorExit)


class PanicException(BaseException):
    """What pyo3 raises when code in Rust panics."""


def _instance(kind: type[BaseException]) -> BaseException:
    """Make an exception that quotes the secret wherever it can: in its arguments, attributes and notes."""
    if issubclass(kind, BaseExceptionGroup):
        error: BaseException = kind(SECRET, [ValueError(SECRET)])
    elif issubclass(kind, UnicodeDecodeError):
        error = kind("utf-8", SECRET.encode(), 0, 1, SECRET)
    elif issubclass(kind, UnicodeEncodeError):
        error = kind("utf-8", SECRET, 0, 1, SECRET)
    elif issubclass(kind, UnicodeTranslateError):
        error = kind(SECRET, 0, 1, SECRET)
    elif issubclass(kind, subprocess.CalledProcessError):
        error = kind(1, [SECRET], SECRET.encode(), SECRET.encode())
    elif issubclass(kind, BrokenPipeError):
        error = kind(errno.EPIPE, SECRET, SECRET)
    elif issubclass(kind, OSError):
        error = kind(errno.EIO, SECRET, SECRET)
    else:
        error = kind(SECRET)
    error.add_note(f"a note of another program with {SECRET}")
    error.hint = SECRET  # type: ignore[attr-defined]
    return error


def exceptions() -> list[Callable[[], BaseException]]:
    """Return makers of exceptions of each class in Python, and of some libraries."""
    kinds = [each for each in vars(builtins).values() if isinstance(each, type) and issubclass(each, BaseException)]
    kinds += [PanicException, sqlite3.OperationalError, struct.error, zlib.error, subprocess.CalledProcessError]
    return [functools.partial(_instance, kind) for kind in dict.fromkeys(kinds) if not issubclass(kind, STOPS)]


def ports(modules: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the methods and properties of each Protocol in these modules."""
    found = {}
    for module in map(importlib.import_module, modules):
        for name, kind in vars(module).items():
            if getattr(kind, "_is_protocol", False) and kind.__module__ == module.__name__:
                found[name] = frozenset(
                    each
                    for base in kind.__mro__
                    for each, value in vars(base).items()
                    if getattr(base, "_is_protocol", False) and not each.startswith("_") and _callable(value)
                )
    return found


def _callable(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, property)


@functools.cache
def _classes() -> list[type]:
    """Return our classes, without those of the lab."""
    found = []
    for each in pkgutil.walk_packages(mfa_kit.__path__, "mfa_kit."):
        if not each.name.startswith("mfa_kit.lab") and not each.name.endswith("__main__"):
            module = importlib.import_module(each.name)
            found += [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == each.name]
    return found


@dataclass(frozen=True)
class Place:
    """A method of a port, where a class of ours implements it."""

    port: str
    owner: type
    name: str

    def __str__(self) -> str:
        return f"{self.port}.{self.name} of {self.owner.__name__}"

    def plant(self, patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
        """Call `act` before each call of the method."""
        whole = vars(self.owner)[self.name]
        before: Any = whole.fget if isinstance(whole, property) else whole

        @functools.wraps(before)
        def planted(*args: Any, **how: Any) -> Any:
            act()
            return before(*args, **how)

        patch.setattr(self.owner, self.name, property(planted) if isinstance(whole, property) else planted)


def places(modules: Sequence[str]) -> list[Place]:
    """Return each method of each port in these modules, in each class of ours that implements the port."""
    found: dict[tuple[type, str], Place] = {}
    for port, names in ports(modules).items():
        for kind in _classes():
            if not getattr(kind, "_is_protocol", False) and names and all(hasattr(kind, each) for each in names):
                for name in sorted(names):
                    owner = next(base for base in kind.__mro__ if name in vars(base))
                    if _callable(vars(owner)[name]):
                        found.setdefault((owner, name), Place(port, owner, name))
    return list(found.values())


def called_places(everywhere: Sequence[Place], run: Callable[[], object]) -> list[Place]:
    """Return the places that a command calls."""
    seen: dict[Place, None] = {}
    with pytest.MonkeyPatch.context() as patch:
        for place in everywhere:
            place.plant(patch, functools.partial(seen.setdefault, place))
        run()
    return list(seen)


def raising(place: Place, error: BaseException, patch: pytest.MonkeyPatch) -> list[None]:
    """Let a place raise. Return a list that is empty until it did."""
    done: list[None] = []

    def act() -> None:
        done.append(None)
        raise error

    place.plant(patch, act)
    return done


def traces(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that contain the secret."""
    for file in folder.rglob("*"):
        if file.is_file() and (SECRET.encode() in file.read_bytes() or SECRET in file.name):
            yield file


def spread(number: int, pairs: Sequence[tuple[str, Place]]) -> list[tuple[str, Place, BaseException]]:
    """Return so many exceptions, each at a place: each class, and each place, as often as the others."""
    makers, step = cycle(exceptions()), max(1, len(pairs) // number)
    return [(*pairs[at * step % len(pairs)], next(makers)()) for at in range(number)]


def ending(
    place: Place,
    error: BaseException,
    run: Callable[[], Result],
    folder: Path,
    *,
    rows: bool = False,
    card: bool = False,
) -> str | None:
    """Let a place raise while a command runs. Return what is wrong with its end, or None.

    It has to end with 70, or with 1 if it has `rows` that may fail, and to name the class and the place of the
    exception. The secret must be in no output, log and file. The adapter of a `card` uses its own methods to parse
    answers of the card, so it may take an exception for an invalid answer, which is exit 3.
    """
    with pytest.MonkeyPatch.context() as patch, loudest() as logs:
        reached = raising(place, error, patch)
        done = run()
    text = f"{done.out}{done.err}{logs.text.getvalue()}"
    # Python raises RuntimeError instead of a StopIteration that leaves a generator.
    names = {type(error).__name__, *(["RuntimeError"] if isinstance(error, StopIteration | StopAsyncIteration) else [])}
    named = any(f"internal error: {name} at " in text for name in names)
    left = [*traces(folder)]
    ended = named and (done.code == 70 or (rows and done.code == 1))
    invalid = card and isinstance(error, Exception) and done.code == DeviceFault.exit_code
    if reached and (ended or invalid) and SECRET not in text and not left:
        return None
    return f"{type(error).__name__} at {place}: {done} {bool(reached)} {left}"
