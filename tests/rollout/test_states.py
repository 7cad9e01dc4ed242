"""The states of devices that IAM cannot report: in the ledger and in the records of runs, of which each may be lost."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.adapters.files.rollout_files import RecordFiles, read_records
from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.adapters.ledger.records import DeviceStates, runs_of_all_plans
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.device_records import DeviceState, RecordedDevice, RecordedState, newest_states
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import DeviceSpec
from mfa_kit.rollout.plan_files import plan_digest
from tests.conftest import ACCOUNT
from tests.ledgers import Place
from tests.postgresql import Server
from tests.rollout.conftest import Rollout
from tests.rollout.test_lost_ledger import RUN, lab, users  # noqa: F401 - a lab of its own

ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"
STATE = RecordedState(run=RUN, at=9.0, serial=f"{ARN}bob", user="bob", state=DeviceState.PREPARED, how="at the desk")
LATER = replace(STATE, at=10.0, state=DeviceState.ARRIVED, how="confirmed by phone")


def write_record(folder: Path, *states: RecordedState) -> None:
    """Write the record of a process that makes no device."""
    files = RecordFiles(folder)
    files.begin(states[0].run)
    for state in states:
        files.add(state)
    files.close()


def test_states_are_read_back(place: Place) -> None:
    """From a shared ledger, with the computer that recorded them."""
    with place.open() as ledger:
        DeviceStates(ledger).record(STATE)
        DeviceStates(ledger).record(LATER)
    with place.open() as ledger:
        states = DeviceStates(ledger).all()
    assert [replace(state, run=RUN) for state in states] == [STATE, LATER]
    assert bool(states[0].run.computer) is (place.kind == "postgresql")


def test_the_newest_state_of_a_plan_counts() -> None:
    """Wherever it is recorded."""
    other = replace(LATER, at=11.0, run=replace(RUN, plan="1" * 64), state=DeviceState.LOST)
    assert newest_states([LATER, STATE], plan=RUN.plan) == {STATE.serial: LATER}
    assert newest_states([other, LATER, STATE]) == {STATE.serial: other}


@pytest.mark.parametrize("change", ["state = 'x'", "at = 'x'", "how = x'00'", "run = 'x'"])
def test_a_row_that_mfa_kit_did_not_write_is_an_integrity_fault(tmp_path: Path, change: str) -> None:
    with sqlite_ledger(tmp_path) as ledger:
        DeviceStates(ledger).record(STATE)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute(f"update device_states set {change}")
        db.commit()
    with sqlite_ledger(tmp_path) as ledger, pytest.raises(IntegrityFault):
        DeviceStates(ledger).all()


def test_a_copy_has_the_states_once(tmp_path: Path, postgresql: Server) -> None:
    with sqlite_ledger(tmp_path) as ledger:
        DeviceStates(ledger).record(STATE, LATER)
    address = postgresql.address(postgresql.new_database())
    assert [OwnedLedger(address).copy_from(tmp_path)["device_states"] for _ in range(2)] == [2, 0]


def test_a_record_has_states_between_its_devices(tmp_path: Path) -> None:
    """A torn last line is ignored. Any other damaged line is an error."""
    files = RecordFiles(tmp_path)
    files.begin(RUN)
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="bob", name="bob")
    files.add(STATE)
    files.add(RecordedDevice(run=RUN, at=time.time(), spec=spec))
    files.add(LATER)
    files.close()
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()

    def read() -> tuple[list[float], int]:
        record = read_records([tmp_path], computer="here")
        return [state.at for state in record.states], len(record.devices)

    assert read() == ([9.0, 10.0], 1)
    file.write_bytes(whole[:-20])
    assert read() == ([9.0], 1)
    for old, new in ((b'"prepared"', b'"x"'), (b'"at": 9.0', b'"at": "x"'), (b'"how": "at the desk", ', b"")):
        file.write_bytes(whole.replace(old, new))
        with pytest.raises(IntegrityFault, match=r"line 2 of .* is not a line of a run's record"):
            read()


def test_every_command_reads_a_record_without_devices(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """Also if the ledger is lost. The process that wrote it is no run of the plan."""
    names = people(2)
    rollout.enroll(names)
    process = replace(RUN, plan=plan_digest(rollout.file.read_text()))
    write_record(rollout.results, *(replace(STATE, run=process, serial=f"{ARN}{user}") for user in names))
    rollout.lose_ledger()
    letters = rollout.folder / "letters"
    for verb in (("status",), ("apply", "-r", rollout.recipient), ("handover", "-o", letters), ("undo", "--dry-run")):
        done = rollout.desk.run("rollout", verb[0], rollout.file, *verb[1:])
        assert done.code == 0, done.err
    with sqlite_ledger(rollout.desk.home) as ledger:
        [run] = {entry.run for entry in ledger.made(ACCOUNT)}
        runs = runs_of_all_plans(ledger)
    assert run in runs
    assert process.id not in runs


def test_reconcile_adopts_states_once(rollout: Rollout, tmp_path: Path) -> None:
    """And not with --dry-run."""
    folder = tmp_path / "results"
    folder.mkdir()
    write_record(folder, STATE, LATER)
    counts = []
    for more in (("--dry-run",), (), ()):
        rollout.desk.run("ledger", "reconcile", "--adopt", "--record", folder, *more)
        with sqlite_ledger(rollout.desk.home) as ledger:
            counts.append(len(DeviceStates(ledger).all()))
    assert counts == [0, 2, 2]
