"""Tests of the rules for every device adapter. Each test has a card that breaks a rule."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from smartcard import scard
from smartcard.Exceptions import CardConnectionException, SmartcardException
from smartcard.pcsc.PCSCCardConnection import PCSCCardConnection

from mfa_kit.adapters.oath import applet as adapter
from mfa_kit.adapters.oath import pcsc as wire
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.adapters.oath.card import CredentialOptions, OathCard
from mfa_kit.core import otp
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.core.otp import Created, KeyUri, Secret, Seed
from mfa_kit.lab.devices.apdu import CHUNK
from mfa_kit.lab.devices.oathcard import (
    CALCULATE,
    CALCULATE_ALL,
    DELETE,
    LIST,
    PUT,
    READ_CONFIG,
    SEND_REMAINING,
    VALIDATE,
    Credential,
    Quirks,
    YkoathCard,
)
from mfa_kit.lab.devices.reader import Readers
from tests import pcsc
from tests.conftest import MfaKit, bare, judge
from tests.oath.conftest import Person, fault, only

SEED = Seed(bytes(range(40)))
CREATED = Created(SEED, KeyUri("otpauth://totp/x"))
INTENT = DeviceSpec(account="123456789012", partition="aws", user="alice", name="alice", method=Method("oath"))
LABEL = b"AWS:alice@123456789012"
OTHER = "AWS:bob@123456789012"
STORED = Credential(0x21, 6, bytes(20), touch=False)
Make = Callable[..., OathCard]


def plug(**how: object) -> YkoathCard:
    """Insert a misbehaving card."""
    card = YkoathCard(quirks=Quirks(**how))  # type: ignore[arg-type]
    pcsc.plug(card)
    return card


def enroll(backend: OathCard) -> otp.Pair:
    """Make the calls that an enrollment makes to a carrier."""
    spec = backend.check(INTENT, sealed=True)
    backend.install(spec, CREATED)
    return backend.codes(spec)


# 1. Every call has a deadline.


@pytest.mark.parametrize("ins", [LIST, PUT, CALCULATE, CALCULATE_ALL])
def test_endless_data_ends_at_a_limit(ins: int, seat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop in yubikit would not end. The limit on the octets of a response is reached before the time limit."""
    monkeypatch.setattr(wire, "COMMAND", 60.0)
    card = plug()
    backend = seat()
    card.quirks.endless = frozenset({ins})
    card.log.clear()
    with pytest.raises(DeviceFault, match="sends an endless answer"):
        enroll(backend)
    assert wire.LONGEST_ANSWER // CHUNK <= card.log.count(SEND_REMAINING) <= wire.LONGEST_ANSWER // CHUNK + 1


