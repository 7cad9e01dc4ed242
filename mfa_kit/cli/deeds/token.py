"""What `mfa-kit token` does: a seed file into the inventory, the inventory shown, a box worked through."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from mfa_kit import tokens
from mfa_kit.cli import flags, report, sheet, stderr, terminal
from mfa_kit.cli.kit import token as kit
from mfa_kit.errors import UsageFault
from mfa_kit.ports import Interaction
from mfa_kit.seeds import Dropped, SeedFile, Sighting, Token, Typed, Verdict
from mfa_kit.tokens import Box, NotShown, Shown

INSTEAD = "--codes-stdin"
# A typist is slow, a scanner is not: what a person is asked in a session ends with an empty line.
DONE = ""
# Letters of the longest bar.
WIDE = 40


def typed(person: Interaction, *, count: int, from_stdin: bool, now: Callable[[], float]) -> Typed:
    """Return one code or two, from stdin or off a display that somebody reads."""
    if from_stdin:
        given = kit.lines()
        if len(given) not in {count, 2}:
            raise UsageFault(f"stdin has {len(given)} codes", f"give {count}, one a line")
        return Typed(codes=tuple(given), at=now())
    prompts = ("code",) if count == 1 else ("first code", "next code")
    codes = tuple("".join(person.ask_code(prompt, instead=INSTEAD).split()) for prompt in prompts)
    return Typed(codes=codes, at=now())


def import_(
    file: Path, *, programmable: int | None, prove: str | None, codes_stdin: bool, window: int, **how: Any
) -> int:
    """Read a seed file into the inventory, and print what came; return 1 where a row was not taken."""
    common = flags.common()
    found = kit.seed_file(file, **how)
    if prove:
        person = terminal.person(common)
        found = tokens.proved(found, prove, typed(person, count=2, from_stdin=codes_stdin, now=kit.now), window=window)
    taken = tokens.settled(found)
    keys = [key.programmable(programmable) for key in taken.keys] if programmable else taken.keys
    came = None if common.dry_run else kit.stock(keys, found.bare)
    usable = [tokens.for_aws(each) for each in (*(key.token for key in keys), *found.bare)]
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
    _with_dropped("token-import", row, taken.dropped, output=common.output)
    return 1 if taken.dropped else 0


def _counted(words: Iterator[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _with_dropped(schema: str, row: dict[str, Any], dropped: Sequence[Dropped], *, output: str) -> None:
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


def list_(verdict: str | None) -> None:
    """Print the inventory."""
    with kit.shelf() as inventory:
        stocked = [each for each in inventory.tokens() if verdict in {None, each.verdict}]
        last = inventory.last()
    rows = []
    for each in stocked:
        seen = last.get(each.token.serial)
        aws = tokens.for_aws(each.token)
        rows.append(
            {
                "serial": each.token.serial,
                "make": " ".join(filter(None, (each.token.maker, each.token.model))),
                "type": kind_of(each.token),
                "verdict": each.verdict,
                "offset_s": seen.seconds if seen else None,
                "read": flags.written(seen.at) if seen else None,
                "aws": aws.kind or "no",
                "why": each.reason or aws.why,
                "user": each.user,
            }
        )
    report.many("token-list", rows, output=flags.common().output, empty="the inventory is empty: mfa-kit token import")


def kind_of(one: Token) -> str:
    """Name a token's parameters in one word: `totp-sha1-6-30s`, `hotp-sha1-6`."""
    step = f"-{one.period}s" if one.factor == "totp" else ""
    return f"{one.factor}-{one.digest}-{one.digits}{step}"


class Sitting:
    """A box that is being worked through. Until hex or base32 is settled it has two readings, and no inventory."""

    def __init__(self, file: SeedFile, *, window: int, two: bool) -> None:
        self._window, self._two = window, two
        self._read(file)

    def _read(self, file: SeedFile) -> None:
        self._file = file
        keys = file.readings[0].keys if file.readings else ()
        self._keys = {key.token.serial: key for key in keys}
        self.tokens = [*(key.token for key in keys), *file.bare]
        self._serials = {folded(each.serial): each.serial for each in self.tokens}
        if self._settled:
            kit.stock(keys, file.bare)

    @property
    def _settled(self) -> bool:
        return len(self._file.readings) < 2  # noqa: PLR2004 - hex and base32

    def named(self, serial: str) -> str | None:
        """Return a serial as the file writes it; None for one that is not in this box."""
        return self._serials.get(folded(serial))

    def count(self, serial: str) -> int:
        """Return how many codes are to be read: two where one would prove nothing."""
        return 2 if self._two or not self._settled or serial not in self._keys else 1

    def judge(self, serial: str, codes: Typed, *, near: int = 0) -> Shown | NotShown | None:
        """Judge a token of this box; None is a display that works, of a token whose seed only AWS has.

        Raise UsageFault where hex or base32 is open and these codes do not settle it.
        """
        if not self._settled:
            self._read(tokens.proved(self._file, serial, codes, window=self._window))
        if serial not in self._keys:
            return tokens.display(codes)
        among = tuple(self._keys.values())
        return tokens.verify(self._keys[serial], codes, among=among, window=self._window, near=near)


