"""`mfa-kit evidence export`: the files, their signature, the source of each fact, and pseudonyms."""

import csv
import ctypes
import hashlib
import json
import os
import re
import resource
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mfa_kit.account.snapshot import Entity, Snapshot
from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.audit.frameworks import FRAMEWORKS
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.evidence.pseudonyms import Pseudonyms, names_of
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import changed
from tests.audit.test_rules import FIDO, both, user
from tests.conftest import MfaKit
from tests.letters.judges import text_of
from tests.test_secrets import PR_GET_DUMPABLE, PR_SET_DUMPABLE

FAILS = ("cis-5.0", "fail")
PEOPLE = changed(
    both(
        user("carol.jones", password=True, devices=[{**FIDO, "certifications": {"FIDO": "L2"}}]),
        user("dave", devices=[{"kind": "token", "serial": "GAHT12345678"}]),
    )
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lab, MfaKit]]:
    """Start a lab, and make an SSH key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with Lab(description=PEOPLE) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, value)
        yield lab, MfaKit(tmp_path / "desk", {})


def exported(desk: MfaKit, folder: Path, *more: str, name: str = "evidence.zip") -> dict[str, bytes]:
    done = desk.run("evidence", "export", "-o", str(folder / name), "--sign", str(folder / "key"), *more)
    assert done.code == 0, done
    with zipfile.ZipFile(folder / name) as archive:
        return {each: archive.read(each) for each in archive.namelist()}


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(data.decode().splitlines()))


def test_the_manifest_is_signed(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """OpenSSH verifies the signature, and the manifest has the hash of each file. A change breaks both."""
    files = exported(desk[1], tmp_path)
    signature = tmp_path / "manifest.sig"
    signature.write_bytes(files["manifest.json.sig"])
    (tmp_path / "signers").write_text("auditee " + (tmp_path / "key.pub").read_text())
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "auditee"]
    verify += ["-n", "mfa-kit-evidence", "-s", str(signature)]
    assert subprocess.run(verify, input=files["manifest.json"], capture_output=True, check=False).returncode == 0
    changed_text = files["manifest.json"].replace(b"devices.csv", b"devices.tsv")
    assert subprocess.run(verify, input=changed_text, capture_output=True, check=False).returncode != 0
    hashes = json.loads(files["manifest.json"])["sha256"]
    assert set(hashes) == set(files) - {"manifest.json", "manifest.json.sig"}
    assert all(hashlib.sha256(files[name]).hexdigest() == value for name, value in hashes.items())
    assert (tmp_path / "evidence.zip").stat().st_mode & 0o777 == 0o600


def test_each_fact_has_its_source(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """A device's row names the API calls and their request IDs, which are those that AWS answered with."""
    files = exported(desk[1], tmp_path)
    devices = {row["user"]: row for row in rows(files["devices.csv"])}
    sources = {row["request_id"]: row for row in rows(files["sources.csv"])}
    assert devices["carol.jones"]["kind"] == "fido2"
    assert devices["dave"]["device"] == "GAHT12345678"
    for name in ("carol.jones", "dave"):
        row = devices[name]
        assert row["enrolled_by_mfa_kit"] == "no"
        numbers = row["request_ids"].split(", ")
        assert all(sources[number]["user"] in {name, ""} for number in numbers)
        assert {sources[number]["operation"] for number in numbers} == set(row["source"].split(", "))
    assert all(len(number) > 20 for number in sources)


