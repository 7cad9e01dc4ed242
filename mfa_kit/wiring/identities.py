"""The identities (private keys that decrypt backups) named on a command line, and their passphrases."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.identities import read_identities
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.wiring.files import read_secret
from mfa_kit.wiring.plugins import open_plugins

if TYPE_CHECKING:
    from mfa_kit.adapters.files.plugins import Identity

TRIES = 3
# Printed before a passphrase is tried, because scrypt takes seconds by design.
UNLOCKING = "unlocking the identity ..."
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
        plugins = open_plugins(self._person)
        return read_identities(
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
