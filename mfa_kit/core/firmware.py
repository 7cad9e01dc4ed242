"""Published facts about the firmware of security keys: advisories, and how many OATH credentials fit on a YubiKey.

A Verdict says whether an advisory names a key.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Self

from mfa_kit.core.errors import UsageFault

OCTET = 0xFF


class Version(NamedTuple):
    """A firmware version."""

    major: int
    minor: int
    patch: int

    @classmethod
    def of(cls, number: int) -> Self | None:
        """Return the version that a number encodes, with one octet each for major, minor and patch.

        Return None if the major version is zero or larger than an octet.
        """
        return cls(number >> 16, number >> 8 & 0xFF, number & 0xFF) if 0 < number >> 16 <= OCTET else None

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Return the version that a text such as `5.7.0` names. Return None for anything else."""
        match = re.fullmatch(_DOTTED, text) if isinstance(text, str) else None
        return cls(*map(int, match.groups())) if match else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


_DOTTED = r"(?a)(\d{1,3})\.(\d{1,3})\.(\d{1,3})"
NOT_OATH = "OATH is not affected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """An advisory on a flaw of some models, or a recall of them. `what` describes the flaw.

    The models are those whose names match one of the patterns in `models` (with `*`, `?` and `[]`, in lower case) or
    whose AAGUID is in `aaguids`. If there are `certifications`, which are patterns too, only keys with such a
    certification are affected. The flaw affects firmware from version `since` up to but excluding `before`; None means
    every later version.

    `source` is the URL of the advisory, `quote` a sentence that says which keys are affected, and `quoted_from` the URL
    of its page if it is not the source. `unfit` means that the key's signatures cannot be relied on, so the key must
    not be used for FIDO. `oath` says whether the flaw affects OATH.
    """

    name: str
    source: str
    what: str
    models: tuple[str, ...] = ()
    aaguids: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    since: Version = Version(0, 0, 0)  # noqa: RUF009 - a version is immutable
    before: Version | None = None
    unfit: bool = False
    oath: str = NOT_OATH
    quote: str = ""
    quoted_from: str = ""

    def about(self, model: str) -> bool:
        """Return whether the advisory affects any firmware version of the model with this name."""
        return any(fnmatchcase(model.lower(), pattern) for pattern in self.models)

    def covers(self, version: Version) -> bool:
        """Return whether the advisory affects this firmware version of its models."""
        return self.since <= version and (self.before is None or version < self.before)

    @property
    def conditions(self) -> list[tuple[str, ...]]:
        """The names of the facts about a key that decide. Of each tuple, one fact has to match."""
        model = (*(["model"] if self.models else ()), *(["aaguid"] if self.aaguids else ()))
        certified = ("certifications",) if self.certifications else ()
        firmware = ("firmware",) if self.before or self.since > (0, 0, 0) else ()
        return [facts for facts in (model, certified, firmware) if facts]


class Verdict(StrEnum):
    """Whether advisories name a key, worst first.

    AFFECTED and NOT_LISTED follow from attested facts alone. PROBABLY means that the key claims some of the facts by
    which it is affected, and UNKNOWN that facts are missing, or that the key only claims not to be affected.
    """

    AFFECTED = "affected"
    PROBABLY = "probably"
    UNKNOWN = "unknown"
    NOT_LISTED = "not listed"

    @property
    def is_affected(self) -> bool:
        """Whether the key is affected, at least probably."""
        return self in {Verdict.AFFECTED, Verdict.PROBABLY}

    @property
    def rank(self) -> int:
        """The position in the order; 0 is the worst."""
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecall:
    """A device that is on a recorded key, and the verdict on the device.

    `since` is IAM's EnableDate, in Unix seconds, or None if unknown. `key` is the model and the firmware of the key,
    and `advisories` are the names of the advisories by which the device is affected, at least probably.
    """

    serial: str
    user: str
    since: float | None
    key: str
    verdict: Verdict
    advisories: tuple[str, ...] = ()


# The maximum number of credentials in a YubiKey's OATH applet, by firmware ("YubiKey Technical Manual", OATH).
_OATH_CREDENTIALS = ((Version(5, 7, 0), 64), (Version(4, 0, 0), 32), (Version(3, 0, 0), 28))


def advisories_on(model: str, version: Version, advisories: Iterable[Advisory]) -> list[Advisory]:
    """Return the advisories that affect the model with this name and this firmware version."""
    return [advisory for advisory in advisories if advisory.about(model) and advisory.covers(version)]


def oath_credentials(version: tuple[int, ...]) -> int | None:
    """Return how many OATH credentials fit on a YubiKey with this firmware, or None if that is not published."""
    return next((most for since, most in _OATH_CREDENTIALS if version >= since), None)


FORM = "docs/formats.md describes the format: a list of tables [[advisory]]"
_TEXT, _URL = (r"(?s).*\S.*", "text"), (r"https://[!-~]+", "a URL that begins with https://")
_VERSION = (_DOTTED, 'a version such as "5.7.0"')
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
        raise UsageFault(f"{place} has no {missing}", FORM)
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
