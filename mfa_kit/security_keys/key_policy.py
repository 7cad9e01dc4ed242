"""Reads a policy file, which has requirements on security keys, and compares a policy with IAM's data about a key."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.firmware import Version
from mfa_kit.core.message import suggest

# Levels of certification by FIDO and by FIPS 140, from low to high (FIDO Metadata Service 3, 3.1.4,
# AuthenticatorStatus).
LEVELS = (
    "FIDO_CERTIFIED",
    "FIDO_CERTIFIED_L1",
    "FIDO_CERTIFIED_L1plus",
    "FIDO_CERTIFIED_L2",
    "FIDO_CERTIFIED_L2plus",
    "FIDO_CERTIFIED_L3",
    "FIDO_CERTIFIED_L3plus",
)
FIPS = ("FIPS140_CERTIFIED_L1", "FIPS140_CERTIFIED_L2", "FIPS140_CERTIFIED_L3", "FIPS140_CERTIFIED_L4")
# The transports of WebAuthn Level 3 (5.8.4) and of its earlier versions, and Apple's Lightning connector.
TRANSPORTS = ("usb", "nfc", "ble", "smart-card", "hybrid", "internal", "cable", "lightning")
MODEL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """The requirements on a key (docs/keys.md). The default requires only a genuine key."""

    models: tuple[str, ...] = ()
    certification: str | None = None
    fips: int | None = None
    firmware: Version | None = None
    pin: bool = False
    user_verification: bool = False
    transports: tuple[str, ...] = ()
    signed_metadata: bool = False
    no_advisories: bool = False

    def lacking(self, certifications: Mapping[str, str]) -> tuple[str, ...]:
        """Return a sentence for each requirement on certifications that a key does not meet according to IAM.

        `certifications` is what GetMFADevice returns for the key: the level of each certification by its name, such as
        FIDO. Other requirements are not compared, because IAM does not report them.
        """
        return tuple(self._lacking(certifications))

    def _lacking(self, certifications: Mapping[str, str]) -> Iterator[str]:
        if self.certification and not _certified(self.certification, certifications.get("FIDO")):
            reported = f"FIDO {certifications['FIDO']}" if certifications.get("FIDO") else "no FIDO certification"
            yield f"the policy requires {self.certification}, but IAM reports {reported}"
        if self.fips:
            levels = [level for name, level in certifications.items() if "FIPS" in name]
            if not any(level[-1:].isdecimal() and int(level[-1:]) >= self.fips for level in levels):
                yield f"the policy requires FIPS 140 level {self.fips}, but IAM reports {', '.join(levels) or 'none'}"


def _certified(required_level: str, reported_level: str | None) -> bool:
    level = f"FIDO_CERTIFIED_{reported_level}"
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(required_level)


def parse_policy(text: str) -> KeyPolicy:
    """Parse a policy file (TOML, docs/keys.md). Raise UsageFault for an invalid file."""
    try:
        table: dict[str, object] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageFault(
            f"the policy is not valid TOML: {error}",
            suggest("correct it; for the format, see", "help keys/policy-file"),
        ) from None
    for name in table:
        if name not in _READERS:
            raise UsageFault(
                f"unknown setting {name!r} in the policy", f"remove it, or use one of {', '.join(_READERS)}"
            )
    policy = KeyPolicy()
    for name, value in table.items():
        policy = _READERS[name](policy, name, value)
    return policy


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _unfit(name, "true or false")
    return value


def _models(name: str, value: object) -> tuple[str, ...]:
    models = tuple(model.lower() for model in _texts(name, value))
    if not models or not all(MODEL.fullmatch(model) for model in models):
        raise _unfit(
            name,
            "a list of AAGUIDs such as d7781e5d-e353-46aa-afe2-3ca49f13332a, or of key identifiers "
            "(40 hexadecimal digits)",
        )
    return models


def _texts(name: str, value: object) -> tuple[str, ...]:
    entries: list[object] = value if isinstance(value, list) else [None]
    texts = tuple(text for text in entries if isinstance(text, str))
    if len(texts) < len(entries):
        raise _unfit(name, "a list of strings")
    return texts


def _transport_names(name: str, value: object) -> tuple[str, ...]:
    names = _texts(name, value)
    if not set(names) <= set(TRANSPORTS):
        raise _unfit(name, f"a list of values from {', '.join(TRANSPORTS)}")
    return names


def _level(name: str, value: object) -> str:
    level = f"FIDO_CERTIFIED_{value}"
    if level not in LEVELS:
        raise _unfit(name, "one of L1, L1plus, L2, L2plus, L3, L3plus")
    return level


def _fips_level(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(1, len(FIPS) + 1):
        raise _unfit(name, "a FIPS 140 level, 1 to 4")
    return int(value)


def _dotted(name: str, value: object) -> Version:
    version = Version.parse(value)
    if version is None:
        raise _unfit(name, 'a version such as "5.7.0"')
    return version


def _unfit(name: str, valid_form: str) -> UsageFault:
    return UsageFault(f"invalid value of {name} in the policy", f"write {valid_form}")


# The keys of the file, each with the function that reads its value into the policy.
_READERS: dict[str, Callable[[KeyPolicy, str, object], KeyPolicy]] = {
    "models": lambda policy, name, value: replace(policy, models=_models(name, value)),
    "certification": lambda policy, name, value: replace(policy, certification=_level(name, value)),
    "fips": lambda policy, name, value: replace(policy, fips=_fips_level(name, value)),
    "firmware": lambda policy, name, value: replace(policy, firmware=_dotted(name, value)),
    "pin": lambda policy, name, value: replace(policy, pin=_switch(name, value)),
    "user-verification": lambda policy, name, value: replace(policy, user_verification=_switch(name, value)),
    "transports": lambda policy, name, value: replace(policy, transports=_transport_names(name, value)),
    "signed-metadata": lambda policy, name, value: replace(policy, signed_metadata=_switch(name, value)),
    "no-advisories": lambda policy, name, value: replace(policy, no_advisories=_switch(name, value)),
}
