"""The notes that mfa-kit adds to an exception."""

from mfa_kit.core.errors import OwnNote
from mfa_kit.core.message import Message


class Note(Message, OwnNote):
    """A note of sentences and commands. It is shown even if the exception is unexpected."""

    __slots__ = ()
