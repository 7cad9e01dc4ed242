"""A Carrier (the object that supplies a device's codes) for a device whose secret is only in its encrypted backup."""

from collections.abc import Callable

from mfa_kit.core import otp
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Entry, Intent
from mfa_kit.core.otp import Created, Pair, Seed


class BackupAlone:
    """A Carrier (the object that supplies a device's codes) that computes the codes from the secret.

    Apart from this process's memory, the secret is stored only in the encrypted backup.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seeds: dict[str, Seed] = {}

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent unchanged. Raise UsageFault if there would be no backup."""
        if not sealed:
            raise UsageFault(
                "with --codes generated, the backup is the only copy of the secret, so a recipient is required",
                "add a recipient: -r age1…, -R FILE or --passphrase",
            )
        return intent

    def install(self, intent: Intent, created: Created) -> None:
        """Keep the secret in this process's memory until `remove` is called."""
        self._seeds[intent.serial] = created.seed

    def codes(self, intent: Intent) -> Pair:
        """Return the codes of the previous and the current 30 seconds of AWS's time."""
        return otp.pair(self._seeds[intent.serial], self._now())

    def reach(self, entry: Entry) -> None:
        """Do nothing, because there is no hardware."""

    def remove(self, entry: Entry) -> None:
        """Remove the secret from memory. The backup is not changed."""
        self._seeds.pop(entry.intent.serial, None)
