"""Which backups a key decrypts, which may be removed, and tests of backups with a scripted person: pure rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mfa_kit.backups.adding import choose_account
from mfa_kit.backups.drill import Drill, drill_due, judge_typed
from mfa_kit.backups.opening import check_not_lost
from mfa_kit.backups.pruning import Why, find_prunable
from mfa_kit.backups.rekeying import Exposed, KnownRecipients, find_exposed, known_recipients
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, NoSuchEntity, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, Device, RunTag, Seal
from mfa_kit.core.otp import Seed
from mfa_kit.enrollment.ports import IamReader
from tests.tokens import person as scripted

DAY = 86400.0
NOW = 1_800_000_000.0
ACCOUNT = "123456789012"
ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"
# Ten days before NOW.
RUN = "20270105T080000Z-0a1b2c3d"
SEED = Seed(bytes(range(40)))


def backup(user: str = "alice", *, run: str = RUN, device: str | None = None, account: str = ACCOUNT) -> Backup:
    device = device or user
    path = Path(f"/b/{account}/{user}/{device}-{run}.png.age")
    return Backup(account=account, user=user, device=device, run=run, path=path)


def seal(of: Backup, recipient: str, since: float = 1.0, until: float | None = None) -> Seal:
    return Seal(backup=of.name, recipient=recipient, since=since, until=until)


def test_a_backup_has_the_same_name_in_every_folder() -> None:
    """The ledger identifies a backup by this name."""
    assert backup().name == f"{ACCOUNT}/alice/alice-{RUN}.png.age"


def test_recipients_are_those_that_were_not_removed() -> None:
    """A backup without a record has None as its recipients."""
    alice, bob = backup("alice"), backup("bob")
    seals = [seal(alice, "a"), seal(alice, "b", until=2.0), seal(alice, "c"), seal(alice, "a")]
    assert known_recipients([alice, bob], seals) == [
        KnownRecipients(backup=alice, recipients=("a", "c")),
        KnownRecipients(backup=bob, recipients=None),
    ]


def test_backups_that_a_key_ever_decrypted_are_exposed() -> None:
    """A rekey does not affect older copies. Backups without a record count as exposed, removed backups do not."""
    now, once, twice, other, unknown, gone = map(backup, ("now", "once", "twice", "other", "unknown", "gone"))
    seals = [
        seal(now, "k", 5.0),
        seal(once, "k", 1.0, 2.0),
        seal(once, "l", 2.0),
        seal(twice, "k", 1.0, 2.0),
        seal(twice, "k", 3.0),
        seal(other, "l"),
        seal(gone, "k"),
    ]
    assert find_exposed("k", [now, once, twice, other, unknown, gone], seals, gone={gone.name}) == [
        Exposed(backup=now, since=5.0),
        Exposed(backup=once, since=1.0, until=2.0),
        Exposed(backup=twice, since=1.0),
        Exposed(backup=unknown, since=None),
    ]


@pytest.mark.parametrize(
    ("drilled", "since", "due"),
    [({}, 0.0, False), ({}, NOW, True), ({backup().name: NOW}, NOW, False), ({backup().name: NOW - 1}, NOW, True)],
)
def test_a_drill_is_due_if_backup_and_last_drill_are_old(drilled: Mapping[str, float], since: float, due: bool) -> None:
    assert drill_due(backup(), drilled, since=since) is due


@pytest.mark.parametrize(
    ("run", "lost", "refused"),
    [
        (RUN, [], False),
        (RUN, [RUN], True),
        (RUN, ["20270106T000000Z-00000000"], True),
        (RUN, ["20270101T000000Z-ffffffff"], False),
        (None, ["20270101T000000Z-ffffffff"], True),
        (None, [], False),
    ],
    ids=["never", "this run", "later", "an earlier device", "renamed", "renamed, never"],
)
def test_the_backup_of_a_lost_device_is_refused(run: str | None, lost: Sequence[str], refused: bool) -> None:
    """If the loss was before this backup was made, the lost device is another one with the same name."""
    if not refused:
        check_not_lost("alice", run, losses=lost)
        return
    with pytest.raises(UsageFault, match="alice was reported lost") as caught:
        check_not_lost("alice", run, losses=lost)
    assert "mfa-kit enroll" in caught.value.hint


@dataclass
class Person:
    """Types the given entries one after another."""

    types: list[str]
    said: list[str] = field(default_factory=list)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: object = None) -> str:
        return self.types.pop(0)

    def say(self, text: str) -> None:
        self.said.append(text)


def code(ahead: int = 0) -> str:
    step = otp.step(NOW) + ahead
    return next(otp.codes(SEED, range(step, step + 1)))


@pytest.mark.parametrize(
    ("types", "result"),
    [
        ([code()], Drill.PROVED),
        ([code(-9)], Drill.PROVED),
        (["12345", "", "never"], Drill.SKIPPED),
        ([""], Drill.SKIPPED),
        (["12 34", "000001", code()], Drill.PROVED),
        (["000001", "no", "000002", "000003", "never"], Drill.DIFFERS),
        ([code(-30)] * 3, Drill.DIFFERS),
    ],
    ids=["right", "a slow phone", "left out after a slip", "left out", "right at last", "wrong thrice", "hours off"],
)
def test_a_drill_compares_the_typed_codes_with_the_seed(types: list[str], result: Drill) -> None:
    """Three wrong codes mean that the codes differ. Input that is not a code proves nothing."""
    person: Interaction = Person(list(types))  # type: ignore[assignment]
    assert judge_typed(SEED, now=lambda: NOW, interaction=person) is result


@dataclass
class Account:
    """The users and devices that IAM returns."""

    has: dict[str, list[str]] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    runs: dict[str, str | RunTag] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)

    def now(self) -> float:
        return NOW

    def users(self) -> list[str]:
        return [name for name in self.has if name not in self.unlisted]

    def unassigned(self) -> list[str]:
        return self.free

    def devices(self, user: str) -> list[Device]:
        if user not in self.has:
            raise NoSuchEntity("no such user")
        return [Device(serial, user) for serial in self.has[user]]

    def run_of(self, serial: str) -> str | RunTag:
        return self.runs.get(serial, RunTag.ABSENT)


def prunable(account: Account, *found: Backup, older: float | None = None) -> list[tuple[Backup, Why]]:
    iam_reader: IamReader = account  # type: ignore[assignment]
    return list(find_prunable(found, account=ACCOUNT, older=older, iam_reader=iam_reader))


def test_a_deleted_user_needs_no_backup() -> None:
    """No backup of a deleted user is needed, whichever device it is for."""
    one, two = backup("gone"), backup("gone", device="gone-2")
    assert prunable(Account(), one, two) == [(one, Why.LEFT), (two, Why.LEFT)]


def test_a_user_missing_from_the_listing_is_requested() -> None:
    """Listings may be out of date, so the list of the user's own devices decides."""
    account = Account(has={"alice": []}, unlisted={"alice"})
    assert prunable(account, backup()) == []


