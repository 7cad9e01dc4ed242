"""Debian's kernel, udevd and libfido2 against the rule and the program: /dev/hidraw as an unprivileged user."""

import json

import pytest

from tests.guest import rig
from tests.guest.conftest import GROUP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(rig.SECONDS + 60)]
LIMIT = 150


def test_the_guest_is_quick(guest: rig.Ran) -> None:
    """Boot, imports and all, under emulation."""
    assert guest.seconds < LIMIT


def test_without_the_rule_nobody_but_root_opens_a_key(guest: rig.Ran) -> None:
    """The control run: with what Debian brings alone, nobody who is not at the seat."""
    assert guest.found["without"] == {"mode": "0o600", "group": 0, "alice": False, "bob": False}


def test_with_the_rule_a_member_of_the_group_opens_it_and_another_does_not(guest: rig.Ran) -> None:
    """GROUP and MODE, told by opening the node."""
    assert guest.found["with"] == {"mode": "0o660", "group": GROUP, "alice": True, "bob": False}


def test_the_rule_gives_nothing_but_keys(guest: rig.Ran) -> None:
    """A device with another usage page stays root's."""
    assert guest.found["no key"] == {"mode": "0o600", "group": 0, "alice": False, "bob": False}


def test_a_key_that_may_not_be_opened_is_told_with_its_node(guest: rig.Ran) -> None:
    """From sysfs, which everybody may read."""
    said = guest.found["barred list"]
    assert said["code"] == 3
    assert "there is a key, but /dev/hidraw0 may not be opened" in said["err"]


def test_the_key_is_listed_and_verified(guest: rig.Ran) -> None:
    """As the unprivileged member of the group, over the kernel's node."""
    listed, verified = guest.found["list"], guest.found["verify"]
    [row] = json.loads(listed["out"])["rows"]
    assert (listed["code"], row["key"], row["where"], row["serial"]) == (
        0,
        "mfa-kit lab key",
        ["/dev/hidraw0"],
        "LAB-7",
    )
    assert (verified["code"], json.loads(verified["out"])["verdict"]) == (0, "proof")


def test_libfido2_accepts_the_same_key(guest: rig.Ran) -> None:
    """It lists it, describes it, makes a credential, verifies it, and has it assert."""
    assert "/dev/hidraw0" in guest.found["fido2-token -L"]["out"]
    assert "FIDO_2_1" in guest.found["fido2-token -I"]["out"]
    judged = guest.found["judges"]
    assert {name: done["code"] for name, done in judged.items()} == dict.fromkeys(judged, 0), judged


def test_a_key_that_is_pulled_out_while_it_waits_for_a_finger_is_told(guest: rig.Ran) -> None:
    """The kernel's node goes away under a read."""
    said = guest.found["pulled"]
    assert said["code"] == 3
    assert "the key was removed" in said["err"]
