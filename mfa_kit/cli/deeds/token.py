"""What `mfa-kit token` does: a seed file into the inventory, the inventory shown, a box worked through."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_never

import click

from mfa_kit.cli import messages, options, sheet
from mfa_kit.cli import output as report
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.tokens import matching
from mfa_kit.tokens.matching import Box, Match, Mismatch, Undecided
from mfa_kit.tokens.seeds import (
    DroppedRow,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
    WrittenReading,
    folded,
    joined_reasons,
)
from mfa_kit.wiring import token as kit
from mfa_kit.wiring.files import check_new

T = TypeVar("T")

INSTEAD = "--codes-stdin"
ELSEWHERE = "--readings CSV, or --no-input to report what was tested"
# A typist is slow, a scanner is not: what a person is asked in a session ends with an empty line.
DONE = ""
# Letters of the longest bar.
WIDE = 40


def from_stdin(judge: Callable[[TypedCodes], T], *, count: int) -> tuple[TypedCodes, T]:
    """Read one code or two from stdin, and judge them."""
    given = kit.lines()
    if len(given) not in {count, 2}:
        raise UsageFault(f"codes on stdin: {len(given)}", "give two, one a line" if count > 1 else "give one, or two")
    codes = TypedCodes(codes=tuple(given), at=kit.now())
    return codes, judge(codes)


def asked(
    person: Interaction, judge: Callable[[TypedCodes], T | Undecided], *, count: int, instead: str = INSTEAD
) -> tuple[TypedCodes, T] | None:
    """Ask for the codes that a display shows until they decide; None when nothing is typed."""
    before: tuple[str, ...] = ()
    while True:
        prompts = ("next code",) if before else ("code",) if count == 1 else ("first code", "next code")
        codes = list(before)
        for prompt in prompts:
            if not (code := "".join(person.ask_code(prompt, instead=instead).split())):
                return None
            codes.append(code)
        given = TypedCodes(codes=tuple(codes), at=kit.now())
        verdict = judge(given)
        if not isinstance(verdict, Undecided):
            return given, verdict
        person.say(said(verdict))
        before = given.codes if verdict.second and len(given.codes) == 1 else ()


def import_(
    file: Path, *, programmable: int | None, prove: str | None, codes_stdin: bool, window: int, **how: Any
) -> int:
    """Read a seed file into the inventory, and print what came; return 1 where a row was not taken."""
    common = options.common()
    found = kit.seed_file(file, **how)
    if prove:
        found = _proved(found, prove, codes_stdin=codes_stdin, window=window)
    taken = matching.settled_reading(found)
    keys = [key.programmable(programmable) for key in taken.keys] if programmable else taken.keys
    came = None if common.dry_run else kit.stock(keys, found.bare)
    usable = [matching.aws_use(each) for each in (*(key.token for key in keys), *found.bare)]
    row = {
        "outcome": "planned" if came is None else "imported",
        "format": found.layout,
        "encoding": taken.encoding if taken.keys else None,
        "tokens": len(usable),
        "usable_with_aws": sum(each.kind is not None for each in usable),
        "not_usable": [f"{count}: {why}" for why, count in _counted(each.why for each in usable if each.kind is None)],
        "new": came.new if came else None,
        "known": came.known if came else None,
        "with_another_seed": came.reseeded if came else None,
        "notes": found.notes,
    }
    _with_dropped("token-import", row, taken.dropped, output=options.form())
    return 1 if taken.dropped else 0


def _proved(found: SeedFile, serial: str, *, codes_stdin: bool, window: int) -> SeedFile:
    """Settle hex or base32 by two codes of one token."""
    if not any(matching.token_named(each.keys, serial) for each in found.readings):
        raise UsageFault(f"{serial} is no token of this file that has a seed", "look at the serial: --prove SERIAL")

    def judge(codes: TypedCodes) -> SeedFile | Undecided:
        return matching.typing_error(codes) or matching.settle_encoding(found, serial, codes, window=window)

    if codes_stdin:
        read = from_stdin(lambda codes: matching.settle_encoding(found, serial, codes, window=window), count=2)
    else:
        read = one_of(asked(options.common().interaction, judge, count=2))
    return read[1]


def one_of(read: tuple[TypedCodes, T] | None) -> tuple[TypedCodes, T]:
    """Return what was read. Raise Declined where nothing was typed."""
    if read is None:
        raise Declined("no code was typed, so nothing was looked at", f"type what the display shows, or use {INSTEAD}")
    return read


def _counted(words: Iterator[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _with_dropped(schema: str, row: dict[str, Any], dropped: Sequence[DroppedRow], *, output: str) -> None:
    """Print a result and each row of the file that was not taken."""
    rows = [{"where": each.where, "reason": each.reason} for each in dropped]
    if output in {"json", "jsonl"}:
        report.one(schema, row | {"not_taken": rows}, output=output)
        return
    said = {name: value for name, value in row.items() if value not in ((), [])}
    report.one(schema, said | {"not_taken": len(rows)}, output=output)
    if rows and output == "table":
        click.echo()
        report.many(schema, rows, output=output, empty="")
    elif rows:
        _tell_dropped(dropped)


def _tell_dropped(dropped: Sequence[DroppedRow]) -> None:
    """Tell what a result has no place for, on stderr."""
    for each in dropped:
        messages.Talk().note(f"{each.where}: {each.reason}")


def list_(verdict: str | None) -> None:
    """Print the inventory."""
    with kit.open_inventory() as inventory:
        stocked = [each for each in inventory.tokens() if verdict in {None, each.verdict}]
        last = inventory.last()
    rows = []
    for each in stocked:
        seen = last.get(each.token.serial)
        aws = matching.aws_use(each.token)
        rows.append(
            {
                "serial": each.token.serial,
                "make": " ".join(filter(None, (each.token.maker, each.token.model))),
                "type": kind_of(each.token),
                "verdict": each.verdict,
                "offset_s": seen.seconds if seen else None,
                "read": options.written(seen.at) if seen else None,
                "aws": aws.kind or "no",
                "why": each.reason or aws.why,
                "user": each.user,
            }
        )
    report.many("token-list", rows, output=options.form(), empty="the inventory is empty: mfa-kit token import")


def kind_of(one: Token) -> str:
    """Name a token's parameters in one word: `totp-sha1-6-30s`, `hotp-sha1-6`."""
    step = f"-{one.period}s" if one.factor == "totp" else ""
    return f"{one.factor}-{one.digest}-{one.digits}{step}"


