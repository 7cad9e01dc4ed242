"""Keys that are prepared to be sent by post: their generated passwords, and what is left after an interruption.

Each password is encrypted before its key has it, so it opens the key after any interruption.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyrage
import pytest
from pyrage.x25519 import Identity

from mfa_kit.adapters.files.identities import seal_text
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.errors import DeviceFault, IntegrityFault, MfaKitError
from mfa_kit.core.models import JournalState
from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.oath_keys.applet import LockableKeys
from mfa_kit.oath_keys.choosing import seal_password
from mfa_kit.wiring.oath_keys import random_password
from tests import pcsc
from tests.conftest import ACCOUNT
from tests.faults.conftest import Nursery, nursery_at
from tests.faults.worker import Shared, shared_iam
from tests.oath.conftest import Person, only
from tests.oath.seat import do, passwords_in
from tests.sizes import sample

Seal = Callable[[Secret[str]], None]


def give(keys: Keys, seal: Seal) -> None:
    seal_password(cast("LockableKeys", keys), only(keys), generate=random_password, seal=seal)


def sealer(identity: Identity, path: Path) -> Seal:
    return lambda password: seal_text(path, password, [str(identity.to_public())], ())


def opens(file: Path, identity: Identity, card: YkoathCard) -> bool:
    """Return whether the password in the file opens the key, for a process that does not know it."""
    typed = Person(passwords=[pyrage.decrypt(file.read_bytes(), [identity]).decode()])
    fresh = Keys(say=typed.said.append, password=typed.password)
    assert card.password
    with fresh.open(only(fresh)) as applet:
        applet.names()
    return typed.passwords == []


def test_the_encrypted_password_opens_the_key(keys: Keys, card: YkoathCard, tmp_path: Path) -> None:
    """The file exists before the key gets the password. This process needs no password afterwards."""
    identity, file = Identity.generate(), tmp_path / "password.age"
    seal = sealer(identity, file)

    def watched(password: Secret[str]) -> None:
        assert card.password is None
        seal(password)

    give(keys, watched)
    assert opens(file, identity, card)
    with keys.open(only(keys)) as applet:
        assert applet.guarded


def test_a_password_that_cannot_be_encrypted_is_not_set(keys: Keys, card: YkoathCard) -> None:
    """The error of the file is raised."""

    def refuse(_: Secret[str]) -> None:
        raise IntegrityFault("the disk is full", "free some space")

    with pytest.raises(IntegrityFault, match="the disk is full"):
        give(keys, refuse)
    assert card.password is None


def test_an_old_password_is_asked_for_and_replaced(
    keys: Keys, card: YkoathCard, person: Person, tmp_path: Path
) -> None:
    """The key then opens with the new password only."""
    with keys.open(only(keys)) as applet:
        applet.set_key(applet.derive_key(Secret("old")))
    identity, file = Identity.generate(), tmp_path / "password.age"
    person.passwords = ["old"]
    give(keys, sealer(identity, file))
    assert person.passwords == []
    assert opens(file, identity, card)


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("moment", ["pulled_before", "pulled_after"])
def test_a_key_pulled_at_any_apdu_is_open_or_opens_with_the_file(
    keys: Keys, card: YkoathCard, tmp_path: Path, moment: str, number: int
) -> None:
    """The password is never only on the key."""
    identity, file = Identity.generate(), tmp_path / "password.age"
    key = only(keys)
    card.log.clear()
    setattr(card.quirks, moment, number)
    with pytest.raises(DeviceFault):
        seal_password(cast("LockableKeys", keys), key, generate=random_password, seal=sealer(identity, file))
    assert len(card.log) == number
    setattr(card.quirks, moment, 0)
    pcsc.plug(card)
    assert card.password is None or opens(file, identity, card)


FAULTS = ("throttle", "error-before", "error-after", "lost-before", "lost-after", "denied")


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Shared]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        yield shared_iam()


@pytest.fixture(scope="module")
def nursery(lab: Lab, recipient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("nursery")
    with nursery_at(lab, recipient, folder, module="tests.oath.worker", **pcsc.shared().env) as nursery:
        yield nursery


@dataclass(frozen=True)
class Parcel:
    """A user, the folder of a desk, and the key that is prepared there."""

    user: str
    home: Path
    card: YkoathCard

    @property
    def serial(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:mfa/{self.user}"

    def is_prepared(self, lab: Lab, identity: Identity) -> None:
        """Check that the key has IAM's secret and a password that was encrypted, and that nothing is enabled."""
        assert self.serial in lab.serials()
        assert lab.assigned(self.serial) is None
        label = f"AWS:{self.user}@{ACCOUNT}".encode()
        assert {name: held.key for name, held in self.card.credentials.items()} == {label: lab.seed(self.serial)}
        assert self.card.password
        self.opens(identity)
        with sqlite_ledger(self.home) as ledger:
            # A request to create a device that got no response may take effect for 15 minutes.
            assert {entry.reached for entry in ledger.dead(ACCOUNT)} <= {JournalState.INTENT}
            assert JournalState.STAGED in {entry.reached for entry in ledger.entries(ACCOUNT)}
        assert len([*(self.home / "backups").rglob("*.age")]) == 1

    def opens(self, identity: Identity) -> None:
        """Check that the key has no password, or that one of the encrypted ones opens it."""
        for password in [*reversed(passwords_in(self.home, identity))] if self.card.password else ():
            keys = Keys(say=lambda _: None, password=lambda _, typed=password: typed)  # type: ignore[misc]
            with suppress(DeviceFault), keys.open(only(keys)) as applet:
                applet.names()
                return
        assert self.card.password is None


