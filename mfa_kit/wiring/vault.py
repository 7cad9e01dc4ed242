"""The folder of sealed backups, and the public keys of those who can open what is sealed there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.enrollment.ports import Vault
from mfa_kit.wiring import config
from mfa_kit.wiring.aws import load_boto3
from mfa_kit.wiring.this_computer import backup_dir

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.recipients import Recipient


def open_vault(folder: Path | None = None, *, to: Sequence[str] = (), to_files: Sequence[Path] = ()) -> Vault:
    """Return the vault of a folder, or of the configured one, for these recipients, or for the configured ones.

    Raise UsageFault for a recipient that is none.
    """
    load_boto3()  # before what reads QR codes
    return open_age_files(folder, read_recipients(to, to_files) if to or to_files else configured_recipients())


def open_age_files(folder: Path | None, recipients: "Sequence[Recipient]") -> "AgeFiles":
    """Return the backups of a folder, or of the configured one, for these recipients."""
    from mfa_kit.adapters.files.agefile import AgeFiles

    return AgeFiles(backup_dir(folder), list(recipients))


def read_recipients(texts: Sequence[str], files: Sequence[Path] = (), *, given: str = "-r") -> "list[Recipient]":
    """Parse public keys; `given` says in an error how they were given. Raise UsageFault for text that is no key."""
    from mfa_kit.adapters.files import recipients

    return recipients.parse_recipients(texts, files, given=given)


def configured_recipients() -> "list[Recipient]":
    """Read the recipients of the configuration file. Raise UsageFault for the first thing that is wrong in it."""
    return read_recipients(config.load().recipients, given=f"among the recipients in {config.path()},")


def recipient_text(text: str) -> str:
    """Return a recipient as it is on record. Raise UsageFault for text that is not a recipient."""
    return read_recipients([text])[0].text
