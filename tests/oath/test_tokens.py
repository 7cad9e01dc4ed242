"""Tests of hardware TOTP tokens: AWS has the seed, the user reads the display, and nothing is created or deleted."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pexpect
import pytest

from mfa_kit.core import models
from mfa_kit.core.errors import AlreadyExists, AwsFault, Declined, DeviceFault, InvalidCode, MfaKitError, UsageFault
from mfa_kit.core.interaction import Interaction, Nobody
from mfa_kit.core.models import DeviceType, Enrolled, JournalState, Method, RunKind
from mfa_kit.core.otp import Created, KeyUri, Secret, Seed
from mfa_kit.enrollment import revoke
from mfa_kit.enrollment.enroll import enroll
from mfa_kit.enrollment.making import ASSIGNING
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.settling import STILL_ON_ITS_WAY
from mfa_kit.lab.aws.mfa_devices import Display
from mfa_kit.lab.aws.server import Lab
from mfa_kit.tokens.backends import DisplayToken
from tests.conftest import MfaKit, bare
from tests.faults.worker import Notes, Shared, at_desk, shared_iam
from tests.terminal.spawn import MFA_KIT, spawn

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
numbers = count(10_000_000)


@pytest.fixture
def shared(at_lab: Lab) -> Shared:
    return shared_iam(endpoint_url=at_lab.url)


@pytest.fixture
def serial(at_lab: Lab) -> str:
    """Add a new token that AWS knows, and return its serial."""
    serial = f"GAHT{next(numbers)}"
    at_lab.add_token(serial, SECRET)
    return serial


@dataclass
class Reader:
    """Types the codes of the display: first the code of 30 seconds ago, then the present one."""

    display: Display = field(default_factory=lambda: Display(SECRET))
    typed: Iterator[str] | None = None
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The two codes are consecutive, although the second is requested later.
        began = time.time()
        self.typed = self.typed or (self.display.shows(began - wait) for wait in (30, 0))

    def check(self, *parts: Secret[str], instead: str) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        assert self.typed is not None
        assert seconds_left is not None
        assert 0 < seconds_left() <= 30
        return next(self.typed)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        raise NotImplementedError

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        raise NotImplementedError

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        raise NotImplementedError

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        raise NotImplementedError

    def ask_unless(self, prompt: str, comes: Callable[[], object], *, instead: str) -> Any:
        raise NotImplementedError

    def pause(self, prompt: str, *, instead: str) -> None:
        raise NotImplementedError

    def show(self, *parts: Secret[str], instead: str) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        pass


@dataclass
class Assigned:
    """One attempt to assign a token, and this computer's records of it."""

    home: Path
    shared: Shared
    recipient: str

    def __call__(self, user: str, serial: str, reader: Interaction | None = None, *, add: bool = False) -> object:
        with at_desk(self.home, self.shared, recipient=self.recipient) as (desk, caller, _, notes):
            self.notes = notes
            backend = DisplayToken(serial, now=desk.iam_reader.now, interaction=reader or Reader(), progress=notes)
            request = EnrollRequest(user=user, method=Method("hardware-totp", DeviceType.HARDWARE_TOTP), add=add)
            run = models.run_id(desk.iam_reader.now(), bytes(4))
            return enroll(request, backend, caller=caller, ports=desk, run=run, procedure=ASSIGNING)

    def open_entries(self) -> list[models.JournalEntry]:
        with at_desk(self.home, self.shared, recipient=self.recipient) as (desk, caller, _, _):
            return list(desk.journal.dead(caller.account))


@pytest.fixture
def assigned(tmp_path: Path, shared: Shared, recipient: str) -> Assigned:
    return Assigned(tmp_path, shared, recipient)


def test_a_token_is_enabled_and_nothing_is_created(assigned: Assigned, lab: Lab, user: str, serial: str) -> None:
    """The pair is sent at once, and IAM's list confirms the device."""
    seen = len(lab.calls)
    done = assigned(user, serial)
    assert isinstance(done, Enrolled)
    assert (done.spec.serial, done.listed, done.backup) == (serial, True, None)
    assert lab.assigned(serial) == user
    writes = [c.operation for c in lab.calls[seen:] if not c.operation.startswith(("List", "Get"))]
    assert writes == ["EnableMFADevice"]
    assert assigned.open_entries() == []


