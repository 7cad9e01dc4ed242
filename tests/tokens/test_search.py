"""Codes and seeds: where a token shows its codes, how its clock runs, and why a code does not match."""

import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core import otp
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import DeviceType
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens import matching
from mfa_kit.tokens.acceptance import BINS, TokenBatch, histogram
from mfa_kit.tokens.aws_check import aws_use
from mfa_kit.tokens.matching import Match, Mismatch, Undecided
from mfa_kit.tokens.seeds import (
    Decoding,
    Encoding,
    Factor,
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
    drift_of,
)
from tests.conftest import judge
from tests.tokens.boxes import Made

NOW = 1_800_000_012.0
DAY = 86400
# RFC 6238, appendix B: the seeds repeat the digits 1 to 0 up to the length of the hash.
SEEDS = {"sha1": b"1234567890" * 2, "sha256": b"1234567890" * 3 + b"12", "sha512": b"1234567890" * 6 + b"1234"}
RFC_6238 = [
    (59, "sha1", "94287082"), (59, "sha256", "46119246"), (59, "sha512", "90693936"),
    (1111111109, "sha1", "07081804"), (1111111109, "sha256", "68084774"), (1111111109, "sha512", "25091201"),
    (1111111111, "sha1", "14050471"), (1111111111, "sha256", "67062674"), (1111111111, "sha512", "99943326"),
    (1234567890, "sha1", "89005924"), (1234567890, "sha256", "91819424"), (1234567890, "sha512", "93441116"),
    (2000000000, "sha1", "69279037"), (2000000000, "sha256", "90698825"), (2000000000, "sha512", "38618901"),
    (20000000000, "sha1", "65353130"), (20000000000, "sha256", "77737706"), (20000000000, "sha512", "47863826"),
]  # fmt: skip
# RFC 4226, appendix D.
RFC_4226 = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]


def key(made: Made, *, other: bytes | None = None) -> SeededToken:
    token = Token(
        serial=made.serial,
        factor=Factor(made.factor),
        digest=made.digest,
        digits=made.digits,
        period=made.period,
        counter=made.counter,
        octets=len(made.octets),
    )
    return SeededToken(token=token, seed=Seed(made.octets), where="line 1", other=Seed(other) if other else None)


def two(made: Made, *, at: float = NOW, ahead: int = 0) -> TypedCodes:
    """Return two consecutive codes of a display, the second of them at the given time."""
    step = 1 if made.factor == "hotp" else made.period
    return TypedCodes(codes=(made.shows(at, ahead=ahead - step), made.shows(at, ahead=ahead)), at=at)


def one(made: Made, *, at: float = NOW, ahead: int = 0) -> TypedCodes:
    return TypedCodes(codes=(made.shows(at, ahead=ahead),), at=at)


@pytest.mark.parametrize(("at", "digest", "code"), RFC_6238)
def test_the_codes_are_those_of_rfc_6238(at: int, digest: str, code: str) -> None:
    """A token that shows a code of appendix B matches its seed, with each hash and eight digits."""
    made = Made("T1", SEEDS[digest], digest=digest, digits=8)
    assert matching.verify_codes(key(made), TypedCodes(codes=(code,), at=at)) == Match(
        token=key(made).token, offset=0, step=at // 30
    )


@pytest.mark.parametrize("counter", range(10))
def test_the_codes_are_those_of_rfc_4226(counter: int) -> None:
    """Code N of appendix D is found N presses ahead of the file, whose counter is zero."""
    made = Made("T1", SEEDS["sha1"], factor="hotp")
    verdict = matching.verify_codes(key(made), TypedCodes(codes=(RFC_4226[counter],), at=NOW))
    assert isinstance(verdict, Match)
    assert (verdict.offset, verdict.step, verdict.seconds) == (counter, counter, None)