@pytest.mark.parametrize(
    "found",
    [
        backup("gone", account="999999999999"),
        backup("root"),
        backup("gone", run="20270115T070000Z-0a1b2c3d"),
    ],
    ids=["another account", "root", "young"],
)
def test_a_backup_that_iam_does_not_decide_about_is_kept(found: Backup) -> None:
    assert prunable(Account(), found, older=0.0) == []


@pytest.mark.parametrize(
    ("runs", "gone"),
    [
        ({ARN + "Alice": RUN}, False),
        ({ARN + "Alice": RunTag.UNTAGGED}, False),
        ({ARN + "Alice": "other"}, True),
        ({}, True),
    ],
    ids=["its own", "untagged", "another run's", "absent"],
)
@pytest.mark.parametrize("free", [True, False])
def test_the_backup_of_a_device_that_may_exist_is_kept(runs: dict[str, str | RunTag], gone: bool, free: bool) -> None:
    """The device may be assigned to any user, or unassigned. Names are compared case-insensitively."""
    account = Account(has={"Alice": [] if free else [ARN + "Alice"]}, free=[ARN + "Alice"] if free else [], runs=runs)
    found = backup("Alice", device="alice")
    assert prunable(account, found, older=9 * DAY) == ([(found, Why.GONE)] if gone else [])
    assert prunable(account, found) == []
    assert prunable(account, found, older=11 * DAY) == []


def test_an_account_is_chosen_from_an_export() -> None:
    """There is no question about a single account."""
    with pytest.raises(IntegrityFault, match="none of the 2 accounts in this export"):
        choose_account([], of=2, which="1 of 1", person=scripted.Person())
    assert choose_account(["one"], of=2, which="1 of 1", person=scripted.Person()) == 0
    assert choose_account(["one", "two"], of=2, which="1 of 1", person=scripted.Person(["two"])) == 1
