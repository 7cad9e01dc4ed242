"""What `revoke` and `replace` ask before a device goes."""

from mfa_kit.core.models import Entry
from mfa_kit.wiring.settings import Settings


def confirm_removal(entry: Entry, *, when: str, settings: Settings) -> None:
    """Have a person type the name of the device that goes, unless --yes. Raise Declined, also where nobody is asked."""
    if not settings.yes:
        settings.interaction.confirm(
            f"{entry.intent.serial} will be taken away from {entry.intent.user} {when}", typed=entry.intent.name
        )
