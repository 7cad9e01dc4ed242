"""The error classes. An error has a message (what happened) and a hint (what to do).

MfaKitError
├── UsageFault (2)       invalid arguments or input
│   └── WrongPassphrase  the passphrase does not decrypt the file
├── DeviceFault (3)      hardware problem: a key, card or token
│   ├── InUse            another program has the smart card open
│   ├── NoApplet         the smart card lacks the selected applet, perhaps because it is another kind of key
│   ├── Lost             the key was removed or does not respond; the last request to it may have taken effect
│   └── Unreachable      the key cannot be used, although it may be plugged in; nothing was changed
├── AwsFault (4)         AWS refused a request or could not be reached
│   ├── NoSuchEntity, AlreadyExists, InvalidCode, Conflict, AccessDenied, InvalidValue
│   ├── NoSuchOperation  the server, which is not AWS, lacks the operation
│   ├── Outdated         IAM has no credential report that is as young as the caller requires
│   ├── Busy             another change is in progress, and IAM asks the client to wait
│   ├── Expired          the credentials have expired; the request had no effect
│   │   └── StoreExpired  those for S3 have expired; what was changed in IAM before stays changed
│   ├── OutcomeUnknownError  no response, or a 5xx: the request may have taken effect; check before retrying
│   │   └── TooSlow      the server sends its response so slowly that a retry would not help
│   └── Unsettled        a half-made device can be neither completed nor removed now
│       └── Unlisted     the device is assigned, but IAM does not list it among its user's devices yet
├── IntegrityFault (5)   a file or the ledger is damaged, or cannot be read or written
│   ├── WrongIdentityError  the backup is intact, but none of the given identities decrypts it
│   ├── BackupDenied     S3 denies access to one backup, or a lock protects it
│   ├── WrongPlace       a backup has the path of another device or user than its label or the ledger says
│   └── Unrecorded       this computer's records do not prove a break-glass folder; a person may accept it
├── Lockout (6)          the request would lock a user out
├── Throttled (7)        AWS is throttling requests; try again later
│   └── StoreThrottled   S3 is throttling requests; what was changed in IAM before stays changed
├── Declined (8)         the user declined, or there is no terminal to prompt on
└── InternalError (70)   an unexpected exception, which is a bug

A class exists only if code handles it separately, or if it has its own exit code.

Any other exception is a bug. It becomes an InternalError (70), without its message, because that may quote a secret.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class MfaKitError(Exception):
    """Base class of all errors. It is never raised itself."""

    exit_code = 70
    # The code of AWS's error response, such as "NoSuchEntity". None if the error is not from AWS.
    aws_code: str | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageFault(MfaKitError):
    """The arguments or the input are invalid."""

    exit_code = 2


class WrongPassphrase(UsageFault):
    """The passphrase does not decrypt the file."""


class DeviceFault(MfaKitError):
    """A problem with a key, a card or a token."""

    exit_code = 3


class InUse(DeviceFault):
    """Another program has the smart card open, so mfa-kit leaves it alone."""


class NoApplet(DeviceFault):
    """The smart card responds, but does not have the applet that was selected, such as OATH."""


class LostError(DeviceFault):
    """The key was removed or does not respond. The last request to it may have taken effect."""


class RefusedPin(DeviceFault):
    """The key refuses the new PIN, for example because it is easy to guess. The key is unchanged."""


class ResetTooLate(DeviceFault):
    """The key accepts a reset only in the first seconds after it is plugged in. Nothing was erased."""


class Unreachable(DeviceFault):
    """The key cannot be used, although it may be plugged in. Nothing was changed."""


class AwsFault(MfaKitError):
    """AWS refused a request, or could not be reached."""

    exit_code = 4


class NoSuchEntity(AwsFault):
    """The user, the device or another object that the request names does not exist."""


class AlreadyExists(AwsFault):
    """EntityAlreadyExists: another device has this name, or the device is already assigned."""


class InvalidCode(AwsFault):
    """InvalidAuthenticationCode: IAM rejects the codes for this device."""


class Conflict(AwsFault):
    """DeleteConflict: the device is assigned to a user."""


class AccessDenied(AwsFault):
    """The caller's policies do not allow the request."""


