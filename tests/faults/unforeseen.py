"""Unexpected exceptions, raised by the methods of the ports that a command calls.

A port is a Protocol of mfa_kit. A place is a method of a port in a class that implements the port. Three tests raise
exceptions at the places: `tests/oath` for classes of OATH keys, `tests/fido` for classes of security keys, and
`tests/faults` for all others. Each test fails if one of its places is not called by its commands and not listed.
"""

import builtins
import errno
import functools
import importlib
import inspect
import os
import pkgutil
import sqlite3
import struct
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

import mfa_kit
from mfa_kit import api
from tests.conftest import Result
from tests.test_secrets import loudest

LAB = "mfa_kit.lab"
SECRET = "JBSWY3DPEHPK3PXPCANARY"
STOPS = (SystemExit, KeyboardInterrupt, GeneratorExit)


class PanicException(BaseException):
    """Stands in for the exception that pyo3 raises when Rust code panics."""


def _instance(kind: type[BaseException]) -> BaseException:
    """Make an exception that contains the secret in its arguments, attributes and notes."""
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
    """Return functions that make exceptions of each class in Python, and of some libraries."""
    kinds = [each for each in vars(builtins).values() if isinstance(each, type) and issubclass(each, BaseException)]
    kinds += [PanicException, sqlite3.OperationalError, struct.error, zlib.error, subprocess.CalledProcessError]
    return [functools.partial(_instance, kind) for kind in dict.fromkeys(kinds) if not issubclass(kind, STOPS)]


def _callable(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, property)


@functools.cache
def _classes() -> list[type]:
    """Return all classes of mfa_kit, without those of the API, whose exceptions tests/test_api.py tests."""
    found = []
    for each in pkgutil.walk_packages(mfa_kit.__path__, "mfa_kit."):
        if not each.name.endswith("__main__") and each.name != api.__name__:
            module = importlib.import_module(each.name)
            found += [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == each.name]
    return found


