"""Tests of `enroll --with fido2` with a plugged-in key: the checks before the user is sent to the console."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.models import DeviceSpec
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.security_keys.at_console import AtConsole
from mfa_kit.wiring import browser as kit
from tests.fido.conftest import LAB_AAGUID, Bus, Desk, Published


@pytest.fixture
def registers(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Register a key for this user when the prompt says what to click, and record the user."""

    def begin(user: str) -> list[str]:
        told: list[str] = []
        # At this moment the user has read what to click.
        real = kit.open_console_page
        monkeypatch.setattr(fido_console, "PACE", 0.05)

        def page(spec: DeviceSpec, **how: Any) -> object:
            told.append(user)
            at_lab.register_fido(user, user)
            return real(spec, **how)

        monkeypatch.setattr(kit, "open_console_page", page)
        return told

    return begin


def enroll(desk: Desk, user: str, published: Published, *more: str | Path) -> tuple[int, dict[str, object], str]:
    done = desk.run("enroll", user, "--with", "fido2", "--output", "json", *published.options, *more)
    return done.code, json.loads(done.out) if done.out else {}, done.err


def test_a_genuine_key_is_verified_and_its_serial_recorded(
    bus: Bus,
    key: SimulatedKey,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
) -> None:
    """The serial is in the receipt and in the ledger. The key makes one registration and one assertion."""
    bus.plug(key, serial="KEY-7")
    user = users()
    registers(user)
    code, row, err = enroll(desk, user, published)
    assert code == 0, err
    assert (row["hardware"], row["certifications"], row["kind"]) == ("KEY-7", ["FIDO L1"], "fido2")
    assert (key.registered, "the key is genuine: mfa-kit lab key" in err) == (1, True)
    history = json.loads(desk.run("ledger", "show", "--user", user, "--output", "json").out)["rows"]
    assert [(each["what"], each["answer"]) for each in history if each["device"] == row["device"]] == [
        ("enrollment", "done")
    ]


@pytest.mark.parametrize(("asset", "named"), [((), LAB_AAGUID), (("--asset", "BOX-7"), "BOX-7")])
def test_a_key_without_a_serial_is_called_by_its_label_or_model(
    bus: Bus,
    key: SimulatedKey,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
    asset: tuple[str, ...],
    named: str,
) -> None:
    """If nothing better is known, the name is the AAGUID of its model."""
    bus.plug(key)
    user = users()
    registers(user)
    assert enroll(desk, user, published, *asset)[1]["hardware"] == named


def test_a_refused_key_is_given_to_no_user(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
) -> None:
    """The exit code is 3, before the console is mentioned. The hint names `--skip-key-check`."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(attestation="self")))
    user = users()
    told = registers(user)
    code, row, err = enroll(desk, user, published)
    assert (code, row, told) == (3, {}, [])
    assert "the key was rejected: genuine:" in err
    assert "--skip-key-check" in err


def test_a_policy_also_applies_to_the_certification_in_iam(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key has the required level in the metadata, but IAM reports a lower level.

    So the check fails, and the device is kept.
    """
    bus.plug(lab_key(maker))
    policy = tmp_path / "policy.toml"
    policy.write_text('certification = "L1"')
    user = users()
    registers(user)
    assert enroll(desk, user, published, "--require", policy)[0] == 0
    policy.write_text('certification = "L2"\nfips = 2')
    monkeypatch.setattr(AtConsole, "check", lambda _, spec, **__: spec)
    other = users()
    registers(other)
    code, row, err = enroll(desk, other, published, "--require", policy)
    assert (code, row["outcome"]) == (1, "enrolled")
    assert row["policy_lacks"] == [
        "the policy requires FIDO_CERTIFIED_L2, but IAM reports FIDO L1",
        "the policy requires FIPS 140 level 2, but IAM reports none",
    ]
    assert "warning: the policy requires FIDO_CERTIFIED_L2" in err


def test_without_a_key_verification_is_an_error(
    bus: Bus, desk: Desk, published: Published, users: Callable[[], str], registers: Callable[[str], list[str]]
) -> None:
    """The error comes before the console is opened."""
    assert bus.slots == {}
    user = users()
    told = registers(user)
    code, _, err = enroll(desk, user, published)
    assert (code, told, "there is no security key" in err) == (3, [], True)
