"""The ledger and the backups of an older version: the current version reads them the same way, and continues."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.status import USE_FIELDS
from mfa_kit.adapters.ledger.postgresql.database import FILES
from mfa_kit.core.recorded_keys import FACTS
from tests.conftest import MfaKit
from tests.data.make import READS, plain, run
from tests.postgresql import OWNER, Server
from tests.sizes import FULL

DATA = Path(__file__).with_name("data")
# Text for people, whose wording may change.
PROSE = {"standing", "clean", "why", "reason"}
# Fields that later versions added.
KEY_FIELDS = {*(f"key_{fact}" for fact in FACTS), "key_attested", "key_erased"}
NEWER = {"copy", "remarks", "key", "name", "user_backup", "admin_backup", "clock_offset", *USE_FIELDS, *KEY_FIELDS}
GOES_ON = {
    "activate": "mfa-kit rollout activate -i {state}/identity.txt --output json",
    "clean": "mfa-kit orphans clean --older-than 0s --yes --output json",
    "orphans": "mfa-kit orphans list --older-than 0s --output json",
    "rekey": "mfa-kit backup rekey -i {state}/identity.txt -R {state}/ssh.pub --unproven --output json",
    "verify": "mfa-kit backup verify {bob} -i {state}/ssh --output json",
    "resync": "mfa-kit resync alice -i {state}/ssh --output json",
    "revoke": "mfa-kit revoke bob --leave-without-mfa --yes --output json",
    "status": "mfa-kit status --output json",
}


# Version 1.0.0 and, in a full run, a commit before it.
OLDER = ["1.0.0", *(["c7f9663"] if FULL else [])]


@pytest.fixture(params=OLDER)
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an older version. `mfa-kit` on the PATH is the present version."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    return DATA / str(request.param)


def facts(answer: Any) -> Any:
    """Return a result without newer fields. Texts for people are replaced by True or False: whether there is a text."""
    match answer:
        case dict():
            kept = {name: value for name, value in answer.items() if name not in NEWER}
            return {name: bool(value) if name in PROSE else facts(value) for name, value in kept.items()}
        case list():
            return [facts(each) for each in answer]
        case _:
            return answer


def test_a_folder_of_an_older_version_is_read_as_before(folder: Path) -> None:
    """It has runs of every state, calls, backups for age and SSH, staged and half-made devices, tokens, and a plan."""
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    found = run(folder, READS)
    assert {name: answer["code"] for name, answer in found.items()} == dict.fromkeys(READS, 0)
    for name in READS:
        assert facts(found[name]) == facts(expected[name]), name


def test_work_continues_in_a_folder_of_an_older_version(folder: Path) -> None:
    """Staged devices are enabled, half-made ones are removed, and backups are rekeyed and can be decrypted.

    The folder has moved, so a backup that should be removed is reported, with exit code 5.
    """
    found = run(folder, GOES_ON)
    moved = dict.fromkeys(("clean", "revoke"), 5)
    assert {name: answer["code"] for name, answer in found.items()} == dict.fromkeys(GOES_ON, 0) | moved, found
    assert found["orphans"]["out"]["rows"] == []
    kinds = {row["user"]: row["kind"] for row in found["status"]["out"]["rows"]}
    assert {user: kinds[user] for user in ("alice", "bob", "carol", "dave", "erin")} == {
        "alice": "virtual",
        "bob": "none",
        "carol": "none",
        "dave": "none",
        "erin": "virtual",
    }


def test_a_shared_ledger_of_an_older_version_is_migrated(mfa_kit: MfaKit, postgresql: Server) -> None:
    """Version 1.0.0 created it in PostgreSQL, and copied the ledger of the folder into it. Its rows stay the same."""
    folder, name = DATA / "1.0.0", "ledger_of_an_older_version"
    postgresql.execute(f"create database {name} owner {OWNER}")
    postgresql.execute((folder / "ledger.sql").read_text("utf-8"), database=name, role=OWNER)
    ledger = ("--ledger", postgresql.address(name), "--output", "json")
    before = mfa_kit.run("ledger", "show", *ledger)
    assert (before.code, "mfa-kit ledger migrate" in json.loads(before.err.splitlines()[-1])["hint"]) == (5, True)
    assert json.loads(mfa_kit.run("ledger", "migrate", *ledger).out)["applied"] == len(FILES) - 5
    rows = json.loads(plain(mfa_kit.run("ledger", "show", *ledger).out, folder))["rows"]
    for row in rows:
        del row["computer"]
    assert facts(rows) == facts(json.loads((folder / "expected.json").read_text("utf-8"))["ledger"]["out"]["rows"])