class Sitting:
    """A box that is being worked through. Until hex or base32 is settled it has two readings, and no inventory."""

    def __init__(self, file: SeedFile, *, window: int, two: bool) -> None:
        self._window, self._two = window, two
        self._last: dict[str, Sighting] = {}
        self._read(file)

    def _read(self, file: SeedFile) -> None:
        self._file = file
        self.left_out = file.readings[0].dropped if file.readings else ()
        keys = file.readings[0].keys if file.readings else ()
        self._keys = {key.token.serial: key for key in keys}
        self.tokens = [*(key.token for key in keys), *file.bare]
        self._serials = {folded(each.serial): each.serial for each in self.tokens}
        if self._settled:
            kit.stock(keys, file.bare)
            with kit.open_inventory() as inventory:
                self._last = inventory.last()

    @property
    def _settled(self) -> bool:
        return len(self._file.readings) < 2  # noqa: PLR2004 - hex and base32

    @property
    def box(self) -> Box:
        """The tokens of this file, each with its newest reading."""
        return Box(tokens=tuple((each, self._last.get(each.serial)) for each in self.tokens))

    def named(self, serial: str) -> str | None:
        """Return a serial as the file writes it; None for one that is not in this box."""
        return self._serials.get(folded(serial))

    def count(self, serial: str) -> int:
        """Return how many codes are read at first; where one decides nothing, `judge` asks for a second."""
        return 2 if self._two or not self._settled or serial not in self._keys else 1

    def judge(self, serial: str, codes: TypedCodes) -> Match | Mismatch | Undecided | None:
        """Judge a token of this box; None is a display that works, of a token whose seed only AWS has.

        Raise UsageFault where hex or base32 is open and these codes do not settle it.
        """
        if mistyped := matching.typing_error(codes):
            return mistyped
        if self._two and len(codes.codes) < 2:  # noqa: PLR2004 - what --two says
            return Undecided(what="--two asks for two codes, and this is one", hint=matching.SECOND, second=True)
        if not self._settled:
            self._read(matching.settle_encoding(self._file, serial, codes, window=self._window))
        before = self._last.get(serial)
        if serial not in self._keys:
            if before and before.verdict is TokenVerdict.REJECTED:
                return Undecided(what=f"AWS refused it: {before.reason}", hint="let AWS judge again: --probe-user USER")
            return matching.judge_display(codes)
        near = (before.offset or 0) if before else 0
        among = tuple(self._keys.values())
        return matching.verify_codes(self._keys[serial], codes, among=among, window=self._window, near=near)

    def keep(self, *seen: Sighting) -> None:
        """Keep readings in the inventory."""
        with kit.open_inventory() as inventory:
            inventory.sight(*seen)
            self._last = inventory.last()


def accept(file: Path, *, readings: Path | None, two: bool, window: int, out: Path | None, **how: Any) -> int:
    """Test a box by a table or at the desk, and print how far it is; return 1 until all of it is accepted."""
    common = options.common()
    if common.dry_run:
        raise UsageFault("acceptance keeps what is read, so it has no --dry-run", "--no-input shows how far a box is")
    if out:
        check_new(out)
    written = kit.written(readings) if readings else ()
    sitting = Sitting(kit.seed_file(file, **how), window=window, two=two)
    refused: list[DroppedRow] = []
    if readings:
        refused = _from_table(sitting, written)
    elif not common.no_input:
        _session(sitting, common.interaction)
    box = sitting.box
    try:
        _report_box(box, refused, sitting.left_out, output=options.form())
    finally:  # whoever reads the report may go away before its end
        if out:
            missing = len(sitting.left_out)
            kit.write_new(out, sheet.page(box, name=file.name, at=options.written(kit.now()), missing=missing))
    return 0 if box.of(TokenVerdict.ACCEPTED) == len(box.tokens) and not refused and not sitting.left_out else 1


