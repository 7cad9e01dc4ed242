"""The file with the advisories on security keys."""

import re
import tomllib
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.firmware import DOTTED, Advisory, Version
from mfa_kit.core.message import suggest

FORM = suggest("write a list of tables [[advisory]]; for the format, see", "help formats")
_TEXT, _URL = (r"(?s).*\S.*", "text"), (r"https://[!-~]+", "a URL that begins with https://")
_VERSION = (DOTTED, 'a version such as "5.7.0"')
_PATTERNS = (_TEXT[0], 'a list of patterns such as ["YubiKey 5*"]')
_LISTS = {"models", "certifications", "aaguids"}
# The fields of an advisory, each with the form of its text, or of the texts in its list, and what it should be.
_FIELDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("name", "what", "oath", "quote"), _TEXT),
    **dict.fromkeys(("source", "quoted_from"), _URL),
    **dict.fromkeys(("models", "certifications"), _PATTERNS),
    "aaguids": (r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a list of AAGUIDs, such as those of `key metadata`"),
    **dict.fromkeys(("since", "before"), _VERSION),
    "unfit": ("true", "true or false"),
}


def parse_advisories(octets: bytes, name: str) -> list[Advisory]:
    """Parse the advisory file `name` (TOML, docs/formats.md). Raise UsageFault if it has a fault."""
    try:
        document = tomllib.loads(octets.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{name} is not TOML: {error}", FORM) from None
    entries = document.pop("advisory", None)
    if document or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries or [None]):
        raise UsageFault(f"{name} is not a list of advisories", FORM)
    return [_parse_entry(entry, f"advisory {number} of {name}") for number, entry in enumerate(entries, 1)]


def _parse_entry(entry: dict[str, object], place: str) -> Advisory:
    if unknown := next((field for field in entry if field not in _FIELDS), None):
        raise UsageFault(f"{place} has an unknown field {unknown[:40]!a}", f"use only {', '.join(_FIELDS)}")
    if missing := next((field for field in ("name", "source", "what") if field not in entry), None):
        raise UsageFault(f"{place} has no field {missing!r}", FORM)
    values: dict[str, Any] = {field: _read(field, content, place) for field, content in entry.items()}
    advisory = Advisory(**values)
    if not advisory.models and not advisory.aaguids:
        raise UsageFault(f"{place} names no model", "add models or aaguids")
    if advisory.before and advisory.since >= advisory.before:
        why = f"since is {advisory.since}, and before is {advisory.before}"
        raise UsageFault(f"{place} affects no version: {why}", "correct them")
    return advisory


def _read(field: str, content: object, place: str) -> object:
    pattern, form = _FIELDS[field]
    texts = _texts(field, content)
    if not texts or not all(re.fullmatch(pattern, text) for text in texts):
        raise UsageFault(f"{field} of {place} is not {form}", FORM)
    if field in {"since", "before"}:
        return Version.parse(content)
    return tuple(map(str.lower, texts)) if field in _LISTS else content


def _texts(field: str, content: object) -> list[str]:
    """Return the texts in a field, or an empty list if the field has content of another type."""
    match content:
        case bool() if field == "unfit":
            return ["true"]
        case str() if field != "unfit" and field not in _LISTS:
            return [content]
        case list() if field in _LISTS:
            return [text if isinstance(text, str) else "" for text in content]
        case _:
            return []
