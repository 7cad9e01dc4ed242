"""The doctor's checks of access to keys: inaccessible device nodes and readers, each with its cause."""

import grp
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.adapters.fido import hidraw
from mfa_kit.adapters.oath import pcsc
from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.core.errors import DeviceFault
from mfa_kit.doctor.checks import INSTALL
from mfa_kit.doctor.diagnosis import Diagnosis, Health
from mfa_kit.wiring import doctor
from tests.conftest import MfaKit, without

FIDO = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
GROUP = 31877

Node = Callable[..., Diagnosis]


def install_rule_in(folder: Path) -> None:
    """Put the rule of this version into a folder of rules."""
    (folder / udev_rule.NAME).write_bytes(udev_rule.rule_text())


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty folder in place of the system's udev rules."""
    folder = tmp_path / "rules.d"
    folder.mkdir()
    monkeypatch.setattr(udev_rule, "FOLDERS", [folder])
    return folder


@pytest.fixture
def node(rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Plug in a key whose node has this group and mode and cannot be opened; return the doctor's line about it."""

    def told(*, gid: int = 0, mode: int = 0o600, rule: bool = False) -> Diagnosis:
        file = tmp_path / "hidraw7"
        file.touch()
        file.chmod(mode)
        try:
            os.chown(file, -1, gid)
        except PermissionError:
            without("only root gives a file to another group")
        if rule:
            install_rule_in(rules)
        monkeypatch.setattr(hidraw, "device_nodes", lambda: [str(file)])
        monkeypatch.setattr(os, "access", lambda *_: False)
        [found] = [check for check in doctor.diagnose_device_access() if check.what == "key on USB"]
        return found

    return told


@pytest.mark.parametrize(
    ("how", "hint"),
    [
        ({}, INSTALL),
        ({"rule": True}, "unplug the key and plug it in again, so that the udev rule applies to it"),
        ({"gid": GROUP, "mode": 0o640}, INSTALL),
        ({"gid": GROUP, "mode": 0o660}, f"sudo usermod --append --groups {GROUP} "),
    ],
    ids=["no-rule", "not-plugged-in-again", "group-may-not-write", "not-in-the-group"],
)
def test_an_inaccessible_key_is_reported_with_the_cause(node: Node, how: dict[str, int], hint: str) -> None:
    """The line has the node, its group and its mode, as `ls` shows them."""
    found = node(**how)
    assert found.health is Health.BAD
    assert "is a key that you cannot open: group" in found.found
    assert f"mode {how.get('mode', 0o600):o}" in found.found
    assert found.hint.startswith(hint)


def test_a_user_who_joined_the_group_since_sign_in_is_told_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group database lists the user, but the current session does not have the group."""
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [GROUP])
    assert (
        node(gid=GROUP, mode=0o660).hint == f"sign in again, because you joined the group {GROUP} after you signed in"
    )


def test_a_user_id_without_a_name_gets_a_hint_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, the user ID may have no entry in the user database."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert "--groups tty USER" in node(gid=grp.getgrnam("tty").gr_gid, mode=0o660).hint


@pytest.mark.usefixtures("rules")
def test_a_key_without_a_device_node_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, sysfs shows all keys, but a device node may be missing."""
    place = tmp_path / "sys" / "hidraw7" / "device"
    place.mkdir(parents=True)
    (place / "report_descriptor").write_bytes(FIDO)
    monkeypatch.setattr(hidraw, "SYSFS", tmp_path / "sys")
    [found] = [check for check in doctor.diagnose_device_access() if check.what == "key on USB"]
    assert (found.health, found.hint) == (Health.BAD, "pass the device to the container: --device /dev/hidraw7")


def test_an_accessible_key_is_reported_too(rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table also names the udev rule."""
    install_rule_in(rules)
    (tmp_path / "hidraw7").touch()
    monkeypatch.setattr(hidraw, "device_nodes", lambda: [str(tmp_path / "hidraw7")])
    rule, key, _ = doctor.diagnose_device_access()
    assert (rule.health, rule.found) == (Health.GOOD, str(rules / udev_rule.NAME))
    assert (key.health, key.found) == (Health.GOOD, f"{tmp_path / 'hidraw7'} can be opened")


def test_an_older_rule_is_reported(rules: Path) -> None:
    """A desk that keeps the rule of an older version sees it, although it may still work."""
    (rules / udev_rule.NAME).write_text("# old\n")
    rule, *_ = doctor.diagnose_device_access()
    assert (rule.health, rule.found) == (
        Health.NOTED,
        f"{rules / udev_rule.NAME} differs from the rule of this mfa-kit version",
    )
    assert rule.hint == INSTALL


@pytest.mark.parametrize(("listening", "state"), [(True, Health.BAD), (False, Health.NOTED)])
def test_a_smart_card_service_that_refuses_is_wrong(
    monkeypatch: pytest.MonkeyPatch, listening: bool, state: Health
) -> None:
    """Over SSH, polkit refuses it. Without readers it is not needed. tests/oath/test_rules.py has a real refusal."""

    def refusing() -> list[str]:
        raise DeviceFault("the smart card service rejects this session", "polkit decides who may use cards")

    monkeypatch.setattr(pcsc, "reader_names", refusing)
    monkeypatch.setattr(pcsc, "service_listens", lambda: listening)
    *_, found = doctor.diagnose_device_access()
    assert (found.health, found.hint) == (state, "polkit decides who may use cards")


@pytest.mark.parametrize(
    ("names", "told"),
    [(["Reader\x1b[2J one", "two"], "Reader[2J one, two"), ([], "the service works; no reader is plugged in")],
)
def test_names_of_readers_have_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, names: list[str], told: str
) -> None:
    """The manufacturer chooses the name of a reader."""
    monkeypatch.setattr(pcsc, "reader_names", lambda: names)
    *_, found = doctor.diagnose_device_access()
    assert (found.health, found.found) == (Health.GOOD, told)


def test_the_doctor_names_the_missing_extra(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """Smart cards need pyscard. The rest of the table is printed nevertheless."""
    (tmp_path / "smartcard.py").write_text("raise ImportError\n")
    done = mfa_kit.process("doctor", "--output", "json", env={"PYTHONPATH": str(tmp_path)}, start_new_session=True)
    [found] = [row for row in json.loads(done.out)["rows"] if row["check"] == "smart cards"]
    assert (found["state"], found["hint"]) == ("-", "pip install 'mfa-kit[oath]'")
