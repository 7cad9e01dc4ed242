"""Tests of profiles for keys: the tables in the configuration file, and what a key lacks for a profile."""

import json
from dataclasses import replace

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.firmware import Version
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.reader import YUBIKEY
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import KeyInfo, Link, Pin, PluggedKey
from mfa_kit.security_keys.profile import KeyState, compare_profile, parse_profile
from tests import pcsc
from tests.conftest import Result
from tests.fido.conftest import Bus, Desk

RECIPIENT = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
DESK = f"""
reset = true
pin = "random"
pin-length = 8
min-pin-length = 8
force-pin-change = true
always-uv = true
recipients = ["{RECIPIENT}"]
"""


def configure(desk: Desk, text: str) -> None:
    """Write the configuration file."""
    desk.home.mkdir(mode=0o700, exist_ok=True)
    file = desk.home / "config.toml"
    file.write_text(text)
    file.chmod(0o600)


def test_profiles_are_shown_beside_the_aws_profile(desk: Desk) -> None:
    """TOML cannot have a text and tables with the name `profile`, so the AWS profile has another key."""
    configure(desk, f'aws-profile = "prod"\n[profile.desk]\n{DESK}\n[profile.plain]\npin = "typed"\n')
    row = json.loads(desk.run("config", "show", "--output", "json").out)
    assert row["profile"] == "prod"
    assert row["profile-tables"] == [
        (
            "desk: reset true, pin random, pin-length 8, min-pin-length 8, force-pin-change true, always-uv true, "
            f"attestation true, recipients {RECIPIENT}"
        ),
        "plain: reset false, pin typed, pin-length 8, force-pin-change false, always-uv false, attestation true",
    ]
    assert json.loads(desk.run("config", "validate", "--output", "json").out)["profiles"] == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("colour = 1", "profile desk: unknown key 'colour'"),
        ("pins = 1", "did you mean 'pin'?"),
        ("reset = 1", "use true or false"),
        ("pin = 'none'", 'use "typed" or "random"'),
        ("pin = 'typed'\nmin-pin-length = 3", "use a number from 4 to 63"),
        ("pin = 'typed'\nmin-pin-length = true", "use a number from 4 to 63"),
        ("min-pin-length = 8", "need a PIN"),
        ("always-uv = true", "need a PIN"),
        ("pin = 'random'", "needs recipients"),
        (f"pin = 'random'\npin-length = 6\nmin-pin-length = 8\nrecipients = ['{RECIPIENT}']", "is shorter than"),
        (f"pin = 'random'\npin-length = 17\nrecipients = ['{RECIPIENT}']", "at most 16 digits"),
        ("pin = 'random'\nrecipients = ['nonsense']", "in profile desk, nonsense"),
        ("recipients = 'age1'", "a list of strings"),
        ("require = 1", "a string in quotes"),
        ("enroll = 'all'", 'use "fido2" or "oath" or "both"'),
    ],
)
def test_a_fault_in_a_profile_is_named(desk: Desk, table: str, said: str) -> None:
    configure(desk, f"[profile.desk]\n{table}\n")
    done = desk.run("config", "validate")
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_text_and_tables_for_profile_are_not_valid_toml(desk: Desk) -> None:
    configure(desk, 'profile = "prod"\n[profile.desk]\npin = "typed"\n')
    done = desk.run("config", "show")
    assert (done.code, "the AWS profile is aws-profile" in done.err) == (2, True)
    with pytest.raises(UsageFault, match="is not a table"):
        parse_profile("desk", "typed")


NEW = KeyInfo(
    plugged=PluggedKey(where="/dev/hidraw0", link=Link.HID),
    versions=("FIDO_2_1",),
    firmware=Version(5, 7, 4),
    options={"clientPin": False, "authnrCfg": True, "setMinPINLength": True, "alwaysUv": False},
)
OLD = replace(NEW, options={"clientPin": False})
WITH_PIN = replace(NEW, options={**NEW.options, "clientPin": True}, pin_retries=8)
U2F = replace(NEW, versions=("U2F_V2",), options={})
WHOLE = {
    "reset": True,
    "pin": "random",
    "min-pin-length": 8,
    "force-pin-change": True,
    "always-uv": True,
    "enroll": "both",
    "recipients": [RECIPIENT],
}
KEEP = {"pin": "random", "recipients": [RECIPIENT]}


