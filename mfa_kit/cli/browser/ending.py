"""The end of a session on the page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The last message of a session. `good` means that the device is enabled."""

    admin: str
    colleague: str
    good: bool
