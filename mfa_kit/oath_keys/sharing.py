"""The credentials of an AWS account on an OATH key, and whether several users may share the key."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.models import DeviceSpec, intent_of
from mfa_kit.core.text import without_controls
from mfa_kit.enrollment.ports import IamReader

if TYPE_CHECKING:
    from mfa_kit.oath_keys.credential import OathKey

# The issuers in the names of AWS credentials: mfa-kit writes the first, and AWS's QR codes contain the second.
ISSUERS = ("AWS", "Amazon Web Services")


def is_of_account(name: bytes, account: str) -> bool:
    """Return whether a credential with this name is that of an MFA device in an AWS account."""
    issuer, _, account_label = name.decode(errors="replace").partition(":")
    return issuer in ISSUERS and account_label.endswith(f"@{account}")


def confirm_sharing(
    key: "OathKey",
    spec: DeviceSpec,
    names: Sequence[bytes],
    *,
    iam_reader: IamReader,
    person: Interaction | None,
    progress: Progress,
    own: bool,
) -> None:
    """Ask before a user's credential is written to a key that has credentials of other users in the same account.

    `names` are the names of the credentials on the key. If `person` is None, only warn. `own` means that each key is
    given to one user only. Then raise DeviceFault. Raise Declined if the user at the terminal declines or cannot be
    asked.
    """
    names = [name for name in names if is_of_account(name, spec.account)]
    devices = iam_reader.devices(spec.user) if names else ()
    mine = {spec.label} | {
        intent_of(device.serial, user=spec.user, account=spec.account, partition=spec.partition).label
        for device in devices
    }
    others = [
        label for name in names if (label := without_controls(name.decode(errors="replace"))) not in {*mine, spec.label}
    ]
    if not others:
        return
    if own:
        raise DeviceFault(
            f"{key.description} is already in use: it contains {', '.join(sorted(others))}",
            f"remove it, and insert another key for {spec.user}",
        )
    progress.alert(f"warning: {key.description} already has {', '.join(sorted(others))}")
    if person:
        person.confirm(f"{key.description} will also get {spec.label}", typed=spec.user)
