"""Printed letters, which can have a secret and lines for signatures, and the letter to the holder of a security key.

`adapters/printing` decides where on the page something is printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.interaction import Interaction
from mfa_kit.core.letter import Letter, fill_template
from mfa_kit.core.otp import Secret

# Characters in a group, groups in a line, and characters of a check word (the start of the line's SHA-256 in hex).
GROUP, GROUPS, CHECK = 4, 4, 4
# Characters in a line.
LINE = GROUP * GROUPS


class Paper(StrEnum):
    """A size of paper."""

    A4 = "a4"
    LETTER = "letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedSecret:
    """A secret that is printed in groups of characters. With `scanned`, its QR code is printed too."""

    label: str
    text: Secret[str]
    scanned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A letter to print, with a secret or without one. Each of `signers` gets a line to sign on."""

    letter: Letter
    secret: PrintedSecret | None = None
    signers: tuple[str, ...] = ()


def grouped_lines(text: Secret[str]) -> Secret[list[tuple[str, str]]]:
    """Return the lines of a secret, each as a pair: the line in groups of characters, and its check word.

    A check word is four hex digits. With check words, a person who types the secret can find the line with a mistake.
    `printf %s LINE | sha256sum | cut -c-4` prints the check word of LINE, which has no spaces.
    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    lines = [text.reveal()[start : start + LINE] for start in range(0, len(text.reveal()), LINE)]
    return Secret([(_grouped(line), hashlib.sha256(line.encode()).hexdigest()[:CHECK]) for line in lines])


def _grouped(line: str) -> str:
    return " ".join(line[start : start + GROUP] for start in range(0, len(line), GROUP))


def confirm_secret(statement: str, person: Interaction, *, several: bool = False) -> None:
    """Ask the user to confirm that a letter will contain a secret. The question is asked even with --yes.

    `statement` says which file, or which of `several` files, will contain what. Raise Declined if the user does not
    type yes, or if there is no terminal.
    """
    then = "print them, and delete the files" if several else "print it, and delete the file"
    person.confirm(f"{statement} unencrypted; {then}", typed="yes", instead="a terminal")


def pin_letter(key: str, pin: Secret[str], *, text: str, date: str, help_page: str = "") -> Sheet:
    """Return the letter with the PIN of a security key. `key` describes the key, and `date` is when the PIN was set.

    `help_page` is the address of the page for users, or "".
    """
    letter = fill_template(text, {"key": key, "date": date, "help_page": help_page})
    return Sheet(letter=letter, secret=PrintedSecret(label="PIN", text=pin))


def secret_letter(secret: PrintedSecret, text: str, values: Mapping[str, str]) -> Sheet:
    """Return the letter with a secret of a key that came by post. `text` is its template, and `values` are for it."""
    return Sheet(
        letter=fill_template(text, {**values, "secret": secret.label, "pin": "yes" if secret.label == "PIN" else ""}),
        secret=secret,
    )
