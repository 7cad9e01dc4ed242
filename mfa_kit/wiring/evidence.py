"""Writes an evidence export: reads the account, makes the files, and signs the list of their hashes."""

from collections.abc import Mapping
from pathlib import Path

from mfa_kit import __version__
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files.evidence_archive import read_secret, write_archive
from mfa_kit.adapters.files.ssh import check_signing_key, sign
from mfa_kit.adapters.ledger.audit_records import AuditRecords
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.recorded_keys import KeysOfDevices
from mfa_kit.evidence.evidence_files import (
    ReadCall,
    evidence_contents,
    hashes_of,
    manifest_of,
)
from mfa_kit.evidence.pseudonyms import hiding
from mfa_kit.letters.sheet import Paper
from mfa_kit.wiring.audit import SnapshotSource, take_snapshot
from mfa_kit.wiring.files import check_new, letter_printer
from mfa_kit.wiring.ledger import recorded_keys
from mfa_kit.wiring.organization import open_organization, root_of
from mfa_kit.wiring.settings import Settings, harden

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"


def export(
    settings: Settings,
    file: Path,
    *,
    key: Path,
    pseudonyms: Path | None,
    max_age: float,
    backup_dir: BackupLocation | None,
    pdf: bool,
) -> tuple[Snapshot, Mapping[str, str]]:
    """Read the account, and write the archive `file`. Return the snapshot, and the SHA-256 of each file by its name.

    `key` is the file of the SSH key that signs the manifest. `pseudonyms` is a file with a secret, from which
    pseudonyms are made, or None to keep the names. `max_age` and `backup_dir` are as in SnapshotSource. With `pdf`, the
    archive also has a summary as a PDF file.

    With `dry_run` in the settings, nothing is signed and no archive is written. Raise UsageFault or IntegrityFault if
    the archive cannot be written, if the manifest cannot be signed, or if the secret for pseudonyms cannot be used.
    Also raise the errors of `open_organization`.
    """
    if str(file) == "-":
        raise UsageFault("the archive cannot be written to stdout", "give a new file: -o FILE.zip")
    harden()
    check_new(file)
    check_signing_key(key)
    secret = read_secret(pseudonyms) if pseudonyms else None
    draw = letter_printer(Paper.A4) if pdf else None
    calls: list[ReadCall] = []
    source = SnapshotSource(
        file=None,
        max_age=max_age,
        backup_dir=backup_dir,
        afresh=lambda user: user.mfa is not False,
        observe=lambda operation, request, user: calls.append(ReadCall(operation, request, user)),
    )
    with open_organization(settings, None) as organization:
        (account,) = organization.selection.chosen
        snapshot = take_snapshot(settings, organization, account, source, root=root_of(organization))
        findings = AuditRecords(organization.ledger).open_findings(snapshot.account)
        keys = recorded_keys(organization.ledger)
    contents = evidence_contents(
        snapshot,
        calls,
        findings,
        KeysOfDevices.of(keys),
        program="mfa-kit " + __version__,
        hide=hiding(snapshot, secret, [key.facts for key in keys]),
        draw=draw,
    )
    hashes = hashes_of(contents)
    if not settings.dry_run:
        manifest = manifest_of(hashes)
        write_archive(file, {**contents, MANIFEST: manifest, SIGNATURE: sign(manifest, key)})
    return snapshot, hashes
