"""The letters to users of a rollout: the values that templates may use. The built-in templates are beside this file.

docs/formats.md, "Letter templates", describes the format.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mfa_kit.core.letter import Letter, fill_template
from mfa_kit.core.models import DeviceSpec
from mfa_kit.enrollment.fido_console import HOSTS
from mfa_kit.rollout.roster import key_fingerprint

if TYPE_CHECKING:  # the names of types alone are not worth the start of a command
    from mfa_kit.rollout.plan import Plan
    from mfa_kit.rollout.posting import Parcel

# The placeholders of a template. `staged`, `enrolled`, `key`, `ssh` and `age` are for conditions: each is "yes" or "".
NAMES = (
    *("user", "email", "account", "device", "serial", "file", "fingerprint", "identity", "windows_identity"),
    *("csv_user", "company", "contact", "help_page", "deadline", "sign_in", "page", "number", "passphrase"),
    *("staged", "enrolled", "key", "ssh", "age"),
)
# The usual paths of private keys, by the prefix of the public key: on macOS and Linux, and on Windows.
IDENTITIES = {
    "ssh-ed25519": ("~/.ssh/id_ed25519", r"$HOME\.ssh\id_ed25519"),
    "ssh-rsa": ("~/.ssh/id_rsa", r"$HOME\.ssh\id_rsa"),
    "age1": ("identity.txt", "identity.txt"),
}


def letter_values(
    spec: DeviceSpec, *, file: str, staged: bool, email: str, sender: Mapping[str, str]
) -> dict[str, str]:
    """Return the values of all placeholders for the user of a device.

    `file` is the name of the user's encrypted file, or "". `staged` is true if the device is not enabled yet. `email`
    is "" if it is not known. `sender` has the values of `sender_values`.
    """
    recipient = spec.recipient or ""
    kind = next((prefix for prefix in IDENTITIES if recipient.startswith(prefix)), "age1" if recipient else "")
    identity, windows = IDENTITIES.get(kind, ("", ""))
    return {
        **sender,
        **console_addresses(spec.account, spec.partition),
        "user": spec.user,
        "csv_user": csv_user(spec.user),
        "email": email,
        "account": spec.account,
        "device": spec.name,
        "serial": spec.serial,
        "file": f"./{file}" if file.startswith("-") else file,  # otherwise age takes it for an option
        "fingerprint": key_fingerprint(recipient),
        "identity": identity,
        "windows_identity": windows,
        "number": "",
        "passphrase": "",
        "staged": "yes" if staged else "",
        "enrolled": "" if staged else "yes",
        "key": "yes" if kind else "",
        "ssh": "yes" if kind.startswith("ssh") else "",
        "age": "yes" if kind == "age1" else "",
    }


def console_addresses(account: str, partition: str) -> dict[str, str]:
    """Return where users of an account sign in (`sign_in`), and the page for their devices (`page`).

    Both are "" for a partition whose addresses are not known. Source: IAM user guide, "How IAM users sign in to AWS".
    """
    hosts = HOSTS.get(partition)
    return {
        "sign_in": f"https://{account}.{hosts.signin}/console" if hosts else "",
        "page": f"https://{hosts.console}/iam/home#/security_credentials" if hosts else "",
    }


def csv_user(user: str) -> str:
    """Return a user's name as a cell of CSV. IAM accepts commas in names, but CSV needs quotes then."""
    return f'"{user}"' if "," in user else user


def parcel_letter(parcel: "Parcel", plan: "Plan", *, text: str, sender: Mapping[str, str]) -> Letter:
    """Return the letter that is in a parcel. It has no secret. `text` is its template.

    `sender` has the values of `sender_values`.
    """
    row, spec = parcel.step.row, parcel.entry.spec if parcel.entry else None
    is_token = spec is not None and spec.card is None
    device = (spec.name, spec.serial, spec.label) if spec else ("", "", "")
    kinds = {"token": is_token, "security_key": not is_token, "oath": spec and not is_token, "codes": spec}
    return fill_template(
        text,
        {
            **sender,
            **console_addresses(plan.account, plan.partition),
            "user": row.user,
            "csv_user": csv_user(row.user),
            "account": plan.account,
            **dict(zip(("device", "serial", "label"), device, strict=True)),
            **{name: "yes" if applies else "" for name, applies in kinds.items()},
            "key": parcel.key,
            "fido": (parcel.registered.row.name or row.user) if parcel.registered else "",
        },
    )
