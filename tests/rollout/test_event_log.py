"""`--log json`: what a worker writes to stderr for a log collector names nobody, and quotes no message."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ACCOUNT, Result
from tests.ledgers import Place
from tests.postgresql import Server
from tests.rollout.conftest import Rollout

FIELDS = ["time", "computer", "worker", "account", "run", "event", "cause"]
# Each event and each cause is one of our words. A user, a device or the text of a message would not be.
EVENTS = {"started", "ended", "run began", "run ended", "account failed", "warning", "stopping", "error"}
OUTCOMES = {"enrolled", "staged", "failed", "refused", "blocked", "half-made"}
CAUSES = {None, "AccessDenied", "Throttled", "UsageFault", "IntegrityFault", "Interrupted", "KeyboardInterrupt"}
LOG = ("--log", "json")


def events(done: Result, rollout: Rollout, *canaries: str) -> list[dict[str, Any]]:
    """Return the lines of stderr, after a check that they have nothing that identifies a person or a device."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.err.splitlines()]
    for row in rows:
        assert [*row] == FIELDS
        assert row["event"] in EVENTS | OUTCOMES
        assert row["cause"] in CAUSES
    for canary in (*canaries, "arn:", "mfa/", "try:", rollout.recipient, str(rollout.folder), str(rollout.desk.home)):
        assert canary not in done.err
    return rows


def test_the_events_of_a_worker_name_nobody(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """IAM's refusal names the user and the device, and so do the messages without `--log`."""
    users = people(3)
    rollout.plan(*rollout.own(users), "ghost-of-canary")
    rollout.lab.faults.add("EnableMFADevice", "denied", at=2)
    command = ("rollout", "work", rollout.file, "-r", rollout.recipient, "--workers", "1")
    done = rollout.desk.run(*command, *LOG)
    rows = events(done, rollout, *users, "canary")
    assert done.code == 1
    assert Counter((row["event"], row["cause"]) for row in rows) == {
        ("started", None): 1,
        ("run began", None): 1,
        ("run ended", None): 1,
        ("ended", None): 1,
        ("enrolled", None): 2,
        ("failed", "AccessDenied"): 1,
        ("blocked", None): 1,
    }
    [run] = {row["run"] for row in rows} - {None}
    assert {row["account"] for row in rows if row["run"] == run} == {ACCOUNT}
    again = rollout.desk.run(*command)
    assert users[1] in again.err
    assert "arn:" in again.err


def test_an_error_is_an_event_without_its_message(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """The exit code is that of the error. `--verbose`, which prints each call, is refused in words."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    done = rollout.desk.run("rollout", "apply", rollout.file, *LOG, "--results", rollout.file / "no-folder")
    assert [(row["event"], row["cause"]) for row in events(done, rollout, *users)][-1] == ("error", "UsageFault")
    done = rollout.apply(*LOG, "--verbose")
    assert (done.code, "leave out --verbose" in done.err) == (2, True)
    assert not rollout.desk.run("rollout", "status", rollout.file).err.startswith("{")


def test_a_stop_is_an_event(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """SIGTERM is logged when it arrives, and the last event says that the worker was interrupted."""
    users = people(20)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("*", "latency", at="every", seconds=0.05)
    since = len(rollout.lab.calls)
    process = rollout.desk.start("rollout", "work", rollout.file, "-r", rollout.recipient, *LOG)
    while len(rollout.lab.calls) < since + 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    rows = events(Result(process.returncode, out, err), rollout, *users)
    assert process.returncode == 130
    assert "stopping" in [row["event"] for row in rows]
    assert (rows[-1]["event"], rows[-1]["cause"]) == ("error", "Interrupted")
    assert {row["worker"] for row in rows} == {str(process.pid)}


def test_a_damaged_ledger_is_an_event(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """It ends the run with the cause, and not with the path of the file."""
    users = people(1)
    rollout.plan(*rollout.own(users))
    Place("sqlite", str(rollout.desk.home)).open().close()
    (rollout.desk.home / "ledger.sqlite").write_bytes(b"canary" * 1000)
    done = rollout.apply(*LOG)
    assert (done.code, [row["cause"] for row in events(done, rollout, "canary")][-1]) == (5, "IntegrityFault")


def test_a_log_that_cannot_be_written_does_not_stop_the_work(
    rollout: Rollout, people: Callable[[int], list[str]]
) -> None:
    """As with messages, a full disk or a closed pipe costs the log, and no user."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    with Path("/dev/full").open("w") as full:
        done = rollout.desk.process("rollout", "work", rollout.file, "-r", rollout.recipient, *LOG, stderr=full)
    assert done.code == 0
    rollout.works(users)


def test_a_lost_session_is_an_event(rollout: Rollout, people: Callable[[int], list[str]], postgresql: Server) -> None:
    """The database ends the sessions of the worker, which logs the cause and not the address of the server."""
    users = people(20)
    address = postgresql.address(postgresql.new_database())
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("*", "latency", at="every", seconds=0.05)
    words = ("rollout", "work", rollout.file, "-r", rollout.recipient, "--local-backups", "--ledger", address, *LOG)
    since = len(rollout.lab.calls)
    process = rollout.desk.start(*words)
    while len(rollout.lab.calls) < since + 20:
        time.sleep(0.01)
    database = address.rpartition("=")[2]
    postgresql.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'")
    out, err = process.communicate(timeout=60)
    rows = events(Result(process.returncode, out, err), rollout, *users, str(postgresql.folder), database)
    assert process.returncode == 5
    assert ("error", "IntegrityFault") in {(row["event"], row["cause"]) for row in rows}