def test_verdicts_and_policies_are_included(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """Each control of each framework has its verdict. Each policy about MFA has its text and what it does to users."""
    files = exported(desk[1], tmp_path)
    controls = rows(files["controls.csv"])
    assert {row["framework"] for row in controls} == set(FRAMEWORKS)
    assert len(controls) == sum(len(each.controls) for each in FRAMEWORKS.values())
    policies = rows(files["policies.csv"])
    assert policies[0]["policy"] == "group people, policy force-mfa"
    assert "MultiFactorAuthPresent" in files[policies[0]["file"]].decode()
    account = json.loads(files["account.json"])
    assert (account["account"], account["not_read"]) == ("000000000000", [])


def test_backups_and_tests_are_included(desk: tuple[Lab, MfaKit], tmp_path: Path, recipient: str) -> None:
    """A device that mfa-kit enrolled has the time, and whether its backup exists and was tested. There is no secret."""
    lab, kit = desk
    lab.add_user("erin")
    kit.run("enroll", "erin", "--with", "virtual", "--codes", "generated", "-r", recipient)
    files = exported(kit, tmp_path)
    [row] = [each for each in rows(files["devices.csv"]) if each["user"] == "erin"]
    assert (row["enrolled_by_mfa_kit"], row["backup"], row["backup_tested"]) == ("yes", "yes", "")
    seed = lab.seed("arn:aws:iam::000000000000:mfa/erin")
    assert not any(part in data for data in files.values() for part in (seed, b"otpauth:"))


def test_the_key_of_a_device_is_included(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """With what its attestation proves. Its serial and its label are hidden by pseudonyms."""
    kit, name = desk[1], "carol.jones"
    [device] = boto3.Session().client("iam").list_mfa_devices(UserName=name)["MFADevices"]
    facts = KeyFacts(
        serial="12345678",
        model="YubiKey 5 NFC",
        firmware="5.4.3",
        aaguid="2fc0579f-8113-47ea-b116-bb5a8db9202a",
        certifications=("FIDO_CERTIFIED_L1",),
        label="Carols-key",
        attested=frozenset({"model", "aaguid"}),
    )
    on_key = KeyDevice(
        account="000000000000", user=name, serial=device["SerialNumber"], since=device["EnableDate"].timestamp()
    )
    with sqlite_ledger(kit.home) as ledger:
        SeenKeyRecords(ledger).add(facts, KeyEvent.VERIFIED, now=1.0, device=on_key)
    [row] = [each for each in rows(exported(kit, tmp_path)["devices.csv"]) if each["user"] == name]
    assert (row["key_serial"], row["key_model"], row["key_label"]) == ("12345678", "YubiKey 5 NFC", "Carols-key")
    assert (row["key_attested"], row["key_erased"]) == ("aaguid, model", "no")
    assert row["key_certifications"] == "FIDO_CERTIFIED_L1"
    hidden = exported(kit, tmp_path, "--pseudonyms", secret(tmp_path / "secret"), name="hidden.zip")
    assert not any(part in data for data in hidden.values() for part in (b"12345678,", b"Carols-key"))
    [row] = [each for each in rows(hidden["devices.csv"]) if each["key_model"]]
    assert (row["key_serial"][:4], row["key_label"][:4], row["key_firmware"]) == ("key-", "key-", "5.4.3")


def secret(file: Path, text: str = "0" * 32) -> str:
    """Write the secret of pseudonyms, which only its owner may read. Return its path."""
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_pseudonyms_hide_names(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """No name of a user or token is left. The same secret gives the same pseudonyms, and another one gives others."""
    secrets = [secret(tmp_path / str(number), str(number) * 32) for number in range(2)]
    runs: list[dict[str, bytes]] = []
    for number, file in enumerate([secrets[0], secrets[0], secrets[1]]):
        runs.append(exported(desk[1], tmp_path, "--pseudonyms", file, name=f"{number}.zip"))
    everything = b"\n".join(runs[0].values()).decode()
    for name in ("carol", "alice", "dave", "GAHT12345678", "lab-admin"):
        assert name not in everything
    users = [{row["user"] for row in rows(run["devices.csv"])} for run in runs]
    assert users[0] == users[1]
    assert not users[0] & users[2]
    assert all(name.startswith("user-") for name in users[0])


# Names that are short, that are words of mfa-kit or of IAM, or that contain other names.
AWKWARD = ("bob", "me", "root", "user", "none", "users", "arn", "Deny", "iam", "console", "svc-deploy", "bob.lee")
NAMED = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "AllowBobAndZoe",
            "Effect": "Allow",
            "Action": "iam:*",
            "Resource": ["arn:aws:iam::000000000000:user/team/bob", "arn:aws:iam::*:mfa/bob", "arn:aws:s3:::x/Bob/*"],
        },
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {
                "BoolIfExists": {"aws:MultiFactorAuthPresent": "false"},
                "StringNotLike": {"aws:username": ["me", "svc-*"], "aws:userid": "AIDAABCDEFGHIJKLMNOP"},
                "StringLike": {"aws:PrincipalTag/mail": "bob.lee@example.com"},
            },
        },
    ],
}


def awkward(account: dict[str, Any]) -> None:
    """Give an account these users, a policy that names some of them, and roles and groups with names of users."""
    account["groups"].append({"name": "bob", "policies": {"named": NAMED}})
    for name in AWKWARD:
        both_groups = {"groups": ["people", "bob"], "password": True}
        account["users"].append({"name": name, "path": "/me/", "devices": [{"name": name}], **both_groups})