@given(
    st.binary(min_size=16, max_size=64),
    st.sampled_from(["sha1", "sha256", "sha512"]),
    st.sampled_from([6, 7, 8]),
    st.sampled_from([30, 60]),
    st.integers(0, 2**33),
)
def test_oathtool_shows_the_same_codes(octets: bytes, digest: str, digits: int, period: int, at: int) -> None:
    """A code that Debian's oathtool computes matches the seed, for each hash, step and length that it supports."""
    said = subprocess.run(
        [judge("oathtool"), f"--totp={digest}", f"-d{digits}", f"-s{period}s", "-N", f"@{at}", octets.hex()],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    step = otp.step(at, period)
    assert list(otp.codes(Seed(octets), range(step, step + 1), digest=digest, digits=digits)) == said


@given(st.integers(-20, 20), st.sampled_from([30, 60]), st.booleans())
def test_the_offset_of_a_clock_is_found(offset: int, period: int, twice: bool) -> None:
    made = Made("T1", period=period)
    typed = (two if twice else one)(made, ahead=offset * period)
    verdict = matching.verify_codes(key(made), typed)
    assert isinstance(verdict, Match)
    assert (verdict.offset, verdict.seconds) == (offset, offset * period)


def test_a_clock_that_is_days_wrong_is_found_by_two_codes() -> None:
    """In a window of days, any single code matches some step by chance."""
    made = Made("T1")
    far = -3 * DAY
    verdict = matching.verify_codes(key(made), two(made, ahead=far), window=4 * DAY // 30)
    assert isinstance(verdict, Match)
    assert verdict.words() == "its clock is 8640 steps (3 days) behind"
    alone = matching.verify_codes(key(made), one(made, ahead=far), window=4 * DAY // 30)
    assert isinstance(alone, Undecided)
    assert alone.second
    assert alone.what.startswith("its clock is 8640 steps (3 days) behind, or the match is a coincidence")
    assert alone.what.endswith("one random code in 58 matches in this range")


@pytest.mark.parametrize("offset", [0, 5, -40, 4999, -4999])
def test_one_code_is_enough_near_the_expected_step(offset: int) -> None:
    """At most one random code in a hundred matches so close to the expected step."""
    made = Made("T1", bytes(range(20)))
    verdict = matching.verify_codes(key(made), one(made, ahead=offset * 30), window=20_000)
    assert isinstance(verdict, Match)
    assert verdict.offset == offset


def test_one_code_is_enough_near_the_last_offset() -> None:
    """For a clock that was three days behind, the same offset is expected again."""
    made = Made("T1", bytes(range(20)))
    verdict = matching.verify_codes(key(made), one(made, ahead=-3 * DAY), window=20_000, near=-8640)
    assert isinstance(verdict, Match)


@pytest.mark.parametrize(("apart", "undecided"), [(2, True), (10, True), (12, False)])
def test_two_codes_that_are_not_consecutive_decide_nothing(apart: int, undecided: bool) -> None:
    """A code in between may have been missed. Codes that are minutes apart are not one reading of a token."""
    made = Made("T1", bytes(range(20)))
    typed = TypedCodes(codes=(made.shows(NOW, ahead=-30 * apart), made.shows(NOW)), at=NOW)
    verdict = matching.verify_codes(key(made), typed, window=1)
    assert isinstance(verdict, Undecided) == undecided
    if isinstance(verdict, Undecided):
        assert (verdict.second, "other codes in between" in verdict.what) == (False, True)


def test_a_code_of_another_length_that_nothing_explains_was_mistyped() -> None:
    verdict = matching.verify_codes(key(BASE), TypedCodes(codes=("12345678",), at=NOW))
    assert isinstance(verdict, Undecided)
    assert verdict.what == "the token shows 6 digits, but 8 were typed"


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (0, "its clock is right"),
        (1, "its clock is 1 step (30 s) ahead"),
        (-8, "its clock is 8 steps (4 minutes) behind"),
    ],
)
def test_an_offset_is_shown_in_words(offset: int, words: str) -> None:
    assert Match(token=Token(serial="T1"), offset=offset, step=1).words() == words


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (0, "its counter matches the file"),
        (9, "its counter is 9 ahead of the file's"),
        (-2, "its counter is 2 behind the file's"),
    ],
)
def test_a_counter_is_shown_in_words(offset: int, words: str) -> None:
    assert Match(token=Token(serial="T1", factor=Factor.HOTP), offset=offset, step=1).words() == words


