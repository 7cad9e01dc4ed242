"""Fills in the instructions for the root ceremony, in which several people give root two MFA devices.

If the break-glass identity needs at least two custodians, no single person can then sign in as root. The instructions
are the file root_ceremony.md.
"""

from mfa_kit.account.snapshot import OrganizationPlace, Snapshot
from mfa_kit.core.letter import Letter, fill_template
from mfa_kit.core.message import Command
from mfa_kit.core.recovery_keys import RecoveryKeyUse

# Appears twice in the instructions. The recommendation is in the IAM user guide, "Centrally manage root access for
# member accounts".
REMOVAL = (
    "AWS recommends removing the credentials of root from member accounts. Root of these accounts then has no "
    "password, no access keys, no MFA devices and no way to recover them, so these accounts need no ceremony. Only "
    "the management account keeps the credentials of its root."
)


def root_ceremony(snapshot: Snapshot, *, text: str) -> Letter:
    """Return the text of the ceremony for the account of a snapshot. It contains no secret."""
    identity = snapshot.break_glass[-1] if snapshot.break_glass else None
    values = {
        "account": snapshot.account,
        "lab": " (LAB, nothing here is real)" if snapshot.lab else "",
        "verdict": str(snapshot.root.verdict),
        "identity": identity.recipient if identity else "none yet",
        "recipient": Command([identity.recipient if identity else "RECIPIENT"]),
        "threshold": str(identity.threshold) if identity else "",
        "needed": _needed(identity) if identity else "",
        "removal": REMOVAL,
    }
    applies = {name: "yes" if holds else "" for name, holds in _conditions(snapshot).items()}
    return fill_template(text, values | applies)


def _needed(identity: RecoveryKeyUse) -> str:
    names = ", ".join(custodian.name for custodian in identity.custodians)
    return f"{identity.threshold} of {len(identity.custodians)}: {names}"


def _conditions(snapshot: Snapshot) -> dict[str, bool]:
    """Return which conditions of the text hold for an account."""
    central = snapshot.central_root
    place, managed = (central.place, central.manages_credentials) if central else (None, None)
    member = snapshot.has_root and place is OrganizationPlace.MEMBER
    ceremony = snapshot.has_root and not member
    return {
        "no_root": not snapshot.has_root,
        "member": member,
        "ceremony": ceremony,
        "known": ceremony and bool(snapshot.break_glass),
        "organization": ceremony and place is not OrganizationPlace.ALONE,
        "managed": managed is True,
        "unmanaged": managed is False,
        "unknown": managed is None,
    }