@pytest.fixture
def parcel(users: Callable[[], str], tmp_path: Path) -> Callable[[object], Parcel]:
    def begin(name: object) -> Parcel:
        card = YkoathCard()
        pcsc.plug(card)
        return Parcel(users(), tmp_path / f"{name}", card)

    return begin


@pytest.fixture
def work(shared: Shared, identity: Identity) -> Callable[[Parcel, str], object]:
    return lambda parcel, verb: do(verb, parcel.user, parcel.home, shared, identity=identity)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_step_leaves_a_key_that_the_same_command_prepares(
    after: bool, nursery: Nursery, parcel: Callable[[object], Parcel], at_lab: Lab, identity: Identity
) -> None:
    """At each moment, nothing is enabled, and an encrypted password opens the key, or it has none."""
    whole = parcel("whole")
    code, steps = nursery.run(["prepare"], whole.user, whole.home, identity=str(identity))
    assert code == 0, steps
    whole.is_prepared(at_lab, identity)
    assert steps.index("seal") < steps.index("applet.set_key")
    for at in sample(range(1, len(steps) + 1), 6):
        begun = parcel(at)
        code, done = nursery.run(["prepare"], begun.user, begun.home, identity=str(identity), at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        assert at_lab.assigned(begun.serial) is None if begun.serial in at_lab.serials() else True
        begun.opens(identity)
        verb = ["clean"] if (at, after) == (len(steps), True) else ["prepare"]
        code, said = nursery.run(verb, begun.user, begun.home, identity=str(identity))
        assert code == 0, (at, said)
        begun.is_prepared(at_lab, identity)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["pulled_before", "pulled_after"])
def test_a_key_pulled_at_any_apdu_is_prepared_by_the_same_command(
    how: str,
    parcel: Callable[[object], Parcel],
    work: Callable[[Parcel, str], object],
    at_lab: Lab,
    identity: Identity,
) -> None:
    """Nothing is enabled meanwhile."""
    whole = parcel("whole")
    work(whole, "prepare")
    number = len(whole.card.log)
    whole.is_prepared(at_lab, identity)
    for at in sample(range(1, number + 1), 6):
        begun = parcel(at)
        setattr(begun.card.quirks, how, at)
        with pytest.raises(MfaKitError):
            work(begun, "prepare")
        setattr(begun.card.quirks, how, 0)
        pcsc.plug()
        pcsc.plug(begun.card)
        begun.opens(identity)
        assert at_lab.assigned(begun.serial) is None if begun.serial in at_lab.serials() else True
        work(begun, "prepare")
        begun.is_prepared(at_lab, identity)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_call_is_repaired_by_preparing_again(
    fault: str,
    parcel: Callable[[object], Parcel],
    work: Callable[[Parcel, str], object],
    at_lab: Lab,
    identity: Identity,
) -> None:
    """IAM never has an enabled device, and in the end one that is prepared."""
    whole = parcel("whole")
    seen = len(at_lab.calls)
    work(whole, "prepare")
    number = sum(call.operation != "GetCallerIdentity" for call in at_lab.calls[seen:])
    assert "EnableMFADevice" not in [call.operation for call in at_lab.calls[seen:]]
    for at in range(1, number + 1):
        begun = parcel(at)
        at_lab.faults.add("*", fault, at=at + 1)  # the first request asks for the caller's identity
        try:
            work(begun, "prepare")
        except MfaKitError:
            at_lab.faults.clear()
            work(begun, "prepare")
        at_lab.faults.clear()
        begun.is_prepared(at_lab, identity)
