"""Tests a box of display tokens, and counts the results. A box is all the tokens of one seed file.

The codes come from a CSV file, or from a person who reads the displays. The statistics show how many tokens were
accepted, and how far off their clocks are.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Protocol

from mfa_kit.core import otp
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import clauses
from mfa_kit.core.models import folded
from mfa_kit.tokens import matching
from mfa_kit.tokens.matching import Match, Mismatch, Undecided, ask_codes, sentence
from mfa_kit.tokens.seeds import (
    DroppedRow,
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
    WrittenReading,
)


class TokenStore(Protocol):
    """The ledger's inventory of display tokens, with the results of their tests. It stores no seeds."""

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> object:
        """Add tokens: those with a seed (`keys`) and those whose seed only AWS has (`bare`).

        If the seed of a known token changed, only tests of the new seed count, so the token is untested if there are
        none.
        """
        ...

    def last_sightings(self) -> Mapping[str, Sighting]:
        """Return the latest sighting of each tested token, by serial. Ignore tests of an earlier seed."""
        ...

    def record(self, *sightings: Sighting) -> None:
        """Store sightings of tokens that are in the inventory."""
        ...


# The maximum number of bins of a chart that fits on a sheet of paper and on a screen.
BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """The result of testing a box of tokens.

    `tokens` has each token of the seed file once, with its latest sighting, or None if it was not tested.
    """

    tokens: tuple[tuple[Token, Sighting | None], ...]

    def of(self, verdict: TokenVerdict) -> int:
        """Return how many tokens have this verdict."""
        return sum((sighting.verdict if sighting else TokenVerdict.UNTESTED) is verdict for _, sighting in self.tokens)

    @property
    def offsets(self) -> list[int]:
        """How many seconds the clock of each accepted token is ahead (negative: behind), smallest first.

        Tokens whose clock offset is unknown are left out.
        """
        return sorted(
            sighting.seconds
            for _, sighting in self.tokens
            if sighting and sighting.verdict is TokenVerdict.ACCEPTED and sighting.seconds is not None
        )

    @property
    def median(self) -> float | None:
        """The median of `offsets` in seconds, or None if `offsets` is empty."""
        return median(self.offsets) if self.offsets else None