@pytest.mark.parametrize("ahead", [-600, -60, 60, 600])
def test_a_display_that_is_minutes_wrong_is_accepted(
    ahead: int, assigned: Assigned, lab: Lab, user: str, serial: str
) -> None:
    """AWS stores the offset of the display, and mfa-kit cannot know it."""
    assert isinstance(assigned(user, serial, Reader(Display(SECRET, ahead))), Enrolled)
    assert lab.account.backend.codes(serial).skew == pytest.approx(ahead // 30, abs=1)


def test_a_repeated_code_is_refused_and_a_new_one_requested(assigned: Assigned, user: str, serial: str) -> None:
    """Input that is not a code is handled in the same way. The prompt shows the seconds until the next code."""
    display, now = Display(SECRET), time.time()
    before, code = display.shows(now - 30), display.shows(now)
    reader = Reader(typed=iter(["12345", before, before, "ccccccbvgtkulltnhkfdcnbitefebjtgkhkhtrgjkblt", code]))
    assert isinstance(assigned(user, serial, reader), Enrolled)
    assert sum("the same code again" in said for said in reader.said) == 1
    assert sum("not 6 digits" in said for said in reader.said) == 1
    assert sum("YubiKey" in said for said in reader.said) == 1


@pytest.mark.parametrize(("status", "kind"), [(404, DeviceFault), (400, AwsFault), (403, InvalidCode)])
def test_a_token_that_aws_does_not_know_is_explained(
    status: int, kind: type[MfaKitError], assigned: Assigned, lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any error of IAM is explained, because AWS does not document it. No entry stays unfinished."""
    monkeypatch.setattr(lab.account, "settings", replace(lab.account.settings, unknown_serial=status))
    with pytest.raises(kind) as caught:
        assigned(user, "2600412345678")
    assert "tokens of other makers cannot be used" in f"{caught.value.hint} {getattr(caught.value, '__notes__', '')}"
    assert any("does not look like the serial number" in said for said in assigned.notes.said)
    assert assigned.open_entries() == []


def test_an_invalid_serial_of_a_token_is_refused(assigned: Assigned, user: str) -> None:
    """An ARN is the serial of a virtual device. The pattern for serials is that of IAM."""
    for serial in ("arn:aws:iam::000000000000:mfa/alice", "GAHT 1234567", "short", "GAHT1234567é"):
        with pytest.raises(UsageFault, match="is not the serial number of a token"):
            assigned(user, serial)


def test_a_dry_run_says_which_codes_are_needed(serial: str) -> None:
    """The carrier of such a token writes no seed."""
    spec = models.DeviceSpec(
        account="000000000000",
        partition="aws",
        user="alice",
        name=serial,
        method=Method("hardware-totp", DeviceType.HARDWARE_TOTP),
        known_serial=serial,
    )
    first, _ = ASSIGNING.steps(spec, None)
    assert first == f"enable {serial} for alice with two codes from its display"
    backend = DisplayToken(serial, now=time.time, interaction=Reader(), progress=Notes())
    with pytest.raises(AssertionError):
        backend.install(spec, Created(Seed(b""), KeyUri("")))


def test_ctrl_c_after_the_codes_were_sent_is_settled(
    assigned: Assigned, lab: Lab, user: str, serial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request took effect. The message of the interrupted command says so."""

    def acted(real: Callable[..., None], *args: object) -> None:
        real(*args)
        raise KeyboardInterrupt

    iam = assigned.shared[0]
    monkeypatch.setattr(iam, "enable", partial(acted, iam.enable))
    with pytest.raises(KeyboardInterrupt) as caught:
        assigned(user, serial)
    assert any("enabled" in note for note in caught.value.__notes__)
    assert lab.assigned(serial) == user
    assert assigned.open_entries() == []


def test_a_token_has_no_backup(assigned: Assigned, user: str, serial: str) -> None:
    """Only AWS has the seed. If the configuration has recipients, a message says that there is no backup."""
    done = assigned(user, serial)
    assert isinstance(done, Enrolled)
    assert done.backup is None
    assert any("no backup is made" in said for said in assigned.notes.said)
    assert not list(assigned.home.rglob("*.age"))


def test_without_a_terminal_a_token_is_refused(assigned: Assigned, user: str, serial: str) -> None:
    """The error comes before any call to AWS."""
    with pytest.raises(Declined):
        assigned(user, serial, Nobody("there is no terminal"))
    assert assigned.open_entries() == []


def test_wrong_codes_leave_no_unfinished_entry(assigned: Assigned, user: str, serial: str) -> None:
    """The same command can be repeated at once."""
    with pytest.raises(InvalidCode):
        assigned(user, serial, Reader(typed=iter(["000000", "111111"])))
    assert assigned.open_entries() == []
    assert isinstance(assigned(user, serial), Enrolled)


def test_a_token_of_another_user_is_refused(assigned: Assigned, users: Callable[[], str], serial: str) -> None:
    """IAM refuses the token, and the error has IAM's message."""
    assigned(users(), serial)
    with pytest.raises(AlreadyExists):
        assigned(users(), serial)
    assert assigned.open_entries() == []


def test_a_token_that_the_user_has_is_not_assigned_twice(assigned: Assigned, user: str, serial: str) -> None:
    """IAM's list shows the token before codes are requested."""
    assigned(user, serial)
    with pytest.raises(UsageFault, match=f"{user} already has {serial}"):
        assigned(user, serial, Reader(typed=iter([])), add=True)


def test_after_a_lost_response_the_list_is_checked(assigned: Assigned, lab: Lab, user: str, serial: str) -> None:
    """The request took effect, as IAM's list shows."""
    lab.faults.add("EnableMFADevice", "lost-after")
    assert isinstance(assigned(user, serial), Enrolled)
    assert assigned.open_entries() == []


def test_a_request_that_may_still_arrive_keeps_its_entry(
    assigned: Assigned, lab: Lab, user: str, serial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is kept for 15 minutes.

    Then the request counts as lost. Meanwhile nothing is deactivated or deleted.
    """
    lab.faults.add("EnableMFADevice", "lost-before")
    with pytest.raises(MfaKitError) as caught:
        assigned(user, serial)
    assert any("may still take effect" in note for note in caught.value.__notes__)
    (entry,) = assigned.open_entries()
    assert entry.reached is JournalState.INTENT
    monkeypatch.setattr("mfa_kit.enrollment.settling.STILL_ON_ITS_WAY", -STILL_ON_ITS_WAY)
    assert isinstance(assigned(user, serial), Enrolled)
    assert assigned.open_entries() == []


def test_ctrl_c_while_typing_leaves_nothing(assigned: Assigned, lab: Lab, user: str, serial: str) -> None:
    """No request was sent, so the entry needs no settling."""

    def stopped() -> Iterator[str]:
        yield Display(SECRET).shows(time.time())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assigned(user, serial, Reader(typed=stopped()))
    assert assigned.open_entries() == []
    assert lab.assigned(serial) is None


def test_a_revoke_deactivates_a_token_and_deletes_nothing(
    assigned: Assigned, lab: Lab, user: str, serial: str, shared: Shared
) -> None:
    """The token can be given to another user afterwards."""
    assigned(user, serial)
    seen = len(lab.calls)
    with at_desk(assigned.home, shared, recipient=assigned.recipient) as (desk, caller, _, _):
        run = models.run_id(desk.iam_reader.now(), b"\1\1\1\1")
        entry = revoke.look_to_revoke(user, None, leave_without_mfa=True, caller=caller, ports=desk, run=run)
        revoke.retire(entry, purpose=RunKind.REVOKE, ports=desk)
    writes = [c.operation for c in lab.calls[seen:] if not c.operation.startswith(("List", "Get"))]
    assert writes == ["DeactivateMFADevice"]
    assert lab.assigned(serial) is None


@pytest.mark.parametrize("ahead", [-600, 600])
def test_a_person_at_a_terminal_waits_for_the_next_display(
    ahead: int, mfa_kit: MfaKit, lab: Lab, user: str, serial: str
) -> None:
    """A repeated code is reported, and the seconds are counted down. A clock that is minutes off is normal."""
    display, began = Display(SECRET, ahead), time.time()
    child = at_a_terminal(mfa_kit, "enroll", user, "--with", "hardware-totp", "--serial", serial)
    child.expect("first code: ")
    child.sendline(display.shows(began))
    child.expect("second code: ")
    child.sendline(display.shows(began))
    child.expect("the same code again: wait until the next code is shown")
    child.expect(r"next code in +\d+ s")
    child.expect(r"next code in +\d+ s")
    child.sendline(display.shows(began + 30))
    child.expect("enrolled")
    ended(child)
    assert lab.assigned(serial) == user
    assert lab.account.backend.codes(serial).skew == pytest.approx(ahead // 30, abs=1)


def test_resync_corrects_the_offset_of_a_token(
    assigned: Assigned, mfa_kit: MfaKit, lab: Lab, user: str, serial: str
) -> None:
    """The user types two codes of the display. AWS then stores the new clock offset of the token."""
    assigned(user, serial)
    drifted, began = Display(SECRET, 300), time.time()
    child = at_a_terminal(mfa_kit, "resync", user)
    child.expect("first code: ")
    child.sendline(drifted.shows(began - 30))
    child.expect("second code: ")
    child.sendline(drifted.shows(began))
    ended(child)
    assert lab.account.backend.codes(serial).skew == pytest.approx(10, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "told"),
    [(404, 3, "has no token with the serial"), (403, 4, ", or does not accept this token"), (400, 4, "does not exist")],
)
def test_each_error_for_an_unknown_token_is_explained(status: int, code: int, told: str, mfa_kit: MfaKit) -> None:
    """IAM's error is not documented, so the lab can return each possible one."""
    enroll = ("-m", "mfa_kit", "enroll", "alice", "--with", "hardware-totp", "--serial", "GAHT00000000")
    child = at_a_terminal(mfa_kit, "lab", "run", "--set", f"unknown_serial={status}", "--", "python", *enroll)
    type_codes(child, "GAHT00000000")
    child.expect(told)
    child.expect(r"tokens\s+of\s+other\s+makers\s+cannot\s+be\s+used")
    ended(child, code)


def test_a_person_at_a_terminal_enrolls_a_token(mfa_kit: MfaKit, lab: Lab, user: str, serial: str) -> None:
    """The prompts are on the terminal, and the codes are typed there."""
    child = at_a_terminal(mfa_kit, "enroll", user, "--with", "hardware-totp", "--serial", serial)
    type_codes(child, serial)
    child.expect("enrolled")
    ended(child)
    assert lab.assigned(serial) == user


def test_a_person_at_a_terminal_replaces_a_device_by_a_token(
    mfa_kit: MfaKit, lab: Lab, user: str, serial: str, recipient: str
) -> None:
    """The old device's name is typed to confirm. No backup is mentioned, because only AWS has the seed of a token."""
    sealed = ["-r", recipient]
    mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", *sealed)
    words = ["replace", user, "--with", "hardware-totp", "--serial", serial, *sealed, "--output", "json"]
    for dry in (["--dry-run"], []):
        child = at_a_terminal(mfa_kit, *words, *dry)
        if not dry:
            child.expect("will be removed")
            child.sendline(user)
            type_codes(child, serial)
        child.expect('"backup": null')
        ended(child)
    assert lab.assigned(serial) == user
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()


def at_a_terminal(mfa_kit: MfaKit, *words: str) -> "pexpect.spawn[str]":
    env = {**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home), "TERM": "xterm"}
    return spawn([*MFA_KIT, *words], env=env, timeout=60)


def type_codes(child: "pexpect.spawn[str]", serial: str) -> None:
    """Read the token's display twice."""
    display, began = Display(SECRET), time.time()
    child.expect(f"press the button of token {serial}")
    child.expect("first code: ")
    child.sendline(display.shows(began - 30))
    child.expect("second code: ")
    child.sendline(display.shows(began))


def ended(child: "pexpect.spawn[str]", code: int = 0) -> None:
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    assert child.exitstatus == code
