"""Writes an evidence export: reads the account, makes the files, and signs the list of their hashes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mfa_kit import __version__
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files.evidence_archive import read_secret, write_archive
from mfa_kit.adapters.files.ssh import check_signing_key, sign
from mfa_kit.adapters.ledger.records import AuditRecords
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.evidence.evidence_files import (
    ReadCall,
    evidence_contents,
    hashes_of,
    manifest_of,
)
from mfa_kit.evidence.pseudonyms import hiding
from mfa_kit.letters.sheet import Paper
from mfa_kit.wiring.audit import SnapshotSource, take_snapshot
from mfa_kit.wiring.files import check_new
from mfa_kit.wiring.letters import letter_printer
from mfa_kit.wiring.organization import open_organization, root_of
from mfa_kit.wiring.settings import Settings, harden

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceOptions:
    """What to export, and the files to use.

    `file` is the new archive, and `key` the file of the SSH key that signs the manifest. `pseudonyms` is a file with a
    secret, from which pseudonyms are made, or None to keep the names. `max_age` and `backup_dir` are as in
    SnapshotSource. With `pdf`, the archive also has a summary as a PDF file.
    """

    file: Path
    key: Path
    pseudonyms: Path | None
    max_age: float
    backup_dir: BackupLocation | None
    pdf: bool


def export(settings: Settings, request: EvidenceOptions) -> tuple[Snapshot, Mapping[str, str]]:
    """Read the account, and write the archive. Return the snapshot, and the SHA-256 of each file by its name.

    With `dry_run` in the settings, nothing is signed and no archive is written. Raise UsageFault or IntegrityFault if
    the archive cannot be written, if the manifest cannot be signed, or if the secret for pseudonyms cannot be used.
    Also raise the errors of `open_organization`.
    """
    if str(request.file) == "-":
        raise UsageFault("the archive cannot be written to stdout", "give a new file: -o FILE.zip")
    harden()
    check_new(request.file)
    check_signing_key(request.key)
    secret = read_secret(request.pseudonyms) if request.pseudonyms else None
    draw = letter_printer(Paper.A4) if request.pdf else None
    calls: list[ReadCall] = []
    source = SnapshotSource(
        file=None,
        max_age=request.max_age,
        backup_dir=request.backup_dir,
        afresh=lambda user: user.mfa is not False,
        observe=lambda operation, request, user: calls.append(ReadCall(operation, request, user)),
    )
    with open_organization(settings, None) as organization:
        (account,) = organization.selection.chosen
        snapshot = take_snapshot(settings, organization, account, source, root=root_of(organization))
        findings = AuditRecords(organization.ledger).open_findings(snapshot.account)
    contents = evidence_contents(
        snapshot, calls, findings, program="mfa-kit " + __version__, hide=hiding(snapshot, secret), draw=draw
    )
    hashes = hashes_of(contents)
    if not settings.dry_run:
        manifest = manifest_of(hashes)
        write_archive(request.file, {**contents, MANIFEST: manifest, SIGNATURE: sign(manifest, request.key)})
    return snapshot, hashes
