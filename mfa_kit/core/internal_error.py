"""Reports unexpected exceptions, which are bugs, without their messages, because a message may quote a secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from mfa_kit.core.errors import MfaKitError

# Exceptions that end the program on purpose.
STOPS = (SystemExit, KeyboardInterrupt, GeneratorExit)


class Note(str):
    """A note that mfa-kit adds to an exception. If an exception is unexpected, only these notes of it are shown."""

    __slots__ = ()


class InternalError(MfaKitError):
    """An unexpected exception, which is a bug.

    The message names the exception's class and where it was raised. The exception's own message may quote a secret, so
    it is left out.
    """

    @classmethod
    def of(cls, error: BaseException) -> "InternalError":
        """Return the InternalError that reports an unexpected exception. It keeps the notes that mfa-kit added."""
        place = innermost(error)
        where = f" at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        described = cls(f"internal error: {type(error).__name__}{where}", "this is a bug of mfa-kit: please report it")
        for note in notes_of(error):
            described.add_note(note)
        return described


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Raise InternalError in place of any exception, except MfaKitErrors and the exceptions in STOPS."""
    try:
        yield
    except (MfaKitError, *STOPS):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is not an Exception
        raise InternalError.of(error) from None


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an exception that can be shown to the user.

    For an MfaKitError and the exceptions in STOPS, return all notes. For any other exception, return only the notes
    that mfa-kit added, because a library's notes may quote a secret.
    """
    notes: list[str] = getattr(error, "__notes__", [])
    return [note for note in notes if isinstance(error, (MfaKitError, *STOPS)) or isinstance(note, Note)]


def innermost(error: BaseException) -> TracebackType | None:
    """Return the innermost entry of an exception's traceback, or None if it has no traceback."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place
