"""A passphrase in place of recipients: one X25519 identity of this computer, sealed by it; backups are sealed to that.

So scrypt's seconds are spent once and not for each backup, and `age -d -i` opens both.
"""

import secrets
from pathlib import Path

from mfa_kit.adapters.files.private_files import wait_and_hold, write_new
from mfa_kit.backups.new_passphrase import ask_new_passphrase
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.wiring import this_computer
from mfa_kit.wiring.files import read_secret
from mfa_kit.wiring.settings import Settings

WAITS = "waiting for another mfa-kit, which makes this desk's identity or changes its passphrase"


def own_recipient(settings: Settings, *, passphrase_fd: int | None) -> str:
    """Return the recipient of this computer's identity, which is made when it is first used."""
    from mfa_kit.adapters.files.identities import NewIdentity

    if settings.dry_run:
        return _found(settings) or NewIdentity().recipient
    with wait_and_hold(this_computer.home().absolute(), waiting=lambda: settings.progress.note(WAITS)):
        if found := _found(settings):
            return found
        this_computer.harden()
        identity = NewIdentity()
        path = this_computer.home() / f"identity-{identity.recipient}.age"
        write_new(path.absolute(), identity.encrypted(_passphrase(settings, passphrase_fd)))
    settings.progress.note(
        f"{path} is this desk's identity, sealed by your passphrase; keep a copy of it, for backups open with both"
    )
    return identity.recipient


def _found(settings: Settings) -> str | None:
    """Return the recipient of the identity that is there; the name of its file has it."""
    found = _own_identities()
    if not found:
        return None
    settings.progress.note(f"the backup opens with your passphrase and {found[0]}")
    return found[0].stem.removeprefix("identity-")


def _own_identities() -> list[Path]:
    return sorted(this_computer.home().glob("identity-age1*.age"))


def _passphrase(settings: Settings, descriptor: int | None) -> Secret[str]:
    """Read the passphrase from a file descriptor; without one a person chooses it."""
    if descriptor is None:
        return new_passphrase(settings.interaction)
    if (line := read_secret(descriptor)) == Secret(""):
        raise UsageFault(f"there is no passphrase on file descriptor {descriptor}", "write it as the first line")
    return line


def new_passphrase(person: Interaction) -> Secret[str]:
    """Have a person choose a passphrase. Raise Declined where nobody can be asked."""
    return ask_new_passphrase(person, random_bits=secrets.randbits)


def own_identity(file: Path | None) -> Path:
    """Return the identity file that is meant: this computer's when none is named. Raise UsageFault."""
    if file is not None:
        if not file.is_file():
            raise UsageFault(f"there is no file {file}", "name the identity that your passphrase opens")
        return file
    found = _own_identities()
    if len(found) == 1:
        return found[0]
    raise UsageFault(
        f"there are {len(found)} identities with a passphrase in {this_computer.home()}",
        "name the file: mfa-kit backup passphrase FILE" if found else "a backup with --passphrase makes one",
    )


def change_passphrase(file: Path, before: Secret[str], after: Secret[str]) -> None:
    """Seal an identity by another passphrase; backups are not touched."""
    from mfa_kit.adapters.files import identities

    identities.reencrypt_identity(file.absolute(), before, after)
