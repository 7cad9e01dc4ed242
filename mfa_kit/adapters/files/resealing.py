"""Encrypts the backups of a folder again, to the current recipients of its vault."""

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import Identity, recipients_of, split_by_recipients
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Secret


class AgeResealer:
    """Decrypts backups with old identities, and encrypts them to the recipients of the vault (the new recipients).

    An identity is new if its public key is one of the new recipients. The other identities are old. If all identities
    are new, `reseal` uses all of them.
    """

    def __init__(self, vault: AgeFiles, identities: Secret[list[Identity]]) -> None:
        self._vault, self._all = vault, identities
        self._old, self._new = split_by_recipients(identities, vault.recipients())

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the identities is new."""
        return self._new is not None

    def recipients(self) -> list[str]:
        """Return the new recipients."""
        return self._vault.recipients()

    def given(self) -> list[str | None]:
        """Return the recipient of each identity, or None for an SSH key."""
        return recipients_of(self._all)

    def reseal(self, backup: Backup) -> bool:
        """Decrypt a backup with an old identity, and encrypt it to the new recipients.

        Return whether one of the identities can decrypt the new file.
        """
        return self._vault.rekey(backup, self._old, proof=self._all)

    def reseal_with_new(self, backup: Backup) -> bool:
        """Decrypt a backup with a new identity, and encrypt it to the new recipients. Return the same as `reseal`."""
        return self._vault.rekey(backup, self._new_identities(), proof=self._all)

    def check_opens(self, backup: Backup) -> None:
        """Decrypt a backup with the new identities. Raise OthersSeal if none of them can decrypt it."""
        self._vault.picture(backup, self._new_identities())

    def _new_identities(self) -> Secret[list[Identity]]:
        assert self._new is not None  # noqa: S101 - callers check has_new_identity first
        return self._new
