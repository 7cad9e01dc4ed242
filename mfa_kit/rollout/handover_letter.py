"""The letter to a user of a rollout: the values that its template may use. The built-in template is beside this file.

docs/formats.md, "Letter templates", describes the format.
"""

from collections.abc import Mapping

from mfa_kit.core.models import JournalEntry
from mfa_kit.rollout.roster import key_fingerprint

# The placeholders of a template. `staged`, `enrolled`, `ssh` and `age` are for conditions: each is "yes" or "".
NAMES = (
    *("user", "email", "account", "device", "file", "fingerprint", "identity", "windows_identity"),
    *("csv_user", "company", "contact", "deadline", "staged", "enrolled", "ssh", "age"),
)
# The usual paths of private keys, by the prefix of the public key: on macOS and Linux, and on Windows.
IDENTITIES = {
    "ssh-ed25519": ("~/.ssh/id_ed25519", r"$HOME\.ssh\id_ed25519"),
    "ssh-rsa": ("~/.ssh/id_rsa", r"$HOME\.ssh\id_rsa"),
    "age1": ("identity.txt", "identity.txt"),
}


def letter_values(
    entry: JournalEntry, *, file: str, staged: bool, email: str, company: str, contact: str, deadline: str
) -> Mapping[str, str]:
    """Return the values of all placeholders for the user of a device.

    `file` is the name of the user's encrypted file. `staged` is true if the device is not enabled yet. `email`,
    `company`, `contact` and `deadline` are "" if they are not known.
    """
    user, recipient = entry.spec.user, entry.spec.recipient or ""
    kind = next((prefix for prefix in IDENTITIES if recipient.startswith(prefix)), "age1")
    identity, windows = IDENTITIES[kind]
    return {
        "user": user,
        "csv_user": csv_user(user),
        "email": email,
        "account": entry.spec.account,
        "device": entry.spec.name,
        "file": f"./{file}" if file.startswith("-") else file,  # otherwise age takes it for an option
        "fingerprint": key_fingerprint(recipient),
        "identity": identity,
        "windows_identity": windows,
        "company": company,
        "contact": contact,
        "deadline": deadline,
        "staged": "yes" if staged else "",
        "enrolled": "" if staged else "yes",
        "ssh": "" if kind == "age1" else "yes",
        "age": "yes" if kind == "age1" else "",
    }


def csv_user(user: str) -> str:
    """Return a user's name as a cell of CSV. IAM accepts commas in names, but CSV needs quotes then."""
    return f'"{user}"' if "," in user else user
