"""The phone as DeviceBackend, with a scripted person and a simulated clock."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyotp
import pytest

from mfa_kit.core import otp, wrong_codes
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.core.otp import Created, KeyUri, Pair, Secret, Seed, Symbol
from mfa_kit.enrollment import backends
from mfa_kit.enrollment.backends import Phone, PhoneSetup
from mfa_kit.tokens.backends import DisplayToken
from tests.faults.worker import Notes

SEED = Seed(b"a seed of forty octets, as AWS makes them")
CREATED = Created(SEED, KeyUri("otpauth://totp/x"))
SHOWN = pyotp.HOTP(base64.b32encode(SEED.reveal()).decode())
STEP = 58_000_000
INTENT = DeviceSpec(account="123456789012", partition="aws", user="alice", name="alice")
ENTRY = JournalEntry(run="20261125T000000Z-00000000", spec=INTENT)


@dataclass
class Clock:
    """AWS's time, in steps since the first one."""

    at: float = 0.2

    def __call__(self) -> float:
        return (STEP + self.at) * otp.PERIOD


@dataclass
class Person:
    """Answers each prompt with the code of a step, or with words.

    Of a pair, the first number is the number of steps that pass before the answer, and the second is the code's step.
    """

    clock: Clock
    answers: Iterator[int | str | tuple[int, int]]
    small: bool = False
    alone: bool = False
    said: list[str] = field(default_factory=list)
    screen: list[str] = field(default_factory=list)

    def check(self, *parts: Secret[str], instead: str) -> None:
        if self.alone:
            raise Declined("this command needs interactive input", f"use {instead}")
        if parts and self.small:
            raise UsageFault("the window is small", instead)

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        assert seconds_left is None or 0 < seconds_left() <= otp.PERIOD
        self.said.append(prompt)
        match next(self.answers):
            case (waited, step):
                self.clock.at += waited
                return SHOWN.at(STEP + step)
            case str(text):
                return text
            case step:
                return SHOWN.at(STEP + step)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        raise NotImplementedError

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        raise NotImplementedError

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        if next(self.answers) != typed:
            raise Declined("not typed", instead)

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        raise NotImplementedError

    def ask_unless(self, prompt: str, comes: Callable[[], object], *, instead: str) -> Any:
        raise NotImplementedError

    def pause(self, prompt: str, *, instead: str) -> None:
        raise NotImplementedError

    def show(self, *parts: Secret[str], instead: str) -> None:
        self.check(*parts, instead=instead)
        self.screen = [type(part).__name__ for part in parts]

    def clear(self) -> None:
        self.screen = []


@dataclass
class File:
    """A picture that can be written and removed."""

    path: str = "alice.png"
    there: bool = False

    def write(self, uri: KeyUri) -> None:
        self.there = True

    def remove(self) -> None:
        self.there = False


def person(*answers: int | str | tuple[int, int], small: bool = False, alone: bool = False) -> Person:
    return Person(Clock(), iter(answers), small=small, alone=alone)


def drift(who: Person, *, typed: int = 2) -> int:
    return backends.prove(SEED, typed=typed, now=who.clock, interaction=who, instead="-")


def backend(who: Person, **way: object) -> Phone:
    made = Phone(who.clock, interaction=who, draw=lambda *_: Symbol("█"), proof=PhoneSetup(**way))  # type: ignore[arg-type]
    made.install(INTENT, CREATED)
    return made


@pytest.mark.parametrize(
    ("answers", "found"),
    [((-1, 0), 0), ((0, 1), 1), ((-1, (1, 0)), -1), ((0, (1, 1)), 0), ((-1, (2, 0)), -1), ((0, (9, 1)), 0)],
    ids=str,
)
def test_the_code_that_is_less_late_gives_the_skew(answers: tuple[int | tuple[int, int], ...], found: int) -> None:
    """A code that is typed late looks like the code of a slow clock, never like that of a fast clock."""
    assert drift(person(*answers)) == found


def test_one_code_is_enough_with_codes_one() -> None:
    """In a queue of people, one code is enough to show the skew."""
    assert drift(person(-1), typed=1) == -1


def test_after_a_gap_the_second_code_counts_as_the_first() -> None:
    """A missed step does not block the user."""
    who = person(-1, (1, 1), (1, 2))
    assert drift(who) == 0
    assert "you missed a code in between, so the code that you just typed counts as the first" in who.said


@pytest.mark.parametrize(("mistakes", "advices"), [(2, 0), (3, 1), (5, 1), (6, 2)])
def test_every_third_mistake_prints_advice(mistakes: int, advices: int) -> None:
    """The question is then asked again."""
    who = person(*["nonsense"] * mistakes, -1, 0)
    drift(who)
    assert who.said.count(wrong_codes.ADVICE) == advices


def test_a_right_code_ends_a_series_of_mistakes() -> None:
    """Two mistakes before the first code and two mistakes after it do not count as three in a row."""
    who = person("x", "x", -1, "x", "x", 0)
    drift(who)
    assert wrong_codes.ADVICE not in who.said


