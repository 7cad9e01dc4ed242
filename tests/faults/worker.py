"""A process at a desk whose ports can be interrupted: `python -m tests.faults.worker` reads one JSON job per line.

Each job runs in a separate process, which is forked from this process after all imports, so that a SIGKILL costs
milliseconds. The product has no hooks for this: the ports that a job uses are wrapped here.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psycopg

from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.postgresql.database import FRESH, postgresql_ledger
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core import models
from mfa_kit.core.errors import IntegrityFault, MfaKitError
from mfa_kit.core.models import VIRTUAL, BackupLocation, Call, Caller, DeviceSpec, Method, RunKind, parse_location
from mfa_kit.enrollment import orphans, revoke
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.enroll import enroll
from mfa_kit.enrollment.pacing import Backoff, InTurn
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.ports import BackupStore, DeviceBackend, EnrollmentPorts
from mfa_kit.wiring.ledger import recorded
from mfa_kit.wiring.methods import registry
from mfa_kit.wiring.stores import AnyFileStore
from tests.plain_settings import plain_settings

PORTS = ("iam_reader", "device_writer", "store", "journal")
# These calls neither request nor change anything, so they do not count as steps.
QUIET = {"now", "offset"}
DAY = 86400.0
# The file in a desk's folder with the address of its ledger.
ADDRESS = "ledger-address"


@dataclass
class Lost:
    """Where a process writes that it has lost its session."""

    tell: Callable[[str], None] = lambda _: None


LOST = Lost()


@dataclass
class Cut:
    """Counts the steps of a run, and acts just before or just after one step."""

    at: int = 0
    after: bool = False
    act: Callable[[], None] = lambda: None
    steps: list[str] = field(default_factory=list)
    fired: bool = False

    def wrap(self, port: Any, name: str) -> Any:
        return _Wrapped(port, name, self)

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        self.steps.append(name)
        mine = len(self.steps) == self.at
        if mine and not self.after:
            self.fired = True
            self.act()
        result = call()
        if mine and self.after:
            self.fired = True
            self.act()
        return result


class _Wrapped:
    def __init__(self, port: Any, name: str, cut: Cut) -> None:
        self._port, self._name, self._cut = port, name, cut

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._port, method)
        if method in QUIET or not callable(real):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._cut.step(f"{self._name}.{method}", lambda: real(*args, **kwargs))

        return call


@dataclass
class Notes:
    """A Progress that keeps its notes in a list."""

    said: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.said.append(text)

    alert = note


class Waiting(BackupAlone):
    """Codes from a user who makes mfa-kit wait until a file exists."""

    def __init__(self, now: Callable[[], float], gate: Path) -> None:
        super().__init__(now)
        self.gate = gate

    def codes(self, spec: DeviceSpec) -> Any:
        while not self.gate.exists():
            threading.Event().wait(0.02)
        return super().codes(spec)


class Observer:
    """Passes calls on to the ledger of the current desk.

    Clients are slow to create, so all desks share one observer.
    """

    def __init__(self) -> None:
        self.to: Callable[[Call], None] = lambda _: None
        self.before: Callable[[], None] = lambda: None

    def check(self) -> None:
        self.before()

    def __call__(self, call: Call) -> None:
        self.to(call)


Shared = tuple[Iam, Observer]


def shared_iam(**how: Any) -> Shared:
    """Make the pair of client and observer that `at_desk` takes."""
    observer = Observer()
    return Iam(observe=observer, check=observer.check, sleep=lambda _: None, connection=Connection(**how)), observer


def ledger_of(home: Path) -> Ledger:
    """Open the ledger of a desk: in the database whose address is in a file of its folder, or else in the folder."""
    address = home / ADDRESS
    if address.exists():
        return postgresql_ledger(address.read_text("utf-8"), end=_end, alert=print)
    return sqlite_ledger(home)


def _end(fault: IntegrityFault) -> NoReturn:
    """End the process as the command line does."""
    LOST.tell(f"ended: {fault}; {fault.hint}")
    os._exit(fault.exit_code)


@contextmanager
def at_desk(
    home: Path,
    shared: Shared,
    *,
    recipient: str,
    cut: Cut | None = None,
    sleep: Callable[[float], None] = lambda _: None,
    place: BackupLocation | None = None,
) -> Iterator[tuple[EnrollmentPorts, Caller, Callable[[], DeviceBackend], Notes]]:
    """Open a desk whose ports, including the carriers of dead runs, are wrapped by the cut."""
    cut = cut or Cut()
    notes = Notes()
    with ledger_of(home) as ledger:
        iam, observer = shared
        observer.to, observer.before = ledger.called, ledger.check
        stores = AnyFileStore(plain_settings())
        store: BackupStore = AgeFiles(place or home / "backups", parse_recipients([recipient]), stores)
        if (home / ADDRESS).exists():  # as commands do; without its session, a process writes no backup
            store = recorded(store, ledger)

        def backend() -> DeviceBackend:
            wrapped: DeviceBackend = cut.wrap(BackupAlone(iam.now), "carrier")
            return wrapped

        desk = EnrollmentPorts(
            iam_reader=cut.wrap(iam, "iam_reader"),
            device_writer=InTurn(cut.wrap(iam, "device_writer"), Backoff(sleep=sleep, progress=notes)),
            store=cut.wrap(store, "store"),
            journal=cut.wrap(ledger, "journal"),
            progress=notes,
            backend=lambda _: backend(),
            sleep=sleep,
            on_keys=registry.METHODS.on_keys,
            resumable=registry.METHODS.resumable,
        )
        caller = iam.caller()
        try:
            yield desk, caller, backend, notes
        finally:  # tests use the client without a desk too, and the closed ledger of a cut run would end the process
            observer.to, observer.before = lambda _: None, lambda: None


def act(
    verb: str,
    user: str,
    *,
    desk: EnrollmentPorts,
    caller: Caller,
    backend: DeviceBackend,
    run: str | None = None,
    method: Method = VIRTUAL,
) -> object:
    """Run one verb in the same way as its command."""
    run = run or models.run_id(desk.iam_reader.now(), os.urandom(4))
    request = EnrollRequest(user=user, method=method)
    match verb:
        case "enroll":
            return enroll(request, backend, caller=caller, ports=desk, run=run)
        case "replace" | "replace-lost":
            lost = verb == "replace-lost"
            spec, old = revoke.look_to_replace(
                request, backend, device_name=None, lost=lost, caller=caller, ports=desk, run=run
            )
            return revoke.replace_device(spec, old, backend, lost=lost, ports=desk, run=run)
        case "revoke":
            entry = revoke.look_to_revoke(user, None, leave_without_mfa=True, caller=caller, ports=desk, run=run)
            return revoke.retire(entry, purpose=RunKind.REVOKE, ports=desk)
        case "clean":
            found = orphans.find_orphans(ports=desk)
            return list(orphans.remove_orphans(found, account=caller.account, older_than=DAY, limit=1000, ports=desk))
        case _:
            raise ValueError(verb)


class Told(Cut):
    """Writes each step to a file when it happens, because a killed process cannot report later."""

    def __init__(self, file: Path, **how: Any) -> None:
        super().__init__(**how)
        self.file = file

    def tell(self, line: str) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        self.tell(name)
        return super().step(name, call)


def _verbs(job: dict[str, Any], shared: Shared, cut: Cut) -> None:
    place = parse_location(job["place"]) if "place" in job else None
    home, recipient = Path(job["home"]), job["recipient"]
    with at_desk(home, shared, recipient=recipient, cut=cut, place=place) as (desk, caller, backend, _):
        seat = backend()
        if "gate" in job:
            seat = Waiting(desk.iam_reader.now, Path(job["gate"]))
        for verb in job["verbs"]:
            act(verb, job["user"], desk=desk, caller=caller, backend=seat)


Verbs = Callable[[dict[str, Any], Shared, Cut], None]


def break_sessions(job: dict[str, Any]) -> None:
    """End all sessions of the desk's database, and let another process work until it allows this one to go on."""
    with psycopg.connect((Path(job["home"]) / ADDRESS).read_text("utf-8"), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name like 'mfa-kit@%'"
        )
    steps = Path(job["steps"])
    steps.with_suffix(".broken").touch()
    while not steps.with_suffix(".go").exists():
        threading.Event().wait(0.01)
    threading.Event().wait(FRESH)  # so that nothing that was acknowledged before counts


def _job(job: dict[str, Any], shared: Shared, verbs: Verbs) -> int:
    """Run one job in this process."""
    os.umask(job.get("umask", 0o022))
    cut = Told(
        Path(job["steps"]),
        at=job.get("at", 0),
        after=job.get("after", False),
        act=partial(break_sessions, job) if job.get("broken") else lambda: os.kill(os.getpid(), signal.SIGKILL),
    )
    LOST.tell = cut.tell
    try:
        if "errno" in job:  # tests/faults/broken_disk.c
            ctypes.CDLL(None).broken_disk(ctypes.c_char_p(job["home"].encode()), job["write"], job["errno"])
        verbs(job, shared, cut)
    except MfaKitError as error:
        cut.tell(f"error {type(error).__name__}: {error}; {error.hint} {getattr(error, '__notes__', '')}")
        return error.exit_code
    finally:
        if "errno" in job:
            cut.tell(f"writes {ctypes.CDLL(None).broken_disk_writes()}")
    return 0


def main(verbs: Verbs = _verbs) -> None:
    shared = shared_iam()
    gc.freeze()  # so that the collector of a fork does not touch, and thereby copy, all objects
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = _job(json.loads(line), shared, verbs)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
