"""Encrypts the backups of a folder again, to the current recipients."""

from collections.abc import Callable

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import recipients_of, split_by_recipients
from mfa_kit.adapters.files.plugins import Identity
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Secret


class AgeResealer:
    """Decrypts backups with the given identities, and encrypts them to the recipients of `vault` (the new recipients).

    An identity is new if its public key is one of the new recipients. The other identities are old. SSH keys and
    plugins count as old, because pyrage does not return their public keys. `rekey` is
    `AgeFiles.rekey` of `vault`, with its checks.
    """

    def __init__(self, vault: AgeFiles, identities: Secret[list[Identity]], rekey: Callable[..., bool]) -> None:
        self._vault, self._all, self._rekey = vault, identities, rekey
        self._old, self._new = split_by_recipients(identities, vault.recipients())

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the identities belongs to a new recipient."""
        return self._new is not None

    def recipients(self) -> list[str]:
        """Return the public keys to which the backups are encrypted again."""
        return self._vault.recipients()

    def given(self) -> list[str | None]:
        """Return the recipient of each given identity, or None for an identity of SSH or of a plugin."""
        return recipients_of(self._all)

    def reseal(self, backup: Backup) -> bool:
        """Decrypt a backup with the old identities, and encrypt it to the new recipients.

        If no identity is old, decrypt with the new ones. Return whether one of the given identities can decrypt the new
        file. Raise OthersSeal if no identity that was tried can decrypt the old file.
        """
        return self._rekey(backup, self._old, proof=self._all)

    def reseal_with_new(self, backup: Backup) -> bool:
        """Decrypt a backup with the new identities, and encrypt it to the new recipients.

        Return whether one of the given identities can decrypt the new file. Raise OthersSeal if no new identity can
        decrypt the old file.
        """
        return self._rekey(backup, self._new_identities(), proof=self._all)

    def check_opens(self, backup: Backup) -> None:
        """Raise OthersSeal if no new identity can decrypt a backup."""
        self._vault.picture(backup, self._new_identities())

    def _new_identities(self) -> Secret[list[Identity]]:
        assert self._new is not None  # noqa: S101 - callers check has_new_identity first
        return self._new
