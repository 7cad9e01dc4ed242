"""Fills in the instructions for the root ceremony, in which several people give root two MFA devices.

If the break-glass identity needs at least two custodians, no single person can then sign in as root. The instructions
are the file root_ceremony.md.
"""

from mfa_kit.account.snapshot import OrganizationPlace, Snapshot
from mfa_kit.core.letter import Letter, fill_template
from mfa_kit.core.text import command

# Appears twice in the instructions. The recommendation is in the IAM user guide, "Centrally manage root access for
# member accounts".
REMOVAL = (
    "AWS recommends removing the credentials of root from member accounts. Root of these accounts then has no "
    "password, no access keys, no MFA devices and no way to recover them, so these accounts need no ceremony. Only "
    "the management account keeps the credentials of its root."
)


def root_ceremony(snapshot: Snapshot, *, text: str) -> Letter:
    """Return the text of the ceremony for the account of a snapshot. It contains no secret."""
    recovery_key = snapshot.break_glass[-1] if snapshot.break_glass else None
    central = snapshot.central_root
    managed = central.manages_credentials if central else None
    place = central.place if central else None
    member = snapshot.has_root and place is OrganizationPlace.MEMBER
    ceremony = snapshot.has_root and not member
    names = ", ".join(custodian.name for custodian in recovery_key.custodians) if recovery_key else ""
    conditions = {
        "no_root": not snapshot.has_root,
        "member": member,
        "ceremony": ceremony,
        "glass": ceremony and recovery_key is not None,
        "organization": ceremony and place is not OrganizationPlace.ALONE,
        "managed": managed,
        "unmanaged": managed is False,
        "unknown": managed is None,
    }
    values = {
        "account": snapshot.account,
        "lab": " (LAB, nothing here is real)" if snapshot.lab else "",
        "verdict": str(snapshot.root.verdict),
        "identity": recovery_key.recipient if recovery_key else "none yet",
        "needed": f"{recovery_key.threshold} of {len(recovery_key.custodians)}: {names}" if recovery_key else "",
        "threshold": str(recovery_key.threshold) if recovery_key else "",
        "recipient": command(recovery_key.recipient if recovery_key else "RECIPIENT"),
        "removal": REMOVAL,
    }
    return fill_template(text, values | {name: "yes" if applies else "" for name, applies in conditions.items()})
