"""Workers whose database stops, cannot be reached or is restored from a dump, and workers that wake up too late."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pyrage
import pytest

from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Png, Seed
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests.conftest import MfaKit, without
from tests.ledgers import Place
from tests.postgresql import BIN, Server, running_server, standby_of
from tests.proxy import Proxy
from tests.rollout.conftest import key_file
from tests.rollout.team import ACCOUNTS, CREATE, ENABLE, USERS, Team, end
from tests.sizes import size

pytestmark = pytest.mark.slow
AGAIN = "run the same command again"
# Seconds that the lab takes to enable a device.
LATENCY = 0.2
# Seconds for which the network is cut. After half of them, the server gives up the session.
CUT = size(3, 60)
# The users of a rollout whose database goes back in time.
LOST = size(24, 60)


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server that the test may stop, and whose grace period is two seconds."""
    with running_server("fsync=on") as server:
        yield server


@pytest.fixture
def shared(server: Server, tmp_path: Path, identity: pyrage.x25519.Identity) -> Iterator[Team]:
    """Make a team whose ledger is on that server."""
    with team_on(server, tmp_path, identity) as team:
        yield team


@contextmanager
def team_on(server: Server, tmp_path: Path, identity: pyrage.x25519.Identity) -> Iterator[Team]:
    address = server.address(server.new_database())
    OwnedLedger(address).create(grace=2.0)
    place = Place("postgresql", address)
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab:
        lab.faults.add(ENABLE, "latency", at="every", seconds=LATENCY)
        yield Team(tmp_path, tmp_path / "desk", lab, place, str(identity.to_public()))


def test_workers_end_when_the_database_stops_and_complete_after_its_restart(server: Server, shared: Team) -> None:
    """Each worker names the next command. Until the database is back, nothing is written to IAM."""
    shared.plan()
    workers = [shared.work(number) for number in range(2)]
    shared.wait(lambda: len(shared.enabled()) >= 2)
    server.control("stop", "-m", "immediate")
    for done in map(end, workers):
        assert (done.code, AGAIN in done.err) == (IntegrityFault.exit_code, True), done.err
    time.sleep(3 * LATENCY)  # a request that was already sent is logged when it is answered
    calls = len(shared.lab.calls)
    refused = end(shared.work(0))
    assert (refused.code, "cannot be used" in refused.err) == (IntegrityFault.exit_code, True), refused.err
    assert not [call for call in shared.lab.calls[calls:] if call.operation in {CREATE, ENABLE}]
    server.control("start")
    for done in map(end, [shared.work(number) for number in range(2)]):
        assert done.code == 0, done.err
    shared.is_done()
    shared.enabled_once()


def test_other_accounts_go_on_while_one_waits_for_its_grace_period(server: Server, shared: Team) -> None:
    """The worker says for how many accounts it waits. When their grace period is over, it completes them too."""
    OwnedLedger(shared.place.at).create(grace=600.0)
    shared.plan()
    shared.lab.faults.add(ENABLE, "latency", at="every", seconds=5)
    worker = shared.work(0)
    shared.wait(lambda: any(call.operation == CREATE for call in shared.lab.calls))
    server.control("restart", "-m", "immediate")
    assert end(worker).code == IntegrityFault.exit_code
    shared.lab.faults.clear()
    worker = shared.work(0)
    assert worker.stderr
    next(line for line in worker.stderr if "waiting, because a run may still be in progress in 1 account" in line)
    assert {shared.enabled()[number] for number in shared.ids[1:]} == {USERS}
    OwnedLedger(shared.place.at).create(grace=0.0)
    done = end(worker)
    assert done.code == 0, done.err
    shared.is_done()
    shared.enabled_once()


def test_workers_complete_on_a_synchronous_standby_that_took_over(server: Server, shared: Team) -> None:
    """It has every acknowledged record. The ledger has another address then, because each server has its own socket."""
    with standby_of(server) as standby:
        server.execute("alter system set synchronous_standby_names = '*'")
        server.execute("select pg_reload_conf()")
        shared.plan()
        workers = [shared.work(number) for number in range(2)]
        shared.wait(lambda: len(shared.enabled()) >= 2)
        server.control("stop", "-m", "immediate")
        for done in map(end, workers):
            assert done.code == IntegrityFault.exit_code, done.err
        standby.control("promote")
        after = replace(shared, place=Place("postgresql", standby.address(shared.place.at.rpartition("=")[2])))
        done = end(after.work(0))
        assert done.code == 0, done.err
        after.is_done()
        after.enabled_once()


