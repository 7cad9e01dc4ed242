"""Recognizes addresses of this computer's loopback interface, on which no other machine can listen."""

import re

# Matches an address on the loopback interface. URL parsers disagree about backslashes, user names and unusual
# spellings, so only this form, on which all agree, is recognized.
LOOPBACK = re.compile(
    r"https?://(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?(/[^\s\\@]*)?", re.ASCII | re.IGNORECASE
)


def is_loopback(address: str) -> bool:
    """Return whether the host of an http or https address is `localhost`, `[::1]` or in 127.0.0.0/8."""
    return LOOPBACK.fullmatch(address) is not None