def test_pseudonyms_hide_short_names_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is hidden in each cell and policy, also if it is short or a word. No verdict depends on the pseudonyms."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with Lab(description=changed(awkward)) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, value)
        kit = MfaKit(tmp_path / "desk", {})
        plain = exported(kit, tmp_path, name="plain.zip")
        hidden = exported(kit, tmp_path, "--pseudonyms", secret(tmp_path / "secret"), name="hidden.zip")
    devices = rows(hidden["devices.csv"])
    assert len(devices) == len(rows(plain["devices.csv"]))
    for row in devices:
        assert re.fullmatch(r"user-[0-9a-f]{12}", row["user"])
        assert re.fullmatch(r"(arn:aws:iam::000000000000:(mfa|u2f/user)/(user|device)-[0-9a-f]{12})?", row["device"])
    assert [row["user"] for row in devices] == sorted(row["user"] for row in devices)
    assert {row["user"] for row in rows(hidden["sources.csv"])} <= {"", *(row["user"] for row in devices)}
    for column in ("result", "rule", "severity"):
        verdicts = [sorted(row[column] for row in rows(files["findings.csv"])) for files in (plain, hidden)]
        assert verdicts[0] == verdicts[1]
    results = [[(row["control"], row["result"]) for row in rows(files["controls.csv"])] for files in (plain, hidden)]
    assert results[0] == results[1]
    policies = [rows(files["policies.csv"]) for files in (plain, hidden)]
    states = [sorted(list(row.values())[2:] for row in each) for each in policies]
    assert states[0] == states[1]
    assert len(policies[1]) > 1
    assert [row["policy"] for row in policies[1]] == sorted(row["policy"] for row in policies[1])
    for row in rows(hidden["findings.csv"]):
        words = set(re.findall(r"[\w.-]+", f"{row['subject']} {row['evidence']}"))
        assert not words & set(AWKWARD)
        assert re.fullmatch(r"(arn:aws:iam::000000000000:(root|user/.*user-[0-9a-f]{12}|\w+/.*))?", row["resource"])
    [text] = [data for name, data in hidden.items() if b"StringNotLike" in data and name.startswith("policies/")]
    assert not re.search(rb"(?i)bob|zoe|AIDA|\bme\b", text)
    first, second = json.loads(text)["Statement"]
    assert (first["Action"], second["Effect"]) == ("iam:*", "Deny")
    assert second["Condition"]["BoolIfExists"] == {"aws:MultiFactorAuthPresent": "false"}
    assert first["Resource"][1].startswith("arn:aws:iam::*:mfa/user-")


def test_pseudonyms_hide_the_session_and_its_errors() -> None:
    """The name of a session is the name of a person. It is hidden in the caller's ARN and in the reasons for gaps."""
    session = "arn:aws:sts::000000000000:assumed-role/Auditor/zoe@example.com"
    why = f"User: {session} is not authorized to perform: iam:ListMFADevices on resource: user dave"
    names = Pseudonyms(names={"dave": "user"}, key=b"0" * 32)
    for text in (session, why):
        found = names.in_text(text)
        assert "assumed-role/Auditor/session-" in found
        assert not re.search("zoe|example|dave", found)
    assert names.in_text("arn:aws:iam::999999999999:user/eve").startswith("arn:aws:iam::999999999999:user/user-")
    assert names.in_text("arn:aws:iam::aws:policy/dave") == "arn:aws:iam::aws:policy/dave"


def test_pseudonyms_hide_paths_and_any_case() -> None:
    """A path may be named after its only user, and people write a name in upper or lower case."""
    arn = "arn:aws:iam::000000000000:user/Zaphod/b.one/dave"
    snapshot = Snapshot(account="000000000000", caller=arn, at=0.0, users=(Entity(name="dave", arn=arn),))
    names = Pseudonyms(names=names_of(snapshot), key=b"0" * 32)
    policy = {"Statement": [{"Resource": [arn, "arn:aws:iam::*:user/zaphod/*", "arn:aws:iam::*:role/ZAPHOD/x"]}]}
    for text in (names.in_text(arn), names.in_text("Dave is in group DAVE"), names.in_policy(json.dumps(policy))):
        assert not re.search("zaphod|b.one|dave", text, re.IGNORECASE)
    assert names.in_text("DAVE") == names.in_text("dave")
    foreign = names.in_text("arn:aws:iam::999999999999:user/trillian/eve")
    assert re.fullmatch(r"arn:aws:iam::999999999999:user/path-[0-9a-f]{12}/user-[0-9a-f]{12}", foreign)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_that_others_may_read_is_refused(desk: tuple[Lab, MfaKit], tmp_path: Path, mode: int) -> None:
    """As ssh does with private keys. A secret from a pipe has no mode, and is accepted."""
    file = tmp_path / "secret"
    secret(file)
    file.chmod(mode)
    words = ["evidence", "export", "--sign", str(tmp_path / "key")]
    done = desk[1].run(*words, "-o", str(tmp_path / "x.zip"), "--pseudonyms", str(file))
    assert (done.code, (tmp_path / "x.zip").exists()) == (2, False)
    assert f"mode {mode:04o}" in done.err
    assert "chmod 600" in done.err
    reader, writer = os.pipe()
    os.write(writer, b"0" * 32)
    os.close(writer)
    done = desk[1].run(*words, "-o", str(tmp_path / "y.zip"), "--pseudonyms", f"/dev/fd/{reader}")
    assert done.code == 0, done


