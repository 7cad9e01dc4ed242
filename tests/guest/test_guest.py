"""Debian's kernel, udevd and libfido2 with the udev rule and mfa-kit: /dev/hidraw as an unprivileged user."""

import json

import pytest

from tests.guest import rig
from tests.guest.conftest import GROUP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(rig.SECONDS + 60)]
NODE = "/dev/hidraw0"
PINS = ("pin-5839-canary", "new-7712-canary")


def test_without_the_rule_only_root_opens_a_key(guest: rig.Ran) -> None:
    """The control run: with only Debian's own rules, users who are not at the seat have no access."""
    assert guest.found["without"] == {"mode": "0o600", "group": 0, "alice": False, "bob": False}


def test_with_the_rule_only_members_of_the_group_open_a_key(guest: rig.Ran) -> None:
    """Opening the node shows that GROUP and MODE work."""
    assert guest.found["with"] == {"mode": "0o660", "group": GROUP, "alice": True, "bob": False}


def test_the_rule_applies_only_to_security_keys(guest: rig.Ran) -> None:
    """A device with another usage page still belongs to root."""
    assert guest.found["no key"] == {"mode": "0o600", "group": 0, "alice": False, "bob": False}


def test_the_installed_rule_applies_to_a_connected_key(guest: rig.Ran) -> None:
    """`udev install` needs no unplugging, and its result names the key."""
    installed = json.loads(guest.found["install"]["out"])
    assert (guest.found["install"]["code"], installed["works"], installed["keys"]) == (0, True, [NODE])
    assert (installed["rule"], installed["members"]) == ("/etc/udev/rules.d/70-mfa-kit.rules", ["alice"])
    assert guest.found["at once"] == guest.found["with"]


def test_the_rule_and_its_group_are_removed_and_created(guest: rig.Ran) -> None:
    """A group with members is kept. The real groupadd and groupdel run, and udevadm accepts the rule."""
    done = guest.found["udev"]
    assert (done["another's"]["code"], "only root" in done["another's"]["err"]) == (2, True)
    kept, removed, status, again = (json.loads(done[name]["out"]) for name in ("kept", "removed", "status", "again"))
    assert (kept["rule"], kept["group"], kept["members"]) == (True, False, ["alice"])
    assert (done["members"], removed["rule"], removed["group"]) == (0, False, True)
    assert (done["status"]["code"], status["rule"], status["group"]) == (1, None, False)
    assert (done["again"]["code"], again["current"], again["group"], again["works"]) == (0, True, True, True)
    assert (done["group"], done["verified"]) == ("mfa-kit", 0)


@pytest.mark.parametrize("what", ["list", "verify", "pin"])
def test_without_the_rule_each_command_names_the_device_node(guest: rig.Ran, what: str) -> None:
    """The name is read from sysfs, which all users can read. The exit code is 3, and the key is unchanged."""
    said = guest.found["barred"][what]
    assert (said["code"], said["out"]) == (3, "no keys\n" if what == "list" else "")
    assert f"there is a key, but you have no permission to open {NODE}" in said["err"]
    assert guest.found["barred left"] == {"pin": False, "registered": 0}


def test_with_the_rule_others_than_members_get_an_error(guest: rig.Ran) -> None:
    """User bob is not a member and gets the error, although alice can list the key."""
    said = guest.found["another's list"]
    assert (said["code"], f"no permission to open {NODE}" in said["err"]) == (3, True)


def test_the_doctor_says_what_is_missing_for_the_node(guest: rig.Ran) -> None:
    """Without the rule, the doctor suggests the rule.

    With the rule, it suggests the group. For a member, it suggests nothing.
    """
    barred, another, member = (guest.found[name] for name in ("barred doctor", "another's doctor", "doctor"))
    assert barred["udev rule"][0] == "-"
    assert barred["key on USB"][:2] == ["wrong", f"{NODE} is a key that you cannot open: group root, mode 600"]
    assert barred["key on USB"][2].endswith("udev install")
    assert another["key on USB"] == [
        "wrong",
        f"{NODE} is a key that you cannot open: group mfa-kit, mode 660",
        "sudo usermod --append --groups mfa-kit bob; then sign in again",
    ]
    assert (member["udev rule"][0], member["key on USB"]) == ("ok", ["ok", f"{NODE} can be opened", ""])