def accept(file: Path, *, readings: Path | None, two: bool, window: int, out: Path | None, **how: Any) -> int:
    """Test a box by a table or at the desk, and print how far it is; return 1 until all of it is accepted."""
    common = flags.common()
    if common.dry_run:
        raise UsageFault("acceptance keeps what is read, so it has no --dry-run", "--no-input shows how far a box is")
    sitting = Sitting(kit.seed_file(file, **how), window=window, two=two)
    refused: list[Dropped] = []
    if readings:
        refused = _from_table(sitting, readings)
    elif not common.no_input:
        _session(sitting, terminal.person(common))
    with kit.shelf() as inventory:
        last = inventory.last()
    box = Box(tokens=tuple((each, last.get(each.serial)) for each in sitting.tokens))
    _report_box(box, refused, output=common.output)
    if out:
        kit.write_new(out, sheet.page(box, name=file.name, at=flags.written(kit.now())))
    return 0 if box.of(Verdict.ACCEPTED) == len(box.tokens) and not refused else 1


def _from_table(sitting: Sitting, path: Path) -> list[Dropped]:
    refused: list[Dropped] = []
    seen: list[Sighting] = []
    for row in kit.written(path):
        if isinstance(row, Dropped):
            refused.append(row)
        elif (serial := sitting.named(row.serial)) is None:
            refused.append(Dropped(row.where, f"{row.serial} is not in this box"))
        else:
            try:
                verdict = sitting.judge(serial, row.typed)
            except UsageFault as unsettled:
                refused.append(Dropped(row.where, str(unsettled)))
            else:
                seen.append(tokens.judged(serial, verdict, at=row.typed.at))
    with kit.shelf() as inventory:
        inventory.sight(*seen)
    return refused


def _session(sitting: Sitting, person: Interaction) -> None:
    """Ask for serials and codes until an empty serial; each reading is kept before the next is asked for."""
    person.check(instead="--readings CSV, or --no-input to report what was tested")
    with kit.shelf() as inventory:
        last = inventory.last()
    while True:
        accepted = sum(seen.verdict is Verdict.ACCEPTED for seen in last.values())
        given = person.ask_code(f"serial ({accepted} of {len(sitting.tokens)} accepted)", instead="--readings CSV")
        if given == DONE:
            return
        serial = sitting.named(given)
        if serial is None:
            person.say(f"{given} is not in this box")
            continue
        codes = typed(person, count=sitting.count(serial), from_stdin=False, now=kit.now)
        before = last.get(serial)
        try:
            verdict = sitting.judge(serial, codes, near=(before.offset or 0) if before else 0)
        except UsageFault as unsettled:
            person.say(f"{unsettled}; {unsettled.hint}")
            continue
        last[serial] = tokens.judged(serial, verdict, at=codes.at)
        with kit.shelf() as inventory:
            inventory.sight(last[serial])
        person.say(said(verdict))


def said(verdict: Shown | NotShown | None) -> str:
    """Say a verdict in one line."""
    match verdict:
        case Shown():
            return f"accepted: {verdict.words()}"
        case NotShown():
            return f"rejected: {verdict.what}; {verdict.hint}"
        case None:
            return "accepted: the display works; whether AWS knows the token, --probe-user proves"


def box_rows(box: Box) -> list[dict[str, Any]]:
    """Return the box as rows, in the file's order."""
    return [
        {
            "serial": one.serial,
            "type": kind_of(one),
            "verdict": seen.verdict if seen else Verdict.UNTESTED,
            "offset_steps": seen.offset if seen else None,
            "offset_s": seen.seconds if seen else None,
            "read": flags.written(seen.at) if seen else None,
            "reason": seen.reason if seen else "",
        }
        for one, seen in box.tokens
    ]


def _report_box(box: Box, refused: Sequence[Dropped], *, output: str) -> None:
    total = {verdict.value: box.of(verdict) for verdict in Verdict}
    drift = {
        "clocks": len(box.offsets),
        "slowest_s": box.offsets[0] if box.offsets else None,
        "median_s": box.median,
        "fastest_s": box.offsets[-1] if box.offsets else None,
    }
    rows = box_rows(box)
    if output == "json":
        not_taken = [{"where": each.where, "reason": each.reason} for each in refused]
        report.one("token-accept", {**total, "drift": drift, "not_taken": not_taken, "tokens": rows}, output=output)
        return
    report.many("token-accept", rows, output=output, empty="there is no token in this box")
    if output == "table":
        click.echo()
        report.one("token-accept", {**total, **drift, "not_taken": len(refused)}, output=output)
        bars = tokens.histogram(box.offsets)
        most = max((count for _, count in bars), default=0)
        for middle, count in bars:
            click.echo(f"{middle:>8} s  {count:>5}  {'#' * -(-count * WIDE // most)}".rstrip())
        for each in refused:
            click.echo(f"{each.where}: {stderr.printable(each.reason)}")