def test_the_match_nearest_to_the_last_reading_counts() -> None:
    """A code repeats by chance after a few thousand steps, but a clock does not jump."""
    made = Made("T1")
    found = matching.search(key(made).token, Seed(made.octets), one(made), window=20_000)
    code = made.shows(NOW)
    everywhere = [
        at
        for at, each in enumerate(otp.codes(Seed(made.octets), range(int(NOW) // 30, int(NOW) // 30 + 20_001)))
        if each == code
    ]
    last = everywhere[-1]
    nearest = matching.search(key(made).token, Seed(made.octets), one(made), window=20_000, near=last)[0]
    assert (found[0].offset, nearest.offset) == (0, last)


def test_a_step_before_1970_is_not_searched() -> None:
    made = Made("T1")
    assert matching.verify_codes(key(made), TypedCodes(codes=(made.shows(10),), at=10)) == Match(
        token=key(made).token, offset=0, step=0
    )


@pytest.mark.parametrize(
    ("codes", "what"),
    [
        (("12345",), "that is not a code"),
        (("1234567890",), "that is not a code"),
        (("١٢٣٤٥٦",), "that is not a code"),
        (("12345a",), "that is not a code"),
        (("123456", "123456"), "the same code was typed twice"),
        (("123456", "1234567"), "the two codes differ in length"),
    ],
)
def test_codes_that_are_wrong_for_every_token(codes: tuple[str, ...], what: str) -> None:
    verdict = matching.verify_codes(key(Made("T1")), TypedCodes(codes=codes, at=NOW))
    assert isinstance(verdict, Undecided)
    assert verdict.what == what
    assert verdict.hint


BASE = Made("T1", bytes(range(20)))
MISREAD = [
    (Made("T1", BASE.octets, period=60), "it is a 60 s token, but the file says 30 s"),
    (Made("T1", BASE.octets, digest="sha256"), "its hash is SHA-256, but the file says SHA-1 or names no hash"),
    (Made("T1", BASE.octets, digest="sha512"), "its hash is SHA-512, but the file says SHA-1 or names no hash"),
    (Made("T1", BASE.octets, digits=8), "the token shows 8 digits, but the file says 6"),
    (Made("T1", BASE.octets, factor="hotp", counter=7), "it counts presses (HOTP), but the file says TOTP"),
]


@pytest.mark.parametrize("count", [one, two])
@pytest.mark.parametrize(("made", "what"), MISREAD)
def test_a_wrong_value_in_the_file_is_named(made: Made, what: str, count: Callable[[Made], TypedCodes]) -> None:
    """One value is wrong at a time: step, hash, digits, type. One code is enough to find it."""
    verdict = matching.verify_codes(key(BASE), count(made))
    assert isinstance(verdict, Mismatch)
    assert verdict.what == what


def test_a_thirty_second_token_in_a_file_of_sixty_is_named() -> None:
    verdict = matching.verify_codes(key(Made("T1", BASE.octets, period=60)), two(BASE))
    assert isinstance(verdict, Mismatch)
    assert verdict.what == "it is a 30 s token, but the file says 60 s"


@pytest.mark.parametrize("period", [30, 60])
def test_a_time_token_in_a_file_of_event_tokens_is_named(period: int) -> None:
    made = Made("T1", BASE.octets, period=period)
    verdict = matching.verify_codes(key(Made("T1", BASE.octets, factor="hotp")), two(made))
    assert isinstance(verdict, Mismatch)
    assert verdict.what == f"it follows the time in steps of {period} s (TOTP), but the file says HOTP"


def test_a_wrong_encoding_is_named() -> None:
    verdict = matching.verify_codes(
        key(BASE, other=b"another reading of it"), two(Made("T1", b"another reading of it"))
    )
    assert isinstance(verdict, Mismatch)
    assert verdict.what == "the seed was read in the wrong encoding"


def test_codes_in_the_wrong_order_are_named() -> None:
    typed = two(BASE)
    verdict = matching.verify_codes(key(BASE), TypedCodes(codes=typed.codes[::-1], at=NOW))
    assert isinstance(verdict, Undecided)
    assert verdict.what == "the codes were typed in the wrong order"


@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_single_code_has_no_order(ahead: int) -> None:
    """One code just outside the window, where the search for codes in the wrong order looks too."""
    beyond = ahead * 30 * (matching.WINDOW + 1)
    verdict = matching.verify_codes(key(BASE), one(BASE, ahead=beyond))
    assert isinstance(verdict, Mismatch | Undecided)
    assert "order" not in verdict.what


@pytest.mark.parametrize("ahead", [-DAY, 3600])
def test_a_clock_beyond_the_window_is_named(ahead: int) -> None:
    """The message says how to accept the token nevertheless."""
    verdict = matching.verify_codes(key(BASE), two(BASE, ahead=ahead))
    assert isinstance(verdict, Mismatch)
    assert f"{abs(ahead) // 30} steps" in verdict.what
    assert f"--window {abs(ahead) // 30 + 1}" in verdict.hint


def test_an_event_token_that_was_pressed_in_a_pocket_is_named() -> None:
    made = Made("T1", factor="hotp")
    verdict = matching.verify_codes(key(made), two(made, ahead=400))
    assert isinstance(verdict, Mismatch)
    assert verdict.what == "its counter is 400 ahead of the file's"


BOX = [Made(f"B{at}") for at in range(200)]


def test_the_right_code_of_another_token_is_named() -> None:
    """Labels and boxes can be mixed up."""
    keys = [key(made) for made in BOX]
    verdict = matching.verify_codes(keys[3], two(BOX[150]), among=keys)
    assert isinstance(verdict, Mismatch)
    assert verdict.what == "this is the code of another token of this file: B150"


def test_one_code_among_many_tokens_is_only_a_suspicion() -> None:
    """Among 250 tokens and 41 steps, one code in a hundred is found by chance."""
    keys = [key(Made(f"B{at}")) for at in range(300)]
    other = Made("X")
    verdict = matching.verify_codes(keys[3], one(other, ahead=-20 * 30), among=[*keys, key(other)])
    assert isinstance(verdict, Undecided)
    assert verdict.what.startswith("the code does not match this token; perhaps")
    assert verdict.second


def test_an_unknown_code_is_reported_with_the_searched_window() -> None:
    verdict = matching.verify_codes(key(BASE), two(Made("X")))
    assert isinstance(verdict, Mismatch)
    assert verdict.what == "the code does not match the seed of T1 (clock checked up to 2 days either way)"


def test_an_unknown_hotp_code_is_reported_with_the_window() -> None:
    verdict = matching.verify_codes(key(Made("T1", factor="hotp")), two(Made("X")))
    assert isinstance(verdict, Mismatch)
    assert verdict.what.endswith("(counter checked up to 1000 presses either way)")


def test_a_random_number_is_almost_never_accepted() -> None:
    """41 of a million numbers are codes in the window, so of 2,000 random numbers almost none is accepted."""
    numbers = [TypedCodes(codes=(f"{number * 499:06}",), at=NOW) for number in range(2000)]
    passed = sum(bool(matching.search(key(BASE).token, Seed(BASE.octets), each, window=20)) for each in numbers)
    assert passed <= 3


def test_the_token_that_shows_two_codes_is_found() -> None:
    keys = [key(made) for made in [*BOX, Made("E", factor="hotp"), Made("L", digits=8)]]
    found = matching.find_tokens(keys, two(BOX[42], ahead=-60))
    assert [(each.token.serial, each.offset) for each in found] == [("B42", -2)]


def test_two_tokens_of_one_seed_are_both_found() -> None:
    """The token whose clock is nearer comes first."""
    twins = [key(Made("S1", BASE.octets, period=60)), key(Made("S2", BASE.octets))]
    assert [each.token.serial for each in matching.find_tokens(twins, two(BASE))][:1] == ["S2"]


def file(*readings: Decoding) -> SeedFile:
    return SeedFile(layout="table", readings=readings)


HEX = Decoding(encoding=Encoding.HEX, keys=(key(Made("T1", b"\x11" * 20)),))
BASE32 = Decoding(encoding=Encoding.BASE32, keys=(key(Made("T1", b"\x22" * 25)),))


def test_a_file_with_one_reading_is_decided() -> None:
    assert matching.settled_reading(file(HEX)) is HEX


def test_a_file_with_two_readings_is_undecided() -> None:
    with pytest.raises(UsageFault, match="could be hex or base32"):
        matching.settled_reading(file(HEX, BASE32))


def test_codes_of_a_token_decide_the_encoding() -> None:
    typed = two(Made("T1", b"\x22" * 25))
    assert matching.settle_encoding(file(HEX, BASE32), "t 1", typed).readings == (BASE32,)


@pytest.mark.parametrize("octets", [b"\x33" * 20])
def test_codes_that_fit_no_reading_decide_nothing(octets: bytes) -> None:
    with pytest.raises(UsageFault, match="do not show whether"):
        matching.settle_encoding(file(HEX, BASE32), "T1", two(Made("T1", octets)))


def test_invalid_codes_decide_nothing() -> None:
    with pytest.raises(UsageFault, match="the same code was typed twice"):
        matching.settle_encoding(file(HEX, BASE32), "T1", TypedCodes(codes=("123456", "123456"), at=NOW))


def test_a_file_of_serials_is_decided() -> None:
    assert (
        matching.settled_reading(SeedFile(layout="serials", readings=(), bare=(Token(serial="GAHT12345678"),))).keys
        == ()
    )


def virtual(**what: object) -> Token:
    return Token(serial="T1", maker="Amazon Web Services", octets=40, **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token", "kind", "why"),
    [
        (Token(serial="GAHT12345678"), DeviceType.HARDWARE_TOTP, "if AWS knows its serial"),
        (Token(serial="T1", octets=20), None, "cannot import seeds"),
        (Token(serial="T1", octets=40), None, "cannot import seeds"),
        (Token(serial="T1", octets=20, capacity=63), DeviceType.VIRTUAL, "you write it to the token"),
        (Token(serial="T1", octets=20, capacity=40), DeviceType.VIRTUAL, "you write it to the token"),
        (Token(serial="T1", octets=20, capacity=32), None, "its seeds have at most 32 bytes and AWS's have 40"),
        (virtual(), DeviceType.VIRTUAL, "a seed that AWS created"),
        (virtual(period=60), None, "AWS uses TOTP with SHA-1, 6 digits and 30 s"),
        (virtual(digest="sha256"), None, "AWS uses TOTP with SHA-1, 6 digits and 30 s"),
        (virtual(factor=Factor.HOTP), None, "AWS uses TOTP with SHA-1, 6 digits and 30 s"),
    ],
)  # fmt: skip
def test_whether_aws_can_use_a_token(token: Token, kind: DeviceType | None, why: str) -> None:
    verdict = aws_use(token)
    assert verdict.device_type is kind
    assert why in verdict.why


def test_a_display_that_shows_two_codes_may_be_right() -> None:
    """Only AWS has the seed, so mfa-kit cannot say more."""
    assert matching.judge_display(TypedCodes(codes=("123456", "654321"), at=NOW)) is None


@pytest.mark.parametrize("codes", [("123456",), ("12345678", "87654321"), ("123456", "123456")])
def test_a_display_without_two_codes_is_refused(codes: tuple[str, ...]) -> None:
    assert isinstance(matching.judge_display(TypedCodes(codes=codes, at=NOW)), Undecided)


def sighting(at: float, seconds: int | None) -> Sighting:
    return Sighting(serial="T1", at=at, verdict=TokenVerdict.ACCEPTED, offset=0, seconds=seconds)


def test_two_readings_in_time_give_the_drift() -> None:
    """Five minutes in a hundred days are three seconds a day. The error is one step in that time."""
    drift = drift_of([sighting(NOW, 0), sighting(NOW + 100 * DAY, -300)], period=30)
    assert drift
    assert (drift.rate, drift.within) == (-3.0, 0.3)


@pytest.mark.parametrize("seen", [
    [],
    [sighting(NOW, 0)],
    [sighting(NOW, 0), sighting(NOW + 6 * DAY, 30)],
    [sighting(NOW, None), sighting(NOW + 60 * DAY, 30)],
])  # fmt: skip
def test_too_few_or_too_close_readings_give_no_drift(seen: list[Sighting]) -> None:
    assert drift_of(seen, period=30) is None


def test_a_box_is_counted_and_its_clocks_are_sorted() -> None:
    accepted, rejected = sighting(NOW, 60), Sighting(serial="T3", at=NOW, verdict=TokenVerdict.REJECTED, reason="no")
    box = TokenBatch(
        tokens=(
            (Token(serial="T1"), accepted),
            (Token(serial="T2"), sighting(NOW, -30)),
            (Token(serial="T3"), rejected),
            (Token(serial="T4"), None),
        )
    )
    assert {verdict: box.of(verdict) for verdict in TokenVerdict} == {"untested": 1, "accepted": 2, "rejected": 1}
    assert (box.offsets, box.median) == ([-30, 60], 15.0)


def test_a_box_without_a_reading_has_no_median() -> None:
    assert TokenBatch(tokens=((Token(serial="T1"), None),)).median is None


def test_the_distribution_shows_its_gaps() -> None:
    assert histogram([-60, 0, 0, 30]) == [(-60, 1), (-30, 0), (0, 2), (30, 1)]
    assert histogram([]) == []


def test_the_distribution_of_clocks_fits_on_a_page() -> None:
    """Every clock is counted, however different their offsets are."""
    bars = histogram([-5 * DAY, -30, 0, 2 * DAY])
    assert len(bars) <= BINS
    assert sum(count for _, count in bars) == 4


def test_a_fingerprint_distinguishes_seeds_only_with_the_secret() -> None:
    seeds, keys = [Seed(b"a" * 20), Seed(b"b" * 20)], [Secret(b"k" * 32), Secret(b"l" * 32)]
    assert len({otp.fingerprint(seed, mark) for seed in seeds for mark in keys}) == 4
    assert otp.fingerprint(seeds[0], keys[0]) == otp.fingerprint(Seed(b"a" * 20), keys[0])


def test_a_serial_is_found_in_any_spelling() -> None:
    keys = [key(Made("ab 12"))]
    assert matching.token_named(keys, "AB12") is keys[0]
    assert matching.token_named(keys, "AB13") is None


@pytest.mark.parametrize("counter", [2**63 - 3, 2**64 - 12, 2**64 - 1])
def test_a_counter_ends_after_eight_octets(counter: int) -> None:
    """RFC 4226, 5.1. The search ends at the largest counter, from any start."""
    made = Made("T1", factor="hotp", counter=counter)
    shown = TypedCodes(codes=(judged_code(made, counter),), at=NOW)
    verdict = matching.verify_codes(key(made), shown)
    assert isinstance(verdict, Match)
    assert verdict.offset == 0
    wrong = TypedCodes(codes=(judged_code(made, counter - 2000),), at=NOW)
    assert isinstance(matching.verify_codes(key(made), wrong), Mismatch)


def judged_code(made: Made, counter: int) -> str:
    """Return a code as oathtool computes it."""
    command = ["oathtool", "--hotp", "-c", str(counter), "-"]
    return subprocess.run(command, input=made.hex, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("drift", [-40, 500, 5000])
@pytest.mark.parametrize("off", [0, 3, -20, 20])
def test_the_search_begins_at_the_drift_that_the_file_states(drift: int, off: int) -> None:
    """A clock that has been wrong for long is found in the usual window, and its whole offset is reported."""
    made = Made("T1")
    drifting = replace(key(made), token=replace(key(made).token, drift=drift))
    shown = TypedCodes(codes=tuple(made.shows(NOW, ahead=30 * (drift + off + at)) for at in (-1, 0)), at=NOW)
    verdict = matching.verify_codes(drifting, shown)
    assert isinstance(verdict, Match)
    assert (verdict.offset, verdict.seconds) == (drift + off, 30 * (drift + off))
    assert not isinstance(matching.verify_codes(key(made), shown), Match) or abs(drift + off) <= matching.WINDOW


@pytest.mark.parametrize("drift", [-500, 25, 100, 30_000])
@pytest.mark.parametrize("off", [0, 20, -20])
def test_a_clock_is_found_although_the_file_states_a_drift(drift: int, off: int) -> None:
    """The clock is right, or a few steps off, while the file says that it is wrong by far: the token is accepted."""
    made = Made("T1")
    drifting = replace(key(made), token=replace(key(made).token, drift=drift))
    for typed in (one(made, ahead=30 * off), two(made, ahead=30 * off)):
        verdict = matching.verify_codes(drifting, typed)
        assert isinstance(verdict, Match)
        assert (verdict.offset, verdict.seconds) == (off, 30 * off)
        assert [match.offset for match in matching.find_tokens([drifting], typed)] == [off]
    beyond = matching.verify_codes(drifting, two(made, ahead=30 * -33))
    assert isinstance(beyond, Mismatch)
    assert beyond.hint == "accept the token with --window 34, or reject it"


def test_one_code_at_the_drift_that_the_file_states_is_a_proof() -> None:
    """At the expected offset, a coincidence is as improbable as at an offset of zero."""
    made = Made("T1")
    drifting = replace(key(made), token=replace(key(made).token, drift=30_000))
    shown = TypedCodes(codes=(made.shows(NOW, ahead=30 * 30_000),), at=NOW)
    assert isinstance(matching.verify_codes(drifting, shown), Match)
    far = TypedCodes(codes=(made.shows(NOW, ahead=30 * 30_500),), at=NOW)
    verdict = matching.verify_codes(drifting, far)
    assert "--window 501" in getattr(verdict, "hint", "")


def test_a_drift_before_the_epoch_finds_nothing() -> None:
    """Steps before 1970 would be negative, so they are not searched."""
    made = Made("T1")
    drifting = replace(key(made), token=replace(key(made).token, drift=-175_200))
    assert isinstance(matching.verify_codes(drifting, TypedCodes(codes=("123456",), at=60.0)), Mismatch)
