"""The last message that the page shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The last message on the page: a text for each of the two views."""

    admin: str
    colleague: str
