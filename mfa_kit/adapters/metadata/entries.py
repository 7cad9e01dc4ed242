"""Parses metadata entries (FIDO Metadata Service 3, 3.1.1) from JSON. Each entry describes one model."""

import base64
import re
from collections.abc import Mapping
from datetime import date

from mfa_kit.security_keys.authenticator import Model, StatusReport

AAGUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDENTIFIER = re.compile(r"[0-9a-f]{40}")
LONGEST_NAME = 128


def published_model(entry: object) -> Model | None:
    """Return the model that an entry describes, or None if the entry is for another protocol (UAF, with an `aaid`).

    Raise one of the errors in `chain.GARBLED` if the entry does not follow the standard.
    """
    said = _object(entry)
    aaguid, identifiers = said.get("aaguid"), _list(said.get("attestationCertificateKeyIdentifiers"))
    if aaguid is None and not identifiers:
        return None
    known = _matching(AAGUID, [] if aaguid is None else [aaguid])
    identified = _matching(IDENTIFIER, identifiers)
    statement = _object(said.get("metadataStatement") or {})
    info = _object(statement.get("authenticatorGetInfo") or {})
    return Model(
        name=_text(statement.get("description") or [*known, *identified][0]),
        aaguid=known[0] if known else None,
        identifiers=identified,
        version=_number(statement.get("authenticatorVersion") or 0),
        statuses=tuple(map(_status, _list(said["statusReports"], empty=False))),
        attestation=tuple(map(_text, _list(statement.get("attestationTypes")))),
        transports=tuple(map(_text, _list(info.get("transports")))),
        roots=tuple(dict.fromkeys(map(_der, _list(statement.get("attestationRootCertificates"))))),
    )


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _list(value: object, *, empty: bool = True) -> list[object]:
    """Return a JSON array. With `empty`, return an empty list for a null or missing value."""
    if empty and not value:
        return []
    if not isinstance(value, list):
        raise TypeError("no array")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    # JSON strings may contain lone surrogates, which cannot be encoded.
    value.encode()
    return value[:LONGEST_NAME]


def _number(value: object) -> int:
    if not isinstance(value, int | float | str):
        raise TypeError("no number")
    return int(value)


def _matching(form: re.Pattern[str], values: list[object]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError("no AAGUID or key identifier")
    return tuple(map(str, values))


def _der(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError("no base64")
    return base64.b64decode(value)


def _status(report: object) -> StatusReport:
    said = _object(report)
    day = said.get("effectiveDate")
    return StatusReport(_text(said["status"]), None if day is None else date.fromisoformat(_text(day)).isoformat())
