"""Compares codes with seeds: proves that a token shows the codes of its seed, finds a token, or explains a mismatch.

A match counts as proof only if it is unlikely to be a coincidence. `chance` returns the probability that random codes
match at least as close to the expected time step (TOTP) or counter value (HOTP). If this probability is above ENOUGH,
nothing is decided, and the user is asked for a second code. A person or a script supplies the codes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from mfa_kit.core import otp
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import folded
from mfa_kit.core.otp import Seed
from mfa_kit.core.text import count_of, few
from mfa_kit.tokens.seeds import (
    DIGESTS,
    DIGITS,
    PERIODS,
    Decoding,
    Encoding,
    Factor,
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
)

# How many steps to search on either side of the expected step. The clocks of some tokens were 7 to 8 steps off after
# years in a box.
WINDOW = 20
# How far a diagnosis searches: two days of 30 s steps, or a thousand presses.
FAR = {Factor.TOTP: 5760, Factor.HOTP: 1000}
# A match counts as proof if the probability that it is a coincidence is at most this value.
ENOUGH = 0.01
SECOND = "type a second code, the next one on the display"
# If two right codes are not consecutive, but at most this many steps apart, the user is told to type consecutive codes.
MISSED = 10
DAY = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The token shows the codes of its seed.

    `offset` is how many steps (TOTP) or presses (HOTP) the token is ahead of the expected step or counter value
    (negative: behind). `step` is the time step or the counter value of the last code.
    """

    token: Token
    offset: int
    step: int

    @property
    def distance(self) -> int:
        """How many steps or presses this match is from the nearest offset that the seed file predicts."""
        return min(abs(self.offset - predicted) for predicted in _predicted_offsets(self.token))

    @property
    def seconds(self) -> int | None:
        """How many seconds the token's clock is ahead (negative: behind), or None for a token without a clock."""
        return self.offset * self.token.period if self.token.factor is Factor.TOTP else None

    def words(self) -> str:
        """Return how far the clock or the counter is off, as part of a sentence."""
        match self.token.factor:
            case Factor.TOTP if self.offset:
                side = "ahead" if self.offset > 0 else "behind"
                return f"its clock is {_count(abs(self.offset), 'step')} ({_span(abs(self.seconds or 0))}) {side}"
            case Factor.TOTP:
                return "its clock is right"
            case _ if self.offset:
                side = "ahead of" if self.offset > 0 else "behind"
                return f"its counter is {abs(self.offset)} {side} the file's"
            case _:
                return "its counter matches the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The token does not show the codes of its seed. `what` says what is wrong, and `hint` what to do."""

    what: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """There is no verdict yet, for example because a code was mistyped or the match may be a coincidence.

    `what` says why, and `hint` what to do. `second` says whether the token's next code is needed in addition to the one
    that was typed.
    """

    what: str
    hint: str
    second: bool = False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    for unit, size in (("days", DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def expected_step(token: Token, time: float) -> int:
    """Return the time step at a Unix time, or for a HOTP token the counter value in the seed file."""
    return otp.step(time, token.period) if token.factor is Factor.TOTP else token.counter


def _predicted_offsets(token: Token) -> set[int]:
    """Return the offsets that the seed file predicts, in steps or presses: zero, and the drift of a clock.

    Zero is one of them because a stated drift may be out of date, or in another unit than RFC 6030's steps.
    """
    return {0, token.drift if token.factor is Factor.TOTP else 0}


def search(token: Token, seed: Seed, typed: TypedCodes, *, window: int, near: int | None = None) -> list[Match]:
    """Return a match for each time step or counter value at which the token shows these codes.

    `window` is how many steps or presses to search on either side of each offset that the seed file predicts. The
    matches closest to `near` are first; `near` is an offset from the expected step, and None means the offsets in the
    seed file.
    """
    expected = expected_step(token, typed.at)
    last = typed.codes[-1]
    before = len(typed.codes) - 1
    matches: set[Match] = set()  # two windows may overlap
    for middle in (expected + predicted for predicted in _predicted_offsets(token)):
        steps = range(max(middle - window - before, 0), min(max(middle, 0) + window + 1, otp.COUNTERS))
        codes = list(otp.codes(seed, steps, digest=token.digest, digits=token.digits))
        matches |= {
            Match(token=token, offset=steps[index] - expected, step=steps[index])
            for index, code in enumerate(codes)
            if code == last and index >= before and tuple(codes[index - before : index]) == typed.codes[:-1]
        }
    return sorted(
        matches, key=lambda match: (match.distance if near is None else abs(match.offset - near), match.offset)
    )


def chance(typed: TypedCodes, places: int) -> float:
    """Return the probability that random codes match at one of `places` time steps or counter values by coincidence."""
    return min(1.0, places * 10.0 ** -sum(map(len, typed.codes)))


def typing_error(typed: TypedCodes) -> Undecided | None:
    """Return why the typed text cannot be the codes of any token, or None if it can."""
    for code in typed.codes:
        if not (code.isascii() and code.isdecimal() and len(code) in DIGITS):
            return Undecided(
                what="that is not a code", hint=f"type the {DIGITS[0]} to {DIGITS[-1]} digits on the display"
            )
    if len(set(typed.codes)) < len(typed.codes):
        return Undecided(
            what="the same code was typed twice", hint="wait until the display shows another code, then type it"
        )
    if len(set(map(len, typed.codes))) > 1:
        return Undecided(what="the two codes differ in length", hint="type both again")
    return None


def verify_codes(
    key: SeededToken,
    typed: TypedCodes,
    *,
    among: Sequence[SeededToken] = (),
    window: int = WINDOW,
    near: int | None = None,
) -> Match | Mismatch | Undecided:
    """Return the verdict on the codes of a token whose serial is known.

    `among` has the tokens that a person may have read by mistake. `near` is the token's last known offset in steps or
    presses, or None for the offset in the seed file. The farther a match is from this offset, the more likely it is a
    coincidence.
    """
    if error := typing_error(typed):
        return error
    matches = search(key.token, key.seed, typed, window=window, near=near)
    if not matches:
        return diagnose_mismatch(key, typed, among=among, window=window)
    shown = matches[0]
    coincidence = chance(typed, _places(shown) if near is None else _within(shown.offset - near))
    if coincidence <= ENOUGH:
        return shown
    return Undecided(
        what=f"{shown.words()}, or the match is a coincidence: "
        f"one random code in {round(1 / coincidence)} matches in this range",
        hint=SECOND,
        second=True,
    )


def _within(offset: int) -> int:
    """Return the number of time steps or counter values that are at most `offset` away in either direction."""
    return 2 * abs(offset) + 1


def _places(match: Match) -> int:
    """Return the number of steps or counter values that are at least as close to a predicted offset as the match."""
    return _within(match.distance) * len(_predicted_offsets(match.token))


def find_tokens(keys: Iterable[SeededToken], typed: TypedCodes, *, window: int = WINDOW) -> list[Match]:
    """Return a match for each token that shows these codes (one, or two consecutive), the closest match first."""
    digits = len(typed.codes[0])
    shown = (search(k.token, k.seed, typed, window=window) for k in keys if k.token.digits == digits)
    return sorted((matches[0] for matches in shown if matches), key=lambda match: match.distance)


def diagnose_mismatch(
    key: SeededToken, typed: TypedCodes, *, among: Sequence[SeededToken] = (), window: int = WINDOW
) -> Mismatch | Undecided:
    """Return why a token does not show its seed's codes: the first explanation that is unlikely to be a coincidence.

    `among` are the tokens whose codes may have been typed by mistake. `window` is the accepted distance from the
    expected step or counter value. Return Undecided if the codes were typed wrongly, or if each explanation may be a
    coincidence.
    """
    turned = replace(typed, codes=typed.codes[::-1])
    if len(typed.codes) > 1 and search(key.token, key.seed, turned, window=window + 1):
        return Undecided(what="the codes were typed in the wrong order", hint="type the older one first")
    doubtful = ""
    for problem, hint, places in _explanations(key, typed, among=among, window=window):
        if chance(typed, places) <= ENOUGH:
            return Mismatch(what=problem, hint=hint)
        doubtful = doubtful or problem
    if doubtful:
        return Undecided(what=f"the code does not match this token; perhaps {doubtful}", hint=SECOND, second=True)
    if len(typed.codes[0]) != key.token.digits:
        return Undecided(
            what=f"the token shows {key.token.digits} digits, but {len(typed.codes[0])} were typed",
            hint="type exactly the digits on the display",
        )
    if _missed(key, typed, window=window):
        return Undecided(
            what="both codes are right, but the token showed other codes in between",
            hint="type two consecutive codes",
        )
    serial = key.token.serial
    return Mismatch(
        what=f"the code does not match the seed of {serial} ({_far(key.token)} either way)",
        hint="type the code again; if it still does not match, the file has another token's seed: ask the vendor",
    )


def _missed(key: SeededToken, typed: TypedCodes, *, window: int) -> bool:
    """Return whether both codes are right, but the token showed other codes in between."""
    first, *later_codes = typed.codes
    if not later_codes:
        return False
    last = search(key.token, key.seed, replace(typed, codes=(later_codes[-1],)), window=window)
    earlier = search(key.token, key.seed, replace(typed, codes=(first,)), window=window + MISSED)
    return any(0 < match.step - other.step <= MISSED for match in last for other in earlier)


def _far(token: Token) -> str:
    reach = FAR[token.factor]
    if token.factor is Factor.HOTP:
        return f"counter checked up to {reach} presses"
    return f"clock checked up to {_span(reach * token.period)}"


def _explanations(
    key: SeededToken, typed: TypedCodes, *, among: Sequence[SeededToken], window: int
) -> Iterator[tuple[str, str, int]]:
    """Yield each possible explanation of a mismatch: what is wrong, what to do, and a number of steps.

    The number is how many time steps or counter values are at least as close to the expected one as the match is. If
    the match is with another token, the number is multiplied by the number of other tokens. From the number, `chance`
    computes the probability that the explanation is a coincidence.
    """
    token = key.token
    for problem, other, seed in _misread(key, len(typed.codes[0])):
        if misread := search(other, seed, typed, window=window):
            hint = "correct the seed file, or ask the vendor for its parameters"
            yield problem, hint, _places(misread[0])
    reach = FAR[token.factor]
    if len(typed.codes[0]) == token.digits and (matches := search(token, key.seed, typed, window=reach)):
        hint = f"accept the token with --window {matches[0].distance + 1}, or reject it"
        yield matches[0].words(), hint, _places(matches[0])
    others = [candidate for candidate in among if candidate.token.serial != token.serial]
    if shown := find_tokens(others, typed, window=window):
        problem = f"this is the code of another token of this file: {few([match.token.serial for match in shown])}"
        yield problem, "check the serial number", _places(shown[0]) * len(others)


def _misread(key: SeededToken, digits: int) -> Iterator[tuple[str, Token, Seed]]:
    """Yield each possible error in the seed file, with the token and the seed as they would be without that error."""
    token = key.token
    if digits != token.digits:
        yield (
            f"the token shows {digits} digits, but the file says {token.digits}",
            replace(token, digits=digits),
            key.seed,
        )
        return
    if token.factor is Factor.TOTP:
        for period in PERIODS:
            if period != token.period:
                problem = f"it is a {period} s token, but the file says {token.period} s"
                yield problem, replace(token, period=period), key.seed
        yield "it counts presses (HOTP), but the file says TOTP", replace(token, factor=Factor.HOTP), key.seed
    else:
        for period in PERIODS:
            problem = f"it follows the time in steps of {period} s (TOTP), but the file says HOTP"
            yield problem, replace(token, factor=Factor.TOTP, period=period), key.seed
    for digest in DIGESTS:
        if digest != token.digest:
            problem = f"its hash is {_hash(digest)}, but the file says {_hash(token.digest)} or names no hash"
            yield problem, replace(token, digest=digest), key.seed
    if key.other:
        yield "the seed was read in the wrong encoding", token, key.other


def _hash(digest: str) -> str:
    return digest.upper().replace("SHA", "SHA-")


def settled_reading(file: SeedFile) -> Decoding:
    """Return the only decoding of a file. If the file has no seeds, return a decoding without tokens.

    Raise UsageFault if the seeds could be hex or base32.
    """
    if len(file.readings) > 1:
        raise UsageFault(
            "the seeds of this file could be hex or base32",
            "set --seed-encoding, or type codes from a token: --prove SERIAL",
        )
    return file.readings[0] if file.readings else Decoding(encoding=Encoding.HEX, keys=())


def settle_encoding(file: SeedFile, serial: str, typed: TypedCodes, *, window: int = WINDOW) -> SeedFile:
    """Decide between hex and base32 with codes from one token.

    Return the file with only the decoding in which the token shows these codes. Raise UsageFault if the codes do not
    show which decoding is right.
    """
    if error := typing_error(typed):
        raise UsageFault(error.what, error.hint)
    showing = [
        reading
        for reading in file.readings
        if (key := token_named(reading.keys, serial))
        and (matches := search(key.token, key.seed, typed, window=window))
        and chance(typed, len(file.readings) * _places(matches[0])) <= ENOUGH
    ]
    if len(showing) != 1:
        raise UsageFault(
            f"these codes of {serial} do not show whether the seeds are hex or base32",
            "type two consecutive codes of a token that works, or set --seed-encoding",
        )
    return replace(file, readings=(showing[0],))


def token_named(keys: Iterable[SeededToken], serial: str) -> SeededToken | None:
    """Return the token with a serial, ignoring case and spaces, or None if there is none."""
    return next((key for key in keys if folded(key.token.serial) == folded(serial)), None)


def judge_display(typed: TypedCodes) -> Undecided | None:
    """Check the codes of a token whose seed only AWS has. They must be two different codes of six digits.

    Return None if they are, and otherwise what is wrong with them.
    """
    if error := typing_error(typed):
        return error
    if len(typed.codes) < 2 or len(typed.codes[0]) != otp.DIGITS:  # noqa: PLR2004 - two codes in a row
        return Undecided(what="two codes of six digits are needed", hint="type two codes, read about 30 s apart")
    return None


def sighting_of(serial: str, verdict: Match | Mismatch | None, *, time: float) -> Sighting:
    """Return the sighting that the ledger stores for a verdict.

    `time` is the Unix time at which the last code was displayed. None is the verdict on a token whose display works and
    whose seed only AWS has.
    """
    if verdict is None:
        return Sighting(serial=serial, at=time, verdict=TokenVerdict.ACCEPTED, reason="only its display was checked")
    if isinstance(verdict, Mismatch):
        return Sighting(serial=serial, at=time, verdict=TokenVerdict.REJECTED, reason=verdict.what)
    return Sighting(
        serial=serial, at=time, verdict=TokenVerdict.ACCEPTED, offset=verdict.offset, seconds=verdict.seconds
    )


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
