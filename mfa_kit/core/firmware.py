"""Published facts about the firmware of security keys: advisories, and how many OATH credentials fit on a YubiKey.

A Verdict says whether an advisory names a key.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

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
        match = re.fullmatch(DOTTED, text) if isinstance(text, str) else None
        return cls(*map(int, match.groups())) if match else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


# Matches a version; the groups are its numbers.
DOTTED = r"(?a)(\d{1,3})\.(\d{1,3})\.(\d{1,3})"
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
    not be used for FIDO. `oath` says whether the flaw affects OATH; every text but NOT_OATH means that it may.
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
    oath: str = "the source does not say whether OATH is affected"
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