def test_the_process_is_protected_before_it_reads_the_secret_of_pseudonyms(
    desk: tuple[Lab, MfaKit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file is opened, core files and access to the process are already disabled."""
    file, walls = Path(secret(tmp_path / "secret")), list[object]()
    real = Path.open

    def opening(self: Path, *args: Any, **how: Any) -> Any:
        if self == file:
            walls.append(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
        return real(self, *args, **how)

    monkeypatch.setattr(Path, "open", opening)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: walls.append(limit))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    exported(desk[1], tmp_path, "--pseudonyms", str(file))
    assert walls[:2] == [(resource.RLIMIT_CORE, (0, 0)), 0]


@pytest.mark.slow
def test_the_summary_is_a_document(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """With --pdf, poppler reads the account, the caller, the counts and each framework, and the manifest covers it."""
    pytest.importorskip("reportlab")
    files = exported(desk[1], tmp_path, "--pdf")
    hashes = json.loads(files["manifest.json"])["sha256"]
    assert hashes["summary.pdf"] == hashlib.sha256(files["summary.pdf"]).hexdigest()
    (tmp_path / "summary.pdf").write_bytes(files["summary.pdf"])
    text = text_of(tmp_path / "summary.pdf")
    assert "Evidence of MFA in AWS account 000000000000 (LAB, nothing here is real)" in " ".join(text.split())
    failing = [row["control"] for row in rows(files["controls.csv"]) if (row["framework"], row["result"]) == FAILS]
    assert failing
    assert f"fail: {', '.join(failing)}" in " ".join(text.split())
    facts = dict(re.findall(r"^ *(Read by|Users|Files)  +(.+?) *$", text, re.MULTILINE))
    # The summary counts neither itself nor the manifest and its signature.
    assert facts == {
        "Read by": "arn:aws:iam::000000000000:user/lab-admin",
        "Users": str(len(PEOPLE["users"])),
        "Files": str(len(files) - 3),
    }
    assert all(each.name in " ".join(text.split()) for each in FRAMEWORKS.values())


@pytest.mark.slow
def test_the_summary_has_pseudonyms(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """The name of the caller is replaced in the document too. Without --pdf there is none."""
    pytest.importorskip("reportlab")
    files = exported(desk[1], tmp_path, "--pdf", "--pseudonyms", secret(tmp_path / "secret"))
    (tmp_path / "summary.pdf").write_bytes(files["summary.pdf"])
    text = text_of(tmp_path / "summary.pdf")
    assert "lab-admin" not in text
    assert ":user/user-" in text
    assert "summary.pdf" not in exported(desk[1], tmp_path, name="without.zip")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--sign", "nothing"), 2),
        (("--sign", "key", "--pseudonyms", "short"), 2),
        (("--sign", "key", "--pseudonyms", "nothing"), 2),
    ],
)
def test_what_cannot_be_done_writes_no_archive(
    desk: tuple[Lab, MfaKit], tmp_path: Path, options: tuple[Any, ...], code: int
) -> None:
    """The reason is given."""
    secret(tmp_path / "short", "secret")
    words = [str(tmp_path / word) if not word.startswith("--") else word for word in options]
    done = desk[1].run("evidence", "export", "-o", str(tmp_path / "x.zip"), *words)
    assert done.code == code, done
    assert not (tmp_path / "x.zip").exists()


def test_a_key_that_does_not_exist_is_refused_before_the_account_is_read(
    desk: tuple[Lab, MfaKit], tmp_path: Path
) -> None:
    """Reading a large account takes long."""
    done = desk[1].run("evidence", "export", "-o", str(tmp_path / "x.zip"), "--sign", str(tmp_path / "nothing"))
    assert (done.code, f"there is no file {tmp_path}/nothing" in done.err) == (2, True)
    assert not desk[0].calls


def test_an_archive_is_not_written_to_stdout(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """A file with the name - would surprise."""
    done = desk[1].run("evidence", "export", "-o", "-", "--sign", str(tmp_path / "key"))
    assert (done.code, done.out, "cannot be written to stdout" in done.err) == (2, "", True)


def test_a_dry_run_writes_nothing(desk: tuple[Lab, MfaKit], tmp_path: Path) -> None:
    """It lists the files that the archive would have."""
    done = desk[1].run(
        "--dry-run", "evidence", "export", "-o", str(tmp_path / "x.zip"), "--sign", str(tmp_path / "key")
    )
    assert done.code == 0, done
    assert "controls.csv, devices.csv" in done.out
    assert not (tmp_path / "x.zip").exists()
