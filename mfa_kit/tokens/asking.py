"""Reads the codes that a token displays, from a person or a script. The caller's function `judge` checks them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never

from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.text import count_of
from mfa_kit.tokens.matching import Match, Mismatch, Undecided
from mfa_kit.tokens.seeds import TypedCodes

T = TypeVar("T")

INSTEAD = "--codes-stdin"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSource:
    """The source of a token's codes.

    If `piped` is given, it returns the lines of standard input, which are the codes. Otherwise a person types the
    codes. `now` returns the current Unix time. It is called after the last code was read, and its result is used as the
    time at which the token displayed that code.
    """

    interaction: Interaction
    now: Callable[[], float]
    piped: Callable[[], Sequence[str]] | None = None

    def read(self, judge: Callable[[TypedCodes], T | Undecided], *, count: int) -> tuple[TypedCodes, T | Undecided]:
        """Read one or two codes, and return them with the verdict of `judge`.

        `count` is the number of codes to ask for at first. A person is asked again until `judge` returns a value other
        than Undecided. Codes from standard input are judged once. Raise Declined if the person types nothing, and
        UsageFault if standard input has a wrong number of lines.
        """
        if self.piped is None:
            answer = ask_codes(self.interaction, judge, count=count, now=self.now)
            if answer is None:
                hint = f"type what the display shows, or use {INSTEAD}"
                raise Declined("no code was typed, so nothing was checked", hint)
            return answer
        lines = self.piped()
        if len(lines) not in {count, 2}:
            hint = "give two codes, one per line" if count > 1 else "give one code, or two"
            raise UsageFault(f"stdin has {count_of(len(lines), 'code')}", hint)
        codes = TypedCodes(codes=tuple(lines), at=self.now())
        return codes, judge(codes)


def ask_codes(
    person: Interaction,
    judge: Callable[[TypedCodes], T | Undecided],
    *,
    count: int,
    now: Callable[[], float],
    instead: str = INSTEAD,
) -> tuple[TypedCodes, T] | None:
    """Ask for codes from a display until `judge` returns a value other than Undecided.

    Return the codes and that value, or None if nothing is typed. `count` is the number of codes to ask for at first.
    `now` returns the current Unix time. Without a terminal, raise Declined with a hint to use `instead`, for example a
    command-line option.
    """
    before: tuple[str, ...] = ()
    while True:
        prompts = ("next code",) if before else ("code",) if count == 1 else ("first code", "next code")
        codes = list(before)
        for prompt in prompts:
            if not (code := "".join(person.ask_code(prompt, instead=instead).split())):
                return None
            codes.append(code)
        typed = TypedCodes(codes=tuple(codes), at=now())
        verdict = judge(typed)
        if not isinstance(verdict, Undecided):
            return typed, verdict
        person.say(sentence(verdict))
        before = typed.codes if verdict.second and len(typed.codes) == 1 else ()


def sentence(verdict: Match | Mismatch | Undecided | None) -> str:
    """Return a verdict as a line of text.

    None is the verdict on a token whose display works and whose seed only AWS has.
    """
    match verdict:
        case Match():
            return f"accepted: {verdict.words()}"
        case Mismatch():
            return f"rejected: {verdict.what}; {verdict.hint}"
        case Undecided():
            return f"not decided: {verdict.what}; {verdict.hint}"
        case None:
            return "accepted: the display works; to check that AWS knows the token, use --probe-user"
        case _:
            assert_never(verdict)