def test_the_pair_is_computed_just_before_the_request() -> None:
    """The phone's clock is used. The user is asked once, even if a throttled request is repeated."""
    who = person(-1, 0)
    made = backend(who)
    assert made.codes(INTENT) == Pair(SHOWN.at(STEP - 1), SHOWN.at(STEP))
    who.clock.at += 5
    assert made.codes(INTENT) == Pair(SHOWN.at(STEP + 4), SHOWN.at(STEP + 5))


@pytest.mark.parametrize(("way", "shown"), [({}, ["Symbol"]), ({"grouped": True}, ["Symbol", "Secret"])], ids=str)
def test_the_qr_code_is_erased_when_the_codes_match(way: dict[str, bool], shown: list[str]) -> None:
    """The secret as text is shown only on request."""
    who = person()
    made = backend(who, **way)
    seen: list[list[str]] = []

    def answers() -> Iterator[int]:
        for step in (-1, 0):
            seen.append(who.screen)
            yield step

    who.answers = answers()
    made.codes(INTENT)
    assert seen == [shown, shown]
    assert who.screen == []


def test_the_qr_code_is_erased_after_an_interrupt() -> None:
    """It is erased before any further output."""
    who = person()

    def answers() -> Iterator[int]:
        yield -1
        raise KeyboardInterrupt

    who.answers = answers()
    with pytest.raises(KeyboardInterrupt):
        backend(who).codes(INTENT)
    assert who.screen == []


def test_without_a_terminal_nothing_begins() -> None:
    """The error names the options for scripts."""
    with pytest.raises(Declined) as caught:
        backend(person(alone=True)).check(INTENT, sealed=True)
    assert "--codes generated" in caught.value.hint


def test_a_small_window_is_refused_before_anything_is_made() -> None:
    """The error names options that need no window."""
    with pytest.raises(UsageFault) as caught:
        backend(person(small=True)).check(INTENT, sealed=False)
    assert "--qr-file" in caught.value.hint


def test_a_small_window_is_enough_if_there_is_a_backup() -> None:
    """The user scans the QR code of the backup instead, and the codes are asked for as usual."""
    who = person(-1, 0, small=True)
    made = backend(who)
    made.check(INTENT, sealed=True)
    assert made.codes(INTENT) == Pair(SHOWN.at(STEP - 1), SHOWN.at(STEP))
    assert any("backup show" in each for each in who.said)


def test_a_window_that_became_too_small_is_an_error() -> None:
    """Without an encrypted backup, there is no other QR code to scan."""
    who = person()
    made = backend(who)
    made.check(INTENT, sealed=False)
    who.small = True
    with pytest.raises(UsageFault):
        made.codes(INTENT)


def test_a_qr_file_is_confirmed_written_and_named() -> None:
    """The QR code is then not shown on the screen."""
    who, file = person("yes", -1, 0), File()
    made = Phone(who.clock, interaction=who, draw=lambda *_: Symbol("█"), proof=PhoneSetup(picture=file))
    made.check(INTENT, sealed=False)
    written = [file.there]
    made.install(INTENT, CREATED)
    made.codes(INTENT)
    assert [*written, file.there] == [False, True]
    assert who.said[-1] == "alice.png contains the secret unencrypted: delete it now"


def test_a_qr_file_is_removed_with_its_device() -> None:
    """A file that this run did not write stays."""
    who, file = person(), File(there=True)
    made = Phone(who.clock, interaction=who, draw=lambda *_: Symbol("█"), proof=PhoneSetup(picture=file))
    made.remove(ENTRY)
    kept = file.there
    made.install(INTENT, CREATED)
    made.remove(ENTRY)
    assert [kept, file.there] == [True, False]


def test_a_qr_file_is_removed_if_no_codes_are_typed() -> None:
    """The file is removed even if the device cannot be deleted now."""
    who, file = person(), File()

    def answers() -> Iterator[int]:
        yield -1
        raise KeyboardInterrupt

    who.answers = answers()
    made = Phone(who.clock, interaction=who, draw=lambda *_: Symbol("█"), proof=PhoneSetup(picture=file))
    made.install(INTENT, CREATED)
    with pytest.raises(KeyboardInterrupt):
        made.codes(INTENT)
    assert not file.there


def test_codes_of_an_unknown_seed_are_checked_by_form_and_time() -> None:
    """More cannot be checked, because only AWS has the secret."""
    who = person("111111", "111111", "x", "222222")
    assert backends.ask_pair(now=who.clock, interaction=who, instead="-") == Pair("111111", "222222")
    assert sum("the same code again" in each for each in who.said) == 1


def test_the_advice_for_a_token_speaks_of_the_token() -> None:
    """A token has no entry in an app, and no clock that can be set."""
    who = person("x", "y", "z", "111111", "222222")
    token = DisplayToken("GAHT12345678", now=who.clock, interaction=who, progress=Notes())
    assert token.codes(INTENT) == Pair("111111", "222222")
    assert [each for each in who.said if "three wrong codes" in each] == [wrong_codes.ADVICE_ON_DISPLAY]


def test_two_codes_that_are_far_apart_are_not_consecutive() -> None:
    """The second code then counts as the first."""
    who = person(0, (3, 3), (1, 4))
    assert backends.ask_pair(now=who.clock, interaction=who, instead="-") == Pair(
        SHOWN.at(STEP + 3), SHOWN.at(STEP + 4)
    )
    assert "more than a minute passed in between, so the code that you just typed counts as the first" in who.said