def _from_table(sitting: Sitting, rows: Sequence[WrittenReading | DroppedRow]) -> list[DroppedRow]:
    """Judge readings, keep what they decide, and return the rows that decide nothing, each with the reason."""
    refused: list[DroppedRow] = []
    seen: list[Sighting] = []
    for row in rows:
        if isinstance(row, DroppedRow):
            refused.append(row)
        elif (serial := sitting.named(row.serial)) is None:
            refused.append(DroppedRow(row.where, f"{row.serial} is not in this box"))
        else:
            try:
                verdict = sitting.judge(serial, row.typed)
            except UsageFault as unsettled:
                refused.append(DroppedRow(row.where, str(unsettled)))
                continue
            if isinstance(verdict, Undecided):
                refused.append(DroppedRow(row.where, said(verdict)))
            else:
                seen.append(matching.sighting_of(serial, verdict, at=row.typed.at))
    sitting.keep(*seen)
    return refused


def _session(sitting: Sitting, person: Interaction) -> None:
    """Ask for serials and codes until an empty serial; each reading is kept before the next is asked for."""
    person.check(instead=ELSEWHERE)
    while True:
        box = sitting.box
        prompt = f"serial ({box.of(TokenVerdict.ACCEPTED)} of {len(box.tokens)} accepted)"
        given = person.ask_code(prompt, instead=ELSEWHERE)
        if given == DONE:
            return
        if (serial := sitting.named(given)) is None:
            person.say(f"{given} is not in this box")
            continue
        try:
            read = asked(person, partial(sitting.judge, serial), count=sitting.count(serial), instead=ELSEWHERE)
        except UsageFault as unsettled:
            person.say(f"{unsettled}; {unsettled.hint}")
            continue
        if read:
            codes, verdict = read
            sitting.keep(matching.sighting_of(serial, verdict, at=codes.at))
            person.say(said(verdict))


def said(verdict: Match | Mismatch | Undecided | None) -> str:
    """Say a verdict in one line."""
    match verdict:
        case Match():
            return f"accepted: {verdict.words()}"
        case Mismatch():
            return f"rejected: {verdict.what}; {verdict.hint}"
        case Undecided():
            return f"not decided: {verdict.what}; {verdict.hint}"
        case None:
            return "accepted: the display works; whether AWS knows the token, --probe-user proves"
        case _:
            assert_never(verdict)


def box_rows(box: Box) -> list[dict[str, Any]]:
    """Return the box as rows, in the file's order."""
    return [
        {
            "serial": one.serial,
            "type": kind_of(one),
            "verdict": seen.verdict if seen else TokenVerdict.UNTESTED,
            "offset_steps": seen.offset if seen else None,
            "offset_s": seen.seconds if seen else None,
            "read": options.written(seen.at) if seen else None,
            "reason": seen.reason if seen else "",
        }
        for one, seen in box.tokens
    ]


def _report_box(box: Box, refused: Sequence[DroppedRow], left_out: Sequence[DroppedRow], *, output: str) -> None:
    """Print the box; `left_out` are its file's rows that could not be taken, whose tokens are in no box."""
    if left_out:
        messages.Talk().note(f"rows of the seed file that were not taken: {len(left_out)}; {joined_reasons(left_out)}")
    total = {verdict.value: box.of(verdict) for verdict in TokenVerdict}
    drift = {
        "clocks": len(box.offsets),
        "slowest_s": box.offsets[0] if box.offsets else None,
        "median_s": box.median,
        "fastest_s": box.offsets[-1] if box.offsets else None,
    }
    rows = box_rows(box)
    if output == "json":
        not_taken = [{"where": each.where, "reason": each.reason} for each in refused]
        rest = {"not_taken": not_taken, "not_in_box": [each.where for each in left_out], "tokens": rows}
        report.one("token-accept", {**total, "drift": drift, **rest}, output=output)
        return
    report.many("token-accept", rows, output=output, empty="there is no token in this box")
    if output == "table":
        click.echo()
        report.one("token-accept", {**total, **drift, "not_taken": len(refused)}, output=output)
        bars = matching.histogram(box.offsets)
        most = max((count for _, count in bars), default=0)
        for middle, count in bars:
            click.echo(f"{middle:>8} s  {count:>5}  {'#' * -(-count * WIDE // most)}".rstrip())
        for each in refused:
            click.echo(f"{each.where}: {messages.printable(each.reason)}")
    else:
        _tell_dropped(refused)