def _is_port(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


@functools.cache
def ports() -> dict[str, type]:
    """Return each Protocol of mfa_kit by its name. If two have the same name, the module's name comes before it."""
    found = [kind for kind in _classes() if _is_port(kind)]
    count = Counter(kind.__name__ for kind in found)
    return {
        kind.__name__ if count[kind.__name__] == 1 else f"{kind.__module__}.{kind.__name__}": kind for kind in found
    }


def _methods(port: type) -> dict[str, object]:
    """Return the methods and properties of a port."""
    return {
        name: value
        for base in port.__mro__
        for name, value in vars(base).items()
        if _is_port(base) and (name == "__call__" or not name.startswith("_")) and _callable(value)
    }


def _implementations(port: type) -> list[type]:
    """Return our classes that have all methods of a port, without those of the lab.

    A port with the method `__call__` has none, because functions implement it.
    """
    methods = _methods(port)

    def has(kind: type, name: str) -> bool:
        return hasattr(kind, name) and (isinstance(methods[name], property) or inspect.isfunction(getattr(kind, name)))

    return [
        kind
        for kind in _classes()
        if methods and "__call__" not in methods and not _is_port(kind) and not kind.__module__.startswith(LAB)
        if all(has(kind, name) for name in methods)
    ]


@dataclass(frozen=True)
class Place:
    """A method of a port, in a class of ours that implements the port."""

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


@functools.cache
def _owners() -> dict[str, list[Place]]:
    """Return the classes in which each method of each port is implemented. The key is `PORT.METHOD`."""
    return {
        f"{port}.{name}": [
            Place(port, owner, name)
            for kind in _implementations(protocol)
            for owner in [next(base for base in kind.__mro__ if name in vars(base))]
            if _callable(vars(owner)[name])
        ]
        for port, protocol in ports().items()
        for name in _methods(protocol)
    }


def without_class() -> set[str]:
    """Return each method of a port, as `PORT.METHOD`, that no class of ours implements."""
    return {method for method, found in _owners().items() if not found}


@functools.cache
def places() -> list[Place]:
    """Return each place once, even if its class implements several ports with this method."""
    found = {(place.owner, place.name): place for each in reversed(_owners().values()) for place in reversed(each)}
    return list(found.values())[::-1]


# The test that raises at the classes of each module; `faults` at those of all others.
TESTS = {
    "oath": ("mfa_kit.adapters.oath", "mfa_kit.oath_keys", "mfa_kit.wiring.oath_keys", "mfa_kit.wiring.methods.oath"),
    "fido": (
        *("mfa_kit.adapters.fido", "mfa_kit.adapters.metadata", "mfa_kit.security_keys", "mfa_kit.cli.key"),
        *("mfa_kit.wiring.security_keys", "mfa_kit.wiring.methods.fido2"),
    ),
}


def places_of(test: str) -> list[Place]:
    """Return the places at which a test has to raise exceptions. The test is `oath`, `fido` or `faults`."""

    def tested_by(module: str) -> str:
        return next((name for name, start in TESTS.items() if module.startswith(start)), "faults")

    return [place for place in places() if tested_by(place.owner.__module__) == test]


def incomplete(found: Iterable[str], called: Iterable[str], reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Return places that are not called and not listed, and listed places that are called or unknown."""
    lacking = set(found) - set(called)
    listed = {name for names in reasons.values() for name in names}
    return [
        *(f"{name} is not tested" for name in sorted(lacking - listed)),
        *(f"{name} is listed" for name in sorted(listed - lacking)),
    ]


def called_places(everywhere: Sequence[Place], run: Callable[[], object]) -> list[Place]:
    """Return the places that a command calls."""
    seen: dict[Place, None] = {}
    with pytest.MonkeyPatch.context() as patch:
        for place in everywhere:
            place.plant(patch, functools.partial(seen.setdefault, place))
        run()
    return list(seen)


def raising(place: Place, error: BaseException, patch: pytest.MonkeyPatch) -> list[None]:
    """Let a place raise an exception. Return a list that is empty until the exception was raised."""
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
    """Return this many exceptions, each at a place that a command calls. Each class of exceptions is used in turn.

    Each place comes once before any place comes with another command. A smaller number takes places at equal distances.
    """
    first = {place: (name, place) for name, place in reversed(pairs)}
    others = [pair for pair in pairs if first[pair[1]] != pair]
    more = max(0, number - len(first))
    chosen = [*_at_distances(list(first.values()), number), *_at_distances(others, more)]
    return [(*pair, maker()) for pair, maker in zip(chosen, cycle(exceptions()), strict=False)]


def _at_distances(pairs: Sequence[tuple[str, Place]], number: int) -> list[tuple[str, Place]]:
    number = min(number, len(pairs))
    return [pairs[at * len(pairs) // number] for at in range(number)]


def ending(
    place: Place,
    error: BaseException,
    run: Callable[[], Result],
    folder: Path,
    *,
    rows: bool = False,
    invalid: int | None = None,
) -> str | None:
    """Let a place raise an exception while a command runs. Return what is wrong with the command's end, or None.

    The command has to exit with 70, or with 1 if it has `rows` that may fail, and to name the class and the place of
    the exception. If the exception comes while a run is settled after another error, such as Ctrl-C, the command ends
    with that error, and a note names the class. The secret must not be in any output, log or file. An adapter of files
    calls its own methods, so it may take an OSError for one of the disk, and the command exits with 5. The adapter of a
    card uses its own methods to parse answers of the card, so it may treat an exception as an invalid answer. `invalid`
    is the exit code of a command after such an answer.
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
    ended |= done.code != 0 and any(f" is not settled yet: {name};" in text for name in names)
    ended |= isinstance(error, OSError) and done.code == 5 and os.strerror(error.errno or 0) in text
    answered = isinstance(error, Exception) and done.code == invalid
    if reached and (ended or answered) and SECRET not in text and not left:
        return None
    return f"{type(error).__name__} at {place}: {done} {bool(reached)} {left}"
