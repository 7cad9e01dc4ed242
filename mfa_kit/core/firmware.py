"""Published facts about the firmware of security keys: advisories, and how many OATH credentials fit on a YubiKey."""

import re
from dataclasses import dataclass
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

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """An advisory on a firmware flaw.

    The flaw affects the models whose names match `models`, from version `since` up to but excluding `before`. `what`
    describes the flaw.

    `unfit` means that the key's signatures cannot be relied on, so the key must not be used for FIDO. `oath` says
    whether the flaw affects OATH.
    """

    name: str
    models: re.Pattern[str]
    since: Version
    before: Version
    what: str
    unfit: bool = False
    oath: str = "OATH is not affected"

    @property
    def source(self) -> str:
        """The URL of the advisory."""
        return f"https://www.yubico.com/support/security-advisories/{self.name.lower()}/"

    def about(self, model: str) -> bool:
        """Return whether the advisory affects any firmware version of the model with this name."""
        return bool(self.models.search(model))


ANY = re.compile(r"yubikey|yk4|yubico", re.IGNORECASE)
# Source for PIV and OpenPGP: support.yubico.com, "Infineon ECDSA Private Key Recovery - Customer Resources".
COPIED = "anyone who has the key for a while can copy its FIDO, PIV and OpenPGP private keys (EUCLEAK)"
ADVISORIES = (
    Advisory(
        name="YSA-2024-03",
        models=re.compile(r"yubikey bio", re.IGNORECASE),
        since=Version(5, 0, 0),
        before=Version(5, 7, 2),
        what=COPIED,
    ),
    Advisory(
        name="YSA-2024-03",
        # A reader's name, such as "Yubico YubiKey OTP+FIDO+CCID", does not contain the series of the key. The advisory
        # names no series with firmware before 5.0.
        models=re.compile(r"yubikey 5|yubico yubikey|security key\b.*\byubico", re.IGNORECASE),
        since=Version(5, 0, 0),
        before=Version(5, 7, 0),
        what=COPIED,
    ),
    Advisory(
        name="YSA-2019-02",
        models=ANY,
        since=Version(4, 4, 2),
        before=Version(4, 4, 5),
        what="the key's first signatures after power-up are made with too little randomness",
        unfit=True,
        # Source: SecurityWeek, "Yubico Replacing YubiKey FIPS Devices Due to Security Issue", 2019-06. The article has
        # no details on OATH.
        oath="Yubico says that OATH is affected too",
    ),
    Advisory(
        name="YSA-2017-01",
        models=ANY,
        since=Version(4, 2, 6),
        before=Version(4, 3, 5),
        what="RSA keys that it generated are weak (ROCA); FIDO is not affected",
    ),
    # The versions are those in CVE-2025-29991, which names no series of YubiKeys. This advisory is last, because
    # `verify fido2` reports only the first advisory that affects a key, and the others are more serious.
    Advisory(
        name="YSA-2025-02",
        models=re.compile(r"yubikey (5|bio)|yubico yubikey|security key\b.*\byubico", re.IGNORECASE),
        since=Version(5, 4, 1),
        before=Version(5, 7, 4),
        what="with PIN/UV auth protocol 2, the key checks only half of the proof that the PIN was entered",
    ),
)
# The maximum number of credentials in a YubiKey's OATH applet, by firmware ("YubiKey Technical Manual", OATH).
_OATH_CREDENTIALS = ((Version(5, 7, 0), 64), (Version(4, 0, 0), 32), (Version(3, 0, 0), 28))


def advisories(model: str, version: Version) -> list[Advisory]:
    """Return the advisories that affect this model with this firmware version."""
    return [
        advisory for advisory in ADVISORIES if advisory.about(model) and advisory.since <= version < advisory.before
    ]


def oath_credentials(version: tuple[int, ...]) -> int | None:
    """Return how many OATH credentials fit on a YubiKey with this firmware, or None if that is not published."""
    return next((most for since, most in _OATH_CREDENTIALS if version >= since), None)
