"""Recognize addresses of this computer's loopback interface, on which no other machine can listen."""

import re

# Only this form, which every parser of URLs reads alike. They differ on backslashes, user names, and other spellings.
LOOPBACK = re.compile(
    r"https?://(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?(/[^\s\\@]*)?", re.ASCII | re.IGNORECASE
)


def is_loopback(address: str) -> bool:
    """Whether the host of an http or https address is `localhost`, in 127.0.0.0/8, or [::1]."""
    return LOOPBACK.fullmatch(address) is not None
