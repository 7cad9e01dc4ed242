"""The content of a seed file, as the reader of each format receives it."""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import Encoding

# A function that asks for the secret that decrypts a file. Its argument is "passphrase" or "pre-shared key NAME in
# hex".
Unlock = Callable[[str], Secret[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The text of a file, its root element if it is XML, and the user's options.

    `unlock` asks for the secret that decrypts the file. `now` is in Unix seconds. `wanted` is the encoding that the
    user gave, or None.
    """

    text: str
    root: Element | None
    unlock: Unlock
    now: float
    wanted: Encoding | None

    @property
    def first_line(self) -> str:
        """The first line that is neither empty nor a comment, or an empty string if there is none."""
        lines = (line for line in self.text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        return next(lines, "")
