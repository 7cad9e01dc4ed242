"""`mfa-kit evidence export`: write a signed archive of evidence about MFA for an auditor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import MAX_AGE
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.core.text import iso_time

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.wiring.settings import Settings


@click.command("export", cls=Verb)
@click.option("-o", "--out", "file", type=LocalPath(), required=True, help="The new archive (ZIP).")
@click.option(
    "--sign",
    "key",
    type=LocalPath(),
    required=True,
    metavar="KEY",
    help="The SSH key that signs the manifest: a private key, or a public key whose private key is in ssh-agent.",
)
@click.option(
    "--pseudonyms",
    type=LocalPath(),
    metavar="KEYFILE",
    help="Replace names of users, devices and custodians with pseudonyms. This file has the secret that makes them.",
)
@click.option("--pdf", is_flag=True, help="Add a summary as PDF. Needs the extra 'letters'.")
@MAX_AGE
@BACKUP_DIR
def export_evidence(
    *,
    file: Path,
    key: Path,
    pseudonyms: Path | None,
    pdf: bool,
    max_age: float,
    backup_dir: BackupLocation | None,
    settings: Settings,
    output: Output,
) -> None:
    """Write a signed archive with each user's devices, the audit results, and the policies about MFA.

    mfa-kit changes nothing in the account. The archive contains no secret.
    """
    snapshot, hashes = wiring.evidence.export(
        settings, file, key=key, pseudonyms=pseudonyms, max_age=max_age, backup_dir=backup_dir, pdf=pdf
    )
    for hole in snapshot.holes:
        settings.progress.alert(f"not read: {hole.part}{f' of {hole.about}' if hole.about else ''}: {hole.why}")
    if settings.dry_run:
        settings.progress.note(f"dry run: did not write {file}, which would contain the listed files")
    output.one(
        "evidence-export",
        {"file": str(file), "account": snapshot.account, "at": iso_time(snapshot.at), "files": tuple(hashes)},
    )
