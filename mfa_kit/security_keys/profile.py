"""Profiles of security keys: how a station prepares each key, and what a key lacks for a profile.

Nothing here accesses a key. `compare_profile` uses only what a key reports about itself, so that a key that lacks a
part of a profile is refused before anything is written to it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.message import Message, suggest
from mfa_kit.security_keys.authenticator import DIGITS, LONGEST_PIN, SHORTEST_PIN, KeyInfo, check_reset

# The maximum length of a random PIN. With more digits, few numbers have no digit more than three times.
LONGEST_RANDOM_PIN = 16


class NewPin(StrEnum):
    """Where the PIN of a key comes from: a person types it, or mfa-kit generates digits."""

    TYPED = "typed"
    RANDOM = "random"


class Half(StrEnum):
    """Which of its two halves of a key get a device: FIDO2 through the console, OATH, or both."""

    FIDO2 = "fido2"
    OATH = "oath"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProfile:
    """How the keys of a station are prepared: the table `[profile.NAME]` in the configuration file.

    `pin_length` is the length of a random PIN. It is encrypted to `recipients`. A field that is None or False leaves
    its part of the key as it is. `require` is the path of a key policy. With `attestation`, each key must be genuine.
    `enroll` limits the rows for which the profile may be used.
    """

    name: str
    reset: bool = False
    pin: NewPin | None = None
    pin_length: int = DIGITS
    min_pin_length: int | None = None
    force_pin_change: bool = False
    always_uv: bool = False
    require: str | None = None
    attestation: bool = True
    enroll: Half | None = None
    recipients: tuple[str, ...] = ()

    @property
    def prepares_keys(self) -> bool:
        """Whether a key is prepared before it is enrolled."""
        return bool(self.reset or self.pin or self.attestation)

    @property
    def warnings(self) -> tuple[Message, ...]:
        """What users must know because the profile may lock them out in some browsers."""
        return tuple(
            warning
            for chosen, warning in ((self.force_pin_change, FORCED_CHANGE), (self.always_uv, ALWAYS_UV))
            if chosen
        )


# Tests of "Can I authenticate", last done on 2025-05-13. Linux was not tested.
FORCED_CHANGE = suggest(
    "warning: with force-pin-change, the key refuses its PIN until the user has changed it. Safari on macOS, iOS and "
    "iPadOS, Firefox on macOS and Android, and Chrome and Firefox on Windows 10 do not offer that, so they lock the "
    "user out. Chrome on macOS, and Chrome and Firefox on Windows 11, ask for a new PIN. To change the PIN without a "
    "browser",
    "key pin change",
)
ALWAYS_UV = suggest(
    "warning: with always-uv, Safari on macOS, iOS and iPadOS and Firefox on macOS register the key as a second factor "
    "but cannot sign in with it, and Chrome and Firefox on Windows 10 can only partly. To change the PIN that all "
    "other browsers then ask for",
    "key pin change",
)


def parse_profile(name: str, table: object) -> KeyProfile:
    """Return the profile in a table of the configuration file. Raise UsageFault for an unknown key or a wrong value."""
    if not isinstance(table, Mapping):
        raise UsageFault(f"profile {name} is not a table", f"write [profile.{name}], and its settings below it")
    for key, setting in table.items():
        _check_setting(name, key, setting)
    settings = {key.replace("-", "_"): setting for key, setting in table.items()}
    for key, kind in (("pin", NewPin), ("enroll", Half)):
        if key in settings:
            settings[key] = kind(settings[key])
    profile = KeyProfile(name=name, **{**settings, "recipients": tuple(settings.get("recipients", ()))})
    if fault := next(_conflicts(profile), None):
        raise UsageFault(f"profile {name}: {fault[0]}", fault[1])
    return profile


# The condition that a setting meets, and how such a setting is written.
SettingRule = tuple[Callable[[object], bool], str]
_SWITCH: SettingRule = (lambda setting: isinstance(setting, bool), "true or false")
_LENGTH: SettingRule = (
    lambda setting: type(setting) is int and SHORTEST_PIN <= setting <= LONGEST_PIN,
    f"a number from {SHORTEST_PIN} to {LONGEST_PIN}",
)


def _one_of(kinds: type[StrEnum]) -> SettingRule:
    words = [kind.value for kind in kinds]
    return lambda setting: setting in words, " or ".join(f'"{word}"' for word in words)


RULES: Mapping[str, SettingRule] = {
    "reset": _SWITCH,
    "pin": _one_of(NewPin),
    "pin-length": _LENGTH,
    "min-pin-length": _LENGTH,
    "force-pin-change": _SWITCH,
    "always-uv": _SWITCH,
    "require": (lambda setting: isinstance(setting, str), "a string in quotes"),
    "attestation": _SWITCH,
    "enroll": _one_of(Half),
    "recipients": (
        lambda setting: isinstance(setting, list) and all(isinstance(text, str) for text in setting),
        'a list of strings, ["…", "…"]',
    ),
}


def _check_setting(name: str, key: str, setting: object) -> None:
    if key not in RULES:
        close = get_close_matches(key, RULES, n=1)
        raise UsageFault(
            f"profile {name}: unknown key {key!r}",
            f"did you mean {close[0]!r}?" if close else f"remove it, or use one of {', '.join(RULES)}",
        )
    is_valid, expected = RULES[key]
    if not is_valid(setting):
        raise UsageFault(f"profile {name}: {key} has the wrong value {setting!r}", f"use {expected}")


def _conflicts(profile: KeyProfile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with settings that are each valid, and what to do."""
    if profile.pin is None and any((profile.min_pin_length, profile.force_pin_change, profile.always_uv)):
        yield "min-pin-length, force-pin-change and always-uv need a PIN", 'add pin = "random" or pin = "typed"'
    if profile.pin is NewPin.RANDOM:
        yield from _conflicts_of_random(profile)


