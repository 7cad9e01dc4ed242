"""Reads a baseline: a TOML file of accepted findings. docs/formats.md describes the format."""

import re
import tomllib
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from mfa_kit.account.snapshot import Acceptance
from mfa_kit.core.errors import UsageFault

FIELDS = ("rule", "subject", "owner", "reason", "until")
FORM = "write each entry as a table [[accepted]] with rule, subject, owner, reason and until, and optionally account"
ACCOUNT = re.compile(r"\d{12}", re.ASCII)
# The maximum size of a file in octets. A baseline for 5,000 users has about a hundredth of this size.
LARGEST = 64 << 20


def read_baseline(file: Path, rules: Container[str]) -> list[Acceptance]:
    """Read a baseline. `rules` has the IDs of all rules.

    Raise UsageFault if the file cannot be read, or if it has wrong entries. The message names all wrong entries.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise UsageFault(f"{file} is too large for a baseline", FORM)
        document = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a baseline: --baseline FILE") from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is not TOML: {error}", FORM) from None
    entries = document.pop("accepted", [])
    if document or not isinstance(entries, list):
        name = next(iter(document), "accepted")
        raise UsageFault(f"{file} has {name!r}, which is not a list of tables [[accepted]]", FORM)
    wrong = [f"entry {number}: {why}" for number, row in enumerate(entries, 1) for why in _faults(row, rules)]
    if wrong:
        raise UsageFault(f"{file} has wrong entries: {'; '.join(wrong)}", FORM)
    return [_acceptance(row) for row in entries]


def _faults(row: object, rules: Container[str]) -> Iterator[str]:
    if not isinstance(row, dict):
        yield "it is not a table"
        return
    if unknown := sorted(set(row) - {*FIELDS, "account"}):
        yield f"unknown field {unknown[0]!r}"
    yield from _wrong_values(row, rules)


def _wrong_values(row: Mapping[str, Any], rules: Container[str]) -> Iterator[str]:
    for name in FIELDS[:-1]:
        if not isinstance(row.get(name), str) or not row[name].strip():
            yield f"{name} is missing or empty"
    if isinstance(row.get("rule"), str) and row["rule"] not in rules:
        yield f"there is no rule {row['rule']!r}"
    if "account" in row and not (isinstance(row["account"], str) and ACCOUNT.fullmatch(row["account"])):
        yield "account is not an account ID (12 digits in quotation marks)"
    if _day(row.get("until")) is None:
        yield "until is missing, or is not a date such as 2027-03-31"


def _day(value: object) -> date | None:
    """Return the date from a TOML date or from text in ISO 8601. Return None for any other value."""
    match value:
        case datetime():
            return None
        case date():
            return value
        case str():
            try:
                return date.fromisoformat(value)
            except ValueError:
                return None
        case _:
            return None


def _acceptance(row: Mapping[str, object]) -> Acceptance:
    day = _day(row["until"]) or date.min
    end = datetime.combine(day, time(), UTC) + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)
    return Acceptance(
        rule=str(row["rule"]),
        subject=str(row["subject"]),
        owner=str(row["owner"]),
        reason=str(row["reason"]),
        until=end.timestamp(),
        account=str(row.get("account", "")),
        day=day.isoformat(),
    )
