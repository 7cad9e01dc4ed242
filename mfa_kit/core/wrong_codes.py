"""What is wrong with a code that somebody typed or that IAM rejected, and what to do about it."""

from dataclasses import dataclass

from mfa_kit.core.message import STOP, Message
from mfa_kit.core.otp import DIGITS, PERIOD, WITHIN, Seed, codes, step

# How many steps before and after the current step to search for a code, in case the device's clock is wrong: a little
# more than an hour, because a phone may have missed a change to daylight saving time. Each step raises the chance that
# a typo is mistaken for a wrong clock by one in a million.
LOOKED_FOR = 130
# Yubico's "modhex" alphabet of 16 letters. A YubiKey types 32 or more of them when it is touched.
MODHEX = frozenset("cbdefghijklnrtuv")


@dataclass(frozen=True, slots=True)
class Mistake:
    """A problem with a typed code, and what to do about it."""

    what: str
    hint: str


SAME = Mistake("that is the same code again", "wait until the next code is shown")
# The advice after PATIENCE mistakes: to a user who types codes of their app, to an admin to whom a user reads codes
# over the phone, and to somebody who types the codes of a display token.
PATIENCE = 3
ADVICE = Message(
    "three wrong codes: check that you are reading this device's entry, and that the clock is set automatically. ",
    "To start over, ",
    STOP,
    "; nothing will be left in AWS",
)
ADVICE_IN_CALL = (
    "three wrong codes: check that the user reads the app's entry for this device, and that the phone sets its clock "
    "automatically. To stop, press Ctrl-C; the device stays staged"
)
ADVICE_ON_DISPLAY = (
    "three wrong codes: press the button of the token again, and type all digits of each code that it shows"
)
# What to do if IAM rejects codes: of any device, of a token, and in a resync, which accepts no code twice.
REJECTED = "check the clock of the device that shows the codes"
REJECTED_ON_DISPLAY = "check that you are reading this token, and type each code as it is shown"
REJECTED_FROM_BACKUP = "wait a minute, then run this again: IAM accepts no code twice"
REJECTED_IN_RESYNC = "wait a minute, then type two consecutive codes of this device: IAM accepts no code twice"
REJECTED_OF_BACKUP = (
    "try again in two minutes, because IAM accepts no code twice; if IAM rejects the new codes too, the backup belongs "
    "to another device, so replace the enabled device"
)


def digits(typed: str) -> str | Mistake:
    """Return the six digits of a typed code, or the mistake.

    White space is ignored, because apps show two groups of digits.
    """
    code = "".join(typed.split())
    if len(code) == DIGITS and code.isascii() and code.isdecimal():
        return code
    if len(code) > 2 * DIGITS and MODHEX.issuperset(code.lower()):
        return Mistake("that was typed by a YubiKey when it was touched", "type the six digits yourself")
    if not code:
        return Mistake("nothing was typed", f"type the {DIGITS} digits that are shown")
    return Mistake(f"that is not {DIGITS} digits", f"type the {DIGITS} digits that are shown, without letters")


def diagnose(
    typed: str, seed: Seed, *, time: float, after: int | None = None, shown_by: str = "the phone", within: int = WITHIN
) -> int | Mistake:
    """Return the time step of a typed code, or the mistake.

    `time` is AWS's time in Unix seconds. A code is accepted if its step is at most `within` steps from `time`. `after`
    is the step of the code that was typed before, or None. The code of the step that follows `after` is accepted no
    matter how late it is typed. `shown_by` names the device in messages.
    """
    code = digits(typed)
    if isinstance(code, Mistake):
        return code
    now = step(time)
    drift = _drift(code, seed, now=now, after=after)
    if drift is None:
        return Mistake(
            f"that code does not match this device: {shown_by} does not show it within an hour of the current time",
            "check that it is not another device's code, then type the current code",
        )
    code_step = now + drift
    if after is not None and code_step == after:
        return SAME
    if after is not None and code_step < after:
        return Mistake("that code is older than the previous code", "type the current code")
    if abs(drift) > within and code_step - 1 != after:
        return _off(drift, shown_by)
    return code_step


def _drift(code: str, seed: Seed, *, now: int, after: int | None) -> int | None:
    """Return the step of a code minus the step `now`, or None if no step within LOOKED_FOR steps of `now` has the code.

    If several steps have it, the step after `after` is preferred, then the step nearest to `now`.
    """
    spread = range(max(now - LOOKED_FOR, 0), now + LOOKED_FOR + 1)
    steps = [
        step_number for step_number, candidate in zip(spread, codes(seed, spread), strict=True) if candidate == code
    ]
    if after is not None and code == next(codes(seed, range(after + 1, after + 2))):
        return after + 1 - now
    return min((step_number - now for step_number in steps), key=abs, default=None)


def _off(drift: int, shown_by: str) -> Mistake:
    seconds = abs(drift) * PERIOD
    about = f"{seconds} s" if seconds < 2 * 60 else f"{round(seconds / 60)} minutes"
    if drift < 0:
        return Mistake(
            f"the clock of {shown_by} is about {about} behind AWS's, or this code was typed long after it was shown",
            "set that clock automatically (network time), and type the code as soon as it appears",
        )
    return Mistake(
        f"the clock of {shown_by} is about {about} ahead of AWS's, and AWS will eventually reject its codes",
        "set that clock automatically (network time), and type the next code",
    )
