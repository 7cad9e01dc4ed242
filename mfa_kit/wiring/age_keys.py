"""Reads the keys of age: recipients, identities and the plugins that may have them.

With a passphrase, backups are encrypted to this computer's identity, and the identity is encrypted with the passphrase.
Therefore scrypt, which takes seconds by design, is needed only for the identity and not for each backup. `age -d -i
IDENTITY BACKUP` decrypts a backup too, and asks for the passphrase.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import identities
from mfa_kit.adapters.files.identities import Recipient
from mfa_kit.adapters.files.plugins import Plugins, Unattended, check_program
from mfa_kit.backups import own_identity
from mfa_kit.backups.own_identity import TRIES, UNLOCKING, IdentityFiles
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import Message, UserAction
from mfa_kit.core.otp import Png, Secret
from mfa_kit.disk.files import wait_and_hold
from mfa_kit.wiring.files import packaged_text, read_secret
from mfa_kit.wiring.settings import Settings, config_path, harden, home, load_config, person_at_terminal

if TYPE_CHECKING:
    from mfa_kit.adapters.files.identities import UnlockedIdentity
    from mfa_kit.adapters.files.plugins import Identity

TERMINAL = "a terminal"


class TerminalPrompts:
    """Passes the messages and questions of a plugin to the person at the terminal."""

    def __init__(self, person: Interaction) -> None:
        self._person = person

    def say(self, text: str) -> None:
        """Show a message of a plugin."""
        self._person.say(text)

    def ask(self, prompt: str) -> str:
        """Return what the user typed. `ask`, `ask_secret` and `confirm` raise Declined if there is no terminal."""
        return self._person.ask_code(prompt, instead=TERMINAL)

    def ask_secret(self, prompt: str) -> Secret[str]:
        """Return what the user typed without echo, such as a PIN."""
        return self._person.ask_secret(Message(prompt, action=UserAction.PIN), instead=TERMINAL)

    def confirm(self, message: str, yes: str, no: str | None) -> bool:
        """Return whether the user chose the answer `yes`. If `no` is None, the user can only press Enter."""
        self._person.say(message)
        if no is None:
            self._person.pause(f"{yes}: press Enter", instead=TERMINAL)
            return True
        return self._person.choose("answer", (yes, no), instead=TERMINAL) == 0


def open_plugins(person: Interaction | None = None) -> "Plugins":
    """Return the plugins that the configuration file allows. The file is read when a plugin is needed.

    Plugins ask `person`, else `person_at_terminal`. If both are None, each question raises Declined. Call this function
    in the main thread, because other threads do not have the value of `person_at_terminal`.
    """
    person = person or person_at_terminal.get()
    return Plugins(lambda: load_config().age_plugins, TerminalPrompts(person) if person else Unattended())


def check_configured_plugins() -> int:
    """Return the number of plugins that the configuration file allows. Raise the errors of `check_program` for each."""
    programs = load_config().age_plugins
    for program in programs:
        check_program(Path(program))
    return len(programs)


INSTEAD = "--passphrase-fd N, or an identity without a passphrase: -i FILE"


class Identities:
    """Files with identities (private keys of age, SSH or age plugins), and the source of their passphrases.

    The passphrase of all files is the first line of the file descriptor `passphrase_fd`. If `passphrase_fd` is None,
    the user types the passphrase of each file that has a passphrase.
    """

    def __init__(self, files: Sequence[Path], *, passphrase_fd: int | None, person: Interaction) -> None:
        self.files = files
        self._descriptor, self._person = passphrase_fd, person
        self._wrong = 0

    def read(self) -> "Secret[list[Identity]]":
        """Return the identities in all files. Raise UsageFault if a file has no identity or cannot be decrypted."""
        harden()
        plugins = open_plugins(self._person)
        return identities.read_identities(
            self.files, self._passphrase_of, retry=self._ask_again, plugins=plugins, unlock_ssh=_unlock_ssh
        )

    def _passphrase_of(self, file: Path) -> Secret[str]:
        asked = self._descriptor is None
        passphrase = self._person.ask_secret(f"passphrase of {file}", instead=INSTEAD) if asked else self._piped
        self._person.say(UNLOCKING)
        return passphrase

    def _ask_again(self, file: Path) -> bool:
        """If the user may type another passphrase, report that the last one was wrong and return True."""
        self._wrong += 1
        if self._descriptor is not None or self._wrong >= TRIES:
            return False
        self._person.say(f"wrong passphrase for {file}")
        return True

    @cached_property
    def _piped(self) -> Secret[str]:
        assert self._descriptor is not None  # noqa: S101 - its only caller checks this
        return read_secret(self._descriptor)


def _unlock_ssh(text: Secret[bytes], passphrase: Secret[str] | None) -> Secret[bytes] | None:
    from mfa_kit.adapters.files.ssh import unlock_ssh_key

    return unlock_ssh_key(text, passphrase)


def read_recipients(
    texts: Sequence[str], files: Sequence[Path] = (), *, source: str = "-r", quoted: bool = True
) -> list[Recipient]:
    """Parse public keys from texts and from files. Raise UsageFault for text that is not a public key.

    `source` and `quoted` are as in `parse_recipients`.
    """
    return identities.parse_recipients(texts, files, source=source, quoted=quoted, plugins=open_plugins())


def unopened(keys: "Secret[list[Identity]]", recipients: Sequence[Recipient]) -> list[str]:
    """Return the recipients that none of the identities opens."""
    return [recipient.text for recipient in recipients if not identities.opens(recipient, keys)]


def configured_recipients() -> list[Recipient]:
    """Read the recipients in the configuration file. Raise UsageFault for the first invalid recipient."""
    return read_recipients(load_config().recipients, source=f"in {config_path()},")


def recipient_text(text: str) -> str:
    """Return a recipient as the ledger records it. Raise UsageFault if the text is not a public key."""
    return read_recipients([text])[0].text


WAITS = "waiting for another mfa-kit process, which creates this computer's identity or changes its passphrase"


def _own_files() -> IdentityFiles:
    folder = home().absolute()
    return IdentityFiles(
        home=folder,
        find=partial(identities.own_identities, folder),
        create=partial(identities.create_own_identity, folder),
        recipient_in_name=identities.recipient_in_name,
        unused_recipient=identities.unused_recipient,
        proven_recipient=identities.proven_recipient,
        prove=identities.prove,
    )


def own_recipient(settings: Settings, *, passphrase_fd: int | None) -> str:
    """Return the recipient of this computer's identity, as the use case of this name does.

    In a dry run, the user is not asked and nothing is stored.
    """
    import secrets

    files = _own_files()
    if settings.dry_run:
        return own_identity.planned_recipient(files)
    with wait_and_hold(files.home, waiting=lambda: settings.progress.note(WAITS)):
        harden()
        return own_identity.own_recipient(
            files,
            descriptor=passphrase_fd,
            read_secret=read_secret,
            random_bits=secrets.randbits,
            person=settings.interaction,
            progress=settings.progress,
        )


def new_passphrase(person: Interaction) -> Secret[str]:
    """Let the user choose a passphrase, and return it. Raise Declined if there is no terminal."""
    import secrets

    return own_identity.ask_new_passphrase(person, random_bits=secrets.randbits)


def existing_identity(file: Path | None) -> Path:
    """Return `file`, the identity file from the command line. If it is None, return this computer's identity file.

    Raise UsageFault if `file` does not exist, or the error of the use case of this name.
    """
    if file is None:
        return own_identity.existing_identity(_own_files())
    if not file.is_file():
        raise UsageFault(f"there is no file {file}", "name the identity file that your passphrase decrypts")
    return file.absolute()


def unlock(file: Path, person: Interaction) -> "UnlockedIdentity":
    """Ask for an identity's passphrase, and return the decrypted identity. Raise the errors of the use case."""
    return own_identity.unlock(file, identities.unlock_identity, person)


# The number of words of a one-time passphrase. Each has 11 bits, because the list, which is that of BIP 39 and of age,
# has 2048 words.
ONE_TIME_WORDS = 8


def one_time_passphrase() -> Secret[str]:
    """Return a new passphrase of eight words, which has 88 bits."""
    import secrets

    words = packaged_text("letters/words.txt").split()
    return Secret("-".join(secrets.choice(words) for _ in range(ONE_TIME_WORDS)))


def letter_number() -> str:
    """Return a new number of a letter with a passphrase, of six digits."""
    import secrets

    return f"{secrets.randbelow(10**6):06}"


def seal_once(picture: Png, passphrase: Secret[str]) -> bytes:
    """Encrypt the picture of a backup with a passphrase, for `age -d`. This takes seconds."""
    return identities.encrypt_with_passphrase(picture, passphrase)
