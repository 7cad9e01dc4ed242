"""Asks for codes of a device at the terminal, until they are plausible or prove that the device has the secret."""

from collections.abc import Callable
from itertools import count
from typing import TypeVar

from mfa_kit.core import otp
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import STOP, Message, UserAction
from mfa_kit.core.otp import Mistake, Pair, Seed

T = TypeVar("T")

# The advice is printed each time the user has made this many mistakes.
PATIENCE = 3
ADVICE = Message(
    "three wrong codes: check that you are reading this device's entry, and that the clock is set automatically. ",
    "To start over, ",
    STOP,
    "; nothing will be left in AWS",
)
FIRST_CODE = Message("first code", action=UserAction.FIRST_CODE)
SECOND_CODE = Message("second code", action=UserAction.SECOND_CODE)
# The maximum number of seconds between two codes that may be consecutive: two periods, and time to type.
APART = 2 * otp.PERIOD + 15


def prove(
    seed: Seed,
    *,
    typed: int,
    now: Callable[[], float],
    interaction: Interaction,
    instead: str,
    shown_by: str = "the phone",
    advice: str = ADVICE,
) -> int:
    """Ask for one code or two consecutive codes, and return the skew in steps, positive if the phone is ahead.

    `typed` is the number of codes, 1 or 2. The other parameters are as in `otp.diagnose` and `ask_until`. A code that
    is typed late makes the clock look slow. If two codes are typed, the skew is therefore that of the code with the
    shorter delay.
    """
    before: tuple[int, int] | None = None

    def judge(code: str) -> tuple[int, int] | Mistake:
        time = now()
        diagnosis = otp.diagnose(code, seed, time=time, after=before[0] if before else None, shown_by=shown_by)
        return diagnosis if isinstance(diagnosis, Mistake) else (diagnosis, diagnosis - otp.step(time))

    while True:
        prompt = "code" if typed == 1 else FIRST_CODE if before is None else SECOND_CODE
        reading = ask_until(judge, prompt, now=now, interaction=interaction, instead=instead, advice=advice)
        if typed == 1:
            return reading[1]
        if before is not None and reading[0] == before[0] + 1:
            return max(reading[1], before[1])
        if before is not None:
            interaction.say("you missed a code in between, so the code that you just typed counts as the first")
        before = reading


def ask_pair(*, now: Callable[[], float], interaction: Interaction, instead: str, advice: str = ADVICE) -> Pair:
    """Ask for two consecutive codes of a device whose secret only AWS has, and return them.

    Without the secret, mfa-kit can check only that each has six digits, that they differ, and that they were typed
    within APART seconds. It asks again until the codes pass these checks. `advice` is as in `ask_until`.
    """
    before: tuple[str, float] | None = None

    def judge(typed: str) -> tuple[str, float] | Mistake:
        code = otp.digits(typed)
        if isinstance(code, Mistake):
            return code
        return otp.SAME if before and code == before[0] else (code, now())

    while True:
        prompt = FIRST_CODE if before is None else SECOND_CODE
        reading = ask_until(judge, prompt, now=now, interaction=interaction, instead=instead, advice=advice)
        if before is not None and reading[1] - before[1] < APART:
            return Pair(before[0], reading[0])
        if before is not None:
            interaction.say("more than a minute passed in between, so the code that you just typed counts as the first")
        before = reading


def ask_until(
    judge: Callable[[str], T | Mistake],
    prompt: str,
    *,
    now: Callable[[], float],
    interaction: Interaction,
    instead: str,
    advice: str = ADVICE,
) -> T:
    """Ask for a code until the result of `judge` for the typed code is not a Mistake, and return this result.

    Print `advice` after each third mistake. `now` returns AWS's time in Unix seconds, for the countdown to the next
    code. Without a terminal, raise Declined with a hint to use `instead`, for example a command-line option.
    """
    mistakes = count(1)
    while True:
        verdict = judge(
            interaction.ask_code(prompt, instead=instead, seconds_left=lambda: otp.PERIOD - now() % otp.PERIOD)
        )
        if not isinstance(verdict, Mistake):
            return verdict
        interaction.say(f"{verdict.what}: {verdict.hint}")
        if next(mistakes) % PATIENCE == 0:
            interaction.say(advice)
