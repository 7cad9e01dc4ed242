"""The identity of this computer, to which backups are encrypted, and the passphrase that protects it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mfa_kit.core.errors import Declined, UsageFault, WrongPassphrase
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.message import suggest
from mfa_kit.core.otp import Secret

U = TypeVar("U")

INSTEAD = "-r RECIPIENT, -R FILE or --passphrase-fd N"
# The minimum number of characters. An attacker who has the identity file can try passphrases without limit.
SHORTEST = 12
# Proquints (arXiv:0901.4016) write 16 bits as five letters that can be read aloud. Seven proquints have 112 bits.
CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 7


def can_ask_passphrase(person: Interaction) -> bool:
    """Return whether there is a terminal at which the user can choose a passphrase."""
    try:
        person.check(instead=INSTEAD)
    except Declined:
        return False
    return True


def ask_new_passphrase(person: Interaction, *, random_bits: Callable[[int], int]) -> Secret[str]:
    """Return a passphrase that the user typed twice, or a generated passphrase that the user wrote down and typed.

    `random_bits` returns a random number with the given number of bits.
    """
    if person.choose("passphrase", ["type one", "generate one"], instead=INSTEAD) == 0:
        while True:
            typed = person.ask_new_secret("passphrase", instead=INSTEAD)
            if not (fault := fault_of_passphrase(typed)):
                return typed
            person.say(f"this passphrase {fault}")
    words = Secret("-".join(proquint(random_bits(16)) for _ in range(WORDS)))
    while True:
        try:
            person.show(words, instead=INSTEAD)
            person.pause("write it down, then press Enter", instead=INSTEAD)
        finally:
            person.clear()
        if person.ask_secret("passphrase", instead=INSTEAD) == words:
            return words
        person.say("that doesn't match; here it is again")


def fault_of_passphrase(passphrase: Secret[str]) -> str | None:
    """Return why a new passphrase is refused, such as "has fewer than 12 characters", or None if it is long enough."""
    return None if len(passphrase.reveal()) >= SHORTEST else f"has fewer than {SHORTEST} characters"


def proquint(bits: int) -> str:
    """Spell 16 bits as a word of five letters. Each consonant encodes four bits, and each vowel two."""
    first, second, third = (CONSONANTS[bits >> shift & 15] for shift in (12, 6, 0))
    return f"{first}{VOWELS[bits >> 10 & 3]}{second}{VOWELS[bits >> 4 & 3]}{third}"


TRIES = 3
# Printed before a passphrase is tried, because scrypt takes seconds by design.
UNLOCKING = "unlocking the identity ..."
PROTECTING = "protecting the identity with your passphrase ..."
WHY_ASKED = (
    "the backup will be encrypted to this computer's identity; mfa-kit checks once that your passphrase decrypts the "
    "identity"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """The files of this computer's identities in the folder `home`, each protected by a passphrase.

    `find` returns their paths, and `create` creates and tests an identity, and returns its file and its recipient.
    `recipient_in_name` returns the recipient in the name of a file, and `unused_recipient` that of an
    identity that is not stored. `prove` tests a file with a passphrase and returns the recipient, or raises UsageFault
    for a wrong passphrase. `proven_recipient` returns None if no run has tested the file.
    """

    home: Path
    find: Callable[[], Sequence[Path]]
    create: Callable[[Secret[str]], tuple[Path, str]]
    recipient_in_name: Callable[[Path], str]
    unused_recipient: Callable[[], str]
    proven_recipient: Callable[[Path], str | None]
    prove: Callable[[Path, Secret[str]], str]

    def only(self) -> Path | None:
        """Return this computer's identity file, or None. Raise UsageFault if there are several."""
        files = self.find()
        if len(files) > 1:
            raise UsageFault(
                f"there are {len(files)} identities with a passphrase in {self.home}",
                "move all except one to another folder, or name recipients with -r",
            )
        return files[0] if files else None


def planned_recipient(files: IdentityFiles) -> str:
    """Return the recipient of this computer's identity for a dry run. If there is none, it is never used.

    Raise UsageFault if there are several identities.
    """
    file = files.only()
    return files.recipient_in_name(file) if file else files.unused_recipient()


def own_recipient(
    files: IdentityFiles,
    *,
    descriptor: int | None,
    read_secret: Callable[[int], Secret[str]],
    random_bits: Callable[[int], int],
    person: Interaction,
    progress: Progress,
) -> str:
    """Return the recipient of this computer's identity, which is created on first use.

    Before an identity file is used for the first time, the user is asked for the passphrase, to check that the
    passphrase decrypts the file and that the identity in it belongs to the recipient. A passphrase from the file
    descriptor `descriptor` is checked each time. Raise UsageFault if the passphrase is wrong or if there are several
    identities, and Declined if there is no terminal on which to ask.
    """
    file = files.only()
    known = files.proven_recipient(file) if file else None
    given = None if descriptor is None else _passphrase_on(descriptor, read_secret)
    if file is None:
        if given is None:
            given = ask_new_passphrase(person, random_bits=random_bits)
        elif fault := fault_of_passphrase(given):
            raise UsageFault(f"the passphrase on file descriptor {descriptor} {fault}", "choose a longer one")
        person.say(PROTECTING)
        file, recipient = files.create(given)
        progress.alert(
            f"{file} is this computer's identity, protected by your passphrase; "
            "keep a copy of this file, because you need the file and the passphrase to open a backup"
        )
        return recipient
    if given is None and known is not None:
        recipient = known
    else:
        if given is None:
            person.say(WHY_ASKED)
            given = person.ask_secret(f"passphrase of {file}", instead="--passphrase-fd N")
        person.say(UNLOCKING)
        recipient = files.prove(file, given)
    progress.note(f"the backup can be opened with your passphrase and {file}")
    return recipient


def _passphrase_on(descriptor: int, read_secret: Callable[[int], Secret[str]]) -> Secret[str]:
    if (line := read_secret(descriptor)) == Secret(""):
        raise UsageFault(
            f"there is no passphrase on file descriptor {descriptor}", "write the passphrase as the first line"
        )
    return line


def existing_identity(files: IdentityFiles) -> Path:
    """Return this computer's identity file. Raise UsageFault if this computer does not have exactly one identity."""
    identities = files.find()
    if len(identities) == 1:
        return identities[0]
    raise UsageFault(
        f"there are {len(identities)} identities with a passphrase in {files.home}",
        suggest("name the file", "backup passphrase FILE")
        if identities
        else suggest("to create one, enroll a user with --passphrase", "enroll USER --with virtual --passphrase"),
    )


def unlock(file: Path, decrypt: Callable[[Path, Secret[str]], U], person: Interaction) -> U:
    """Ask for the passphrase of an identity file, and return what `decrypt` returns for it.

    Raise WrongPassphrase after three wrong passphrases, and Declined if there is no terminal.
    """
    tries = 0
    while True:
        passphrase = person.ask_secret(f"current passphrase of {file}", instead="a terminal")
        person.say(UNLOCKING)
        try:
            return decrypt(file, passphrase)
        except WrongPassphrase as wrong:
            tries += 1
            if tries == TRIES:
                raise
            person.say(str(wrong))
