"""Checks whether a key already belongs to a user, so that no key is given to two users."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from mfa_kit.core.errors import AccessDenied, NoSuchEntity
from mfa_kit.core.models import CARD_TAG, HARDWARE_TAG, USER_TAG, Device, Intent
from mfa_kit.enrollment.devices import is_listed
from mfa_kit.enrollment.ports import Desk
from mfa_kit.rollout.key_slot import InsertedKey


@dataclass(slots=True, kw_only=True)
class KeyHolders:
    """Finds the user of a key in this computer's journal, on the key itself, and in the tags that other computers set.

    `virtual` lists all virtual devices of the account. `users` are those to be enrolled at the station. The first check
    reads the tags of these users' devices. Each later check reads the tags of all devices that are new in the list.
    """

    desk: Desk
    virtual: Callable[[], Iterable[Device]]
    users: Container[str]
    _tags: dict[str, Mapping[str, str]] | None = None
    _denied: bool = False

    def find_holder(self, key: InsertedKey, intent: Intent) -> str | None:
        """Return a sentence that names the user or the credentials of this key, or None.

        None means that the user of the intent may get the key.
        """
        return self._in_journal(key, intent) or _on_key(key, intent) or self._in_tags(key, intent)

    def _in_journal(self, key: InsertedKey, intent: Intent) -> str | None:
        for entry in self.desk.journal.made(intent.account):
            known = entry.intent
            mine = known.serial == intent.serial or known.user == intent.user
            if mine or not (known.card == key.identity or (key.serial and known.hardware == key.serial)):
                continue
            if entry.is_half_made or is_listed(known, desk=self.desk):
                return f"it belongs to {known.user} (run {entry.run})"
        return None

    def _in_tags(self, key: InsertedKey, intent: Intent) -> str | None:
        for serial, tags in self._read_tags().items():
            same = tags.get(CARD_TAG) == key.identity or (key.serial and tags.get(HARDWARE_TAG) == key.serial)
            if same and serial != intent.serial:
                return f"it belongs to {tags.get(USER_TAG, 'another user')} ({serial})"
        return None

    def _read_tags(self) -> Mapping[str, Mapping[str, str]]:
        """Return the tags of each virtual device, by the device's serial. Tags that were not read are an empty mapping.

        The first call reads the tags of the devices of `users`. Each later call reads the tags of all new devices.
        """
        there = {device.serial: device.user for device in self.virtual()}
        before = self._tags
        self._tags = {serial: tags for serial, tags in (before or {}).items() if serial in there}
        for serial, user in there.items():
            if serial not in self._tags:
                wanted = before is not None or user in self.users
                self._tags[serial] = self._ask_tags(serial) if wanted else {}
        return self._tags

    def _ask_tags(self, serial: str) -> Mapping[str, str]:
        if self._denied:
            return {}
        try:
            return self.desk.inventory.tags(serial)
        except NoSuchEntity:
            return {}
        except AccessDenied as denied:
            self._denied = True
            self.desk.progress.alert(f"warning: cannot check which keys other computers have assigned: {denied}")
            return {}


def _on_key(key: InsertedKey, intent: Intent) -> str | None:
    """Return a sentence that lists the key's credentials for other devices in this account; None if there are none.

    The label of a credential names its device and account.
    """
    brand, ours = intent.label.partition(":")[0], f"@{intent.account}"
    found = [label for label in key.labels if label.startswith(f"{brand}:") and label.endswith(ours)]
    if others := sorted(set(found) - {intent.label}):
        return f"it contains {', '.join(others)}"
    return None
