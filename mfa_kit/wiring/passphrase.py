"""Protects backups with a passphrase.

Such backups are encrypted to this computer's identity (an age key), and the identity is encrypted with the passphrase.
Therefore scrypt, which takes seconds by design, is needed only for the identity and not for each backup. `age -d -i
IDENTITY BACKUP` decrypts a backup too, and asks for the passphrase.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import identities
from mfa_kit.adapters.files import identities as own
from mfa_kit.adapters.files.identities import own_identities
from mfa_kit.adapters.files.private_files import wait_and_hold
from mfa_kit.backups.new_passphrase import ask_new_passphrase, fault_of_passphrase
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.wiring.files import read_secret
from mfa_kit.wiring.identities import TRIES, UNLOCKING
from mfa_kit.wiring.settings import Settings, harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.files.identities import UnlockedIdentity

WAITS = "waiting for another mfa-kit process, which creates this computer's identity or changes its passphrase"
WHY_ASKED = (
    "the backup will be encrypted to this computer's identity; mfa-kit checks once that your passphrase decrypts the "
    "identity"
)
PROTECTING = "protecting the identity with your passphrase ..."
INSTEAD = "--passphrase-fd N"


def own_recipient(settings: Settings, *, passphrase_fd: int | None) -> str:
    """Return the recipient (public key) of this computer's identity, which is created on first use.

    In a dry run, the user is not asked and nothing is stored. If there is no identity, a dry run returns a recipient
    that is never used.

    Before an identity file is used for the first time, the user is asked for the passphrase, to check that the
    passphrase decrypts the file and that the identity in it belongs to the recipient. A passphrase from `passphrase_fd`
    is checked each time. Raise UsageFault if the passphrase is wrong or if there are several identities, and Declined
    if there is no terminal on which to ask.
    """
    folder = home().absolute()
    if settings.dry_run:
        return (
            own.recipient_in_name(identity_file)
            if (identity_file := _only_identity(folder))
            else own.unused_recipient()
        )
    with wait_and_hold(folder, waiting=lambda: settings.progress.note(WAITS)):
        harden()
        if (file := _only_identity(folder)) is None:
            passphrase = _new_passphrase(settings.interaction, passphrase_fd)
            settings.interaction.say(PROTECTING)
            file, recipient = own.create_own_identity(folder, passphrase)
            settings.progress.alert(
                f"{file} is this computer's identity, protected by your passphrase; "
                "keep a copy of this file, because you need the file and the passphrase to open a backup"
            )
            return recipient
        recipient = _proven(file, settings.interaction, passphrase_fd)
    settings.progress.note(f"the backup can be opened with your passphrase and {file}")
    return recipient


def _proven(file: Path, person: Interaction, descriptor: int | None) -> str:
    """Return the recipient of an identity file, after checking its passphrase.

    A passphrase from the file descriptor `descriptor` is always checked. If `descriptor` is None, the user is asked for
    the passphrase, but only if no run has checked the file before.
    """
    known = own.proven_recipient(file)
    if descriptor is not None:
        passphrase = _passphrase_on(descriptor)
        person.say(UNLOCKING)
        return own.prove(file, passphrase)
    if known is not None:
        return known
    person.say(WHY_ASKED)
    passphrase = person.ask_secret(f"passphrase of {file}", instead=INSTEAD)
    person.say(UNLOCKING)
    return own.prove(file, passphrase)


def _only_identity(home: Path) -> Path | None:
    """Return this computer's identity file, or None. Raise UsageFault if there are several."""
    files = _identities(home)
    if len(files) > 1:
        raise UsageFault(
            f"there are {len(files)} identities with a passphrase in {home}",
            "move all except one to another folder, or name recipients with -r",
        )
    return files[0] if files else None


def _identities(home: Path) -> list[Path]:
    return own_identities(home)


def _new_passphrase(person: Interaction, descriptor: int | None) -> Secret[str]:
    """Return a new passphrase: the first line of a file descriptor or, if it is None, what the user chooses."""
    if descriptor is None:
        return new_passphrase(person)
    line = _passphrase_on(descriptor)
    if fault := fault_of_passphrase(line):
        raise UsageFault(f"the passphrase on file descriptor {descriptor} {fault}", "choose a longer one")
    return line


def _passphrase_on(descriptor: int) -> Secret[str]:
    if (line := read_secret(descriptor)) == Secret(""):
        raise UsageFault(
            f"there is no passphrase on file descriptor {descriptor}", "write the passphrase as the first line"
        )
    return line


def new_passphrase(person: Interaction) -> Secret[str]:
    """Let the user choose a passphrase, and return it. Raise Declined if there is no terminal."""
    import secrets

    return ask_new_passphrase(person, random_bits=secrets.randbits)


def own_identity(file: Path | None) -> Path:
    """Return `file`, the identity file from the command line. If it is None, return this computer's identity file.

    Raise UsageFault if `file` does not exist, or if it is None and this computer does not have exactly one identity.
    """
    if file is not None:
        if not file.is_file():
            raise UsageFault(f"there is no file {file}", "name the identity file that your passphrase decrypts")
        return file.absolute()
    files = _identities(home().absolute())
    if len(files) == 1:
        return files[0]
    raise UsageFault(
        f"there are {len(files)} identities with a passphrase in {home()}",
        "name the file: mfa-kit backup passphrase FILE"
        if files
        else "to create one, enroll a user with --passphrase: mfa-kit enroll USER --with virtual --passphrase",
    )


def unlock(file: Path, person: Interaction) -> "UnlockedIdentity":
    """Ask for an identity's passphrase, and return the decrypted identity.

    Raise UsageFault after three wrong passphrases, and Declined if there is no terminal.
    """
    for tries_left in reversed(range(TRIES)):
        passphrase = person.ask_secret(f"current passphrase of {file}", instead="a terminal")
        person.say(UNLOCKING)
        try:
            return identities.unlock_identity(file, passphrase)
        except identities.WrongPassphrase as wrong:
            if not tries_left:
                raise
            person.say(str(wrong))
    raise AssertionError("not reached, because the last attempt returns the identity or raises WrongPassphrase")
