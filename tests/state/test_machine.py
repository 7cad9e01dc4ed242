"""After any order of commands and kills on two computers, each enabled device has a backup."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pyrage
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.local_store import LOCAL, find_backups
from mfa_kit.core import otp
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import JournalState
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests.conftest import COUNTED, LOST
from tests.faults.worker import ADDRESS, Cut, Shared, act, at_desk, ledger_of, shared_iam
from tests.ledgers import KINDS
from tests.postgresql import Server
from tests.sizes import size

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

PARTS = 2
UNTAGGING = ("CreateVirtualMFADevice", "denied")
MEMORY = Path("/dev/shm")
SEQUENCES = size(30, 500, "MFA_KIT_SEQUENCES")
# The number of sequences with ledgers in PostgreSQL.
IN_POSTGRESQL = size(2, 50)
VERBS = ("enroll", "replace", "replace-lost", "revoke")
IDENTITY = pyrage.x25519.Identity.generate()
NUMBERS = count()
ARN = "arn:aws:iam::000000000000:mfa/"


class Killed(BaseException):
    """Raised in place of a kill. After it, no port can be used any more."""


class Killing(Cut):
    """From a given step on, every port is dead, as after a kill: nothing is settled, printed or unlocked."""

    dead = False

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        if self.dead:
            raise Killed
        return super().step(name, call)

    def kill(self) -> None:
        self.dead = True
        raise Killed


class Desks(RuleBasedStateMachine):
    """Two desks with separate folders, in one account with two users."""

    lab: Lab
    shared: Shared
    iam: "IAMClient"
    server: Server | None = None

    def __init__(self) -> None:
        super().__init__()
        self.users = [f"m{os.getpid()}-{next(NUMBERS)}" for _ in range(2)]
        for user in self.users:
            self.lab.add_user(user)
        # The folder is in memory if possible, because the disk is not under test.
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.databases: list[str] = []
        for home in ("one", "two") if self.server else ():
            assert self.server
            self.databases.append(self.server.new_database())
            (self.folder / home).mkdir(mode=0o700)
            (self.folder / home / ADDRESS).write_text(self.server.address(self.databases[-1]), "utf-8")
        self.enabled: dict[str, Seed] = {}

    def teardown(self) -> None:
        """Let all desks settle, and check that no half-made device is left in IAM or on the disk."""
        for home in ("one", "two"):
            for user in self.users:
                with suppress(MfaKitError):
                    self.run(home, "enroll", user)
            self.run(home, "clean", self.users[0])
        for user in self.users:
            assert {self.lab.assigned(serial) for serial in self.serials(user)} == {user}
        for home in ("one", "two"):
            with ledger_of(self.folder / home) as ledger:
                for backup in find_backups(self.folder / home / "backups", LOCAL):
                    entry = ledger.find(f"{ARN}{backup.device}", run=backup.run)
                    assert entry is not None
                    assert entry.reached is JournalState.CONFIRMED, "a backup of a device that is gone"
        shutil.rmtree(self.folder)
        for database in self.databases:
            assert self.server
            self.server.execute(f"drop database {database} with (force)")
        self._leave()

    def _leave(self) -> None:
        """Remove the users, because an account has a quota, and each list reads all users."""
        for user in self.users:
            for serial in self.serials(user):
                self.iam.deactivate_mfa_device(UserName=user, SerialNumber=serial)
                self.iam.delete_virtual_mfa_device(SerialNumber=serial)
            self.iam.delete_user(UserName=user)
        self.lab.calls.clear()

    def serials(self, user: str) -> set[str]:
        return {each for each in self.lab.serials() if each.rpartition("/")[2] in {user, f"{user}-2", f"{user}-3"}}

    def backups(self, user: str) -> dict[str, list[Seed]]:
        """Read the secrets of the user's backups at both desks, by the device's serial.

        If the other desk removed a device, its backup remains here, beside the backup of a later device of the same
        name.
        """
        found: dict[str, list[Seed]] = {}
        for home in ("one", "two"):
            for backup in find_backups(self.folder / home / "backups", LOCAL):
                if backup.user == user:
                    picture = open_backup(backup.path, Secret([IDENTITY]))
                    found.setdefault(f"{ARN}{backup.device}", []).append(key_uri.seed_of(symbol.read(picture)))
        return found

    def run(self, home: str, verb: str, user: str, cut: Cut | None = None) -> None:
        with at_desk(self.folder / home, self.shared, recipient=str(IDENTITY.to_public()), cut=cut) as desk_and_more:
            desk, caller, backend, _ = desk_and_more
            act(verb, user, desk=desk, caller=caller, backend=backend())

    @rule(home=st.sampled_from(["one", "two"]), verb=st.sampled_from(VERBS), who=st.integers(0, 1))
    def whole(self, home: str, verb: str, who: int) -> None:
        """Run a command without faults. It may be refused."""
        with suppress(MfaKitError):
            self.run(home, verb, self.users[who])

    @rule(
        home=st.sampled_from(["one", "two"]),
        verb=st.sampled_from([*VERBS, "clean"]),
        who=st.integers(0, 1),
        at=st.integers(1, 26),
        after=st.booleans(),
    )
    def killed(self, home: str, verb: str, who: int, at: int, *, after: bool) -> None:
        """Run a command that is killed just before or after a step, if it reaches this step."""
        cut = Killing(at=at, after=after)
        cut.act = cut.kill
        with suppress(MfaKitError, Killed):
            self.run(home, verb, self.users[who], cut)

    @rule(
        home=st.sampled_from(["one", "two"]),
        verb=st.sampled_from(VERBS),
        who=st.integers(0, 1),
        operation=st.sampled_from(
            ["CreateVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice", "DeleteVirtualMFADevice"]
        ),
        fault=st.sampled_from(["lost-before", "lost-after", "error-after", "denied"]),
    )
    def faulty(self, home: str, verb: str, who: int, operation: str, fault: str) -> None:
        """Run a command in which one call fails."""
        # Half-made untagged devices are reported and left, so other tests cover them.
        self.lab.faults.add(operation, "lost-before" if (operation, fault) == UNTAGGING else fault)
        with suppress(MfaKitError):
            self.run(home, verb, self.users[who])
        self.lab.faults.clear()

    @rule(home=st.sampled_from(["one", "two"]))
    def clean(self, home: str) -> None:
        self.run(home, "clean", self.users[0])

    @rule(who=st.integers(0, 1), later=st.integers(2, 400))
    @precondition(lambda self: any(self.serials(user) for user in self.users))
    def resync(self, who: int, later: int) -> None:
        """Use the backup like its owner. IAM accepts its codes if they are newer than the last codes."""
        user = self.users[who]
        for serial, seed in [(serial, seed) for serial, seeds in self.backups(user).items() for seed in seeds]:
            if serial in self.lab.serials() and self.lab.assigned(serial) == user:
                iam, _ = self.shared
                with suppress(MfaKitError):
                    iam.resync(user, serial, partial(otp.pair, seed, iam.now() + later * otp.PERIOD))

    @invariant()
    def nobody_is_without_a_seed(self) -> None:
        """Check the main invariant: each enabled device has a backup with its secret."""
        for user in self.users:
            kept = self.backups(user)
            for serial in self.serials(user):
                if self.lab.assigned(serial):
                    seed = Seed(self.lab.seed(serial))
                    assert seed in kept.get(serial, []), f"{serial} is enabled, and its seed is nowhere"


@pytest.mark.slow
@pytest.mark.timeout(3600 + SEQUENCES)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_commands_and_kills_loses_a_secret(
    kind: str, part: int, record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> None:
    """There are two parts, so that two processors can share them. SEQUENCES is the number of both for SQLite."""
    wanted, ran = ((SEQUENCES if kind == "sqlite" else IN_POSTGRESQL) + part) // PARTS, 0
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in lab.env.items():
            patch.setenv(name, value)
        shared = shared_iam()

        class Machine(Desks):
            def __init__(self) -> None:
                nonlocal ran
                ran += 1
                super().__init__()

        if kind == "postgresql":
            Machine.server = request.getfixturevalue("postgresql")
        Machine.lab, Machine.shared, Machine.iam = lab, shared, boto3.Session().client("iam")
        if settings().derandomize:  # the same in each run, but a different half in each part
            seeded(part)(Machine)
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=wanted,
                    stateful_step_count=8,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except AssertionError:
            record_property(COUNTED, (LOST, 1))
            raise
    assert ran >= wanted
    record_property(COUNTED, ("sequences of the state machine", ran))
