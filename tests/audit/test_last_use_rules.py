"""The rules about when devices were last used: with uses, without, with data that is old, and without data."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mfa_kit.account.snapshot import AccountUsage, Snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import DeviceUse, UseEvent
from tests.audit.conftest import KEY, sound, taken, usage
from tests.audit.test_rules import ask, root

DAY = 86400.0
ADMIN = "arn:aws:iam::000000000000:mfa/lab-admin"
RULES = ("root.device-used", "users.spare-untested", "devices.unused")


@pytest.fixture(scope="module")
def account() -> Snapshot:
    snapshot, _ = taken(sound())
    old = time.time() - 500 * DAY
    listed = {name: tuple(replace(device, since=old) for device in rows) for name, rows in snapshot.listed.items()}
    return replace(snapshot, virtual=tuple(replace(device, since=old) for device in snapshot.virtual), listed=listed)


@pytest.fixture
def answer(account: Snapshot) -> Callable[..., RuleAnswer]:
    def with_usage(rule: str, known: AccountUsage | None, **limits: Any) -> RuleAnswer:
        return ask(replace(account, usage=known), rule, **limits)

    return with_usage


def found(answer: RuleAnswer) -> dict[str, str]:
    return {finding.subject: finding.evidence for finding in answer.findings}


def test_a_device_that_was_not_used_for_90_days_is_found(answer: Callable[..., RuleAnswer]) -> None:
    known = usage(**{"mfa/lab-admin": time.time() - 91 * DAY, "mfa/alice": time.time() - 89 * DAY})
    told = answer("devices.unused", known)
    assert told.result is RuleResult.FAIL
    assert list(found(told)) == [ADMIN]
    assert found(told)[ADMIN].startswith("device of lab-admin: last used 20")
    assert told.findings[0].remedy[-1] == f"mfa-kit revoke lab-admin --mfa-device {ADMIN}"


def test_a_device_without_a_use_since_the_oldest_event_is_found(answer: Callable[..., RuleAnswer]) -> None:
    told = answer("devices.unused", usage(**{"mfa/lab-admin": None}))
    assert "device of lab-admin: no use seen since 20" in found(told)[ADMIN]


def test_a_spare_device_without_a_use_is_found_but_not_an_only_device(answer: Callable[..., RuleAnswer]) -> None:
    told = answer("users.spare-untested", usage(**{KEY: None, "mfa/alice": None}))
    assert list(found(told)) == ["lab-admin"]
    assert "so nobody knows whether the spare device works" in found(told)["lab-admin"]


@pytest.mark.parametrize("from_files", [False, True])
def test_a_sign_in_of_root_with_a_device_is_found_and_marked(
    answer: Callable[..., RuleAnswer], from_files: bool
) -> None:
    use = DeviceUse(
        serial="arn:aws:iam::000000000000:mfa/root",
        principal="000000000000",
        user="",
        at=time.time() - 3.5 * DAY,
        event=UseEvent.CONSOLE_LOGIN,
        region="us-east-2",
        from_files=from_files,
    )
    told = answer("root.device-used", replace(usage(), uses=(use,)))
    (evidence,) = found(told).values()
    assert "root used arn:aws:iam::000000000000:mfa/root 3 days ago" in evidence
    assert evidence.endswith(" (from files)") == from_files
    assert answer("root.device-used", replace(usage(), uses=(use,)), root_used=2).result is RuleResult.PASS


def old() -> AccountUsage:
    """Return uses that were read until eight days ago."""
    known = usage(**dict.fromkeys(("mfa/alice", "mfa/lab-admin", KEY), time.time() - 100 * DAY))
    return replace(known, reads=tuple(replace(read, until=time.time() - 8 * DAY) for read in known.reads))


def of_ten_days() -> AccountUsage:
    """Return the reads of a Region whose history could be read for the last ten days only, without a use."""
    known = usage(**dict.fromkeys(("mfa/alice", "mfa/lab-admin", KEY)))
    return replace(known, reads=tuple(replace(read, since=time.time() - 10 * DAY) for read in known.reads))


def test_ten_days_do_not_show_that_a_device_is_used_nor_that_root_is_not(answer: Callable[..., RuleAnswer]) -> None:
    for rule in ("devices.unused", "root.device-used"):
        assert answer(rule, of_ten_days()).result is RuleResult.UNKNOWN


def test_a_spare_device_is_not_called_untested_if_the_last_events_were_not_read(
    answer: Callable[..., RuleAnswer],
) -> None:
    known = usage(**{KEY: None})
    known = replace(known, reads=tuple(replace(read, until=time.time() - 8 * DAY) for read in known.reads))
    assert answer("users.spare-untested", known).result is RuleResult.UNKNOWN


def test_a_use_in_the_future_which_another_computer_wrote_does_not_count(answer: Callable[..., RuleAnswer]) -> None:
    known = usage(**{"mfa/lab-admin": time.time() + 400 * DAY})
    uses = tuple(replace(use, from_files=True, principal="000000000000") for use in known.uses)
    assert list(found(answer("root.device-used", replace(known, uses=uses[-1:])))) == ["root"]
    late = replace(known, uses=tuple(use for use in uses if use.serial == ADMIN))
    assert answer("root.device-used", late).result is RuleResult.PASS
    assert ADMIN in found(answer("devices.unused", late))


def with_a_denied_region() -> AccountUsage:
    known = usage(**dict.fromkeys(("mfa/alice", "mfa/lab-admin", KEY)))
    return replace(known, reads=(*known.reads, replace(known.reads[0], region="eu-west-1", since=None, why="denied")))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("known", [None, AccountUsage(), old(), with_a_denied_region()])
def test_without_complete_data_the_answer_is_unknown(
    answer: Callable[..., RuleAnswer], rule: str, known: AccountUsage | None
) -> None:
    if known == old() or (known and rule == "users.spare-untested" and known.uses):
        return
    told = answer(rule, known)
    assert (told.result, told.findings) == (RuleResult.UNKNOWN, ())


def test_a_ledger_that_cannot_be_read_is_a_part_that_was_not_read() -> None:
    def broken() -> AccountUsage:
        raise IntegrityFault("the ledger is damaged", "")

    snapshot, _ = taken(sound(), usage=broken)
    for rule in RULES:
        assert ask(snapshot, rule).result is RuleResult.UNKNOWN
    assert [hole.why for hole in snapshot.holes] == ["the ledger is damaged"]


def test_a_root_user_that_cannot_sign_in_needs_no_data() -> None:
    description = sound()
    root(password=False, mfa=False)(description)
    assert ask(taken(description)[0], "root.device-used").result is RuleResult.NOT_APPLICABLE


def test_a_device_that_only_log_files_call_used_is_named(answer: Callable[..., RuleAnswer]) -> None:
    """Whoever can write them could hide an unused device in this way."""
    known = usage()
    forged = tuple(replace(use, from_files=use.serial == ADMIN) for use in known.uses)
    told = answer("devices.unused", replace(known, uses=forged))
    assert (told.result, told.why) == (
        RuleResult.PASS,
        f"used according to log files alone, which can be forged: {ADMIN}",
    )
    assert answer("devices.unused", known).why == ""
