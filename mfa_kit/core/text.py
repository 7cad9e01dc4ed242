"""Make untrusted text safe to show: names may contain characters that a terminal or a spreadsheet interprets."""

import unicodedata


def is_control(char: str) -> bool:
    """Whether a character is a line or paragraph separator, or of Unicode's category C.

    C is control, format (bidi), surrogate, private or unassigned.
    """
    return unicodedata.category(char).startswith(("C", "Zl", "Zp"))


def one_line(text: str) -> str:
    r"""Write control characters as escapes (`\x1b`, `\u202e`), and a line break as `\n`."""
    return "".join(char.encode("unicode_escape").decode() if is_control(char) else char for char in text)


def printable(text: str) -> str:
    """Write control characters as escapes, and keep line breaks."""
    return "\n".join(map(one_line, text.split("\n")))


def without_controls(text: str) -> str:
    """Drop control characters, then spaces at both ends: for names that devices report of themselves."""
    return "".join(char for char in text if not is_control(char)).strip()


def count_of(number: int, noun: str) -> str:
    """Return the number and the noun, such as `1 user` or `2 users`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
