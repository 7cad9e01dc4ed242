"""The confirmation that `revoke` and `replace` ask for before they remove a device."""

from mfa_kit.core.models import JournalEntry
from mfa_kit.wiring.settings import Settings


def confirm_removal(entry: JournalEntry, *, when: str, settings: Settings) -> None:
    """Ask the user to type the name of the device to remove, unless --yes is given.

    `entry` is the journal's entry for the device. `when` says when the device will be removed, such as "after the new
    device works". Raise Declined if the user types something else or cannot be asked.
    """
    if not settings.yes:
        settings.interaction.confirm(
            f"{entry.spec.serial} will be removed from {entry.spec.user} {when}", typed=entry.spec.name
        )
