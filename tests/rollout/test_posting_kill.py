"""SIGKILL before and after each step of the commands about keys by post; then the same command again.

After every step, each user's phone works, nothing that was posted is enabled before its arrival, and a key opens with
an encrypted password, or has none.
"""

import hashlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from tests import pcsc
from tests.conftest import MfaKit
from tests.faults.conftest import Nursery, nursery_at
from tests.lab.client import Aws
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.test_posting import COLUMNS, HOW, proofs, serial_of, states
from tests.rollout.test_station import keys, sitting_at
from tests.sizes import sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


@pytest.fixture(scope="module")
def nursery(lab: Lab, recipient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("nursery")
    with nursery_at(lab, recipient, folder, module="tests.rollout.posting_worker", **pcsc.shared().env) as nursery:
        yield nursery


@dataclass
class Parcel:
    """A plan with one key by post for a user who has a phone."""

    rollout: Rollout
    nursery: Nursery
    user: str
    phone: str
    card: YkoathCard

    def run(self, *words: str | Path, **how: object) -> tuple[int, list[str]]:
        """Run a command of the plan in a process that may be killed. At the station, the inserted key is used."""
        verb, *more = words
        plan = [] if verb == "activate" else [self.rollout.file]
        line = [str(word) for word in ("rollout", verb, *plan, *more)]
        job = {"words": line, "acts": ["", "q"], "passwords": self.passwords()[:1], **how}
        return self.nursery.run([], self.user, self.rollout.desk.home, **job)

    def passwords(self) -> list[str]:
        """Return the encrypted passwords, newest first."""
        files = sorted((self.rollout.results / "secrets").glob("*.age"), key=lambda file: file.stat().st_mtime_ns)
        return [
            pyrage.decrypt(file.read_bytes(), [self.rollout.identity]).decode().split("\n")[0]
            for file in reversed(files)
        ]

    def is_safe(self, *, enabled: bool = False) -> None:
        """Check the user's devices, and that the key can be opened."""
        lab, card = self.rollout.lab, self.card
        assert lab.assigned(self.phone) == self.user
        if not enabled and serial_of(self.user) in lab.serials():
            assert lab.assigned(serial_of(self.user)) is None
        access = [hashlib.pbkdf2_hmac("sha1", word.encode(), card.identity, 1000, 16) for word in self.passwords()]
        assert card.password is None or card.password in access


@pytest.fixture
def parcel(
    mfa_kit: MfaKit,
    lab: Lab,
    identity: pyrage.x25519.Identity,
    tmp_path: Path,
    users: Callable[[], str],
    aws: Aws,
    nursery: Nursery,
) -> Callable[[object], Parcel]:
    """Return a function that plans a rollout with one key by post, and inserts the key."""

    def begin(name: object) -> Parcel:
        folder, user, (card,) = tmp_path / f"{name}", users(), keys(1001)
        folder.mkdir()
        desk = MfaKit(folder / "home", mfa_kit.env)
        rollout, phone = Rollout(folder, desk, lab, identity), aws.enrolled(user)
        with sitting_at(desk.home):
            rollout.plan(f"{user},oath,replace,post,", columns=COLUMNS)
        pcsc.plug()
        pcsc.plug(card)
        return Parcel(rollout, nursery, user, phone, card)

    return begin


STAGE, ARRIVED, LOST, LETTERS, SECRETS, ACTIVATE = "stage", "arrived", "lost", "letters", "secrets", "activate"
# What has to be done before each command.
BEFORE = {
    STAGE: (),
    ARRIVED: (STAGE,),
    LOST: (STAGE, ARRIVED),
    LETTERS: (STAGE,),
    SECRETS: (STAGE, ARRIVED),
    ACTIVATE: (STAGE, ARRIVED),
}


def words_of(verb: str, parcel: Parcel) -> tuple[str | Path, ...]:
    rollout, identity = parcel.rollout, key_file(parcel.rollout.identity, parcel.rollout.folder)
    match verb:
        case "stage":
            return "station", "--stage", "--no-touch", "-r", rollout.recipient
        case "arrived":
            return "post", "--arrived", parcel.user, "--how", HOW
        case "lost":
            return "post", "--lost", parcel.user
        case "letters":
            return "post", "--letters", rollout.folder / "letters"
        case "secrets":
            return "post", "--secrets", rollout.folder / "second", "-i", identity
        case _:
            return "activate", "--proofs", proofs(rollout, parcel.user), "-i", identity


def check_done(verb: str, parcel: Parcel) -> None:
    """Check what a command leaves in the end."""
    rollout, user = parcel.rollout, parcel.user
    with sitting_at(rollout.desk.home):
        state = states(rollout)[user]
    if verb == LOST:
        assert (state, serial_of(user) in rollout.lab.serials()) == ("lost", False)
        return
    assert state == {STAGE: "prepared", LETTERS: "prepared", ACTIVATE: "proven"}.get(verb, "arrived")
    assert parcel.card.password is not None
    if verb == LETTERS:
        assert (rollout.folder / "letters" / "handover.csv").is_file()
    if verb == SECRETS:
        assert len([*(rollout.folder / "second").glob("*.pdf")]) == 1
    assert rollout.lab.assigned(serial_of(user)) == (user if verb == ACTIVATE else None)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", BEFORE)
def test_a_kill_at_any_step_is_settled_by_the_same_command(
    verb: str, after: bool, parcel: Callable[[object], Parcel]
) -> None:
    """A letter that exists already is not written again, and a row that is done needs no work."""

    def begin(name: object) -> Parcel:
        begun = parcel(name)
        for earlier in BEFORE[verb]:
            code, said = begun.run(*words_of(earlier, begun))
            assert code == 0, said
        return begun

    whole = begin("whole")
    code, steps = whole.run(*words_of(verb, whole))
    assert code == 0, steps
    whole.is_safe(enabled=verb == ACTIVATE)
    check_done(verb, whole)
    for at in sample(range(1, len(steps)), 2):  # the last line is the exit code
        begun = begin(at)
        words = words_of(verb, begun)
        code, done = begun.run(*words, at=at, after=after)
        if after and steps[at - 1] == "device_writer.deactivate":  # IAM answers that the device is not assigned
            continue
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        begun.is_safe(enabled=verb == ACTIVATE)
        code, said = begun.run(*words)
        assert code == 0 or "already" in said[-1], (at, steps[at - 1], said)
        begun.is_safe(enabled=verb == ACTIVATE)
        check_done(verb, begun)


def test_a_half_prepared_key_is_not_enabled_by_a_resume(parcel: Callable[[object], Parcel]) -> None:
    """Although its backup and its credential exist."""
    begun = parcel("resumed")
    code, steps = begun.run(*words_of(STAGE, begun))
    assert code == 0, steps
    begun = parcel("killed")
    code, steps = begun.run(*words_of(STAGE, begun), at=steps.index("seal") + 1)
    assert (code, len(begun.card.credentials)) == (-signal.SIGKILL, 1)
    with sitting_at(begun.rollout.desk.home):
        identity = key_file(begun.rollout.identity, begun.rollout.folder)
        done = begun.rollout.desk.run("enroll", begun.user, "--resume", "-i", identity)
    assert (done.code, "has no half-made device with a backup" in done.err) == (2, True), done.err
    begun.is_safe()
