"""What `mfa-kit revoke` and `mfa-kit replace` ask before a device goes."""

from mfa_kit.cli import options
from mfa_kit.core.models import Entry


def confirm(entry: Entry, *, when: str) -> None:
    """Have a person type the name of the device that goes. Raise Declined, also where none may be asked."""
    common = options.common()
    if not common.yes:
        common.interaction.confirm(
            f"{entry.intent.serial} will be taken away from {entry.intent.user} {when}", typed=entry.intent.name
        )
