"""The printed letters: to a new custodian, to the holder of a security key, and the record of a drill.

Their texts are the files beside this one. Each function gets the text of its file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from shlex import quote

from mfa_kit.core.letter import LetterSection, LetterStep, fill_template
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of
from mfa_kit.letters.sheet import GROUP, GROUPS, PrintedSecret, Sheet

MEMORY = "/dev/shm"  # noqa: S108 - the letter says that it is in memory


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
