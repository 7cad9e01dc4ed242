"""The error tree. The sentence says what happened, the hint what to do; both stand where the fact is known.

MfaKitError
├── UsageFault (2)       the request cannot be meant like this
├── DeviceFault (3)      a key, card or token
│   ├── NoApplet         a card without the applet that was looked for; it may be a key of another kind
│   └── Lost             it went, or is mute: what it was asked last may be done, or not
├── AwsFault (4)         AWS said no, or could not be asked
│   ├── NoSuchEntity, AlreadyExists, InvalidCode, Conflict, AccessDenied
│   ├── Busy             another change is under way: IAM asks to wait
│   ├── Expired          the credentials work no more; the request did not act
│   ├── Unclear          no answer, or a 5xx: the request may have acted; look before deciding
│   └── Unsettled        a half-made device that cannot be settled now; its journal entry stays open
│       └── Unlisted     it is assigned, but not listed on its user: an Enable won that IAM does not show yet
├── IntegrityFault (5)   a backup or the ledger
│   └── OthersSeal       the backup is whole, and sealed for others
├── Lockout (6)          would lock someone out
├── Throttled (7)        try later
└── Declined (8)         a person said no, or none may be asked

A class exists only where code acts on it or where the exit code differs.
"""


class MfaKitError(Exception):
    """Base of all; never raised itself."""

    exit_code = 70

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class UsageFault(MfaKitError):
    """The request cannot be meant like this."""

    exit_code = 2


class DeviceFault(MfaKitError):
    """Something is wrong with a key, a card or a token."""

    exit_code = 3


class NoApplet(DeviceFault):
    """The card answers, and does not have this applet."""


class Lost(DeviceFault):
    """The key was removed or does not answer; the last request to it may have acted."""


class AwsFault(MfaKitError):
    """AWS refused a request, or could not be asked."""

    exit_code = 4


class NoSuchEntity(AwsFault):
    """There is no such user or device."""


class AlreadyExists(AwsFault):
    """EntityAlreadyExists: another device has the name."""


class InvalidCode(AwsFault):
    """InvalidAuthenticationCode: IAM does not take the codes for this device."""


class Conflict(AwsFault):
    """DeleteConflict: the device is assigned to a user."""


class AccessDenied(AwsFault):
    """The caller's policies do not allow the request."""


class Busy(AwsFault):
    """ConcurrentModification, EntityTemporarilyUnmodifiable: the request did not act."""


class Expired(AwsFault):
    """The credentials have expired, or cannot be had anew; the request did not act."""


class Unclear(AwsFault):
    """Timeout, 5xx or dropped connection: the request may have acted, or may act yet."""


class Unsettled(AwsFault):
    """A half-made device stays as it is for now."""


class Unlisted(Unsettled):
    """The device is assigned, and IAM does not list it on its user yet."""


class IntegrityFault(MfaKitError):
    """A backup, the ledger or a folder for them cannot be read or written as it should be."""

    exit_code = 5


class OthersSeal(IntegrityFault):
    """The backup is whole, and none of the identities opens it."""


class Lockout(MfaKitError):
    """The request would lock a user out."""

    exit_code = 6


class Throttled(MfaKitError):
    """AWS accepts no request of this kind now; the request did not act."""

    exit_code = 7


class Declined(MfaKitError):
    """A person said no, or nobody may be asked."""

    exit_code = 8
