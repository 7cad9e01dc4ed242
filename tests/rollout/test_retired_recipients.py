"""No command encrypts to a retired recipient, unless it is allowed by name, and none writes anything before that."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.lab.aws.server import Lab
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.person import AtStation

OLD, NEW = (str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2))
GENERATED = ("--with", "virtual", "--codes", "generated")
WRITES = ("Create", "Enable", "Deactivate", "Delete", "Tag", "Resync")


def retire(home: Path, recipient: str = OLD, *, by: str = NEW) -> None:
    """Record that an identity replaces a recipient, as `break-glass rotate` does."""
    with sqlite_ledger(home) as ledger:
        for action in (RecoveryKeyAction.SEALED, RecoveryKeyAction.ROTATED):
            record = Record(at=1.0, recipient=by, action=action, custodians={"a": "k"}, threshold=1, replaces=recipient)
            BreakGlassRecords(ledger).add(record)


def configure(home: Path, text: str) -> None:
    file = home / "config.toml"
    file.touch(mode=0o600)
    file.write_text(text)


def files_of(folder: Path) -> set[Path]:
    """Return the files, without those of the ledger."""
    return {file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("ledger.sqlite")}


@pytest.fixture
def refuses(rollout: Rollout, lab: Lab) -> Callable[..., None]:
    """Return a function that runs a command, and checks that it ends with 5 and names the recipient."""
    retire(rollout.desk.home)

    def check(*words: str | Path) -> None:
        calls, files = len(lab.calls), files_of(rollout.folder.parent)
        done = rollout.desk.run(*words)
        told = " ".join(done.err.split())
        assert (done.code, f"the recipient {OLD} is retired: {NEW} replaced it" in told) == (5, True), done
        assert f"--retired-recipient {OLD}" in told
        assert not [call for call in lab.calls[calls:] if call.operation.startswith(WRITES)]
        assert files_of(rollout.folder.parent) == files

    return check


def test_enroll_and_replace_refuse_it(rollout: Rollout, users: Callable[[], str], refuses: Callable[..., None]) -> None:
    """Also in a file, in a dry run and beside another recipient. Allowed by name, it is used."""
    user, listed = users(), rollout.folder / "recipients.txt"
    listed.write_text(f"# the old one\n{OLD}\n")
    for to in (("-r", OLD), ("-r", rollout.recipient, "-r", OLD), ("-R", listed), ("-r", OLD, "--dry-run")):
        refuses("enroll", user, *GENERATED, *to)
    refuses("enroll", user, *GENERATED, "-r", OLD, "--retired-recipient", NEW)
    mistyped = rollout.desk.run("enroll", user, *GENERATED, "-r", OLD, "--retired-recipient", OLD[:-1])
    assert (mistyped.code, f"--retired-recipient {OLD[:-1]} is not a recipient" in mistyped.err) == (2, True)
    allowed = ("-r", OLD, "--retired-recipient", OLD)
    assert rollout.desk.run("enroll", user, *GENERATED, *allowed).code == 0
    refuses("replace", user, *GENERATED, "-r", OLD, "--yes")
    assert rollout.desk.run("replace", user, *GENERATED, "-r", rollout.recipient, "--yes").code == 0


def test_the_recipients_of_the_configuration_count(
    rollout: Rollout, users: Callable[[], str], refuses: Callable[..., None]
) -> None:
    """Also for root, and for a device that is resumed. Commands that only read work."""
    user = users()
    configure(rollout.desk.home, f'recipients = ["{OLD}"]\n')
    identity = key_file(rollout.identity, rollout.folder)
    refuses("enroll", user, *GENERATED)
    refuses("enroll", "--root", "--with", "fido2", "--timeout", "1")
    refuses("enroll", user, "--resume", "-i", identity)
    for words in (("status", user), ("backup", "list"), ("orphans", "list")):
        assert rollout.desk.run(*words).code == 0
    rollout.plan(*rollout.own([user]))
    refuses("rollout", "apply", rollout.file)
    assert rollout.desk.run("enroll", user, *GENERATED, "--retired-recipient", OLD).code == 0


def test_rollouts_refuse_it(
    rollout: Rollout, people: Callable[[int], Sequence[str]], refuses: Callable[..., None]
) -> None:
    """No folder for results is made, and no user gets a device."""
    rollout.plan(*rollout.own(people(2)))
    refuses("rollout", "apply", rollout.file, "-r", OLD)
    refuses("rollout", "apply", rollout.file, "-r", OLD, "--stage")
    refuses("rollout", "work", rollout.file, "-r", OLD)
    assert rollout.apply("-r", OLD, "--retired-recipient", OLD).code == 0


def test_the_station_refuses_it(rollout: Rollout, users: Callable[[], str], refuses: Callable[..., None]) -> None:
    """The recipients of a profile too, before a key is inserted and erased."""
    rollout.plan(f"{users()},oath", columns="user,kind")
    with AtStation().there():
        refuses("rollout", "station", rollout.file, "-r", OLD)
    table = f'[profile.desk]\nreset = true\npin = "random"\nrecipients = ["{OLD}"]\n'
    configure(rollout.desk.home, table)
    before = files_of(rollout.folder.parent)
    with AtStation().there():
        done = rollout.desk.run("rollout", "station", rollout.file, "--key-profile", "desk", "--yes")
    assert (done.code, f"the recipient {OLD} is retired" in " ".join(done.err.split())) == (5, True), done
    assert not [file for file in files_of(rollout.folder.parent) - before if file.suffix == ".age"]


def test_other_files_are_not_encrypted_to_it(
    rollout: Rollout, users: Callable[[], str], refuses: Callable[..., None]
) -> None:
    """`backup rekey` would move every backup to it, and a PIN is a secret too."""
    assert rollout.desk.run("enroll", users(), *GENERATED, "-r", rollout.recipient).code == 0
    identity = ("-i", key_file(rollout.identity, rollout.folder))
    for more in ((), ("--dry-run",)):
        refuses("backup", "rekey", *identity, "-r", OLD, *more)
    allowed = ("-r", OLD, "--retired-recipient", OLD, "--unproven")
    assert rollout.desk.run("backup", "rekey", *identity, *allowed).code == 0
    for verb in ("set", "change"):
        refuses("key", "pin", verb, "--generate", "-r", OLD, "-o", rollout.folder / "pin.age")


def test_no_variable_allows_it(users: Callable[[], str], refuses: Callable[..., None]) -> None:
    """An exception must be visible on the command line."""
    user = users()
    names = ("MFA_KIT_RETIRED_RECIPIENT", "MFA_KIT_ENROLL_RETIRED_RECIPIENT")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(name, OLD)
        refuses("enroll", user, *GENERATED, "-r", OLD)
    assert not any(name in os.environ for name in names)


def test_an_identity_that_was_not_replaced_is_used(rollout: Rollout, users: Callable[[], str]) -> None:
    """Two identities without a link are both current, and a ledger without records knows nothing."""
    assert rollout.desk.run("enroll", users(), *GENERATED, "-r", OLD).code == 0
    retire(rollout.desk.home, "another")
    for recipient in (OLD, NEW):
        assert rollout.desk.run("enroll", users(), *GENERATED, "-r", recipient).code == 0
