"""Values of FIDO security keys: what a key reports about itself, what it signed, and what is published about its model.

What a key claims and what is proven about it have different types: `KeyInfo` is what a key reports about itself, and
only `Trusted` has a proven model. Most fields have their names from CTAP 2.1, WebAuthn Level 3 or the FIDO Metadata
Service 3.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.firmware import Version
from mfa_kit.core.message import suggest
from mfa_kit.core.otp import Secret
from mfa_kit.core.recorded_keys import KeyFacts, vendor_of

# The smallest minimum length of a PIN, in Unicode code points, and the maximum length, in octets of UTF-8 (CTAP 2.1,
# 6.5.1). A key may have a larger minimum.
SHORTEST_PIN = 4
LONGEST_PIN = 63
# The length of a generated PIN. Eight digits are enough, because a key allows only eight tries.
DIGITS = 8
# How often a digit may occur in a PIN of digits on a key with the rules of Token2 PIN+.
MOST_EQUAL = 3
# The numbers in Yubico's blocklist of PINs (YubiKey 5.7, PIN complexity) that follow no other rule.
BLOCKED_PINS = {"112233", "121212", "123123", "123654", "159753", "520520"}


# What a reset costs, and the message and hint for a key without PIN tries (CTAP 2.1, 6.5.3).
RESET_COST = (
    "a reset erases the PIN and the credentials for every site and account, on some keys the OATH credentials too"
)
PIN_LOCKED = (
    "the PIN of this key is locked for good",
    suggest(f"use another key, or reset this one; {RESET_COST}", "key reset"),
)


class Pin(Secret[str]):
    """The PIN of a key, in Unicode normalization form C (CTAP 2.1, 6.5.1)."""

    __slots__ = ()

    def fits(self, shortest: int) -> bool:
        """Return whether a key with the minimum length `shortest` can have this PIN. If not, a try would be wasted."""
        return len(self._value) >= shortest and len(self._value.encode()) <= LONGEST_PIN

    def is_simple(self) -> bool:
        """Return whether some keys refuse this PIN of digits, because it is easy to guess.

        These are numbers in which a digit occurs more than three times, palindromes and numbers whose digits differ by
        the same step (Token2 PIN+), and the numbers in Yubico's blocklist that none of these rules covers.
        """
        digits = [int(digit) for digit in self._value]
        steps = {(after - before) % 10 for before, after in pairwise(digits)}
        most = max(Counter(digits).values())
        return most > MOST_EQUAL or digits == digits[::-1] or len(steps) == 1 or self._value in BLOCKED_PINS


class Link(StrEnum):
    """How a key is connected: over USB HID, or through a smart card reader (PC/SC)."""

    HID = "usb"
    PCSC = "reader"


class StatementKind(StrEnum):
    """The kind of an attestation statement (WebAuthn, 6.5.3 and 8)."""

    CHAIN = "signed with the manufacturer's certificate"
    SELF = "self-attestation"
    NONE = "none"
    PLATFORM = "an attestation format of computers and phones"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluggedKey:
    """A key that is plugged in and can be opened.

    `where` is a device node or a reader's name. It does not identify the key, because nodes and names change.
    """

    where: str
    link: Link
    product: str | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What a key reports about itself (authenticatorGetInfo, CTAP 2.1, 6.4, and CTAP 2.3 for the last four fields).

    A field has its default value if the key does not report it. `pin_retries` is the number of PIN tries left, and
    `replug` says whether the key must be unplugged before the next try. `resident_used` and `resident_free` say how
    many resident credentials the key has, and how many more fit. `long_touch_for_reset` says whether a reset needs a
    long touch, and `transports_for_reset` over which transports a reset is possible. `pin_complexity` says whether the
    key refuses simple PINs, and `max_pin_length` is the maximum length of a PIN in characters.
    """

    plugged: PluggedKey
    versions: tuple[str, ...]
    aaguid: str | None = None
    firmware: Version | None = None
    transports: tuple[str, ...] = ()
    options: Mapping[str, bool] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    algorithms: tuple[int, ...] = ()
    certifications: Mapping[str, int] = field(default_factory=dict)
    min_pin_length: int = SHORTEST_PIN
    force_pin_change: bool = False
    pin_retries: int | None = None
    replug: bool = False
    resident_free: int | None = None
    resident_used: int | None = None
    long_touch_for_reset: bool = False
    transports_for_reset: tuple[str, ...] = ()
    pin_complexity: bool | None = None
    max_pin_length: int = LONGEST_PIN

    @property
    def facts(self) -> KeyFacts:
        """What the key claims about itself, without any proof."""
        plugged = self.plugged
        return KeyFacts(
            serial=plugged.serial, model=plugged.product, aaguid=self.aaguid, vendor=vendor_of(plugged.product)
        )

    @property
    def ctap2(self) -> bool:
        """Whether the key supports CTAP 2. A key without CTAP 2 has no PIN and cannot be reset."""
        return any(version.startswith("FIDO_2") for version in self.versions)

    @property
    def pin_set(self) -> bool | None:
        """Whether a PIN is set, or None if the key does not support PINs."""
        return self.options.get("clientPin")

    @property
    def pin_locked(self) -> bool:
        """Whether a PIN is set, but no tries are left."""
        return bool(self.pin_set) and self.pin_retries == 0

    @property
    def always_uv(self) -> bool:
        """Whether the key verifies its user for every registration and every signature (CTAP 2.1, 7.2)."""
        return self.options.get("alwaysUv", False)

    @property
    def wants_uv(self) -> bool:
        """Whether makeCredential requires user verification even if it is not requested (CTAP 2.1, 6.1.2)."""
        return self.always_uv or bool(self.verifies and not self.options.get("makeCredUvNotRqd"))

    @property
    def verifies(self) -> bool:
        """Whether user verification is set up: a PIN, or a method of the key such as a fingerprint."""
        return bool(self.pin_set or self.options.get("uv"))


