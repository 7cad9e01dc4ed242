"""The answer for a device, from uses and periods of several sources."""

from dataclasses import replace

import pytest

from mfa_kit.account.last_use import DAY, LastUses
from mfa_kit.account.snapshot import AccountUsage, EventsRead
from mfa_kit.core.models import Device, DeviceUse, UseEvent

NOW = 1_790_000_000.0
PHONE = Device("arn:aws:iam::111122223333:mfa/ana-phone", "ana", NOW - 900 * DAY)
USE = DeviceUse(
    serial=PHONE.serial,
    principal="AIDAANA",
    user="ana",
    at=NOW - 20 * DAY,
    event=UseEvent.CONSOLE_LOGIN,
    region="us-east-1",
)


def reads(region: str, days: float | None, why: str = "", *, from_files: bool = False) -> tuple[EventsRead, ...]:
    """Return that all events of the last `days` were read."""
    period = (None, None) if days is None else (NOW - days * DAY, NOW)
    return tuple(
        EventsRead(region=region, event=event, since=period[0], until=period[1], why=why, from_files=from_files)
        for event in UseEvent
    )


def text(*known: EventsRead, uses: tuple[DeviceUse, ...] = (), device: Device = PHONE, user_id: str = "AIDAANA") -> str:
    return LastUses(AccountUsage(uses=uses, reads=known), now=NOW).of(device, user_id=user_id).text


def test_a_region_that_only_files_name_changes_no_answer_of_this_computer() -> None:
    """Whoever can write to the log bucket can name any Region."""
    own = reads("us-east-1", 90)
    assert text(*own, *reads("us-west-2", 1, from_files=True)) == text(*own) == "no use seen since 2026-06-23"


def test_files_count_for_a_region_that_this_computer_could_not_read() -> None:
    known = (*reads("us-east-1", 90), *reads("eu-north-1", None, "denied"))
    assert text(*known) == "unknown"
    assert text(*known, *reads("eu-north-1", 30, from_files=True)) == "no use seen since 2026-08-22 (from files)"


def test_what_this_computer_read_counts_more_than_files() -> None:
    known = (*reads("us-east-1", 90), *reads("us-east-1", 300, from_files=True))
    assert text(*known) == text(*reversed(known)) == "no use seen since 2026-06-23"


@pytest.mark.parametrize(("user_id", "other"), [("AIDAANA", "AIDABOB"), ("", "")])
def test_a_later_sign_in_with_a_device_that_is_not_named_leaves_the_device_unknown(user_id: str, other: str) -> None:
    known = reads("us-east-1", 90)
    unnamed = replace(USE, serial="", at=NOW - 10 * DAY)
    assert text(*known, uses=(unnamed,), user_id=user_id) == "unknown: used MFA, device not named"
    of_bob = replace(unnamed, principal=other, user="bob")
    assert text(*known, uses=(of_bob,), user_id=user_id) == "no use seen since 2026-06-23"
    old_device = Device("arn:aws:iam::111122223333:mfa/new", "ana", NOW - 5 * DAY)
    assert text(*known, uses=(unnamed,), user_id=user_id, device=old_device) == "no use seen since 2026-09-16"
    last_uses = LastUses(AccountUsage(uses=(USE, unnamed), reads=known), now=NOW)
    last = last_uses.of(PHONE, user_id=user_id)
    assert (last.text, last.is_unused(15, now=NOW), last.is_unused(30, now=NOW)) == ("2026-09-01", None, False)


def test_nothing_is_known_of_a_device_without_the_date_of_its_enabling() -> None:
    """The event may be of an older device with the same serial."""
    assert text(*reads("us-east-1", 90), uses=(USE,), device=replace(PHONE, since=None)) == "unknown"


@pytest.mark.parametrize(
    ("used", "read", "told", "unused"),
    [
        (20, 90, "2026-09-01", False),
        (100, 90, "2026-06-13 or later", True),
        (100, 30, "2026-06-13 or later", None),
        (80, 30, "2026-07-03 or later", False),
        (100, 100, "2026-06-13", True),
    ],
)
def test_events_that_were_not_read_after_a_use_may_be_later_uses(
    used: int, read: int, told: str, unused: bool | None
) -> None:
    """The event history has 90 days, so after a long pause there is a gap."""
    usage = AccountUsage(uses=(replace(USE, at=NOW - used * DAY),), reads=reads("us-east-1", read))
    last = LastUses(usage, now=NOW).of(PHONE)
    assert (last.text, last.is_unused(90, now=NOW)) == (told, unused)
