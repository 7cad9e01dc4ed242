"""Which physical key a device is on: what the ledger records, and what `status` and `key info` say."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import forms
from mfa_kit.core.recorded_keys import RecordedKey
from mfa_kit.lab.aws.mfa_devices import assigned_entry
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.securitykey import lab_key
from tests import pcsc
from tests.conftest import ACCOUNT, MfaKit
from tests.oath.test_commands import enroll, serial_of
from tests.oath.test_maker import AAGUID, TwoApplets

KEY = "YubiKey 5A 12345678"


def keys_of(mfa_kit: MfaKit, serial: str = "12345678") -> list[RecordedKey]:
    with sqlite_ledger(mfa_kit.home) as ledger:
        return [key for key in SeenKeyRecords(ledger).all() if key.answers_to(serial)]


def rows(mfa_kit: MfaKit, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = mfa_kit.run(*words, "--output", "json")
    assert done.code == code, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return found


@pytest.fixture
def home(mfa_kit: MfaKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    """Return a computer with an empty ledger."""
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return MfaKit(tmp_path / "desk", mfa_kit.env)


@pytest.mark.usefixtures("card")
def test_status_names_the_key_of_an_enrolled_device(home: MfaKit, user: str, monkeypatch: Any) -> None:
    """The table fits 80 columns. In JSON each fact has a field. The key only claims all of them."""
    enroll(home, user, "--no-touch", "--asset", "desk 7")
    [row] = rows(home, "status", user)
    assert (row["key"], row["key_serial"], row["key_model"], row["key_firmware"], row["key_label"]) == (
        KEY,
        "12345678",
        "YubiKey 5A",
        "5.4.3",
        "desk 7",
    )
    assert (row["key_attested"], row["key_aaguid"], row["key_certificate"], row["key_erased"]) == (
        [],
        None,
        None,
        False,
    )
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    for words in ((user,), (), ("--each-user",), ("--key", "12345678")):
        lines = home.run("status", *words).out.splitlines()
        assert max(map(len, lines)) <= 80, lines
        assert "KEY" in lines[0], lines
        assert "12345678" in "".join(lines)


@pytest.mark.usefixtures("card")
def test_the_devices_on_a_key_are_listed_without_a_call(home: MfaKit, lab: Lab, user: str) -> None:
    """The keys come from the ledger. tests/cli/test_status_lists.py has the calls of `status`."""
    enroll(home, user, "--no-touch")
    seen = len(lab.calls)
    assert home.run("status", "--key", "12345678").code == 0
    assert len(lab.calls) == seen


def test_no_column_if_nothing_is_known(home: MfaKit, lab: Lab, user: str) -> None:
    """In JSON the fields are null, which means unknown."""
    lab.add_token("GAHT00000002", "GEZDGNBVGY3TQOJQ")
    lab.account.backend.get_user(user).mfa_devices["GAHT00000002"] = assigned_entry("GAHT00000002", lab.account.today())
    assert "KEY" not in home.run("status", user).out.partition("\n")[0]
    [row] = rows(home, "status", user)
    assert {row[name] for name in row if name.startswith("key")} == {None}


@pytest.mark.usefixtures("card")
def test_devices_of_a_key_are_listed_by_its_serial(home: MfaKit, user: str, users: Any) -> None:
    """Those of all users, by serial, label or OATH identity, but not those that were revoked."""
    other = users()
    enroll(home, user, "--no-touch", "--asset", "desk 7")
    enroll(home, other, "--no-touch", "--asset", "desk 7", "--yes")
    [key] = keys_of(home)
    for name in ("12345678", "desk 7", KEY, key.cards[0]):
        found = rows(home, "status", "--key", name)
        assert {(row["account"], row["user"], row["device"]) for row in found} == {
            (ACCOUNT, owner, serial_of(owner)) for owner in (user, other)
        }
    assert home.run("revoke", other, "--yes", "--leave-without-mfa").code == 0
    assert [row["user"] for row in rows(home, "status", "--key", "12345678")] == [user]
    assert home.run("revoke", user, "--yes", "--leave-without-mfa").code == 0
    done = home.run("status", "--key", "12345678")
    assert (done.code, done.out) == (0, f"no device is on {KEY}, according to the ledger\n")


def test_an_unknown_key_is_one_sentence(home: MfaKit, user: str) -> None:
    done = home.run("status", "--key", "00000000")
    assert (done.code, done.out) == (1, "no key 00000000 is in the ledger\n")
    assert "mfa-kit verify user USER" in done.err
    assert home.run("status", user, "--key", "1").code == 2


@pytest.mark.usefixtures("card")
def test_key_info_says_whose_key_it_is(home: MfaKit, user: str) -> None:
    """The account, the user and the device, from the ledger of this computer."""
    enroll(home, user, "--no-touch")
    told = json.loads(home.run("key", "info", "--output", "json").out)
    assert told["devices"] == [{"account": ACCOUNT, "user": user, "device": serial_of(user)}]
    assert f"{serial_of(user)} of {user} in account {ACCOUNT}" in home.run("key", "info").out
    pcsc.plug(YkoathCard(serial=87654321))
    assert json.loads(home.run("key", "info", "--output", "json").out)["devices"] == []


def test_a_reset_key_no_longer_has_its_device(home: MfaKit, user: str, card: YkoathCard) -> None:
    """IAM still lists the device. The next time that the key is seen, its applet has another identity."""
    enroll(home, user, "--no-touch")
    card.erase()
    done = home.run("key", "info")
    assert (serial_of(user) in done.out, "none in the ledger" in done.out) == (False, True)
    assert "OATH on this key was reset, so the key has lost the secrets of 1 device" in done.err
    assert home.run("verify", "oath").code == 0
    assert [(row["key"], row["key_erased"]) for row in rows(home, "status", user)] == [(f"{KEY} (was reset)", True)]
    assert rows(home, "status", "--key", "12345678")[0]["key_erased"] is True
    assert json.loads(home.run("key", "info", "--output", "json").out)["devices"] == []


@pytest.mark.usefixtures("card")
def test_a_device_that_was_created_again_is_on_no_key(home: MfaKit, user: str) -> None:
    """Its ARN is that of the device on the key, its EnableDate is not."""
    enroll(home, user, "--no-touch")
    assert rows(home, "status", user)[0]["key"] == KEY
    with closing(sqlite3.connect(home.home / "ledger.sqlite")) as db:
        # The record is now that of a device which was enabled a second earlier.
        db.execute("update seen_keys set since = since - 1")
        db.commit()
    for words in ((user,), (), ("--each-user",)):
        assert [row["key"] for row in rows(home, "status", *words) if row["user"] == user] == [None]


@pytest.mark.usefixtures("card")
def test_verify_user_records_a_device_that_another_ledger_made(home: MfaKit, user: str, tmp_path: Path) -> None:
    """A key that was enrolled by an older mfa-kit, or on another computer, becomes known when it is verified."""
    enroll(home, user, "--no-touch")
    elsewhere = MfaKit(tmp_path / "new", {**home.env, "MFA_KIT_HOME": str(tmp_path / "new")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFA_KIT_HOME", str(tmp_path / "new"))
        assert rows(elsewhere, "status", user)[0]["key"] is None
        assert elsewhere.run("verify", "user", user).code == 0
        assert rows(elsewhere, "status", user)[0]["key"] == KEY


def test_a_restored_secret_is_on_the_second_key_too(
    home: MfaKit, user: str, recipient: str, identity_file: Path
) -> None:
    """`status` shows the key that the device was put on last."""
    pcsc.plug(YkoathCard())
    done = home.run("enroll", user, "--with", "oath", "--no-touch", "-r", recipient, "--output", "json")
    assert done.code == 0, done.err
    pcsc.plug(YkoathCard(serial=2222))
    words = ("backup", "restore", json.loads(done.out)["backup"], "-i", identity_file, "--to", "oath", "--no-touch")
    assert home.run(*words).code == 0
    assert rows(home, "status", user)[0]["key"] == "YubiKey 5A 2222"
    for serial in ("12345678", "2222"):
        assert [row["user"] for row in rows(home, "status", "--key", serial)] == [user]


def test_verify_oath_with_the_maker_records_what_is_attested(home: MfaKit, tmp_path: Path) -> None:
    """FIDO and OATH are on one card, so they are one key. The attestation proves the model, but not the serial."""
    maker = AttestationCa(now=time.time())
    blob, root = tmp_path / "blob.jwt", tmp_path / "root.der"
    blob.write_bytes(maker.blob([maker.entry("mfa-kit lab key", aaguid=AAGUID)], next_update=date(2100, 1, 1)))
    root.write_bytes(maker.root.der)
    pcsc.plug(TwoApplets(FidoCard(lab_key(maker))))
    assert home.run("verify", "oath").code == 0
    assert home.run("verify", "oath", "--maker", "--mds", str(blob), "--mds-root", str(root)).code == 0
    [key] = keys_of(home)
    assert (key.facts.model, key.facts.aaguid, key.facts.serial) == ("mfa-kit lab key", AAGUID, "12345678")
    assert {"model", "aaguid", "certificate", "certifications"} <= key.facts.attested
    assert "serial" not in key.facts.attested


def test_a_key_without_a_serial_is_known_by_its_applet(home: MfaKit, user: str) -> None:
    """As a Nitrokey. Another such key is another key."""
    pcsc.plug(YkoathCard(management=False))
    enroll(home, user, "--no-touch")
    [key] = keys_of(home, rows(home, "status", user)[0]["key_card"])
    assert [row["key"] for row in rows(home, "status", user)] == [f"key {key.facts.card}"]
    assert json.loads(home.run("key", "info", "--output", "json").out)["devices"][0]["user"] == user
    pcsc.plug(YkoathCard(management=False))
    assert home.run("verify", "oath").code == 0
    assert json.loads(home.run("key", "info", "--output", "json").out)["devices"] == []


@pytest.mark.usefixtures("card")
def test_a_key_is_used_although_the_ledger_cannot_record_it(home: MfaKit) -> None:
    """The verification needs no ledger. The message says why the key is not recorded."""
    home.home.mkdir(mode=0o700)
    (home.home / "ledger.sqlite").write_bytes(b"x" * 8192)
    (home.home / "ledger.sqlite").chmod(0o600)
    done = home.run("verify", "oath")
    assert done.code == 0
    assert "this key is not recorded: the ledger" in done.err
