"""Writes an evidence export: reads the account, makes the files, and signs the list of their hashes."""

import hashlib
import io
import json
import os
import shlex
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mfa_kit import __version__
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files.ssh import check_signing_key, sign
from mfa_kit.audit.finding import Limits
from mfa_kit.audit.registry import ALL_RULES, RULES, audit_snapshot
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.disk.files import create_file, open_folder
from mfa_kit.evidence.evidence_files import SCHEMA, VERSION, EvidenceAnswers, ReadCall, evidence_files, summary_letter
from mfa_kit.evidence.pseudonyms import hiding
from mfa_kit.letters.sheet import Paper
from mfa_kit.wiring.audit import SnapshotSource, open_audit_history, open_snapshot
from mfa_kit.wiring.files import check_new
from mfa_kit.wiring.letters import letter_printer
from mfa_kit.wiring.settings import Settings, harden

MANIFEST, SIGNATURE, SUMMARY = "manifest.json", "manifest.json.sig", "summary.pdf"
# The date of all files in the archive: the earliest date that ZIP allows. It is fixed, so that archives with the same
# files are equal.
DATE = (1980, 1, 1, 0, 0, 0)
# The minimum and maximum length of the secret for pseudonyms, in octets.
LEAST_KEY = 16
LARGEST_KEY = 1 << 20
# The permission bits of all users except the owner.
OTHERS = 0o077


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
    Also raise the errors of `open_snapshot`.
    """
    if str(request.file) == "-":
        raise UsageFault("the archive cannot be written to stdout", "give a new file: -o FILE.zip")
    harden()
    check_new(request.file)
    check_signing_key(request.key)
    secret = _secret(request.pseudonyms) if request.pseudonyms else None
    draw = letter_printer(Paper.A4) if request.pdf else None
    calls: list[ReadCall] = []
    source = SnapshotSource(
        file=None,
        max_age=request.max_age,
        backup_dir=request.backup_dir,
        central_root=True,
        afresh=lambda user: user.mfa is not False,
        observe=lambda operation, request, user: calls.append(ReadCall(operation, request, user)),
    )
    with open_snapshot(settings, source) as (snapshot, _):
        pass
    with open_audit_history(settings) as history:
        first_seen = {number: finding.since for number, finding in history.open_findings(snapshot.account).items()}
    all_answers = audit_snapshot(snapshot, ALL_RULES, Limits())
    answers = EvidenceAnswers([answer for answer in all_answers if answer.rule in RULES], all_answers)
    hide = hiding(snapshot, secret)
    files = evidence_files(snapshot, answers, calls, first_seen, program="mfa-kit " + __version__, hide=hide)
    contents = {name: text.encode() for name, text in files.items()}
    if draw is not None:
        contents[SUMMARY] = draw(summary_letter(snapshot, answers, files, hide=hide))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())}
    if settings.dry_run:
        return snapshot, hashes
    manifest = json.dumps({"schema": SCHEMA, "version": VERSION, "sha256": hashes}, indent=1).encode() + b"\n"
    _write(request.file, {**contents, MANIFEST: manifest, SIGNATURE: sign(manifest, request.key)})
    return snapshot, hashes


def _secret(file: Path) -> bytes:
    """Return the secret for pseudonyms, which is the content of a file or pipe.

    Raise UsageFault if the file cannot be read, if the secret is too short or too long, or if other users of this
    computer could read the file.
    """
    make = "make one: (umask 077; openssl rand -hex 32 > FILE)"
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & OTHERS:
                raise UsageFault(
                    f"{file} has mode {stat.S_IMODE(status.st_mode):04o}, so other users of this computer could learn "
                    "the secret of the pseudonyms",
                    f"allow only its owner: chmod 600 {shlex.quote(str(file))}",
                )
            secret = opened.read(LARGEST_KEY + 1).strip()
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", make) from None
    if len(secret) < LEAST_KEY:
        raise UsageFault(f"{file} has fewer than {LEAST_KEY} bytes, so pseudonyms could be guessed", make)
    if len(secret) > LARGEST_KEY:
        raise UsageFault(f"{file} is too large for a secret", make)
    return secret


def _write(file: Path, contents: Mapping[str, bytes]) -> None:
    """Write the archive with mode 0600. Raise IntegrityFault if the file exists or cannot be written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            archive.writestr(entry, data)
    try:
        with open_folder(file.absolute().parent) as folder:
            create_file(folder, file.name, buffer.getvalue())
    except OSError as error:
        raise IntegrityFault(f"{file} cannot be written: {error.strerror}", "give a new file: -o FILE") from None
