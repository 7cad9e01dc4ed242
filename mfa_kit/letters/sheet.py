"""Printed letters: to a new custodian, to the holder of a security key, and the record of a drill.

A printed letter can also have a secret and lines for signatures. The texts are the files beside this one, and each
function gets the text of its file. `adapters/printing` decides where on the page something is printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from shlex import quote

from mfa_kit.core.interaction import Interaction
from mfa_kit.core.letter import Letter, LetterSection, LetterStep, fill_template
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of

# Characters in a group, groups in a line, and characters of a check word (the start of the line's SHA-256 in hex).
GROUP, GROUPS, CHECK = 4, 4, 4
MEMORY = "/dev/shm"  # noqa: S108 - the letter says that it is in memory


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

    size = GROUP * GROUPS
    lines = [text.reveal()[start : start + size] for start in range(0, len(text.reveal()), size)]
    return Secret([(_grouped(line), hashlib.sha256(line.encode()).hexdigest()[:CHECK]) for line in lines])


def _grouped(line: str) -> str:
    return " ".join(line[start : start + GROUP] for start in range(0, len(line), GROUP))


def confirm_secret(statement: str, person: Interaction) -> None:
    """Ask the user to confirm that a letter will contain a secret. The question is asked even with --yes.

    `statement` says which file will contain what. Raise Declined if the user does not type yes, or if there is no
    terminal.
    """
    person.confirm(f"{statement} unencrypted; print it, and delete the file", typed="yes", instead="a terminal")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustodian:
    """A custodian whose new key is printed in a letter. `identity` is the private key, and `key` the public key."""

    name: str
    key: str
    identity: Secret[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryKeyFacts:
    """What letters say about a break-glass identity: its recipient, its custodians, and how many of them are needed."""

    recipient: str
    threshold: int
    custodians: tuple[str, ...]

    @property
    def needed(self) -> str:
        """How many custodians are needed, and their names."""
        return f"{self.threshold} of {len(self.custodians)}: {', '.join(self.custodians)}"


def custodian_letter(custodian: NewCustodian, recovery_key: RecoveryKeyFacts, *, text: str, date: str) -> Sheet:
    """Return the letter with the identity of a new custodian. `date` is the date on which it was made."""
    others = [name for name in recovery_key.custodians if name != custodian.name][: max(0, recovery_key.threshold - 1)]
    order = [name for name in recovery_key.custodians if name in {custodian.name, *others}]
    set_file = quote(f"set-NN-{'-'.join(order)}.age")
    first, *later_commands = [f"age -d -i {quote(f'{MEMORY}/{name}.txt')}" for name in order]
    values = {
        "custodian": custodian.name,
        "key": custodian.key,
        "recipient": recovery_key.recipient,
        "needed": recovery_key.needed,
        "date": date,
        "alone": "" if recovery_key.threshold > 1 else "yes",
        "meeting": count_of(recovery_key.threshold, "custodian"),
        "file": quote(f"{MEMORY}/{custodian.name}.txt"),
        "width": str(GROUP * GROUPS),
        "pipe": " | ".join([f"{first} {set_file}", *later_commands]),
    }
    secret = PrintedSecret(label="Private key (age identity)", text=custodian.identity, scanned=True)
    return Sheet(letter=fill_template(text, values), secret=secret)


def pin_letter(key: str, pin: Secret[str], *, text: str, date: str) -> Sheet:
    """Return the letter with the PIN of a security key. `key` describes the key, and `date` is when the PIN was set."""
    letter = fill_template(text, {"key": key, "date": date})
    return Sheet(letter=letter, secret=PrintedSecret(label="PIN", text=pin))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillFacts:
    """The result of a drill.

    `held` is the date, as text. `present` are the custodians who opened the identity. `backups` is the number of
    backups that were tested, and `opened` the number of those that passed. `compared` are the users whose phones were
    compared with their backups, and `faults` describes each failure.
    """

    held: str
    present: tuple[str, ...]
    backups: int
    opened: int
    compared: tuple[str, ...] = ()
    faults: Sequence[str] = ()


def drill_protocol(drill: DrillFacts, recovery_key: RecoveryKeyFacts, *, text: str) -> Sheet:
    """Return the record of a drill, for the custodians to sign. It contains no secret."""
    values = {
        "held": drill.held,
        "result": "failed" if drill.faults else "passed",
        "recipient": recovery_key.recipient,
        "needed": recovery_key.needed,
        "present": ", ".join(drill.present),
        "opened": str(drill.opened),
        "backups": str(drill.backups),
        "compared": ", ".join(drill.compared),
    }
    letter = fill_template(text, values)
    if drill.faults:
        faults = LetterSection(title="What was wrong", steps=tuple(LetterStep(text=fault) for fault in drill.faults))
        letter = replace(letter, sections=(faults, *letter.sections))
    return Sheet(letter=letter, signers=drill.present)