def test_a_slow_endless_response_ends_after_seconds(seat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit applies to all parts of a response together."""
    card = plug()
    backend = seat()
    monkeypatch.setattr(wire, "COMMAND", 0.3)
    monkeypatch.setattr(wire, "LONGEST_ANSWER", 1 << 40)
    card.quirks.endless = frozenset({LIST})
    with pytest.raises(DeviceFault, match="does not answer"):
        enroll(backend)
    pcsc.plug()


@pytest.mark.parametrize("ins", [LIST, PUT, CALCULATE, CALCULATE_ALL])
def test_a_response_without_any_progress_ends_at_once(ins: int, seat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a part has no data but announces more, no other part is requested."""
    monkeypatch.setattr(wire, "COMMAND", 60.0)
    card = plug()
    backend = seat()
    card.quirks.stalls = frozenset({ins})
    card.log.clear()
    with pytest.raises(DeviceFault, match="sends an endless answer"):
        enroll(backend)
    assert card.log.count(SEND_REMAINING) == 1


def test_a_management_applet_without_progress_is_ignored(keys: Keys) -> None:
    """The information of the management applet is not necessary."""
    plug(stalls=frozenset({READ_CONFIG}))
    assert only(keys).serial is None


@pytest.mark.parametrize("reader", [0, 1])
@pytest.mark.parametrize("management", [True, False])
def test_each_command_that_expects_data_says_so(
    reader: int, management: bool, keys: Keys, person: Person, seat: Make
) -> None:
    """ISO 7816-4: without Le no data is expected. Some firmware then sends none, and announces it forever.

    The names on the key are more than one part of an answer, and each of its commands is sent.
    """
    card = YkoathCard(quirks=Quirks(strict_le=True), management=management)
    pcsc.plug(*[None] * reader, card)
    with keys.open(only(keys)) as applet:
        for number in range(9):
            applet.put(f"AWS:{number}{'x' * 40}@123456789012", SEED, touch=False)
        applet.set_key(applet.derive_key(Secret("one")))
    person.passwords += ["one"]
    backend = seat()
    assert enroll(backend) == otp.pair(SEED, 1_700_000_000)
    backend.remove(
        JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    )
    assert len(card.credentials) == 9
    assert {SEND_REMAINING, LIST, CALCULATE, CALCULATE_ALL, VALIDATE} <= set(card.log)


@pytest.mark.parametrize(
    ("sent", "short", "t0"),
    [
        ("00a10000", "00a1000000", "00a1000000"),
        ("00a1000000", "00a1000000", "00a1000000"),
        ("00a50000", "00a5000000", "00a5000000"),
        ("00a400000102", "00a40000010200", "00a400000102"),
        ("00a4000000000102", "00a40000010200", "00a400000102"),
        ("00a40000010200", "00a40000010200", "00a40000010200"),
        ("000100000102", "000100000102", "000100000102"),
        ("0001000000000102", "0001000000000102", "0001000000000102"),
        ("00a200000001" + "00" * 257, "00a200000001" + "00" * 257, "00a200000001" + "00" * 257),
    ],
)
def test_le_is_added_once_and_only_where_data_is_expected(sent: str, short: str, t0: str) -> None:
    """Cases 1 to 4 of ISO 7816-4, 5.1, short and extended. With T=0, a command with data has no Le."""
    assert wire.with_le(bytes.fromhex(sent)).hex() == short
    assert wire.with_le(bytes.fromhex(sent), t0=True).hex() == t0


def test_a_silent_key_ends_after_seconds(seat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite of interrupted runs tests each APDU. This test checks the message."""
    card = plug()
    backend = seat()
    monkeypatch.setattr(wire, "COMMAND", 0.2)
    card.log.clear()
    card.quirks.mute_at = 2
    with pytest.raises(DeviceFault, match="does not answer") as caught:
        backend.check(INTENT, sealed=True)
    assert "unplug it" in fault(caught)
    pcsc.plug()


# 2. Read back after every write.


@pytest.mark.parametrize(
    ("quirk", "sentence"),
    [
        ({"drops_touch": True}, "does not require a touch"),
        ({"overwrites": True}, "deleted AWS:bob@123456789012 when AWS:alice@123456789012 was written"),
        ({"forgets": True}, "reported that it stored AWS:alice@123456789012, but did not"),
        ({"cannot_compute": 0x6984}, "refused the command with status 6984"),
        ({"cannot_compute": 0x6F00}, "refused the command with status 6f00"),
        ({"wrong_codes": True}, "computes codes that do not match the secret"),
        ({"garbage": frozenset({CALCULATE_ALL})}, "sent an invalid answer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_result_of_a_write_is_read_back(quirk: dict[str, object], sentence: str, seat: Make, keys: Keys) -> None:
    """The card answers 9000 in each case."""
    card = plug()
    with keys.open(only(keys)) as applet:
        applet.put(OTHER, Seed(bytes(20)), touch=False)
    backend = seat(touch="drops_touch" in quirk)
    card.quirks = Quirks(**quirk)  # type: ignore[arg-type]
    with pytest.raises(DeviceFault, match=sentence):
        enroll(backend)


def test_a_key_that_cannot_delete_is_an_error(seat: Make) -> None:
    """The deletion raises an error, so the entry in the ledger stays unfinished."""
    card = plug(refuses={0x02: 0x6D00})
    backend = seat()
    enroll(backend)
    entry = JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    with pytest.raises(DeviceFault, match="did not delete AWS:alice@123456789012"):
        backend.remove(entry)
    assert LABEL in card.credentials


def test_a_second_ctrl_c_tells_what_a_restore_may_leave_on_the_key(seat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Ctrl-C deletes the credential again, and the second one interrupts the deletion."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    card = plug()
    monkeypatch.setattr(OathCard, "codes", interrupt)
    monkeypatch.setattr(adapter.Applet, "delete", interrupt)
    with pytest.raises(KeyboardInterrupt) as error:
        seat().restore(INTENT, CREATED)
    assert LABEL in card.credentials
    assert error.value.__notes__ == [
        f"the credential {LABEL.decode()} may still be on YubiKey 5A 12345678: interrupted"
    ]


def test_a_key_that_does_not_delete_is_an_error(seat: Make) -> None:
    """The key reports success, but the credential is still found on it."""
    card = plug(keeps=True)
    backend = seat()
    enroll(backend)
    entry = JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    with pytest.raises(DeviceFault, match="did not delete AWS:alice@123456789012"):
        backend.remove(entry)
    assert LABEL in card.credentials


@pytest.mark.parametrize(("ins", "touch"), [(CALCULATE_ALL, False), (PUT, False), (CALCULATE, True), (DELETE, False)])
def test_an_unknown_error_is_shown_with_its_status(ins: int, touch: bool, seat: Make) -> None:
    """Tested with every command for which some statuses are explained."""
    plug(refuses={ins: 0x6F00})
    backend = seat(touch=touch)

    def come_and_go() -> None:
        enroll(backend)
        entry = JournalEntry(
            run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED
        )
        backend.remove(entry)

    with pytest.raises(DeviceFault, match="refused the command with status 6f00"):
        come_and_go()


def carrier_intent(backend: OathCard) -> DeviceSpec:
    key = backend._key  # noqa: SLF001 - the test gave it this key
    assert key is not None
    return INTENT.on(hardware=key.serial or key.identity, card=key.identity)


def test_existing_and_too_long_names_have_their_own_errors(seat: Make, keys: Keys) -> None:
    """Both errors come before anything is created. Names are compared in full."""
    plug()
    backend = seat()
    with keys.open(only(keys)) as applet:
        applet.put("AWS:alice@1234567890123", SEED, touch=False)
    backend.check(INTENT, sealed=False)
    enroll(backend)
    with pytest.raises(DeviceFault, match="already has a credential AWS:alice@123456789012"):
        backend.check(INTENT, sealed=False)
    long = DeviceSpec(account="123456789012", partition="aws", user="alice", name="a" * 48, method=Method("oath"))
    with pytest.raises(UsageFault, match="longer than 64 bytes") as caught:
        backend.check(long, sealed=False)
    assert "at most 47 characters" in caught.value.hint


@pytest.mark.parametrize("capacity", [32, 255])
def test_only_the_write_shows_whether_a_key_is_full(capacity: int, seat: Make, keys: Keys) -> None:
    """Yubico publishes numbers for YubiKeys. Firmware that holds more also says that it is a YubiKey (pico-fido)."""
    card = YkoathCard(capacity=capacity)
    card.credentials = {f"AWS:{number}@123456789012".encode(): STORED for number in range(31)}
    pcsc.plug(card)
    assert only(keys).free == 1
    card.credentials[b"AWS:31@123456789012"] = STORED
    assert only(keys).free is None
    backend = seat()
    backend.check(INTENT, sealed=False)
    if capacity == 32:
        with pytest.raises(DeviceFault, match="is full"):
            backend.install(INTENT, CREATED)
    else:
        assert enroll(backend) == otp.pair(SEED, 1_700_000_000)


# 3. A key is identified by neither its reader nor its serial.


def test_two_keys_with_one_serial_are_two_keys(mfa_kit: MfaKit) -> None:
    """Neither key is preferred. Both are listed, and distinguished by reader and identity."""
    first, second = YkoathCard(), YkoathCard()
    pcsc.plug(first, second)
    listed = mfa_kit.run("key", "list")
    assert listed.out.count("12345678") == 2
    asked = mfa_kit.run("verify", "oath", "--key", "12345678", "--no-input")
    assert asked.code == 8
    assert pcsc.reader(0) in asked.err
    assert pcsc.reader(1) in asked.err
    assert mfa_kit.run("verify", "oath", "--key", pcsc.reader(1), "--no-input").code == 0
    assert first.credentials == second.credentials == {}


def test_a_key_that_was_removed_must_be_plugged_in_again(seat: Make) -> None:
    """The reader of the key is empty now."""
    plug()
    backend = seat()
    pcsc.plug()
    with pytest.raises(DeviceFault, match="was removed") as caught:
        backend.check(INTENT, sealed=True)
    assert "plug it in" in fault(caught)


def test_a_key_at_the_place_of_another_one_is_not_written(seat: Make) -> None:
    """Another key is in the reader between the look and the write, and nothing is written to it."""
    plug()
    backend = seat()
    backend.check(INTENT, sealed=True)
    other = YkoathCard(serial=12345678)
    pcsc.plug(other)
    with pytest.raises(DeviceFault, match="another key is now in"):
        backend.install(INTENT, CREATED)
    assert other.credentials == {}


def test_the_key_of_a_dead_run_is_found_in_another_reader(seat: Make, keys: Keys) -> None:
    """The key is found by its identity. Another key with the same serial and label is not changed."""
    card = plug()
    backend = seat()
    enroll(backend)
    entry = JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    twin = YkoathCard()
    twin.credentials = dict(card.credentials)
    pcsc.plug(twin, card)
    backend.remove(entry)
    assert card.credentials == {}
    assert LABEL in twin.credentials
    assert len(keys.look()[0]) == 2


def test_of_two_keys_with_one_identity_none_is_chosen(seat: Make) -> None:
    """Neither key is changed until only one of them is plugged in."""
    card = YkoathCard(identity=b"copied!!")
    pcsc.plug(card)
    backend = seat()
    enroll(backend)
    twin = YkoathCard(identity=b"copied!!")
    twin.credentials = dict(card.credentials)
    pcsc.plug(card, twin)
    entry = JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    with pytest.raises(DeviceFault, match="2 keys may have the credential AWS:alice@123456789012"):
        backend.remove(entry)
    assert LABEL in card.credentials
    assert LABEL in twin.credentials


def test_a_key_with_only_an_asset_label_is_found_by_that_label(keys: Keys) -> None:
    """Another computer has IAM's tags but no ledger entry. If two keys have the label, neither is chosen."""
    card, other = YkoathCard(), YkoathCard(serial=2222)
    pcsc.plug(card, other)
    found = {key.serial: key for key in keys.look()[0]}
    with keys.open(found["12345678"]) as applet:
        applet.put(LABEL.decode(), SEED, touch=False)
    spec = INTENT.on(hardware="desk-17")
    entry = JournalEntry(run="20260101T000000Z-00000000", spec=spec, reached=JournalState.REVOKING)
    backend = OathCard(keys, None, options=CredentialOptions(), now=lambda: 0.0, sleep=lambda _: None)
    other.credentials = dict(card.credentials)
    with pytest.raises(DeviceFault, match="2 keys may have"):
        backend.remove(entry)
    other.credentials.clear()
    backend.remove(entry)
    assert card.credentials == {}
    with pytest.raises(DeviceFault, match="is on the key desk-17, which is not plugged in"):
        backend.remove(entry)


# 4. Ask the device, but trust its behavior more than its answers.


def test_a_key_with_version_zero_and_without_a_serial_works(seat: Make, keys: Keys) -> None:
    """The key has no management applet, serial or firmware version. Its codes are correct, so it is accepted."""
    pcsc.plug(YkoathCard(version=(0, 0, 0), management=False))
    key = only(keys)
    assert (key.serial, key.firmware, key.free) == (None, None, None)
    assert enroll(seat()) == otp.pair(SEED, 1_700_000_000)


def nitrokey(**quirks: object) -> YkoathCard:
    """Insert a key that behaves like Nitrokey/trussed-secrets-app."""
    strays = Quirks(refuses={CALCULATE_ALL: 0x6D00}, writes_touched=True, **quirks)  # type: ignore[arg-type]
    card = YkoathCard(version=(4, 14, 0), management=False, quirks=strays)
    pcsc.plug(None, card)
    return card


def test_a_key_that_requires_a_touch_for_each_write_works(seat: Make, person: Person) -> None:
    """The key has no CALCULATE ALL; LIST reports the touches.

    If a write takes long, mfa-kit assumes that the key waits for a touch.
    """
    card = nitrokey()
    card.touch_delay = 1.2
    backend = seat(touch=True)
    assert enroll(backend) == otp.pair(SEED, 1_700_000_000)
    assert (card.touches, card.credentials[LABEL].touch) == (3, True)
    assert person.said == ["touch the key now (29 s)", "touch the key now (30 s)", "touch the key now (30 s)"]
    backend.remove(
        JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    )
    assert (card.touches, card.credentials) == (4, {})


@pytest.mark.parametrize("quirk", ["drops_touch", "lists_plainly"])
def test_an_unreported_touch_requirement_counts_as_absent(quirk: str, seat: Make) -> None:
    """The card ignored the flag, or cannot report it."""
    nitrokey(**{quirk: True})
    with pytest.raises(DeviceFault, match="does not require a touch"):
        enroll(seat(touch=True))


@pytest.mark.parametrize("status", [0x6982, 0x6985])
def test_a_write_without_a_touch_is_an_error(status: int, seat: Make) -> None:
    """Nothing is written."""
    card = nitrokey(untouched=status)
    card.touch_limit = 0.05
    with pytest.raises(DeviceFault, match="was not touched within 30 s"):
        enroll(seat(touch=False))
    assert card.credentials == {}


@pytest.mark.parametrize("lists_plainly", [False, True])
def test_a_key_with_too_many_credentials_for_one_response_works(
    lists_plainly: bool, seat: Make, keys: Keys, person: Person
) -> None:
    """CALCULATE ALL is refused with 6700. LIST then shows whether a touch is required, or the time CALCULATE takes.

    A key that does not report touches is refused as before, unless none is wanted.
    """
    card = plug(most_at_once=1, lists_plainly=lists_plainly)
    with keys.open(only(keys)) as applet:
        applet.put(OTHER, SEED, touch=True)
    assert enroll(seat()) == otp.pair(SEED, 1_700_000_000)
    card.touch_delay = 1.2
    with keys.open(only(keys)) as applet:
        held = applet.held()
        assert held[OTHER.encode()] is (None if lists_plainly else True)
        assert applet.code(OTHER, 1_700_000_000, touch=held[OTHER.encode()]) == otp.pair(SEED, 1_700_000_000).second
    assert person.said == [f"touch the key now ({29 if lists_plainly else 30} s)"]
    card.credentials.pop(LABEL)
    card.touch_delay = 0
    if lists_plainly:
        with pytest.raises(DeviceFault, match="does not require a touch"):
            enroll(seat(touch=True))
    else:
        assert enroll(seat(touch=True)) == otp.pair(SEED, 1_700_000_000)


@pytest.mark.slow
def test_after_ctrl_c_at_a_touch_mfa_kit_waits_for_the_key(seat: Make, person: Person) -> None:
    """Some firmware waits 30 s for a touch, whatever the program does. mfa-kit waits once for the end of that time."""
    card = plug()
    backend = seat(touch=True)
    card.quirks.untouched, card.touch_limit = 0x6985, 30.0
    card.on_touch = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        enroll(backend)
    backend.remove(
        JournalEntry(run="20260101T000000Z-00000000", spec=carrier_intent(backend), reached=JournalState.CREATED)
    )
    assert card.credentials == {}
    assert sum(each.startswith("waiting for the key") for each in person.said) == 1


@pytest.mark.parametrize("reader", [0, 1])
@pytest.mark.parametrize(
    "card",
    [
        lambda: holding(LABEL),
        lambda: holding(*(b"%d" % number for number in range(32))),
        lambda: YkoathCard(quirks=Quirks(refuses={PUT: 0x6A84})),
        lambda: locked(Quirks(password_tries=0)),
    ],
    ids=["taken", "full", "full at PUT", "blocked"],
)
def test_ykman_is_named_only_if_it_finds_the_key(
    card: Callable[[], YkoathCard], reader: int, seat: Make, person: Person
) -> None:
    """A key is found by ykman only if the reader's name fits."""
    pcsc.plug(*[None] * reader, card())
    person.passwords += ["one"]
    with pytest.raises(DeviceFault) as caught:
        enroll(seat())
    assert ("ykman" in fault(caught), "the manufacturer's program" in fault(caught)) == (reader == 0, reader == 1)


def holding(*names: bytes) -> YkoathCard:
    card = YkoathCard()
    card.credentials = dict.fromkeys(names, STORED)
    return card


def locked(quirks: Quirks) -> YkoathCard:
    card = YkoathCard(quirks=quirks)
    card.password = bytes(16)
    return card


def test_a_credential_name_that_is_not_text_is_ignored(seat: Make) -> None:
    """Names are octets, and another program may write any octets."""
    card = plug()
    backend = seat()
    enroll(backend)
    card.credentials[b"\xff\xfe\x00"] = card.credentials.pop(LABEL)
    assert enroll(backend) == otp.pair(SEED, 1_700_000_000)


# 5. Only the user decides to use up another try.


@pytest.mark.parametrize(
    ("quirk", "sentence"),
    [
        ({"wrong_password": 0x6A80}, "wrong OATH password for the key"),
        ({"wrong_password": 0x6984}, "wrong OATH password for the key"),
        ({"wrong_password": 0x6982}, "wrong OATH password for the key"),
        ({"password_tries": 3}, "; 2 tries are left"),
        ({"password_tries": 0}, "is blocked: it accepts no password any more"),
    ],
)
def test_a_wrong_password_is_sent_once(
    quirk: dict[str, object], sentence: str, seat: Make, keys: Keys, person: Person
) -> None:
    """The status word does not matter. mfa-kit does not send the password again by itself."""
    card = plug()
    with keys.open(only(keys)) as applet:
        applet.set_key(applet.derive_key(otp.Secret("right")))
    card.quirks = Quirks(**quirk)  # type: ignore[arg-type]
    person.passwords = ["wrong", "right"]
    backend = seat()
    card.log.clear()
    with pytest.raises(DeviceFault, match=sentence):
        backend.check(INTENT, sealed=False)
    assert card.log.count(VALIDATE) == 1
    assert person.passwords == ["right"]


def test_a_correct_password_is_requested_once(seat: Make, keys: Keys, person: Person) -> None:
    """The password is sent to the key at each connection, because the key forgets it."""
    plug()
    with keys.open(only(keys)) as applet:
        applet.set_key(applet.derive_key(otp.Secret("right")))
    person.passwords = ["right"]
    assert enroll(seat()) == otp.pair(SEED, 1_700_000_000)


# 6. User presence means that the user touches the key.


def test_a_prompt_for_a_touch_comes_before_the_wait(seat: Make, person: Person) -> None:
    """There are two touches, and a message asks for each."""
    card = plug()
    heard: list[int] = []
    card.on_touch = lambda: heard.append(len(person.said))
    enroll(seat(touch=True))
    assert heard == [1, 2]
    assert set(person.said) == {"touch the key now (30 s)"}


@pytest.mark.parametrize("status", [0x6982, 0x6985])
def test_a_missing_touch_is_reported(status: int, seat: Make) -> None:
    """Firmware reports a missing touch in two ways."""
    card = plug(untouched=status)
    card.touch_limit = 0.05
    with pytest.raises(DeviceFault, match="was not touched within 30 s"):
        enroll(seat(touch=True))


def test_the_seconds_left_are_counted_down(seat: Make, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last second, the wait ends, even if the key does not answer."""
    monkeypatch.setattr(adapter, "TOUCH", 2.5)
    monkeypatch.setattr(adapter, "TOUCH_TOLD", (2, 1))
    plug(untouched=0x6985)
    with pytest.raises(DeviceFault, match="was not touched within 2 s"):
        enroll(seat(touch=True))
    assert 2 <= len(person.said) <= 3
    assert person.said == sorted(person.said, reverse=True)
    pcsc.plug()


def test_a_step_that_ends_during_a_touch_needs_one_more_touch(keys: Keys) -> None:
    """IAM stores the offset of the pair that it accepts, so the pair must be that of the last touch."""
    card = plug()
    at = [1_700_000_009.0]
    card.on_touch = lambda: at.__setitem__(0, at[0] + 20 if card.touches == 1 else at[0])
    backend = OathCard(keys, only(keys), options=CredentialOptions(), now=lambda: at[0], sleep=lambda _: None)
    assert enroll(backend) == otp.pair(SEED, at[0])
    assert card.touches == 3


def test_the_option_wait_uses_the_present_and_the_next_code(keys: Keys) -> None:
    """The carrier returns the present code, and then the next one when it comes."""
    plug()
    at, slept = [1_700_000_009.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        at[0] += seconds

    backend = OathCard(
        keys, only(keys), options=CredentialOptions(touch=False, wait=True), now=lambda: at[0], sleep=sleep
    )
    assert enroll(backend) == otp.pair(SEED, 1_700_000_010)
    assert len(slept) == 1


# 7. The request does not show the result: the flag in the answer counts.


def test_a_touch_requirement_of_the_key_itself_is_handled(seat: Make, person: Person) -> None:
    """CALCULATE ALL reports the touch flag. The value that mfa-kit wrote does not count."""
    card = plug(adds_touch=True)
    enroll(seat(touch=False))
    assert card.touches == 2
    assert person.said


# 8. Keys are removed, and other programs interfere.


@contextmanager
def held(how: str) -> Iterator[subprocess.Popen[str]]:
    """Start another process that holds the card exclusively."""
    script = (
        "import sys\n"
        "from smartcard import scard\n"
        "_, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)\n"
        "mode = scard.SCARD_SHARE_EXCLUSIVE if sys.argv[2] == 'exclusive' else scard.SCARD_SHARE_SHARED\n"
        "status, card, _ = scard.SCardConnect(context, sys.argv[1], mode, scard.SCARD_PROTOCOL_T1)\n"
        "assert status == 0 and (mode != scard.SCARD_SHARE_SHARED or scard.SCardBeginTransaction(card) == 0)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, pcsc.reader(0), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**bare(), **pcsc.shared().env},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate()
    # pcscd notices late that a client has ended.
    while True:
        try:
            wire.Wire(pcsc.reader(0)).close()
        except (SmartcardException, TimeoutError):
            time.sleep(0.01)
        else:
            break


def test_another_program_that_holds_the_key_is_named(keys: Keys) -> None:
    """The message has the name and the ID of each process that has loaded PC/SC's library."""
    plug()
    with held("exclusive") as process:
        found, (wrong,) = keys.look()
    assert found == []
    assert "is in use by another program" in str(wrong)
    assert f"(process {process.pid})" in wrong.hint


def test_a_transaction_of_another_program_is_waited_for_no_longer_than_a_command(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is reported as not answering, with the programs that may be the reason."""
    monkeypatch.setattr(wire, "COMMAND", 0.5)
    plug()
    with held("shared") as process:
        found, (wrong,) = keys.look(pcsc.reader(0))
    assert found == []
    assert "does not answer" in str(wrong)
    assert f"(process {process.pid})" in wrong.hint


def test_a_card_reset_by_another_program_causes_a_new_connection(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reset comes between the connection and the transaction, and a new connection follows."""
    plug()
    begin, resets = scard.SCardBeginTransaction, list[int]()

    def begin_after_a_reset(handle: object) -> int:
        if not resets:
            _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
            _, other, _ = scard.SCardConnect(context, pcsc.reader(0), scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T1)
            resets.append(scard.SCardDisconnect(other, scard.SCARD_RESET_CARD))
            scard.SCardReleaseContext(context)
        return int(begin(handle))

    monkeypatch.setattr(scard, "SCardBeginTransaction", begin_after_a_reset)
    assert len(keys.look()[0]) == 1
    assert resets == [scard.SCARD_S_SUCCESS]


def test_repeated_resets_by_other_programs_are_an_error(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of attempts is limited."""
    plug()
    monkeypatch.setattr(scard, "SCardBeginTransaction", lambda _: 0x80100068)
    found, (wrong,) = keys.look()
    assert found == []
    assert "another program reset the key" in str(wrong)


def test_a_silent_service_ends_after_seconds(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list reports the service, and a watch finds no reader."""
    pcsc.shared()
    mute = threading.Event()
    monkeypatch.setattr(wire, "COMMAND", 0.1)
    monkeypatch.setattr(wire, "pcsc_readers", mute.wait)
    monkeypatch.setattr(scard, "SCardListReaders", lambda *_: mute.wait())
    with pytest.raises(DeviceFault, match="service does not answer") as caught:
        keys.look()
    assert "systemctl restart pcscd" in caught.value.hint
    assert wire.reader_states() == []
    mute.set()


def test_without_a_service_the_error_says_how_to_get_one(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """The error has PC/SC's own message, and the hint has two commands."""
    done = mfa_kit.process("key", "list", env={"PCSCLITE_CSOCK_NAME": str(tmp_path / "none")})
    assert done.code == 3
    assert done.err.count("there is no smart card service: Service not available\n") == 1
    assert "apt install pcscd" in done.err


def test_the_error_for_a_session_refused_by_polkit_names_polkit(mfa_kit: MfaKit) -> None:
    """A pcscd that uses a missing polkit refuses every user."""
    with Readers(polkit=True) as refusing:
        done = mfa_kit.process("key", "list", env=refusing.env)
    assert done.code == 3
    assert "rejects this session" in done.err
    assert "polkit" in done.err


@pytest.mark.parametrize(
    ("status", "sentence", "hint"),
    [
        (0x8010006A, "polkit does not allow", "org.debian.pcsc-lite.access_card"),
        (0x8010000B, "is in use by another program", "close that program"),
        (0x80100068, "another program reset the key", "close that program"),
        (0x80100066, "does not answer", "unplug it"),
        (0x80100016, "was removed", "plug it in"),
        (0x80100069, "was removed", "plug it in"),
        (0x8010000F, "was removed", "plug it in"),
        (0x80100001, "cannot reach the key", "unplug it"),
    ],
)
def test_pcsc_statuses_become_error_messages(
    status: int, sentence: str, hint: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errors for a refused card and for a refused service differ, and each has a hint."""
    plug()

    def refuse(*_: object, **__: object) -> None:
        raise CardConnectionException("not now", hresult=status)

    monkeypatch.setattr(PCSCCardConnection, "connect", refuse)
    found, wrong = keys.look()
    assert found == []
    assert all(sentence in str(each) and hint in each.hint for each in wrong)
    assert wrong


# 9. Never kill another program.


@pytest.mark.slow
def test_mfa_kit_runs_no_pkill(mfa_kit: MfaKit, user: str, tmp_path: Path) -> None:
    """Another program holds the key. The first pkill on the PATH records its use. In the same setup, ykman runs it."""
    plug()
    told = tmp_path / "told"
    pkill = tmp_path / "pkill"
    pkill.write_text(f'#!/bin/sh\necho "$@" >>{told}\nexit 1\n')
    pkill.chmod(0o755)
    env = {**pcsc.shared().env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with held("exclusive"):
        for words in (["key", "list"], ["enroll", user, "--with", "oath"], ["verify", "oath"]):
            assert mfa_kit.process(*words, env=env).code in {0, 3}
        assert not told.exists()
        subprocess.run([judge("ykman"), "list"], env={**bare(), **env}, capture_output=True, check=False)
    assert "scdaemon" in told.read_text()


# 10. Text from a device is not trusted.


def test_reader_names_cannot_control_the_terminal(mfa_kit: MfaKit, keys: Keys) -> None:
    """Control and bidi characters are removed, in the list and in errors."""
    readers = pcsc.plug(None, None, YkoathCard(management=False))
    readers.insert(YkoathCard(management=False), 3)
    listed = mfa_kit.run("key", "list")
    assert "[31mEvil reader 00 00" in listed.out
    assert len(listed.out.splitlines()) == 3
    asked = mfa_kit.run("verify", "oath", "--no-input")
    readers.remove(3)
    # pyscard does not report the state of this reader.
    while len(found := keys.look()[0]) + len(keys.look()[1]) != 1:
        time.sleep(0.05)
    assert len(found) == 1
    assert asked.code == 8
    assert "Evil reader" in asked.err
    assert not set("\x1b\x07\u202e") & set(listed.out + listed.err + asked.out + asked.err)
