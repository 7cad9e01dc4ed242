"""The result of `verify fido2` for one key as a row or a receipt, and the table of checks of each verification."""

import hashlib

from mfa_kit import __version__
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import Cell, ResultRow
from mfa_kit.core.checks import Failed, Passed, Value
from mfa_kit.core.text import iso_time
from mfa_kit.security_keys.attestation import Examined
from mfa_kit.security_keys.authenticator import MetadataSource, Trusted


def check_rows(answer: Passed | Failed) -> list[ResultRow]:
    """Return a row per check, with the fields `check`, `result`, `detail` and `source`."""
    return [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in answer.checks
    ]


def print_answer(schema: str, subject: ResultRow, answer: Passed | Failed, output: Output) -> int:
    """Print the checks, and return the exit code: 0 for Proof, 1 for Refused.

    In JSON, also print the fields of `subject`, which say what was verified.
    """
    proven, rows = isinstance(answer, Passed), check_rows(answer)
    if output.form == "json":
        output.one(schema, {**subject, "answer": "proof" if proven else "refused", "checks": rows})
    else:
        output.many(schema, rows, empty="nothing was checked")
    return 0 if proven else 1


def line_of(examined: Examined, *, asset: str | None) -> ResultRow:
    """Return a key's result as one row: the verdict, the key's model and serial, and the checks that failed."""
    evidence = examined.evidence
    answer = examined.answer
    return {
        "verdict": "proof" if isinstance(answer, Passed) else "refused",
        "model": evidence.model.name if evidence.model else None,
        "serial": evidence.before.plugged.serial,
        "asset": asset,
        "aaguid": evidence.registration.aaguid,
        "firmware": evidence.firmware and str(evidence.firmware),
        "at": iso_time(evidence.at),
        "failed": [check.name for check in answer.checks if check.value is Value.FAIL],
        "warned": [check.name for check in answer.checks if check.value is Value.WARN],
    }


def receipt_of(examined: Examined, *, asset: str | None) -> ResultRow:
    """Return a key's result with all the evidence (the receipt). docs/verify-fido2.md describes the fields."""
    evidence = examined.evidence
    return {
        "mfa_kit": __version__,
        **line_of(examined, asset=asset),
        "product": evidence.before.plugged.product,
        "place": evidence.before.plugged.where,
        "versions": evidence.before.versions,
        "attestation": evidence.registration.format,
        "certificates_sha256": [hashlib.sha256(certificate).hexdigest() for certificate in evidence.registration.chain],
        "root_sha256": evidence.trust.root if isinstance(evidence.trust, Trusted) else None,
        "metadata": _source_cell(evidence.source),
        "checks": check_rows(examined.answer),
    }


def _source_cell(source: MetadataSource | None) -> Cell:
    if source is None:
        return None
    return {
        "name": source.name,
        "number": source.number,
        "next_update": source.next_update.isoformat(),
        "root_sha256": source.root,
    }