def histogram(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Count clock offsets, in seconds, in bins. Return a pair for each bin: its middle in seconds, and its count.

    Each bin is 30 s wide, or a multiple of 30 s if there would be more than BINS bins. The middle of each bin is a
    multiple of its width. Empty bins in between are included. Return an empty list if there are no offsets.
    """
    if not offsets:
        return []
    width = otp.PERIOD * max(1, -(-(max(offsets) - min(offsets)) // (otp.PERIOD * (BINS - 2))))
    counts = Counter(round(offset / width) for offset in offsets)
    return [(index * width, counts[index]) for index in range(min(counts), max(counts) + 1)]


INSTEAD = "--readings CSV, or --no-input to report what was tested"
# An empty line ends a session, whether serials are typed or come from a barcode scanner.
DONE = ""


class BoxTrial:
    """A box of display tokens that is being tested.

    If the seeds could be hex or base32, both decodings of the file are kept until a code shows which one is right. Only
    then are the tokens added to the inventory.
    """

    def __init__(self, file: SeedFile, store: TokenStore, *, window: int, two: bool) -> None:
        self._store, self._window, self._two = store, window, two
        self._last: dict[str, Sighting] = {}
        self._read(file)

    def _read(self, file: SeedFile) -> None:
        self._file = file
        self.left_out = file.readings[0].dropped if file.readings else ()
        keys = file.readings[0].keys if file.readings else ()
        self._keys = {key.token.serial: key for key in keys}
        self.tokens = [*(key.token for key in keys), *file.bare]
        self._serials = {folded(token.serial): token.serial for token in self.tokens}
        if self._settled:
            self._store.stock(keys, file.bare)
            self._last = dict(self._store.last_sightings())

    @property
    def _settled(self) -> bool:
        return len(self._file.readings) < 2  # noqa: PLR2004 - hex and base32

    @property
    def box(self) -> TokenBatch:
        """The tokens of the seed file, each with its latest sighting, or None if it was not tested."""
        return TokenBatch(tokens=tuple((token, self._last.get(token.serial)) for token in self.tokens))

    def serial_in_file(self, serial: str) -> str | None:
        """Return a serial as the seed file spells it, or None if the file has no token with this serial."""
        return self._serials.get(folded(serial))

    def codes_wanted(self, serial: str) -> int:
        """Return how many codes of a token to ask for at first: one or two.

        If one code is not enough, `judge` returns an Undecided that asks for a second code.
        """
        return 2 if self._two or not self._settled or serial not in self._keys else 1

    def judge(self, serial: str, codes: TypedCodes) -> Match | Mismatch | Undecided | None:
        """Return the verdict on the token `serial` of this box, given codes that it displayed.

        For a token whose seed only AWS has, None means that its display works. Raise UsageFault if the seeds of the
        file could be hex or base32 and these codes do not show which.
        """
        if mistyped := matching.typing_error(codes):
            return mistyped
        if self._two and len(codes.codes) < 2:  # noqa: PLR2004 - the number in the option's name
            return Undecided(what="--two requires two codes, but only one was given", hint=matching.SECOND, second=True)
        if not self._settled:
            self._read(matching.settle_encoding(self._file, serial, codes, window=self._window))
        before = self._last.get(serial)
        if serial not in self._keys:
            if before and before.verdict is TokenVerdict.REJECTED:
                return Undecided(
                    what=f"AWS rejected this token: {before.reason}", hint="let AWS check it again: --probe-user USER"
                )
            return matching.judge_display(codes)
        near = before.offset if before else None
        among = tuple(self._keys.values())
        return matching.verify_codes(self._keys[serial], codes, among=among, window=self._window, near=near)

    def record(self, *sightings: Sighting) -> None:
        """Store sightings in the inventory of tokens."""
        self._store.record(*sightings)
        self._last = dict(self._store.last_sightings())


def judge_readings(trial: BoxTrial, rows: Sequence[WrittenReading | DroppedRow]) -> list[DroppedRow]:
    """Judge the codes in each row with `trial`, and store the verdicts in the inventory of tokens.

    Return the rows without a verdict, each with the reason.
    """
    refused: list[DroppedRow] = []
    sightings: list[Sighting] = []
    for row in rows:
        judged = row if isinstance(row, DroppedRow) else _judged_row(trial, row)
        if isinstance(judged, DroppedRow):
            refused.append(judged)
        else:
            sightings.append(judged)
    trial.record(*sightings)
    return refused


def _judged_row(trial: BoxTrial, row: WrittenReading) -> Sighting | DroppedRow:
    serial = trial.serial_in_file(row.serial)
    if serial is None:
        return DroppedRow(row.where, f"serial {row.serial} is not in this box")
    try:
        verdict = trial.judge(serial, row.typed)
    except UsageFault as unsettled:
        return DroppedRow(row.where, str(unsettled))
    if isinstance(verdict, Undecided):
        return DroppedRow(row.where, sentence(verdict))
    return matching.sighting_of(serial, verdict, time=row.typed.at)


def run_session(trial: BoxTrial, person: Interaction, *, now: Callable[[], float]) -> None:
    """Ask a person for serials and codes until they type an empty serial.

    Each verdict is printed, and is stored before the next question.
    """
    person.check(instead=INSTEAD)
    while True:
        box = trial.box
        prompt = f"serial ({box.of(TokenVerdict.ACCEPTED)} of {len(box.tokens)} accepted)"
        typed = person.ask_code(prompt, instead=INSTEAD)
        if typed == DONE:
            return
        if (serial := trial.serial_in_file(typed)) is None:
            person.say(f"serial {typed} is not in this box")
            continue
        try:
            count = trial.codes_wanted(serial)
            read = ask_codes(person, partial(trial.judge, serial), count=count, now=now, instead=INSTEAD)
        except UsageFault as unsettled:
            person.say(clauses([str(unsettled), unsettled.hint]))
            continue
        if read:
            codes, verdict = read
            trial.record(matching.sighting_of(serial, verdict, time=codes.at))
            person.say(sentence(verdict))