def test_workers_end_when_the_disk_of_the_database_is_full_and_complete_afterward(
    tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """The rows in progress cannot be recorded. With space again, workers complete or remove what is unfinished."""
    if os.geteuid() != 0:
        without("mounting a tmpfs needs root")
    # The path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="full-", dir="/dev/shm") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", name], check=True)
        try:
            with running_server(within=Path(name)) as server, team_on(server, tmp_path, identity) as team:
                team.plan()
                workers = [team.work(number) for number in range(2)]
                team.wait(team.enabled)
                ballast = Path(name) / "ballast"
                with ballast.open("wb", buffering=0) as file, suppress(OSError):
                    while file.write(bytes(4096)):
                        pass
                for done in map(end, workers):
                    assert done.code == IntegrityFault.exit_code, done.err
                    assert "No space left on device" in done.err
                assert 0 < team.enabled().total() < ACCOUNTS * USERS
                ballast.unlink()
                server.control("restart", "-m", "immediate")
                for done in map(end, [team.work(number) for number in range(2)]):
                    assert done.code == 0, done.err
                team.is_done()
                team.enabled_once()
        finally:
            subprocess.run(["umount", name], check=True)


def test_the_account_of_a_worker_behind_a_cut_network_is_continued(server: Server, shared: Team) -> None:
    """The server gives up its session. When the network is back, it ends before it writes anything to IAM."""
    with Proxy(server) as network:
        database = shared.place.at.rpartition("=")[2]
        behind = replace(shared, place=Place("postgresql", network.address(database)))
        shared.plan()
        cut = behind.work(0)
        shared.wait(shared.enabled)
        network.cut()
        other = shared.work(1)
        time.sleep(CUT / 2)
        assert (cut.poll(), other.poll()) == (None, None)
        network.give_up()
        done = end(other)
        assert done.code == 0, done.err
        calls = len(shared.lab.calls)
        time.sleep(CUT / 2)
        network.mend()
        late = end(cut)
        assert (late.code, AGAIN in late.err) == (IntegrityFault.exit_code, True), late.err
        assert len(shared.lab.calls) == calls
        again = end(behind.work(0))
        assert again.code == 0, again.err
    shared.is_done()
    shared.enabled_once()


def test_a_network_that_is_back_in_time_costs_nothing(server: Server, shared: Team) -> None:
    """No session ends, so the worker continues by itself, and no other one takes its account."""
    with Proxy(server) as network:
        database = shared.place.at.rpartition("=")[2]
        behind = replace(shared, place=Place("postgresql", network.address(database)))
        shared.plan()
        working = behind.work(0)
        shared.wait(shared.enabled)
        network.cut()
        time.sleep(CUT)
        network.mend()
        done = end(working)
    assert done.code == 0, done.err
    shared.is_done()
    shared.enabled_once()


def test_a_worker_that_wakes_up_finds_its_account_taken(shared: Team) -> None:
    """It was stopped, and its sessions were ended. It makes no further device in the run in which it still believes."""
    shared.plan()
    asleep = shared.work(0)
    shared.wait(shared.enabled)
    asleep.send_signal(signal.SIGSTOP)
    with psycopg.connect(shared.place.at, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name like 'mfa-kit@%'"
        )
    done = end(shared.work(1))
    assert done.code == 0, done.err
    calls = len(shared.lab.calls)
    asleep.send_signal(signal.SIGCONT)
    late = end(asleep)
    assert (late.code, AGAIN in late.err) == (IntegrityFault.exit_code, True), late.err
    assert len(shared.lab.calls) - calls <= 2 * 10  # the requests that were on their way
    shared.is_done()
    shared.enabled_once()


@contextmanager
def restoring(server: Server, database: str) -> Iterator[tuple[Callable[[], None], Callable[[], Server]]]:
    """Dump the database before the rollout, and restore it afterward. Nothing is cut."""
    dump = subprocess.run(
        [BIN / "pg_dump", "--create", "--clean", "-d", server.address(database, role="postgres")],
        capture_output=True,
        check=True,
    ).stdout

    def restore() -> Server:
        subprocess.run(
            [BIN / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.address("postgres", role="postgres")],
            input=dump,
            capture_output=True,
            check=True,
        )
        return server

    yield lambda: None, restore


@contextmanager
def failing_over(server: Server, _: str) -> Iterator[tuple[Callable[[], None], Callable[[], Server]]]:
    """Start an asynchronous standby, which can be cut off from the server, and promoted without the last records."""
    with standby_of(server) as standby:

        def cut() -> None:
            standby.execute("alter system set primary_conninfo = ''")
            standby.execute("select pg_reload_conf()")

        def promote() -> Server:
            server.control("stop", "-m", "immediate")
            standby.control("promote")
            return standby

        yield cut, promote


def check_clean(kit: MfaKit, lab: Lab, *ledger: str) -> None:
    """Run `orphans clean`, which must leave all devices as they are, because none is a day old."""
    seeds = {serial: lab.seed(serial) for serial in lab.serials()}
    kit.process("orphans", "clean", "--yes", *ledger)
    assert {serial: lab.seed(serial) for serial in lab.serials()} == seeds


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("staged", [False, True], ids=["enabled", "staged"])
@pytest.mark.parametrize("losing", [restoring, failing_over])
def test_a_database_that_went_back_in_time_loses_nobody(
    losing: Callable[[Server, str], AbstractContextManager[tuple[Callable[[], None], Callable[[], Server]]]],
    server: Server,
    tmp_path: Path,
    identity: pyrage.x25519.Identity,
    staged: bool,
) -> None:
    """It has forgotten runs, or the second half of one, after a kill in the middle, and again before `activate`.

    Afterward, each user has a letter, and a backup with the secret of their device. `undo` removes all.
    """
    users = [f"user{number:02}" for number in range(LOST)]
    operation = CREATE if staged else ENABLE
    database = server.new_database()
    OwnedLedger(server.address(database)).create(grace=2.0)
    with losing(server, database) as (cut, lose), Lab(users=users, settings=LabSettings(propagation=0)) as lab:
        kit = MfaKit(tmp_path / "home", dict(lab.env))
        ledger = ("--ledger", server.address(database))
        backups = ("--backup-dir", tmp_path / "backups")
        recipient = str(identity.to_public())
        (tmp_path / "roster.csv").write_text("\n".join(["user,recipient", *(f"{user},{recipient}" for user in users)]))
        plan = tmp_path / "plan.json"
        assert kit.process("rollout", "plan", tmp_path / "roster.csv", "-o", plan, *ledger).code == 0
        work: list[str | Path] = ["rollout", "work", plan, "-r", recipient, "--workers", "4", *backups]
        work += ["--local-backups", *(["--stage"] if staged else [])]
        lab.faults.add(operation, "latency", at="every", seconds=LATENCY)
        killed = kit.fork(*work, *ledger)
        for made in (len(users) // 4, len(users) // 2):
            while sum(call.operation == operation for call in lab.calls) < made:
                time.sleep(0.01)
            cut()
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        before = {serial: lab.assigned(serial) for serial in lab.serials()}
        if not staged:
            ledger = ("--ledger", lose().address(database))
        kit.process(*work, *ledger)
        if staged:
            ledger = ("--ledger", lose().address(database))
            check_clean(kit, lab, *ledger)
        else:
            cleaned = kit.process("orphans", "clean", "--yes", "--older-than", "0d", *ledger)
            assert cleaned.code == 0, cleaned.err
            done = kit.process(*work, *ledger)
            assert done.code == 0, done.err
        handover = kit.process("rollout", "handover", plan, "-o", tmp_path / "letters", *backups, *ledger)
        letters = [*(tmp_path / "letters").glob("*/letter.txt")]
        assert (handover.code, len(letters)) == (0, len(users)), handover.err
        if staged:
            activate = ("-i", key_file(identity, tmp_path), *backups, *ledger)
            blind = kit.process("rollout", "activate", *activate)
            assert blind.code == 1, blind.err
            done = kit.process("rollout", "activate", *activate, "--record", tmp_path / "plan-results")
            assert done.code == 0, done.err
        assert sorted(filter(None, map(lab.assigned, lab.serials()))) == users
        assert before.items() - {(serial, None) for serial in before} <= {(s, lab.assigned(s)) for s in lab.serials()}
        seeds = [
            key_uri.seed_of(symbol.read(Png(pyrage.decrypt(file.read_bytes(), [identity]))))
            for file in (tmp_path / "backups").rglob("*.age")
        ]
        assert [serial for serial in lab.serials() if Seed(lab.seed(serial)) not in seeds] == []
        undo = kit.process("rollout", "undo", plan, "--yes", "--leave-without-mfa", *backups, *ledger)
        assert (undo.code, lab.serials()) == (0, set()), undo.err
        assert [file for file in (tmp_path / "backups").rglob("*") if file.is_file()] == []
