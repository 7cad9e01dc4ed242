"""Recognizes URLs of servers on this computer's loopback interface, which no other machine can impersonate."""

import re

# Matches the URL of a server on the loopback interface. URL parsers disagree about backslashes, user names and unusual
# spellings, so only this form, on which all agree, is recognized.
LOOPBACK = re.compile(
    r"https?://(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?(/[^\s\\@]*)?", re.ASCII | re.IGNORECASE
)


def is_loopback(address: str) -> bool:
    """Return whether an address is an http or https URL whose host is `localhost`, `[::1]` or in 127.0.0.0/8."""
    return LOOPBACK.fullmatch(address) is not None