# For each kind of connection, the transports that it may use (WebAuthn Level 3, 5.8.4). A USB key can also appear as a
# card reader.
RESETS_OVER = {Link.HID: {"usb"}, Link.PCSC: {"nfc", "smart-card", "usb"}}


def check_reset(info: KeyInfo) -> None:
    """Raise DeviceFault for a key that cannot be reset at all, or not over its present connection."""
    if not info.ctap2:
        raise DeviceFault("a U2F key cannot be reset", "use it as it is: it has nothing to erase")
    transports = RESETS_OVER[info.plugged.link]
    if info.transports_for_reset and not transports & {name.lower() for name in info.transports_for_reset}:
        raise DeviceFault(
            f"this key can be reset only over {' or '.join(info.transports_for_reset)}",
            "connect it in that way, and repeat the command",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A key's answer to makeCredential or U2F_REGISTER. `chain` holds DER certificates, the key's own first.

    `flaw` says why the statement is not valid. `names_model` says whether the key's own certificate contains the AAGUID
    that the key claims (id-fido-gen-ce-aaguid). `firmware` is the version that the manufacturer wrote into this
    certificate. `present` and `verified` are the flags for user presence and user verification, and `counter` is the
    signature counter. `remark` names a defect of the certificate that does not make it invalid.
    """

    format: str
    statement: StatementKind
    flaw: str | None = None
    chain: tuple[bytes, ...] = ()
    aaguid: str | None = None
    names_model: bool = False
    firmware: Version | None = None
    algorithm: int | None = None
    present: bool = False
    verified: bool = False
    counter: int = 0
    remark: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """A key's answer to getAssertion or U2F_AUTHENTICATE. `flaw` says why the signature is not valid.

    `present` and `verified` are the flags for user presence and user verification, and `counter` is the signature
    counter.
    """

    flaw: str | None = None
    present: bool = False
    verified: bool = False
    counter: int = 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """A status report by the FIDO Alliance about a model, and the day from which it applies (YYYY-MM-DD)."""

    status: str
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The published data of a model.

    A FIDO2 model has an `aaguid`, and a U2F model has the key identifiers of its certificates (`identifiers`).
    """

    name: str
    aaguid: str | None = None
    identifiers: tuple[str, ...] = ()
    version: int | None = None
    statuses: tuple[StatusReport, ...] = ()
    attestation: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    roots: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSource:
    """The source of the metadata.

    `root` is the SHA-256 of the root certificate to which the signature of the metadata chains; None for unsigned
    metadata. `models` is the number of models that were read, and `passed_over` the number of entries that could not be
    read.
    """

    name: str
    root: str | None
    number: int
    next_update: date
    models: int
    passed_over: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """The proof of a key's model: its certificate chains to a root certificate that the metadata lists for the model.

    `root` is the SHA-256 of that root certificate. `others` are the other entries in the metadata for the same AAGUID
    or key identifier. Each rule is applied to them too.
    """

    model: Model
    root: str
    others: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Untrusted:
    """The reason why the key's model is not proven. `model` is what is published about the model that the key claims.

    `model` is None if the key claims no model, or if nothing is published about the model. `others` are the other
    entries in the metadata for the same AAGUID or key identifier.
    """

    reason: str
    model: Model | None = None
    others: tuple[Model, ...] = ()
