"""Tests of the commands for OATH keys over real PC/SC, from the enrollment to the revocation."""

import io
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import boto3
import pexpect
import pytest
from smartcard import scard
from smartcard.pcsc.PCSCCardConnection import PCSCCardConnection

from mfa_kit.adapters.oath import pcsc as wire
from mfa_kit.cli.key import list as list_keys
from mfa_kit.cli.key.sources import KeyRow
from mfa_kit.core import otp
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.firmware import Version, advisories_on
from mfa_kit.core.otp import Seed
from mfa_kit.lab.aws.account import ADMINISTRATOR
from mfa_kit.lab.aws.mfa_devices import LabSettings, assigned_entry
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.apdu import StatusWord
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import CALCULATE, DELETE, LIST, PUT, Credential, Quirks, YkoathCard
from mfa_kit.lab.devices.securitykey import lab_key
from mfa_kit.wiring.files import read_advisories
from mfa_kit.wiring.methods import oath as kit
from tests import pcsc
from tests.conftest import ACCOUNT, MfaKit, bare
from tests.terminal.spawn import MFA_KIT, run, spawn

STORED = Credential(0x21, 6, bytes(20), touch=False)
LABEL = f"AWS:{{}}@{ACCOUNT}"


def serial_of(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{user}"


def enroll(mfa_kit: MfaKit, user: str, *more: str) -> None:
    done = mfa_kit.run("enroll", user, "--with", "oath", *more)
    assert done.code == 0, done.err


def test_an_enrollment_needs_two_touches_and_no_wait(
    mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key has IAM's secret with an exact label, IAM's tag has the serial, and messages explain the key's use."""

    def sleep(_: float) -> None:
        assert threading.current_thread() is not threading.main_thread()

    monkeypatch.setattr(time, "sleep", sleep)
    done = mfa_kit.run("enroll", user, "--with", "oath", "--output", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["outcome"], told["kind"], told["hardware"]) == ("enrolled", "oath", "12345678")
    label = LABEL.format(user)
    held = card.credentials[label.encode()]
    assert (held.key, held.touch) == (lab.seed(serial_of(user)), True)
    assert lab.assigned(serial_of(user)) == user
    assert card.touches == 2
    tags = lab.account.backend.device(serial_of(user)).tags
    assert (tags["mfa-kit:serial"], tags["mfa-kit:kind"]) == ("12345678", "oath")
    assert f"when the console asks for one: ykman oath accounts code --single {label}" in done.err
    assert f"mfa_serial = {serial_of(user)}" in done.err
    assert f"mfa_process = ykman oath accounts code --single {label}" in done.err


def test_the_program_of_the_manufacturer_is_named(mfa_kit: MfaKit, user: str) -> None:
    """A key is found by ykman only if the reader has a certain name."""
    pcsc.plug(None, YkoathCard(management=False))
    done = mfa_kit.run("enroll", user, "--with", "oath", "--no-touch")
    assert done.code == 0, done.err
    assert f"use the program of the key's maker, and look for the name {LABEL.format(user)}" in done.err
    assert "ykman" not in done.err


@pytest.mark.usefixtures("card")
def test_a_wait_for_the_next_code_is_shown(
    mfa_kit: MfaKit, lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seconds are shown, because nothing else happens meanwhile. IAM also accepts the code of the next step."""
    asked: list[float] = []
    monkeypatch.setattr(kit, "sleep", asked.append)
    done = mfa_kit.run("enroll", user, "--with", "oath", "--no-touch", "--wait")
    assert done.code == 0, done.err
    (seconds,) = asked
    assert 0 < seconds <= 30
    assert f"waiting {seconds:.0f} s for the next code" in done.err
    assert lab.assigned(serial_of(user)) == user


@pytest.mark.slow
def test_a_faulty_second_key_is_reported(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other key is reported with its fault. A card without the applet is not a key."""
    monkeypatch.setattr(wire, "COMMAND", 2.5)
    pcsc.plug(YkoathCard(serial=1111), YkoathCard(quirks=Quirks(mute_at=1)))
    told = mfa_kit.run("verify", "oath", "--no-write")
    assert told.code == 0, told.err
    assert f"the key in {pcsc.reader(1)} does not answer; using YubiKey 5A 1111" in told.err
    pcsc.plug()
    pcsc.plug(YkoathCard(serial=1111), FidoCard(lab_key(AttestationCa(now=time.time()))))
    assert mfa_kit.run("verify", "oath", "--no-write").err == ""


def test_a_card_without_the_applet_may_be_a_security_key(mfa_kit: MfaKit) -> None:
    """Such a card is reported only if it is not a key of any type."""
    pcsc.plug(FidoCard(lab_key(AttestationCa(now=time.time()))))
    for words in (("key", "list"), ("key", "info")):
        done = mfa_kit.run(*words)
        assert (done.code, "OATH applet" in done.err) == (0, False), done.err
    pcsc.plug()
    pcsc.plug(Blank())
    done = mfa_kit.run("key", "list")
    assert done.code == 3
    assert "has no OATH applet" in done.err


class Blank(YkoathCard):
    """A card without an OATH or FIDO applet."""

    def answer(self, octets: bytes) -> bytes:
        return StatusWord.NOT_FOUND.to_bytes(2)


def test_an_asset_label_replaces_the_serial_in_the_tag(mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard) -> None:
    """The key of an interrupted run is still found by its identity."""
    enroll(mfa_kit, user, "--no-touch", "--asset", "desk-17")
    assert lab.account.backend.device(serial_of(user)).tags["mfa-kit:serial"] == "desk-17"
    assert mfa_kit.run("revoke", user, "--yes", "--leave-without-mfa").code == 0
    assert card.credentials == {}


def test_a_dry_run_changes_nothing(mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard) -> None:
    """A dry run reads the key and prints the steps."""
    done = mfa_kit.run("enroll", user, "--with", "oath", "--dry-run")
    assert done.code == 0
    assert serial_of(user) in done.out
    assert f"store its secret on the key 12345678, as {LABEL.format(user)}" in done.out
    assert card.credentials == {}
    assert serial_of(user) not in lab.serials()


def test_a_revoke_deletes_only_its_credential(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """The credential is deleted by its exact name."""
    enroll(mfa_kit, user, "--no-touch")
    enroll(mfa_kit, user, "--no-touch", "--add")
    assert len(card.credentials) == 2
    done = mfa_kit.run("revoke", user, "--mfa-device", user, "--yes")
    assert done.code == 0, done.err
    assert list(card.credentials) == [LABEL.format(f"{user}-2").encode()]


def test_another_computer_finds_the_key_by_its_tags(
    mfa_kit: MfaKit, user: str, card: YkoathCard, tmp_path: Path
) -> None:
    """The tags are in IAM, so another computer than the one of the enrollment can revoke the device."""
    enroll(mfa_kit, user, "--no-touch")
    done = mfa_kit.process(
        "revoke",
        user,
        "--yes",
        "--leave-without-mfa",
        env={**pcsc.shared().env, "MFA_KIT_HOME": str(tmp_path / "other")},
    )
    assert done.code == 0, done.err
    assert card.credentials == {}


def test_a_lost_key_is_not_asked_for(mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard) -> None:
    """A lost key cannot be plugged in."""
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug()
    assert mfa_kit.run("revoke", user, "--lost", "--yes", "--leave-without-mfa").code == 0
    assert serial_of(user) not in lab.serials()
    assert card.credentials


def test_a_key_that_is_lost_during_a_revoke_can_be_given_up(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """The same revoke can give up the key, and so can `orphans clean` with its serial.

    Another key's serial cannot.
    """
    take = ("revoke", user, "--yes", "--leave-without-mfa")
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(YkoathCard(serial=2222))
    asked = mfa_kit.run(*take)
    assert asked.code == 3
    assert "mfa-kit orphans clean --lost 12345678" in asked.err
    lost = mfa_kit.run(*take, "--lost")
    assert lost.code == 0
    assert "to end the user's sessions" in lost.err
    assert "nothing to remove" in mfa_kit.run("orphans", "clean").out
    card.credentials.clear()
    pcsc.plug(card)
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(YkoathCard(serial=2222))
    assert mfa_kit.run(*take).code == 3
    assert mfa_kit.run("orphans", "clean", "--lost", "2222").code == 3
    assert mfa_kit.run("orphans", "clean", "--lost", "12345678").code == 0
    assert "nothing to remove" in mfa_kit.run("orphans", "clean").out


@pytest.mark.parametrize("quirks", [Quirks(stalls=frozenset({LIST})), Quirks(refuses={LIST: 0x6F00})])
def test_a_revoke_with_a_silent_key_changes_nothing(
    quirks: Quirks, mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard
) -> None:
    """The device stays in IAM, so that no credential is left on a key that is plugged in.

    With the key out of the way, it is removed as if the key was absent.
    """
    take = ("revoke", user, "--yes", "--leave-without-mfa")
    enroll(mfa_kit, user, "--no-touch")
    card.quirks = quirks
    silent = mfa_kit.run(*take)
    assert silent.code == 3
    assert f"the key in {pcsc.reader(0)} " in silent.err
    assert f"this may be the key 12345678 that has the credential {LABEL.format(user)}" in silent.err
    assert "not plugged in" not in silent.err
    assert lab.assigned(serial_of(user)) == user
    assert "nothing to remove" in mfa_kit.run("orphans", "clean").out
    card.quirks = Quirks()
    assert mfa_kit.run(*take).code == 0
    assert card.credentials == {}


def test_a_replace_with_a_silent_old_key_keeps_the_old_device(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The new device works, and the next command for the user removes the old device."""
    old, new = YkoathCard(serial=1111), YkoathCard(serial=2222)
    pcsc.plug(old)
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(old, new)
    old.quirks.stalls = frozenset({LIST})
    replaced = mfa_kit.run("replace", user, "--with", "oath", "--no-touch", "--key", "2222", "--yes")
    assert replaced.code == 3
    assert f"{serial_of(user)}-2 works" in replaced.err
    assert lab.assigned(serial_of(user)) == user
    old.quirks.stalls = frozenset()
    assert mfa_kit.run("revoke", user, "--mfa-device", user, "--yes").code == 0
    assert old.credentials == {}
    assert lab.assigned(serial_of(user)) is None


def test_a_credential_without_its_device_is_an_orphan(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """IAM no longer has the device. The credential is listed with the name of its key until the key is plugged in."""
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug()
    assert mfa_kit.run("revoke", user, "--yes", "--leave-without-mfa").code == 3
    for words in (("orphans", "list"), ("orphans", "clean", "--dry-run")):
        rows = json.loads(mfa_kit.run(*words, "--output", "json").out)["rows"]
        (row,) = [row for row in rows if row["user"] == user]
        assert (row["device"], row["key"], row["clean"]) == (serial_of(user), "12345678", "removes it")
        assert row["standing"] == "removed from IAM, but still on a key"
    card.quirks.stalls = frozenset({LIST})
    pcsc.plug(card)
    silent = mfa_kit.run("orphans", "clean")
    assert silent.code == 3
    assert "sends an endless answer; this may be the key 12345678" in silent.err
    card.quirks.stalls = frozenset()
    assert mfa_kit.run("orphans", "clean").code == 0
    assert card.credentials == {}
    assert not [row for row in json.loads(mfa_kit.run("orphans", "list", "--output", "json").out)["rows"] if row["key"]]


@pytest.mark.parametrize("named", [True, False])
def test_an_interrupted_revoke_that_is_repeated_succeeds(
    named: bool, mfa_kit: MfaKit, user: str, card: YkoathCard
) -> None:
    """The same command completes the revocation. As long as that is not possible, the error says why."""
    take = ("revoke", user, "--yes", "--leave-without-mfa", *(("--mfa-device", user) if named else ()))
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug()
    assert mfa_kit.run(*take).code == 3
    again = mfa_kit.run(*take)
    assert again.code == 3
    assert "12345678, which is not plugged in" in again.err
    pcsc.plug(card)
    done = mfa_kit.run(*take, "--output", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["outcome"], told["device"]) == ("revoked", serial_of(user))
    assert card.credentials == {}
    assert mfa_kit.run(*take).code == 2


def test_a_half_made_device_continues_when_its_key_is_plugged_in(
    mfa_kit: MfaKit, lab: Lab, user: str, recipient: str, identity_file: Path
) -> None:
    """IAM refuses to delete the device. So the run waits for the key, written or not, and names its serial."""
    resume = ("enroll", user, "--resume", "-i", str(identity_file))
    for written, name in ((PUT, user), (CALCULATE, f"{user}-2")):
        card = YkoathCard(quirks=Quirks(pulled_by=written))
        pcsc.plug(card)
        lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
        cut = mfa_kit.run("enroll", user, "--with", "oath", "--add", "--no-touch", "-r", recipient)
        assert cut.code == 3
        assert f"mfa-kit enroll {user} --resume" in cut.err
        pcsc.plug(YkoathCard(serial=2222))
        absent = mfa_kit.run(*resume)
        assert absent.code == 3
        assert "is on the key 12345678, which is not plugged in" in absent.err
        card.quirks.pulled_by = 0
        pcsc.plug(card)
        done = mfa_kit.run(*resume)
        assert done.code == 0, done.err
        lab.faults.clear()
        assert card.credentials[LABEL.format(name).encode()].key == lab.seed(serial_of(name))
        assert lab.assigned(serial_of(name)) == user


def test_each_command_that_deletes_a_credential_takes_a_password(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """The error that requires a password names an option that exists."""
    take = ("revoke", user, "--yes", "--leave-without-mfa")
    enroll(mfa_kit, user, "--no-touch")
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="one\n")[0] == 0
    refused = mfa_kit.run(*take, "--no-input")
    assert refused.code == 8
    assert "--password-stdin" in refused.err
    pcsc.plug()
    assert mfa_kit.run(*take).code == 3
    pcsc.plug(card)
    assert process(mfa_kit, "orphans", "clean", "--password-stdin", told="one\n")[0] == 0
    assert card.credentials == {}
    assert process(mfa_kit, "enroll", user, "--with", "oath", "--no-touch", "--password-stdin", told="one\n")[0] == 0
    assert process(mfa_kit, *take, "--password-stdin", told="one\n")[0] == 0
    assert card.credentials == {}


@pytest.mark.parametrize("told", ["two\n", "\n", ""], ids=["wrong", "empty", "none"])
def test_a_revoke_with_a_wrong_password_removes_nothing(
    told: str, mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard
) -> None:
    """The key is unlocked before anything is removed or recorded, so the next command for the user removes nothing."""
    take = ("revoke", user, "--yes", "--leave-without-mfa", "--password-stdin")
    enroll(mfa_kit, user, "--no-touch")
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="one\n")[0] == 0
    code, said = process(mfa_kit, *take, told=told)
    assert (code, "OATH password" in said) == (3 if told == "two\n" else 2, True)
    assert "removed" not in said
    assert "nothing to remove" in mfa_kit.run("orphans", "clean").out
    assert lab.assigned(serial_of(user)) == user
    assert LABEL.format(user).encode() in card.credentials
    assert process(mfa_kit, *take, told="one\n")[0] == 0
    assert (lab.assigned(serial_of(user)), card.credentials) == (None, {})


@pytest.mark.usefixtures("card")
def test_a_revoke_without_the_key_says_what_is_gone(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """IAM no longer has the device, and only its credential waits for the key. So it is with the old key of replace."""
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(None, YkoathCard(serial=2222))
    gone = f"{user} no longer has {{}}, but its removal is not finished; the next command for {user} continues it"
    replaced = mfa_kit.run("replace", user, "--with", "oath", "--no-touch", "--yes")
    assert replaced.code == 3
    assert gone.format(serial_of(user)) in replaced.err
    pcsc.plug(YkoathCard(serial=3333))
    revoked = mfa_kit.run("revoke", user, "--yes", "--leave-without-mfa")
    assert revoked.code == 3
    assert gone.format(f"{serial_of(user)}-2") in revoked.err
    assert lab.assigned(f"{serial_of(user)}-2") is None


@pytest.mark.parametrize("number", [1, 4, 5])
def test_a_key_pulled_early_is_not_called_partly_removed(number: int, mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The old key of a replacement is pulled while mfa-kit looks at it, and counts as absent, or just after the look.

    The error says whether IAM still has the device.
    """
    old, new = YkoathCard(serial=1111), YkoathCard(serial=2222)
    pcsc.plug(old)
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(old, new)

    def pull_later() -> None:
        old.log.clear()
        old.quirks.pulled_before = number

    new.on_touch = pull_later
    done = mfa_kit.run("replace", user, "--with", "oath", "--key", "2222", "--yes")
    assert done.code == 3
    assert f"{serial_of(user)}-2 works; only {serial_of(user)} still has to be revoked" in done.err
    assert "partly removed" not in done.err
    assert (f"{user} no longer has {serial_of(user)}," in done.err) == (lab.assigned(serial_of(user)) is None), done.err
    if number == 5:
        assert f"the key in {pcsc.reader(0)} was removed" in done.err
        assert lab.assigned(serial_of(user)) == user


def test_a_lost_device_is_the_present_one_and_not_an_older_one(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """A user that reports a loss has lost the present device, not the older one."""
    pcsc.plug(YkoathCard(serial=1111), YkoathCard(serial=2222))
    enroll(mfa_kit, user, "--no-touch", "--key", "1111")
    pcsc.plug(None, YkoathCard(serial=2222))
    replaced = mfa_kit.run("replace", user, "--with", "oath", "--no-touch", "--yes")
    assert replaced.code == 3
    assert f"{serial_of(user)}-2 works" in replaced.err
    assert mfa_kit.run("revoke", user, "--lost", "--yes", "--leave-without-mfa").code == 0
    assert lab.assigned(serial_of(f"{user}-2")) is None


def test_a_replace_moves_a_user_from_key_to_key(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The old key no longer has the credential, and the new key has IAM's secret."""
    old, new = YkoathCard(serial=1111), YkoathCard(serial=2222)
    pcsc.plug(old, new)
    enroll(mfa_kit, user, "--no-touch", "--key", "1111")
    done = mfa_kit.run("replace", user, "--with", "oath", "--no-touch", "--key", "2222", "--yes")
    assert done.code == 0, done.err
    assert old.credentials == {}
    assert new.credentials[LABEL.format(f"{user}-2").encode()].key == lab.seed(serial_of(f"{user}-2"))


def test_several_keys_are_listed_and_none_is_chosen(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """Without a terminal, the user cannot choose."""
    pcsc.plug(YkoathCard(serial=1111), YkoathCard(serial=2222))
    done = mfa_kit.run("enroll", user, "--with", "oath", "--no-input")
    assert done.code == 8
    assert "1111" in done.err
    assert "2222" in done.err
    assert serial_of(user) not in lab.serials()


def test_without_a_key_nothing_is_created(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The error comes before IAM is asked to create anything."""
    pcsc.plug()
    done = mfa_kit.run("enroll", user, "--with", "oath")
    assert done.code == 3
    assert "no key with an OATH applet is plugged in" in done.err
    assert serial_of(user) not in lab.serials()


def test_an_empty_second_reader_is_ignored(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """Each reader of vpcd has a second slot that is always empty, and other readers here are empty too."""
    enroll(mfa_kit, user, "--no-touch")
    assert len(card.credentials) == 1


def process(mfa_kit: MfaKit, *args: str, told: str) -> tuple[int, str]:
    """Run a command in a process, with an OATH password on stdin."""
    env = {**bare(), **mfa_kit.env, **pcsc.shared().env, "MFA_KIT_HOME": str(mfa_kit.home)}
    done = run([*MFA_KIT, *args], env=env, told=told)
    return done.returncode, done.stdout + done.stderr


def test_a_password_is_set_required_changed_and_removed(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """A wrong password and a missing one give different errors. A password is never a command-line argument."""
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="one\n")[0] == 0
    assert card.password
    locked = mfa_kit.run("enroll", user, "--with", "oath", "--no-input")
    assert locked.code == 8
    assert "OATH password of YubiKey 5A 12345678 must be typed" in locked.err
    code, wrong = process(mfa_kit, "enroll", user, "--with", "oath", "--password-stdin", told="two\n")
    assert code == 3
    assert "wrong OATH password" in wrong
    for empty in ("", "\n"):
        code, wrong = process(mfa_kit, "enroll", user, "--with", "oath", "--password-stdin", told=empty)
        assert (code, "no OATH password was given for" in wrong) == (2, True)
    code, _ = process(mfa_kit, "enroll", user, "--with", "oath", "--password-stdin", told="one\n")
    assert code == 0
    assert process(mfa_kit, "key", "password", "change", "--password-stdin", told="one\ntwo\n")[0] == 0
    assert process(mfa_kit, "key", "info", "--password-stdin", told="one\n")[0] == 3
    code, told = process(mfa_kit, "key", "info", "--password-stdin", told="two\n")
    assert code == 0
    assert LABEL.format(user) in told
    assert process(mfa_kit, "key", "password", "clear", "--password-stdin", told="two\n")[0] == 8
    assert process(mfa_kit, "key", "password", "clear", "--yes", "--password-stdin", told="two\n")[0] == 0
    assert vars(card)["password"] is None
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="\n")[0] == 2


def test_a_password_state_that_does_not_fit_is_an_error(mfa_kit: MfaKit) -> None:
    """Cases: no password to change, a password that is already set, and a key that sets one but never requires it."""
    card = YkoathCard(quirks=Quirks(ignores_password=True))
    pcsc.plug(card)

    def key(verb: str, *more: str, told: str = "one\ntwo\n") -> tuple[int, str]:
        return process(mfa_kit, "key", "password", verb, "--password-stdin", *more, told=told)

    assert "has no password\n  try: mfa-kit key password set" in key("change")[1]
    assert "has no password" in key("clear", "--yes")[1]
    code, said = key("set")
    assert (code, "accepted a password, but does not ask for it" in said) == (3, True)
    card.quirks.ignores_password = False
    assert key("set")[0] == 0
    code, said = key("set")
    assert (code, "has a password\n  try: mfa-kit key password change" in said) == (2, True)
    card.quirks.ignores_password = True
    code, said = key("clear", "--yes")
    assert (code, "still asks for its password" in said) == (3, True)


def test_a_wrong_password_does_not_report_an_absent_key(mfa_kit: MfaKit, card: YkoathCard) -> None:
    """The message does not mention that the FIDO applet is missing."""
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="one\n")[0] == 0
    assert card.password
    code, said = process(mfa_kit, "key", "info", "--key", "12345678", "--password-stdin", told="two\n")
    assert code == 3
    assert "wrong OATH password" in said


def test_without_the_extra_the_hint_has_the_install_command(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra installs yubikit and pyscard."""
    monkeypatch.setitem(sys.modules, "mfa_kit.adapters.oath.applet", None)
    done = mfa_kit.run("verify", "oath")
    assert done.code == 2
    assert "pip install 'mfa-kit[oath]'" in done.err


def test_an_absent_key_is_reported_with_the_present_keys(mfa_kit: MfaKit) -> None:
    """Faults of other readers are listed too."""
    pcsc.plug(YkoathCard(serial=1111), Blank())
    done = mfa_kit.run("verify", "oath", "--key", "9999")
    assert done.code == 3
    assert "no key 9999 is plugged in" in done.err
    assert "note: plugged in: YubiKey 5A 1111" in done.err
    assert f"note: the card in {pcsc.reader(1)} has no OATH applet" in done.err


def test_a_key_that_another_program_holds_is_not_called_absent(mfa_kit: MfaKit) -> None:
    """It may be the named key. If its reader is named, the error is that of the reader."""
    pcsc.plug(YkoathCard(serial=1111), YkoathCard(serial=2222))
    other = PCSCCardConnection(pcsc.reader(1))
    other.connect(mode=scard.SCARD_SHARE_EXCLUSIVE, disposition=scard.SCARD_LEAVE_CARD)
    in_use = f"the card in {pcsc.reader(1)} is in use by another program"
    for wanted, error in (("2222", "key 2222 was not found; it may be the key that cannot"), (pcsc.reader(1), in_use)):
        done = mfa_kit.run("verify", "oath", "--key", wanted)
        assert done.code == 3
        assert done.err.startswith(f"mfa-kit: {error}")
        assert in_use in done.err
        assert "close that program" in done.err
        assert "plugged in" not in done.err.replace("note: plugged in: YubiKey 5A 1111", "")
    other.release()


def test_a_key_that_cannot_list_its_credentials_may_have_one(
    mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path, card: YkoathCard
) -> None:
    """pico-fido refuses LIST of many long names. Another key that does not have the credential proves nothing."""
    enroll(mfa_kit, user, "--no-touch", "-r", recipient)
    card.quirks.refuses[LIST] = StatusWord.WRONG_LENGTH
    pcsc.plug(card, YkoathCard(serial=2222))
    backup = str(next((mfa_kit.home / "backups").rglob("*.age")))
    drill = ("backup", "drill", backup, "-i", str(identity_file), "--from", "oath")
    for words in (("verify", "user", user), drill):
        done = mfa_kit.run(*words)
        assert done.code == 3
        assert "cannot list its credentials" in done.err
        assert f"note: no other key has the credential {LABEL.format(user)}" in done.err
        assert "no plugged-in key" not in done.out + done.err


def test_a_key_of_another_user_is_shared_only_on_request(
    mfa_kit: MfaKit, lab: Lab, users: Callable[[], str], card: YkoathCard
) -> None:
    """The credentials of the same account count, also those of other programs, but not those of the user."""
    first, second = users(), users()
    other = f"Amazon Web Services:{first}@{ACCOUNT}"
    card.credentials |= {other.encode(): STORED, b"AWS:x@111111111111": STORED, b"example.com:x": STORED}
    warning = f"warning: YubiKey 5A 12345678 already has {other}"
    make = ("enroll", second, "--with", "oath", "--no-touch")
    before = dict(card.credentials)
    asked = mfa_kit.run(*make, "--no-input")
    assert (asked.code, warning in asked.err) == (8, True), asked.err
    assert (mfa_kit.run(*make, "--dry-run").code, card.credentials) == (0, before)
    assert lab.assigned(serial_of(second)) is None
    done = mfa_kit.run(*make, "--yes")
    assert (done.code, warning in done.err) == (0, True), done.err
    del card.credentials[other.encode()]
    own = mfa_kit.run(*make, "--add", "--no-input")
    assert (own.code, "warning" in own.err) == (0, False), own.err
    child = at_a_terminal(mfa_kit, "enroll", first, "--with", "oath", "--no-touch")
    child.expect_exact(f"type {first} to continue")
    child.sendline(first)
    child.expect("enrolled")
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    assert child.exitstatus == 0


def test_the_list_shows_what_each_key_reports(mfa_kit: MfaKit) -> None:
    """A row has the serial, if there is one, and the free space if the model is known."""
    pcsc.plug(YkoathCard(), YkoathCard(management=False))
    rows = json.loads(mfa_kit.run("key", "list", "--output", "json").out)["rows"]
    told = {row["where"][0]: (row["key"], row["serial"], row["firmware"], row["oath_free"]) for row in rows}
    assert told == {
        pcsc.reader(0): ("YubiKey 5A", "12345678", "5.4.3", 32),
        pcsc.reader(1): (pcsc.reader(1), None, "5.4.3", None),
    }
    assert "no serial" in mfa_kit.run("key", "list").out


@pytest.mark.usefixtures("card")
def test_a_key_without_fido_is_not_reported_as_missing(mfa_kit: MfaKit) -> None:
    """A key with one working applet is a key."""
    told = mfa_kit.run("key", "info")
    assert told.code == 0
    assert told.err == ""


def test_a_watch_shows_inserted_and_removed_keys(mfa_kit: MfaKit) -> None:
    """Each event is one line, until Ctrl-C."""
    pcsc.plug(YkoathCard(serial=1111))
    watching = mfa_kit.start("key", "list", "--watch", "--output", "json", env=pcsc.shared().env)
    assert watching.stdout
    assert json.loads(watching.stdout.readline())["event"] == "there"
    pcsc.plug(YkoathCard(serial=1111), YkoathCard(serial=2222))
    came = json.loads(watching.stdout.readline())
    assert (came["event"], came["serial"]) == ("plugged in", "2222")
    pcsc.plug(None, YkoathCard(serial=2222))
    went = json.loads(watching.stdout.readline())
    assert (went["event"], went["serial"]) == ("removed", "1111")
    watching.send_signal(signal.SIGINT)
    watching.communicate()
    assert watching.returncode == 130


def test_a_watch_misses_no_key_during_its_first_look(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes some time. A key that is plugged in meanwhile is reported at the next look."""
    plugged: list[KeyRow] = []

    def rows() -> tuple[list[KeyRow], list[MfaKitError]]:
        seen = [*plugged]
        plugged[:] = [KeyRow(key="Late", serial="1", firmware=None, transports=(), where=())]
        return seen, []

    ticks = iter([None, None])

    def sleep(_: float) -> None:
        if next(ticks, "over") == "over":
            raise KeyboardInterrupt

    source = SimpleNamespace(rows=rows, state=lambda: len(plugged))
    monkeypatch.setattr(list_keys, "sources_of", lambda _: (source,))
    monkeypatch.setattr(list_keys, "sleep", sleep)
    done = mfa_kit.run("key", "list", "--watch", "--output", "json")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["plugged in"]


@pytest.mark.parametrize("ins", [PUT, CALCULATE])
def test_ctrl_c_in_verify_oath_leaves_the_key_unchanged(mfa_kit: MfaKit, card: YkoathCard, ins: int) -> None:
    """The key finishes the running command, so mfa-kit checks the key once more."""
    act = card.answer

    def answer(octets: bytes) -> bytes:
        if octets[1:2] == bytes([ins]):
            os.kill(os.getpid(), signal.SIGINT)
            card.gone.wait(0.3)
        return act(octets)

    card.answer = answer  # type: ignore[method-assign]
    assert mfa_kit.run("verify", "oath").code == 130
    assert PUT in card.log
    assert card.credentials == {}


def test_a_key_removed_during_verify_oath_may_keep_a_credential(mfa_kit: MfaKit, card: YkoathCard) -> None:
    """The message says so, and names the command that removes the credential."""
    card.quirks.refuses = {CALCULATE: StatusWord.NOT_FOUND, DELETE: StatusWord.INS_NOT_SUPPORTED}
    done = mfa_kit.run("verify", "oath")
    assert done.code == 3
    assert "mfa-kit:test may still be on YubiKey 5A 12345678" in done.err
    assert "the next mfa-kit verify oath removes it" in done.err


def test_one_advisory_affects_oath() -> None:
    """The FIPS series with firmware 4.4.4. No other advisory on a YubiKey does."""
    known = read_advisories()
    [found] = advisories_on("YubiKey FIPS", Version(4, 4, 4), known)
    assert (found.name, "OATH is affected" in found.oath) == ("YSA-2019-02", True)
    assert {each.oath for each in known if each is not found} == {"OATH is not affected"}


def test_verify_oath_leaves_the_key_unchanged(mfa_kit: MfaKit, user: str, card: YkoathCard) -> None:
    """The manufacturer is not proven, the firmware has an advisory, and the account's credentials are listed."""
    enroll(mfa_kit, user, "--no-touch")
    before = dict(card.credentials)
    done = mfa_kit.run("verify", "oath", "--account", ACCOUNT, "--output", "json")
    assert done.code == 0
    told = json.loads(done.out)
    checks = {check["check"]: check for check in told["checks"]}
    assert told["answer"] == "proof"
    assert checks["maker"]["detail"].startswith("not proven")
    assert checks["advisory YSA-2024-03"]["result"] == "warn"
    assert checks["advisory YSA-2024-03"]["detail"].endswith("; OATH is not affected")
    assert checks["credentials of the account"]["detail"] == LABEL.format(user)
    assert checks["round trip"]["result"] == "pass"
    assert card.credentials == before
    writes = card.log.count(0x01)
    assert mfa_kit.run("verify", "oath", "--no-write").code == 0
    assert card.log.count(0x01) == writes


def test_verify_oath_tests_the_behavior_of_each_key(mfa_kit: MfaKit) -> None:
    """One key is full, one reports nothing, one overwrites credentials, and one refuses writes."""

    def checks(card: YkoathCard) -> tuple[int, dict[str, dict[str, str]]]:
        pcsc.plug(card)
        done = mfa_kit.run("verify", "oath", "--account", ACCOUNT, "--output", "json")
        return done.code, {check["check"]: check for check in json.loads(done.out)["checks"]}

    mute = YkoathCard(version=(0, 0, 0), management=False)
    code, told = checks(mute)
    assert code == 0
    assert told["firmware"]["result"] == "not applicable"
    assert told["room"]["result"] == "warn"
    full = YkoathCard(version=(5, 7, 4), capacity=64)
    for number in range(64):
        full.credentials[b"%d" % number] = Credential(0x21, 6, bytes(20), touch=False)
    code, told = checks(full)
    assert code == 1
    assert told["room"]["result"] == "warn"
    assert "is full" in told["round trip"]["detail"]
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="one\n")[0] == 0
    locked = process(mfa_kit, "verify", "oath", "--no-write", "--password-stdin", told="one\n")[1]
    assert "64 used; YubiKeys with this firmware hold 64" in locked
    assert "no advisory" in told["firmware"]["detail"]
    assert told["round trip"]["result"] == "fail"
    rough = YkoathCard(quirks=Quirks(overwrites=True))
    rough.credentials[b"Amazon Web Services:bob@" + ACCOUNT.encode()] = Credential(0x21, 6, bytes(20), touch=False)
    code, told = checks(rough)
    assert code == 1
    assert told["credentials of the account"]["result"] == "warn"
    assert "same credentials as before" in told["round trip"]["detail"]
    code, told = checks(YkoathCard(quirks=Quirks(cannot_compute=0x6F00)))
    assert code == 1
    assert "refused the command with status 6f00" in told["round trip"]["detail"]


def test_aws_tests_the_callers_own_key(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch, card: YkoathCard) -> None:
    """The test uses the user's own credentials and STS. A code is accepted only once."""
    with Lab(users=("erin",), settings=LabSettings(propagation=0)) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        enroll(mfa_kit, "erin", "--no-touch")
        lab.account.backend.get_user("erin").policies["all"] = ADMINISTRATOR
        own = lab.account.backend.create_access_key("erin")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", own.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own.secret_access_key)
        done = mfa_kit.run("verify", "user", "@me")
        assert done.code == 0, done.err
        assert "AWS accepted the code" in done.out
        assert "level: aws" in done.out
        card.quirks.wrong_codes = True
        assert mfa_kit.run("verify", "user", "@me").code == 1


def at_a_terminal(mfa_kit: MfaKit, *words: str) -> "pexpect.spawn[str]":
    env = {**bare(), **mfa_kit.env, **pcsc.shared().env, "MFA_KIT_HOME": str(mfa_kit.home), "TERM": "xterm"}
    return spawn([*MFA_KIT, *words], env=env, timeout=60)


def test_a_password_is_asked_at_the_terminal_and_not_shown(mfa_kit: MfaKit, card: YkoathCard) -> None:
    """A new password is typed twice, and an existing password once."""
    shown = io.StringIO()
    for words, prompts in (
        (("key", "password", "set"), ("new OATH password of YubiKey 5A 12345678: ", "type it again: ")),
        (("key", "info"), ("OATH password of YubiKey 5A 12345678: ",)),
    ):
        child = at_a_terminal(mfa_kit, *words)
        child.logfile_read = shown
        for prompt in prompts:
            child.expect(prompt)
            child.sendline("not-for-eyes")
        child.expect(pexpect.EOF)
        child.wait()
        child.close()
        assert child.exitstatus == 0, shown.getvalue()
    assert card.password
    assert "oath identity" in shown.getvalue()
    assert "not-for-eyes" not in shown.getvalue()


def test_a_key_is_chosen_at_the_terminal(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The user chooses from a numbered list."""
    first, second = YkoathCard(serial=1111), YkoathCard(serial=2222)
    pcsc.plug(first, second)
    child = at_a_terminal(mfa_kit, "enroll", user, "--with", "oath", "--no-touch")
    number = child.expect(["1  YubiKey 5A 2222", "2  YubiKey 5A 2222"]) + 1
    child.expect_exact("(2 are plugged in), 1 to 2: ")
    child.sendline(str(number))
    child.expect("enrolled")
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    assert child.exitstatus == 0
    assert first.credentials == {}
    assert second.credentials[LABEL.format(user).encode()].key == lab.seed(serial_of(user))


def test_a_device_that_is_on_no_key_is_reported(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """Only AWS has the seed of a hardware token."""
    pcsc.plug(YkoathCard())
    lab.add_token("GAHT00000001", "GEZDGNBVGY3TQOJQ")
    lab.account.backend.get_user(user).mfa_devices["GAHT00000001"] = assigned_entry("GAHT00000001", lab.account.today())
    done = mfa_kit.run("verify", "user", user)
    assert done.code == 2
    assert "is not a virtual device, so its secret cannot be on a key" in done.err


def test_verify_oath_refuses_a_key_that_computes_wrong_codes(mfa_kit: MfaKit, card: YkoathCard) -> None:
    """The exit code is 1, and the test credential is removed."""
    card.quirks.wrong_codes = True
    done = mfa_kit.run("verify", "oath")
    assert done.code == 1
    assert "computes codes that do not match" in done.out
    assert card.credentials == {}


def test_the_credential_of_a_killed_verification_is_deleted(mfa_kit: MfaKit, card: YkoathCard) -> None:
    """The name of the test credential is used only by verifications."""
    card.credentials[b"mfa-kit:test"] = Credential(0x21, 6, bytes(20), touch=False)
    done = mfa_kit.run("verify", "oath", "--output", "json")
    assert done.code == 0, done.out
    assert card.credentials == {}


def test_verify_user_states_what_it_proves(
    mfa_kit: MfaKit, lab: Lab, user: str, recipient: str, identity_file: Path
) -> None:
    """The proof is that of the key alone, of the backup's secret, or of AWS on request."""
    card = YkoathCard()
    pcsc.plug(card)
    enroll(mfa_kit, user, "--no-touch", "-r", recipient)
    backup = str(next((mfa_kit.home / "backups").rglob("*.age")))
    local = mfa_kit.run("verify", "user", user)
    assert local.code == 0
    assert "the code was not checked" in local.out
    assert "level: local   warn" in local.out
    by_seed = mfa_kit.run("verify", "user", user, "--backup", backup, "-i", str(identity_file))
    assert by_seed.code == 0
    assert "checked with the secret in the backup" in by_seed.out
    # Let the lab accept codes as if a minute had passed.
    lab.account.backend.codes(serial_of(user)).last = -1
    by_aws = mfa_kit.run("verify", "user", user, "--resync")
    assert by_aws.code == 0, by_aws.out
    assert "AWS accepted the code" in by_aws.out
    assert "level: resync" in by_aws.out
    too_soon = mfa_kit.run("verify", "user", user, "--resync")
    assert too_soon.code == 1
    assert "AWS rejected the code" in too_soon.out
    named = mfa_kit.run("verify", "user", user, "--key", "12345678")
    assert named.code == 0
    twin = YkoathCard(serial=2222)
    twin.credentials = dict(card.credentials)
    pcsc.plug(card, twin)
    both = mfa_kit.run("verify", "user", user)
    assert both.code == 2
    assert f"2 keys have the credential {LABEL.format(user)}" in both.err
    pcsc.plug(card)
    card.credentials[LABEL.format(f"{user}x").encode()] = card.credentials.pop(LABEL.format(user).encode())
    gone = mfa_kit.run("verify", "user", user)
    assert gone.code == 1
    assert f"no plugged-in key has the credential {LABEL.format(user)}" in gone.out
    pcsc.plug(Blank())
    assert "has no OATH applet" in mfa_kit.run("verify", "user", user).err


def test_another_computer_does_not_use_a_key_with_the_same_serial(
    mfa_kit: MfaKit, user: str, card: YkoathCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags have the identity of the applet, so mfa-kit requires that key.

    The credential on that key stays recorded.
    """
    enroll(mfa_kit, user, "--no-touch")
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "other"))
    pcsc.plug(YkoathCard())
    absent = mfa_kit.run("revoke", user, "--yes", "--leave-without-mfa")
    assert absent.code == 3, absent.out
    assert "which is not plugged in" in absent.err
    pcsc.plug(card, YkoathCard())
    assert mfa_kit.run("orphans", "clean", "--yes").code == 0
    assert card.credentials == {}


def test_another_locked_key_causes_no_password_prompt(mfa_kit: MfaKit, user: str) -> None:
    """The locked key may belong to anyone, and some keys count attempts."""
    held, other = YkoathCard(serial=1111), YkoathCard(serial=2222)
    other.password = bytes(16)
    pcsc.plug(held)
    enroll(mfa_kit, user, "--no-touch")
    pcsc.plug(other, held)
    done = mfa_kit.run("verify", "user", user, "--no-input")
    assert done.code == 0, done.err
    assert "is on YubiKey 5A 1111" in done.out


@pytest.mark.parametrize("label", ["a;b", "#12", "two\nlines", "x" * 65, ""])
def test_a_label_that_is_not_a_valid_tag_is_refused_first(
    mfa_kit: MfaKit, user: str, lab: Lab, card: YkoathCard, label: str
) -> None:
    """Without the tag, another computer could not identify the device."""
    done = mfa_kit.run("enroll", user, "--with", "oath", "--no-touch", "--asset", label)
    assert done.code == 2
    assert "is not a valid label" in done.err
    assert (lab.assigned(serial_of(user)), card.credentials) == (None, {})


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, mfa_kit: MfaKit, at_lab: Lab) -> str:
    """Return a folder for backups, or a bucket."""
    del at_lab  # it sets the endpoint
    if request.param == "folder":
        return str(mfa_kit.home / "backups")
    client, bucket = boto3.Session().client("s3"), "backups-of-keys"
    if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


def backup_in(mfa_kit: MfaKit, place: str, user: str) -> str:
    """Return the path or the URL of a user's only backup."""
    listed = json.loads(mfa_kit.run("backup", "list", "--backup-dir", place, "--output", "json").out)["rows"]
    [file] = [row["file"] for row in listed if row["user"] == user]
    return str(file)


def test_a_backup_is_restored_to_another_card(
    mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path, place: str
) -> None:
    """The codes prove the new card. A second restore finds that the card already has the secret."""
    first, second = YkoathCard(serial=1111), YkoathCard(serial=2222)
    pcsc.plug(first, second)
    enroll(mfa_kit, user, "--no-touch", "--key", "1111", "-r", recipient, "--backup-dir", place)
    backup = backup_in(mfa_kit, place, user)
    words = ("backup", "restore", backup, "-i", str(identity_file), "--to", "oath", "--no-touch", "--key", "2222")
    assert "restored" in mfa_kit.run(*words).out
    assert second.credentials == first.credentials
    assert "already there" in mfa_kit.run(*words).out
    assert f"AWS:desk/{user}@" in mfa_kit.run(*words, "--path", "/desk/").out
    second.credentials.pop(LABEL.format(f"desk/{user}").encode())
    second.quirks.wrong_codes = True
    refused = mfa_kit.run(*words)
    assert refused.code == 3
    assert "computes codes that do not match" in refused.err
    second.credentials.clear()
    assert mfa_kit.run(*words).code == 3
    assert second.credentials == {}
    second.quirks.refuses[DELETE] = StatusWord.INS_NOT_SUPPORTED
    assert f"the credential {LABEL.format(user)} may still be on YubiKey 5A 2222" in mfa_kit.run(*words).err


def test_a_drill_uses_the_key(
    mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path, card: YkoathCard, place: str
) -> None:
    """A backup whose key is not plugged in is skipped, and codes that differ are reported.

    The ledger records both results.
    """
    enroll(mfa_kit, user, "--no-touch", "-r", recipient, "--backup-dir", place)
    backup = backup_in(mfa_kit, place, user)
    words = ("backup", "drill", backup, "-i", str(identity_file), "--from", "oath", "--output", "json")

    def drill(*more: str) -> tuple[int, str, str | None]:
        done = mfa_kit.run(*words, *more)
        [row] = json.loads(done.out)["rows"]
        return done.code, row["result"], row["fault"]

    assert drill() == drill("--key", "12345678") == (0, "proved", None)
    card.quirks.wrong_codes = True
    assert drill() == (1, "differs", None)
    card.credentials.clear()
    assert drill() == drill("--key", "12345678") == (1, "skipped", "no plugged-in key has a credential for this device")
    with closing(sqlite3.connect(mfa_kit.home / "ledger.sqlite")) as ledger:
        results = [result for (result,) in ledger.execute("select result from drills order by id")]
    assert results == ["proved", "proved", "differs"]


def test_a_backup_is_tested_with_the_key(
    mfa_kit: MfaKit, user: str, card: YkoathCard, recipient: str, identity_file: Path
) -> None:
    """The key's code is compared with the code of the backup's secret. Without the key there is no code."""
    enroll(mfa_kit, user, "--no-touch", "-r", recipient)
    backup = str(next((mfa_kit.home / "backups").rglob("*.age")))
    drill = ("backup", "drill", backup, "-i", str(identity_file), "--from", "oath")
    right = mfa_kit.run(*drill)
    assert (right.code, "proved" in right.out) == (0, True), right.err
    card.quirks.wrong_codes = True
    wrong = mfa_kit.run(*drill)
    assert (wrong.code, "differs" in wrong.out) == (1, True), wrong.err
    card.credentials.clear()
    none = mfa_kit.run(*drill)
    assert (none.code, "no plugged-in key has a credential for this device" in none.out) == (1, True), none.err


@pytest.mark.usefixtures("card")
def test_no_output_contains_the_seed(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The ledger and the output of --debug do not contain the seed either."""
    done = mfa_kit.process("--debug", "enroll", user, "--with", "oath", "--no-touch", env=pcsc.shared().env)
    assert done.code == 0, done.err
    seed = lab.seed(serial_of(user))
    text = done.out + done.err
    ledger = b"".join(file.read_bytes() for file in mfa_kit.home.rglob("ledger*"))
    for name_in_iam in (seed, seed.hex().encode(), lab.account.backend.codes(serial_of(user)).secret.encode()):
        assert name_in_iam not in text.encode()
        assert name_in_iam not in ledger


def test_the_code_of_the_key_is_the_code_of_the_seed(mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard) -> None:
    """IAM accepted a code of a step during the run, and the key has IAM's seed."""
    began = time.time()
    enroll(mfa_kit, user, "--no-touch")
    last = lab.account.backend.codes(serial_of(user)).last
    assert otp.step(began) <= last <= otp.step(time.time())
    assert Seed(card.credentials[LABEL.format(user).encode()].key) == Seed(lab.seed(serial_of(user)))
