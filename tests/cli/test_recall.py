"""Tests of `key recall`: whose keys an advisory names, as JSON, as a table and as a roster."""

import json
import socket
import stat
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from tests.conftest import ACCOUNT, MfaKit, Result
from tests.fido.conftest import LAB_AAGUID, NOW, publish
from tests.ledgers import open_at
from tests.postgresql import Server

ALL = frozenset({"model", "firmware", "aaguid", "certifications", "certificate"})
KEY = KeyFacts(serial="1", model="YubiKey 5 Series with NFC", firmware="5.4.3", aaguid=LAB_AAGUID, attested=ALL)
CURRENT = replace(KEY, serial="3", firmware="5.7.4")
OTHER_ACCOUNT = "111111111111"
NAMES = ["YSA-2024-03", "YSA-2025-02"]


def device(user: str, account: str = ACCOUNT, name: str = "u2f/user") -> KeyDevice:
    serial = f"arn:aws:iam::{account}:{name}/{user}/key-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return KeyDevice(account=account, user=user, serial=serial, since=1_795_000_000.0)


def record(home: Path | str, *keys: tuple[KeyFacts, KeyDevice | None], event: KeyEvent = KeyEvent.ENROLLED) -> None:
    with open_at(str(home)) as ledger:
        for facts, on_it in keys:
            SeenKeyRecords(ledger).add(facts, event, now=time.time(), device=on_it)


def recall(mfa_kit: MfaKit, *args: str | Path) -> tuple[Result, list[dict[str, Any]]]:
    done = mfa_kit.run("key", "recall", "--output", "json", *args)
    return done, json.loads(done.out)["rows"] if done.out else []


@pytest.fixture
def fleet(mfa_kit: MfaKit) -> MfaKit:
    """Return a desk whose ledger has a key of each verdict, in two accounts."""
    record(
        mfa_kit.home,
        (replace(KEY, serial="4", firmware="5.7.4", attested=frozenset()), device("dave")),
        (CURRENT, device("carol", OTHER_ACCOUNT)),
        (replace(KEY, serial="2", attested=ALL - {"firmware"}), device("bob", OTHER_ACCOUNT)),
        (KEY, device("alice")),
    )
    return mfa_kit


def test_each_key_has_a_verdict_and_unknown_ones_are_at_the_end(fleet: MfaKit) -> None:
    """All accounts in the ledger are listed, without a call to AWS: no lab is running."""
    done, rows = recall(fleet)
    assert json.loads(done.out)["schema"] == "mfa-kit/key-recall"
    assert done.code == 1
    assert [(row["user"], row["account"], row["verdict"], row["advisory"]) for row in rows] == [
        ("alice", ACCOUNT, "affected", NAMES),
        ("bob", OTHER_ACCOUNT, "probably", NAMES),
        ("carol", OTHER_ACCOUNT, "not listed", []),
        ("dave", ACCOUNT, "unknown", []),
    ]
    assert (rows[0]["key"], rows[0]["model"], rows[0]["firmware"]) == ("1", KEY.model, "5.4.3")
    assert rows[0]["source"][0] == "https://www.yubico.com/support/security-advisories/ysa-2024-03/"
    assert "unknown for 1 key: facts are missing, or the key only claims them" in done.err


