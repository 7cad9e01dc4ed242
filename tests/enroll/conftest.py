"""Fixtures for a desk in this process that uses the lab over HTTP, a ledger and age files. Waits take no time."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core import models
from mfa_kit.core.models import Caller, JournalState, Outcome, RunKind
from mfa_kit.enrollment import revoke as revocation
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.enroll import enroll
from mfa_kit.enrollment.pacing import Backoff, InTurn
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.methods import registry
from tests.faults.conftest import Judge
from tests.faults.worker import Cut, Observer


@dataclass
class Person:
    """Records the messages to the user. A pause does not wait, but calls `while_waiting`."""

    said: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    while_waiting: Callable[[], None] = lambda: None

    def note(self, text: str) -> None:
        self.said.append(text)

    alert = note

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_waiting()


@dataclass
class At:
    """A desk and its user."""

    desk: EnrollmentPorts
    ledger: Ledger
    caller: Caller
    backend: Callable[[], DeviceBackend]
    person: Person

    def run(self) -> str:
        return models.run_id(self.desk.iam_reader.now(), os.urandom(4))

    def enroll(self, user: str, **request: Any) -> Outcome:
        return enroll(
            EnrollRequest(user=user, **request), self.backend(), caller=self.caller, ports=self.desk, run=self.run()
        )

    def revoke(self, user: str, wanted: str) -> None:
        entry = revocation.look_to_revoke(
            user, wanted, leave_without_mfa=True, caller=self.caller, ports=self.desk, run=self.run()
        )
        revocation.retire(entry, purpose=RunKind.REVOKE, ports=self.desk)

    def reached(self, serial: str) -> JournalState | None:
        """Return the state of the device that is enabled or half-made."""
        entry = self.ledger.find(serial)
        return entry.reached if entry else None


AtDesk = Callable[..., AbstractContextManager[At]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "desk"


@pytest.fixture(scope="session")
def iam(lab: Lab) -> tuple[Iam, Observer]:
    """Return one pair of clients for all desks of the test session, because clients are slow to create."""
    observer = Observer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        return Iam(observe=observer, sleep=lambda _: None), observer


@pytest.fixture
def at(at_lab: Lab, home: Path, iam: tuple[Iam, Observer], recipient: str) -> AtDesk:  # noqa: ARG001 - for its end
    """Open the desk of this test. The cut wraps each port."""

    @contextmanager
    def sit(*, cut: Cut | None = None, to: Sequence[str] = (recipient,)) -> Iterator[At]:
        cut, person, (client, observer) = cut or Cut(), Person(), iam
        with sqlite_ledger(home) as ledger:
            before, observer.to = observer.to, ledger.called

            def backend() -> DeviceBackend:
                wrapped: DeviceBackend = cut.wrap(BackupAlone(client.now), "carrier")
                return wrapped

            desk = EnrollmentPorts(
                iam_reader=cut.wrap(client, "inventory"),
                device_writer=InTurn(cut.wrap(client, "registrar"), Backoff(sleep=person.sleep, progress=person)),
                store=cut.wrap(AgeFiles(home / "backups", parse_recipients(to)), "vault"),
                journal=cut.wrap(ledger, "journal"),
                progress=person,
                backend=lambda _: backend(),
                sleep=person.sleep,
                on_keys=registry.METHODS.on_keys,
                resumable=registry.METHODS.resumable,
            )
            yield At(desk, ledger, client.caller(), backend, person)
            observer.to = before

    return sit


@pytest.fixture
def judge(lab: Lab, identity: pyrage.x25519.Identity) -> Judge:
    return Judge(lab, identity, lambda *_: None)