class InvalidValue(AwsFault):
    """ValidationError: the request has a value that IAM does not accept for this operation."""


class NoSuchOperation(AwsFault):
    """The server lacks this operation. AWS has all operations that mfa-kit uses; other servers can lack some."""


class Outdated(AwsFault):
    """IAM's credential report is older than the caller accepts, and IAM makes no newer one now."""


class BusyError(AwsFault):
    """ConcurrentModification, EntityTemporarilyUnmodifiable: another change is in progress; this one had no effect."""


class Expired(AwsFault):
    """The credentials have expired or cannot be renewed; the request had no effect."""


class StoreExpired(Expired):
    """The credentials for S3 have expired or cannot be renewed. What was changed in IAM before stays changed."""


class OutcomeUnknownError(AwsFault):
    """Timeout, 5xx or dropped connection: the request may have taken effect, or may still take effect."""


class TooSlow(OutcomeUnknownError):
    """The response was not complete within its time. A read is not retried, because the next one could take as long."""


class Unsettled(AwsFault):
    """A half-made device can be neither completed nor removed now."""


class UnlistedError(Unsettled):
    """The device is assigned, but IAM does not list it among its user's devices yet."""


class IntegrityFault(MfaKitError):
    """A file (such as a backup, a seed file or a result) or the ledger is damaged, or cannot be read or written.

    Also raised if a file already exists at the path of a new file.
    """

    exit_code = 5


class WrongIdentityError(IntegrityFault):
    """The backup is intact, but none of the given identities decrypts it."""


class BackupDenied(IntegrityFault):
    """S3 denies access to one backup, or a lock protects it. Other backups may be accessible."""


class WrongPlace(IntegrityFault):
    """The path of a backup names another device or user than the label in the backup, or than the ledger."""


class Unrecorded(IntegrityFault):
    """The records of this computer do not prove a folder of break-glass files. A person may accept the folder."""


class Lockout(MfaKitError):
    """The request would lock a user out."""

    exit_code = 6


class Throttled(MfaKitError):
    """AWS is throttling requests of this kind. The request had no effect."""

    exit_code = 7


class StoreThrottled(Throttled):
    """S3 is throttling requests for backups. What was changed in IAM before stays changed."""


class Declined(MfaKitError):
    """The user declined, or there is no terminal to prompt on."""

    exit_code = 8


# Ledgers have rows of earlier versions, in which these classes had other names.
NAMES_IN_LEDGERS = {
    "AbsentError": "Absent",
    "BusyError": "Busy",
    "DamagedError": "Damaged",
    "LostError": "Lost",
    "OutcomeUnknownError": "Unclear",
    "TakenError": "Taken",
    "UnlistedError": "Unlisted",
    "WrongIdentityError": "OthersSeal",
}


def name_in_ledgers(error: BaseException) -> str:
    """Return the name under which ledgers and JSON output have the class of this error."""
    name = type(error).__name__
    return NAMES_IN_LEDGERS.get(name, name)


def aws_code_of(error: BaseException | None) -> str | None:
    """Return the code of AWS's error response, also if the error was raised in place of the one with the code."""
    while isinstance(error, MfaKitError):
        if error.aws_code is not None:
            return error.aws_code
        error = error.__context__ if error.__suppress_context__ else None
    return None


# Exceptions that end the program on purpose.
STOPS = (SystemExit, KeyboardInterrupt, GeneratorExit)


class OwnNote:
    """Base class of the notes that mfa-kit adds to an exception, which have no secret. core/notes.py has the notes.

    If an exception is unexpected, only these notes of it are shown.
    """

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
        where = f" at {place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else ""
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
    return [note for note in notes if isinstance(error, (MfaKitError, *STOPS)) or isinstance(note, OwnNote)]


def innermost(error: BaseException) -> TracebackType | None:
    """Return the innermost entry of an exception's traceback, or None if it has no traceback."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place
