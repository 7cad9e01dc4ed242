"""Exceptions that nothing foresaw: they are our bugs. Their messages may quote a secret, so nothing repeats them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from mfa_kit.core.errors import MfaKitError

# They end the program on purpose.
STOPS = (SystemExit, KeyboardInterrupt, GeneratorExit)


class Note(str):
    """A note of ours on any exception. A note of another program is not repeated."""

    __slots__ = ()


class InternalError(MfaKitError):
    """An exception that nothing foresaw: a bug. The message names its class and place; its own may quote a secret."""

    @classmethod
    def of(cls, error: BaseException) -> "InternalError":
        """Describe an exception. Its notes are kept as far as they are ours."""
        place = innermost(error)
        where = f" at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        described = cls(f"internal error: {type(error).__name__}{where}", "this is a bug of mfa-kit: please report it")
        for note in notes_of(error):
            described.add_note(note)
        return described


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Raise InternalError in place of an exception that is neither an MfaKitError nor one of STOPS."""
    try:
        yield
    except (MfaKitError, *STOPS):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust is no Exception
        raise InternalError.of(error) from None


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an exception. If it is not ours, return only the notes that we added."""
    notes: list[str] = getattr(error, "__notes__", [])
    return [note for note in notes if isinstance(error, (MfaKitError, *STOPS)) or isinstance(note, Note)]


def innermost(error: BaseException) -> TracebackType | None:
    """Return the innermost traceback entry of an exception."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place