def test_the_table_fits_and_has_the_unknown_keys_apart(fleet: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = fleet.run("key", "recall")
    known, unknown = done.out.split("Unknown, because facts are missing or not attested:")
    assert all(name in known for name in ("alice", "bob", "carol", "not listed"))
    assert "dave" in unknown
    assert "dave" not in known
    assert "safe" not in (done.out + done.err + fleet.run("key", "recall", "--help").out).lower()


def test_unknown_keys_do_not_fail_but_are_counted_even_with_quiet(mfa_kit: MfaKit) -> None:
    record(mfa_kit.home, (CURRENT, device("carol")), (replace(CURRENT, serial="4", firmware=None), device("dave")))
    done = mfa_kit.run("key", "recall", "--quiet")
    assert (done.code, "unknown for 1 key" in done.err) == (0, True)


def test_a_ledger_without_keys_says_so(mfa_kit: MfaKit) -> None:
    done = mfa_kit.run("key", "recall")
    assert done.code == 0
    assert "the ledger has no keys, so nothing is known about the keys of users" in done.err


def test_a_file_of_advisories_replaces_those_of_mfa_kit(fleet: MfaKit, tmp_path: Path) -> None:
    file = tmp_path / "advisory.toml"
    text = '[[advisory]]\nname = "NEW-1"\nsource = "https://example.com/1"\nwhat = "it is recalled"\n'
    file.write_text(text + 'models = ["YubiKey 5*"]\nsince = "5.7.0"\n')
    done, rows = recall(fleet, "--advisory", file)
    assert done.code == 1
    assert [(row["user"], row["verdict"], row["advisory"]) for row in rows] == [
        ("carol", "affected", ["NEW-1"]),
        ("dave", "probably", ["NEW-1"]),
        ("alice", "not listed", []),
        ("bob", "unknown", []),
    ]
    file.write_text(text)
    done, _ = recall(fleet, "--advisory", file)
    assert (done.code, f"advisory 1 of {file} names no model" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("status", "verdicts"),
    [
        ("REVOKED", ["affected"] * 3 + ["probably"]),
        ("ATTESTATION_KEY_COMPROMISE", ["affected"] * 3 + ["probably"]),
        ("UPDATE_AVAILABLE", ["not listed"] * 3 + ["unknown"]),
    ],
)
def test_models_that_are_now_revoked_are_found(fleet: MfaKit, tmp_path: Path, status: str, verdicts: list[str]) -> None:
    """The advisories of vendors do not count then."""
    maker = AttestationCa(now=NOW)
    entry = {**maker.entry("m", aaguid=LAB_AAGUID), "statusReports": [{"status": status}]}
    done, rows = recall(fleet, *publish(tmp_path, maker, [entry, maker.entry("o")]).options)
    assert [row["verdict"] for row in rows] == verdicts
    assert {name for row in rows for name in row["advisory"]} == ({status} if "affected" in verdicts else set())
    assert done.code == int("affected" in verdicts)


def test_stale_metadata_is_named(fleet: MfaKit, tmp_path: Path) -> None:
    maker = AttestationCa(now=NOW)
    old = publish(tmp_path, maker, [maker.entry("m", aaguid=LAB_AAGUID), {"aaguid": 1}], next_update=date(2020, 1, 1))
    done, _ = recall(fleet, *old.options)
    assert "blob.jwt: 1 models could not be read, and a newer file is due on 2020-01-01" in done.err


def test_a_reset_key_has_no_device_and_is_still_affected(mfa_kit: MfaKit) -> None:
    record(mfa_kit.home, (KEY, device("alice")))
    record(mfa_kit.home, (KEY, None), event=KeyEvent.RESET)
    done, [row] = recall(mfa_kit)
    assert (done.code, row["user"], row["device"], row["verdict"]) == (1, None, None, "affected")


@pytest.mark.usefixtures("at_lab")
def test_the_roster_of_affected_users_can_be_planned(mfa_kit: MfaKit, lab: Lab, user: str, tmp_path: Path) -> None:
    """Each device once, whatever the case of its user. Not in it: root, and OATH, which the flaw does not affect."""
    registered = replace(device(user), serial=lab.register_fido(user, f"{user}-key"))
    record(
        mfa_kit.home,
        (KEY, registered),
        (replace(KEY, serial="2"), replace(registered, user=user.upper())),
        (replace(KEY, serial="5"), device("<root_account>")),
        (KeyFacts(serial="6", model="YubiKey 5 NFC", firmware="5.4.3", card="c"), device("erin", name="mfa")),
        (replace(KEY, serial="7", firmware="4.4.4", card="d"), device("frank", OTHER_ACCOUNT, "mfa")),
    )
    file = tmp_path / "roster.csv"
    done = mfa_kit.run("key", "recall", "--roster", file, "--dry-run")
    assert (file.exists(), "would have 2 devices to replace" in done.err) == (False, True)
    done = mfa_kit.run("key", "recall", "--roster", file)
    assert "roster.csv has 2 devices to replace; 2 left out: without a device, of root, or in OATH" in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    _, *rows = file.read_text().splitlines()
    franks = device("frank", OTHER_ACCOUNT, "mfa").serial
    assert rows == [
        f'"{user}","fido2","","","","","","","","replace","{registered.serial}","{ACCOUNT}"',
        f'"frank","oath","","","","","","","","replace","{franks}","{OTHER_ACCOUNT}"',
    ]
    done = mfa_kit.run("rollout", "plan", file, "-o", tmp_path / "plan.json")
    mine, franks_row = json.loads((tmp_path / "plan.json").read_text())["rows"]
    assert (mine["action"], mine["replaces"], mine["name"]) == ("bench", registered.serial, f"{user}-key-2")
    assert franks_row["action"] == "blocked"
    again = mfa_kit.run("key", "recall", "--roster", file)
    assert (again.code, "already exists" in again.err) == (5, True)


def test_both_halves_of_a_pair_are_in_the_roster(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """The FIDO half is not in OATH, although the key has an OATH identity too."""
    facts = replace(KEY, card="c", firmware="4.4.4")
    record(mfa_kit.home, (facts, device("grace")), oath_on(facts, "grace"))
    file = tmp_path / "roster.csv"
    done = mfa_kit.run("key", "recall", "--roster", file)
    assert done.code == 1, done.err
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    assert [(row[1], row[-2]) for row in rows] == [
        ('"fido2"', f'"{device("grace").serial}"'),
        ('"oath"', f'"{device("grace", name="mfa").serial}"'),
    ]


def test_nobody_to_exchange_means_no_roster(mfa_kit: MfaKit, tmp_path: Path) -> None:
    record(mfa_kit.home, (CURRENT, device("carol")))
    done = mfa_kit.run("key", "recall", "--roster", tmp_path / "roster.csv")
    assert (done.code, (tmp_path / "roster.csv").exists()) == (0, False)
    assert "no roster was written, because it would have no devices; no key is known to be affected" in done.err


def oath_on(facts: KeyFacts, user: str) -> tuple[KeyFacts, KeyDevice]:
    return replace(facts, card="c"), replace(device(user, name="mfa"), card="c")


def test_a_flaw_that_is_not_in_oath_is_no_reason_to_exchange_oath(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """The key is affected, so the list has it. A message says why the user needs no other key."""
    record(mfa_kit.home, oath_on(KEY, "erin"))
    done = mfa_kit.run("key", "recall", "--roster", tmp_path / "roster.csv")
    assert (done.code, (tmp_path / "roster.csv").exists()) == (1, False)
    assert "1 device of OATH needs no other key, because the advisories on the key do not affect OATH" in done.err
    assert "no roster was written, because it would have no devices; 1 left out: " in done.err


def test_an_advisory_that_does_not_mention_oath_may_affect_it(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """Only a file that says so leaves devices in OATH out of the roster."""
    record(mfa_kit.home, oath_on(KEY, "erin"))
    file, roster = tmp_path / "advisory.toml", tmp_path / "roster.csv"
    text = '[[advisory]]\nname = "NEW-1"\nsource = "https://example.com/1"\nwhat = "w"\nmodels = ["YubiKey*"]\n'
    file.write_text(text + 'oath = "OATH is not affected"\n')
    done, _ = recall(mfa_kit, "--advisory", file, "--roster", roster)
    assert (done.code, roster.exists()) == (1, False)
    file.write_text(text)
    done, [row] = recall(mfa_kit, "--advisory", file, "--roster", roster)
    assert row["what"] == ["w; the source does not say whether OATH is affected"]
    assert "needs no other key" not in done.err
    assert "roster.csv has 1 device to replace; the old devices stay until the new ones work" in done.err
    assert '"erin","oath"' in roster.read_text()


def test_a_shared_ledger_has_the_keys_of_all_computers(
    mfa_kit: MfaKit, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgresql.address(postgresql.new_database())
    monkeypatch.setenv("MFA_KIT_LEDGER", address)
    for number, name in enumerate(("desk-a", "desk-b")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda name=name: name)
            record(address, (replace(KEY, serial=f"{number}"), device(f"user-{number}")))
    _, rows = recall(mfa_kit)
    assert [row["user"] for row in rows] == ["user-0", "user-1"]


def test_the_audit_reads_the_ledger_and_makes_no_further_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IAM shows that the user no longer has the recorded device. No other test makes devices in this lab."""
    kit = MfaKit(tmp_path / "desk")
    with Lab(("alice",)) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(kit.home)}.items():
            monkeypatch.setenv(name, value)

        def audit() -> tuple[str, list[str], list[str]]:
            before = len(lab.calls)
            done = kit.run("audit", "--rule", "devices.recalled", "--output", "json")
            [rule] = json.loads(done.out)["rules"]
            calls = sorted(call.operation for call in lab.calls[before:])
            return rule["result"], [about["subject"] for about in rule["unknown"]], calls

        audit()  # the first one lets IAM generate the report
        result, subjects, calls = audit()
        assert (result, subjects) == ("unknown", [ACCOUNT])
        record(kit.home, (CURRENT, device("alice")))
        assert audit() == ("pass", [], calls)
