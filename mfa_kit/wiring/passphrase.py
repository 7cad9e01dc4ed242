"""A passphrase in place of recipients: one X25519 identity of this desk, sealed by it; backups are sealed to that.

So scrypt's seconds are spent once and not for each backup, and `age -d -i` opens both.
"""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mfa_kit.cli import keys, messages
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.enrollment.ports import Vault
from mfa_kit.wiring import config, desk
from mfa_kit.wiring.files import secret_from
from mfa_kit.wiring.settings import Settings

INSTEAD = "-r RECIPIENT, -R FILE or --passphrase-fd N"
# Proquints (arXiv:0901.4016): 16 bits as five letters that can be read aloud. Seven are 112 bits.
CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 7


def vault(
    to: Sequence[str],
    to_files: Sequence[Path],
    folder: Path | None,
    *,
    passphrase: bool,
    alone: bool,
    settings: Settings,
) -> Vault:
    """Return the vault of a verb that makes a device.

    A backup that would be `alone` with the seed, and that nobody said a recipient for, is sealed to the passphrase too
    where a person is there to choose one.
    """
    passphrase = passphrase or keys.given("passphrase_fd") is not None
    if alone and not (passphrase or to or to_files or config.load().recipients):
        with suppress(Declined):
            settings.interaction.check(instead=INSTEAD)
            passphrase = True
    return desk.vault((*to, _recipient(settings)) if passphrase else to, to_files, folder)


def _recipient(settings: Settings) -> str:
    """Return the recipient of this desk's identity, which is made when it is first used; its file's name tells it."""
    from mfa_kit.adapters.files.identities import NewIdentity
    from mfa_kit.adapters.files.private_files import wait_and_hold, write_new

    if settings.dry_run:
        return _found() or NewIdentity().recipient
    talk = messages.Talk()
    waits = "waiting for another mfa-kit, which makes this desk's identity or changes its passphrase"
    with wait_and_hold(desk.home().absolute(), waiting=lambda: talk.note(waits)):
        if found := _found():
            return found
        desk.harden()
        identity = NewIdentity()
        path = desk.home() / f"identity-{identity.recipient}.age"
        write_new(path.absolute(), identity.encrypted(_chosen(settings)))
    talk.note(
        f"{path} is this desk's identity, sealed by your passphrase; keep a copy of it, for backups open with both"
    )
    return identity.recipient


def _found() -> str | None:
    """Return the recipient of the identity that is there."""
    found = sorted(desk.home().glob("identity-age1*.age"))
    if not found:
        return None
    messages.Talk().note(f"the backup opens with your passphrase and {found[0]}")
    return found[0].stem.removeprefix("identity-")


def _chosen(settings: Settings) -> Secret[str]:
    """Read the passphrase where `--passphrase-fd` says; else ask for one."""
    if (descriptor := keys.given("passphrase_fd")) is None:
        return asked(settings.interaction)
    if (given := secret_from(descriptor)) == Secret(""):
        raise UsageFault(f"there is no passphrase on file descriptor {descriptor}", "write it as the first line")
    return given


def asked(person: Interaction) -> Secret[str]:
    """Let a person type a passphrase, or take one that is made here; it is shown once, and typed to prove that."""
    if person.choose("passphrase", ["type one", "have one made"], instead=INSTEAD) == 0:
        return person.ask_new_secret("passphrase", instead=INSTEAD)
    made = Secret("-".join(_word(secrets.randbits(16)) for _ in range(WORDS)))
    while True:
        try:
            person.show(made, instead=INSTEAD)
            person.pause("write it down, for it is not shown again; then press Enter", instead=INSTEAD)
        finally:
            person.clear()
        if person.ask_secret("passphrase", instead=INSTEAD) == made:
            return made
        person.say("that is another one; look again")


def _word(bits: int) -> str:
    """Spell 16 bits: consonants of four, vowels of two."""
    first, second, third = (CONSONANTS[bits >> shift & 15] for shift in (12, 6, 0))
    return f"{first}{VOWELS[bits >> 10 & 3]}{second}{VOWELS[bits >> 4 & 3]}{third}"
