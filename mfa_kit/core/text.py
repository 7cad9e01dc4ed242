"""Text from outside made safe to show, and lists of names for sentences."""

import codecs
import unicodedata
from collections.abc import Sequence


def encoding_of(octets: bytes) -> str:
    """Return the name of a text's encoding: UTF-16 if its byte order mark says so, or else UTF-8, without its mark."""
    return "utf-16" if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def is_control(char: str) -> bool:
    """Return whether a character is a line or paragraph separator, or is in Unicode's category C.

    Category C includes control, format (bidi), surrogate, private-use and unassigned characters.
    """
    return unicodedata.category(char).startswith(("C", "Zl", "Zp"))


def one_line(text: str) -> str:
    r"""Return the text with control characters written as escapes (`\x1b`, `\u202e`) and line breaks as `\n`."""
    if text.isprintable():  # true for most texts, and much faster than a check of each character
        return text
    return "".join(char.encode("unicode_escape").decode() if is_control(char) else char for char in text)


def printable(text: str) -> str:
    """Return the text with control characters written as escapes. Line breaks are kept."""
    return "\n".join(map(one_line, text.split("\n")))


def without_controls(text: str) -> str:
    """Return a name, such as that of a card reader, without control characters and surrounding spaces."""
    return "".join(char for char in text if not is_control(char)).strip()


def is_private_key(text: str) -> bool:
    """Return whether a text looks like an age identity, a plugin's identity or the first line of an SSH private key.

    People paste such keys where a name or a file belongs. An error message must not quote them.
    """
    return any(word in text.upper() for word in ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY-----"))


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return the number and the noun, such as `1 user` or `2 users`. Without `plural`, the plural ends with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def few(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first `most` names and the number of the others, such as `a, b, c, d, e and 3 more`."""
    others = len(names) - most
    return separator.join(names[:most]) + (f"{separator.removeprefix(',')}and {others} more" if others > 0 else "")