def _conflicts_of_random(profile: KeyProfile) -> Iterator[tuple[str, str]]:
    if not profile.recipients:
        yield "a random PIN is encrypted, so it needs recipients", 'add recipients = ["age1…"]'
    if profile.pin_length > LONGEST_RANDOM_PIN:
        yield "the random PIN is too long", f"use at most {LONGEST_RANDOM_PIN} digits"
    if profile.pin_length < (profile.min_pin_length or 0):
        yield (
            f"a random PIN of {profile.pin_length} digits is shorter than min-pin-length {profile.min_pin_length}",
            "raise pin-length",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What is known about a key before it is prepared.

    `oath` says whether the key has an OATH applet; None means that this is unknown. `pin_known` says that mfa-kit may
    have set the PIN that the key has, and wrote it down.
    """

    info: KeyInfo
    oath: bool | None = None
    pin_known: bool = False


def compare_profile(profile: KeyProfile, state: KeyState) -> tuple[str, ...]:
    """Return a sentence for each part of the profile that the key lacks, according to what it reports."""
    return (*_lacking_reset(profile, state.info), *_lacking_pin(profile, state), *_lacking_oath(profile, state))


def _lacking_reset(profile: KeyProfile, info: KeyInfo) -> Iterator[str]:
    if profile.reset:
        try:
            check_reset(info)
        except DeviceFault as fault:
            yield f"reset: {fault}"


def _lacking_pin(profile: KeyProfile, state: KeyState) -> Iterator[str]:
    if profile.pin is None:
        return
    if state.info.pin_set is None:
        yield "pin: the key does not support a PIN"
        return
    yield from _lacking_new_pin(profile, state)
    if (profile.min_pin_length or 0) > state.info.max_pin_length:
        yield f"min-pin-length: a PIN of this key has at most {state.info.max_pin_length} characters"
    yield from _lacking_policy(profile, state.info)


def _lacking_policy(profile: KeyProfile, info: KeyInfo) -> Iterator[str]:
    """Yield which rules about the PIN and its use the key cannot have (authenticatorConfig, CTAP 2.1, 6.11)."""
    shortest, options = profile.min_pin_length or 0, info.options if info.options.get("authnrCfg") else {}
    has_policy = options.get("setMinPINLength")
    if shortest > info.min_pin_length and not has_policy:
        yield (
            "min-pin-length: the key does not support setMinPINLength, and its minimum is "
            f"{info.min_pin_length}, not {shortest}"
        )
    if profile.force_pin_change and not has_policy:
        yield "force-pin-change: the key does not support setMinPINLength"
    if profile.always_uv and not info.always_uv and "alwaysUv" not in options:
        yield "always-uv: the key does not support alwaysUv"


def _lacking_new_pin(profile: KeyProfile, state: KeyState) -> Iterator[str]:
    """Yield why the key cannot get its PIN."""
    info = state.info
    # A reset lowers the minimum length to that of a new key, which is then compared again.
    shortest = SHORTEST_PIN if profile.reset else info.min_pin_length
    if profile.pin is NewPin.RANDOM and not shortest <= profile.pin_length <= info.max_pin_length:
        yield (
            f"pin-length: a PIN of this key has {shortest} to {info.max_pin_length} characters, "
            f"not {profile.pin_length}"
        )
    if profile.reset or not info.pin_set:
        return
    if info.pin_locked:
        yield "pin: the PIN of the key is locked for good, and the profile does not reset the key"
    elif info.force_pin_change:
        yield "pin: the key requires a new PIN first, and the profile does not reset the key"
    elif profile.pin is NewPin.RANDOM and not state.pin_known:
        yield "pin: the key already has a PIN, and the profile does not reset the key"


def _lacking_oath(profile: KeyProfile, state: KeyState) -> Iterator[str]:
    if profile.enroll in {Half.OATH, Half.BOTH} and state.oath is False:
        yield "enroll: the key has no OATH applet"
    if profile.enroll in {Half.OATH, Half.BOTH} and state.oath is None:
        yield "enroll: it is not known whether the key has an OATH applet"