def test_the_key_is_listed_and_verified(guest: rig.Ran) -> None:
    """An unprivileged user in the rule's group lists and verifies the key through the kernel's device node."""
    listed, verified = guest.found["list"], guest.found["verify"]
    [row] = json.loads(listed["out"])["rows"]
    assert (listed["code"], row["key"], row["where"], row["serial"]) == (0, "mfa-kit lab key", [NODE], "LAB-7")
    assert (verified["code"], json.loads(verified["out"])["verdict"]) == (0, "proof")


def test_libfido2_accepts_the_same_key(guest: rig.Ran) -> None:
    """libfido2 lists and describes the key, makes and verifies a credential, and gets an assertion."""
    assert NODE in guest.found["fido2-token -L"]["out"]
    assert "FIDO_2_1" in guest.found["fido2-token -I"]["out"]
    judged = guest.found["judges"]
    assert {name: done["code"] for name, done in judged.items()} == dict.fromkeys(judged, 0), judged


def test_a_pin_is_set_used_and_changed(guest: rig.Ran) -> None:
    """libfido2 sees the PIN, a key that requires a new PIN gets one, and no PIN retry is lost."""
    done = guest.found["pins"]
    assert {name: said["code"] for name, said in done.items()} == dict.fromkeys(done, 0), done
    assert "noclientPin" in guest.found["fido2-token -I"]["out"]
    assert "noclientPin" not in done["judge"]["out"]
    assert "pin retries: 8" in done["judge"]["out"]
    counted = json.loads(done["count"]["out"])
    assert (counted["fido_resident_used"], counted["fido_pin_tries_left"]) == (0, 8)
    assert guest.found["pin tries left"] == 8
    assert not [pin for pin in PINS if pin in guest.log or pin in json.dumps(guest.found)]


def test_a_key_is_enrolled_at_the_console_from_start_to_end(guest: rig.Ran) -> None:
    """The key is verified with its PIN, registered on the signed-in page, and found in IAM with certifications."""
    done = guest.found["enroll"]
    assert done["code"] == 0, done
    row = json.loads(done["out"])
    assert (row["outcome"], row["user"], row["kind"], row["hardware"]) == ("enrolled", "dave", "fido2", "BOX-7")
    assert (row["certifications"], row["policy_lacks"]) == (["FIDO L1"], [])
    said = done["err"]
    told = [said.index(text) for text in ("touch your key now", "the key is genuine", "Security credentials", "s left")]
    assert told == sorted(told)
    assert "AWS does not return the credential ID" in said


def test_the_page_is_private_opens_the_console_and_is_removed(guest: rig.Ran) -> None:
    """The page's mode is 0600. The federated user may only give dave a device."""
    mode, _, led = guest.found["page"].partition("\n")
    assert (mode, "the lab's console" in led, guest.found["left"]) == ("600", True, [])
    signed_in = guest.found["signed in"]
    assert signed_in["arn"].endswith(":federated-user/mfa-kit-dave")
    assert "/users/details/dave?" in signed_in["destination"]
    [statement] = json.loads(signed_in["policy"])["Statement"]
    assert {resource.rpartition("/")[2] for resource in statement["Resource"]} == {"dave"}


@pytest.mark.parametrize("what", ["verify", "enroll"])
def test_a_key_that_is_unplugged_before_the_touch_is_an_error(guest: rig.Ran, what: str) -> None:
    """The device node disappears during a read, and no user gets a device."""
    said = guest.found[f"pulled {what}"]
    assert (said["code"], said["out"]) == (3, "")
    assert "the key was removed" in said["err"]
    assert guest.found["erin has"] == []
