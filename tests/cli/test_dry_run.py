"""Tests that `--dry-run` asks nobody: each command with it works without a terminal, and changes nothing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import qrcode

from mfa_kit.cli.method_verb import options_of_old
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.otp import Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri
from tests.conftest import ACCOUNT, MfaKit, users_of

READS = ("Get", "List")
TOKEN_OF_AWS = "GAHT12345678"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Run a lab of its own. It answers no late call of another test."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="session")
def users(lab: Lab) -> Callable[[], str]:
    return users_of(lab)


@pytest.fixture
def enrolled(mfa_kit: MfaKit, user: str, recipient: str) -> str:
    """Return a user who has a device with a backup."""
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    assert done.code == 0, done.err
    return user


def _files(folder: Path) -> set[Path]:
    """Return the files below a folder, except the ledger and its locks."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file for file in files if not file.name.startswith("ledger") and file.parent.name != "runs"}


def _dry(mfa_kit: MfaKit, lab: Lab, *words: str | Path) -> str:
    """Run a command with --dry-run, check that it changed neither IAM nor a file, and return its output."""
    calls, files = len(lab.calls), _files(mfa_kit.home.parent)
    done = mfa_kit.run(*words, "--dry-run", "--output", "json")
    assert done.code == 0, done.err
    assert [call.operation for call in lab.calls[calls:] if not call.operation.startswith(READS)] == []
    assert _files(mfa_kit.home.parent) == files
    return done.out


@pytest.mark.parametrize(
    "words",
    [
        ["virtual"],
        ["virtual", "--codes", "one", "--show-secret"],
        ["virtual", "--qr-file", "qr.png"],
        ["virtual", "--codes", "generated"],
        ["hardware-totp", "--serial", TOKEN_OF_AWS],
        ["programmable", "--serial", "2308", "--capacity", "64"],
    ],
)
def test_a_device_is_planned(
    words: list[str], mfa_kit: MfaKit, lab: Lab, user: str, enrolled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enroll and replace show their steps with each method that asks for codes."""
    monkeypatch.chdir(mfa_kit.home.parent)
    assert json.loads(_dry(mfa_kit, lab, "enroll", user, "--add", "--with", *words))["outcome"] == "planned"
    assert json.loads(_dry(mfa_kit, lab, "replace", enrolled, "--with", *words))["outcome"] == "planned"


def test_a_device_is_replaced_by_one_of_its_kind(
    mfa_kit: MfaKit, lab: Lab, enrolled: str, users: Callable[[], str], recipient: str
) -> None:
    """Without `--with`, the kind is that of the old device. A kind that needs an option names it."""
    planned = json.loads(_dry(mfa_kit, lab, "replace", enrolled, "-r", recipient))
    assert (planned["outcome"], planned["kind"], bool(planned["revoked"])) == ("planned", "virtual", True)
    assert mfa_kit.run("replace", enrolled, "-r", recipient, "--dry-run").err.count("account ") == 1
    nobody = users()
    none = mfa_kit.run("replace", nobody, "--lost", "--dry-run")
    assert (none.code, f"mfa-kit enroll {nobody} --with KIND" in none.err) == (2, True)
    with pytest.raises(UsageFault, match="--serial is missing for a new device like the old one, hardware") as caught:
        options_of_old("hardware-totp")
    assert caught.value.hint == "add --with hardware-totp --serial SERIAL"
    planned = json.loads(_dry(mfa_kit, lab, "replace", enrolled, "--codes", "generated", "-r", recipient))
    assert planned["kind"] == "virtual"
    for words, said in {
        "--touch": "the options belong to --with oath, but the old device is of the kind virtual",
        "--touch --key 1": "the options belong to --with oath, but the old device is of the kind virtual",
        "--key 1 --touch": "the options belong to --with oath, but the old device is of the kind virtual",
        "--key 1": "--key belongs to --with oath or --with fido2",
        "--codes one --touch": "--touch belongs to --with oath",
    }.items():
        other = mfa_kit.run("replace", enrolled, *words.split())
        assert (other.code, said in other.err) == (2, True), other.err
    assert mfa_kit.run("replace", enrolled, "--codes", "generated", "-r", recipient, "--yes").code == 0


def test_a_removal_is_planned(mfa_kit: MfaKit, lab: Lab, enrolled: str) -> None:
    """Each command that removes or changes a device asks for a confirmation or codes without --dry-run."""
    for words in (
        ("revoke", enrolled, "--leave-without-mfa"),
        ("revoke", enrolled, "--lost", "--leave-without-mfa"),
        ("resync", enrolled),
        ("orphans", "clean"),
        ("backup", "prune"),
    ):
        _dry(mfa_kit, lab, *words)


def test_a_rollout_is_planned(
    mfa_kit: MfaKit, lab: Lab, user: str, recipient: str, identity_file: Path, tmp_path: Path
) -> None:
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient\n{user},{recipient}\n")
    _dry(mfa_kit, lab, "rollout", "plan", roster, "-o", plan)
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    _dry(mfa_kit, lab, "rollout", "apply", plan, "-r", recipient)
    run = json.loads(mfa_kit.run("rollout", "apply", plan, "-r", recipient, "--stage", "--output", "json").out)["run"]
    _dry(mfa_kit, lab, "rollout", "activate", "-i", identity_file)
    _dry(mfa_kit, lab, "rollout", "activate", "--prompt", user, "-i", identity_file)
    _dry(mfa_kit, lab, "rollout", "handover", plan, "-o", tmp_path / "letters")
    _dry(mfa_kit, lab, "rollout", "undo", run)
    _dry(mfa_kit, lab, "rollout", "station", plan)


def test_a_backup_is_planned(mfa_kit: MfaKit, lab: Lab, enrolled: str, recipient: str, tmp_path: Path) -> None:
    """`backup add` asks for a code and, if no recipient is named, for a passphrase."""
    for backup in mfa_kit.home.rglob("*.age"):
        backup.unlink()
    picture = tmp_path / "shot.png"
    uri = key_uri.otpauth(Seed(lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{enrolled}")), label=f"{enrolled}@{ACCOUNT}")
    qrcode.make(uri.reveal()).get_image().save(picture)
    for words in (["-r", recipient], []):
        row = json.loads(_dry(mfa_kit, lab, "backup", "add", enrolled, "--image", picture, *words))
        assert row["outcome"] == "planned"


@pytest.mark.parametrize(
    "words",
    [
        "key reset --yes --key 1",
        "key pin set --generate",
        "key pin change",
        "key pin policy --force-change",
        "key password set",
        "key password change",
        "key password clear --yes",
        "backup restore FILE -i KEY --to oath",
        "backup show FILE -i KEY -o PICTURE",
        "backup passphrase",
        "ledger init",
        "ledger migrate",
        "ledger copy",
    ],
)
def test_a_command_that_acts_at_once_refuses(words: str, mfa_kit: MfaKit) -> None:
    """It would otherwise do what --dry-run promises not to do. The option may also precede the command."""
    for line in ([*words.split(), "--dry-run"], ["--dry-run", *words.split()]):
        done = mfa_kit.run(*line)
        assert (done.code, "has no --dry-run, so nothing was done" in done.err) == (2, True), done.err