@pytest.mark.parametrize(
    ("settings", "info", "lacks"),
    [
        (WHOLE, NEW, []),
        ({}, U2F, []),
        (WHOLE, replace(NEW, min_pin_length=10), []),
        (KEEP, replace(NEW, min_pin_length=10), ["pin-length: a PIN of this key has 10 to 63 characters, not 8"]),
        (WHOLE, OLD, ["min-pin-length", "force-pin-change", "always-uv"]),
        (WHOLE, replace(OLD, min_pin_length=8), ["force-pin-change", "always-uv"]),
        (WHOLE, U2F, ["reset: a U2F key cannot be reset", "pin: the key does not support a PIN"]),
        (WHOLE, replace(NEW, transports_for_reset=("NFC",)), ["reset: this key can be reset only over NFC"]),
        (WHOLE, replace(NEW, transports_for_reset=("USB",)), []),
        (WHOLE, replace(NEW, max_pin_length=6), ["pin-length", "min-pin-length"]),
        (WHOLE, WITH_PIN, []),
        (KEEP, WITH_PIN, ["pin: the key already has a PIN, and the profile does not reset the key"]),
        ({"pin": "typed"}, WITH_PIN, []),
        ({"pin": "typed"}, replace(WITH_PIN, pin_retries=0), ["pin: the PIN of the key is locked for good"]),
        ({"pin": "typed"}, replace(WITH_PIN, force_pin_change=True), ["pin: the key requires a new PIN first"]),
        (WHOLE, replace(NEW, options={**NEW.options, "authnrCfg": False}), ["min-pin-", "force-pin-", "always-uv"]),
    ],
)
def test_every_part_that_a_key_lacks_is_named(settings: dict[str, object], info: KeyInfo, lacks: list[str]) -> None:
    said = compare_profile(parse_profile("desk", settings), KeyState(info=info, oath=True))
    assert [sentence.startswith(start) for sentence, start in zip(said, lacks, strict=True)] == [True] * len(lacks), (
        said
    )


@pytest.mark.parametrize(("oath", "number"), [(True, 0), (False, 1), (None, 1)])
def test_a_profile_for_both_halves_needs_an_oath_applet(oath: bool | None, number: int) -> None:
    assert len(compare_profile(parse_profile("desk", {"enroll": "both"}), KeyState(info=NEW, oath=oath))) == number


@pytest.mark.parametrize(
    ("digits", "simple"),
    [
        ("83915264", False),
        ("11111111", True),
        ("12345678", True),
        ("87654321", True),
        ("24680246", True),
        ("89012345", True),
        ("12344321", True),
        ("55650535", True),
        ("55650634", False),
        ("159753", True),
    ],
)
def test_the_patterns_that_keys_refuse_are_known(digits: str, simple: bool) -> None:
    """A digit more than three times, sequences, palindromes, and the numbers of Yubico's blocklist."""
    assert Pin(digits).is_simple() == simple


def lacking(desk: Desk, *options: str) -> tuple[Result, list[str]]:
    """Run `verify fido2` with a profile, and return what the key lacks."""
    done = desk.run("verify", "fido2", *options, "--output", "json")
    return done, json.loads(done.out)["lacks"] if done.out else []


@pytest.mark.parametrize("option", ["--key-profile", "--profile"])
def test_verify_says_what_a_key_lacks_and_changes_nothing(
    bus: Bus, desk: Desk, maker: AttestationCa, option: str
) -> None:
    """No touch is needed. The browsers that lock users out are named."""
    key = lab_key(maker, behavior=KeyBehavior(configurable=False, touch=None))
    before = (key.client_pin.hash, key.client_pin.shortest, key.always_uv)
    bus.plug(key, serial="KEY-7")
    configure(desk, f"[profile.desk]\n{DESK}")
    done, lacks = lacking(desk, option, "desk")
    assert (done.code, json.loads(done.out)["verdict"]) == (1, "lacking"), done.err
    assert [part.partition(":")[0] for part in lacks] == ["min-pin-length", "force-pin-change", "always-uv"]
    assert "Safari on macOS" in done.err
    assert "mfa-kit key pin change" in done.err
    assert (key.client_pin.hash, key.client_pin.shortest, key.always_uv, key.registered) == (*before, 0)


@pytest.mark.usefixtures("bus")
def test_verify_accepts_a_key_in_a_reader(desk: Desk, maker: AttestationCa) -> None:
    pcsc.plug(FidoCard(lab_key(maker, behavior=KeyBehavior(touch=None))))
    configure(desk, f"[profile.desk]\n{DESK}")
    done, lacks = lacking(desk, "--key-profile", "desk")
    assert (done.code, lacks) == (0, []), done.err


def test_verify_looks_for_the_oath_applet(bus: Bus, desk: Desk, maker: AttestationCa) -> None:
    pcsc.plug()  # without a reader, it is not known whether the key has one
    bus.plug(lab_key(maker, model=KeyModel(product=YUBIKEY)), serial="KEY-7")
    configure(desk, '[profile.desk]\nenroll = "both"\n')
    assert lacking(desk, "--key-profile", "desk")[1] == ["enroll: the key has no OATH applet"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--key-profile", "none"), "there is no profile 'none' for keys"),
        (("--key-profile", "desk", "--watch"), "a profile is compared with one key"),
    ],
)
def test_an_unknown_profile_and_other_options_are_refused(
    bus: Bus, desk: Desk, key: SimulatedKey, options: tuple[str, ...], said: str
) -> None:
    bus.plug(key)
    configure(desk, f"[profile.desk]\n{DESK}")
    done = desk.run("verify", "fido2", *options)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_profile_without_forced_change_has_no_warning() -> None:
    assert [len(parse_profile("desk", settings).warnings) for settings in (KEEP, WHOLE)] == [0, 2]
