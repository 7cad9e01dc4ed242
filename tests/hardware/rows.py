"""The rows of a contract with keys: what mfa-kit relies on, what a key did, and whether that is the same."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from fido2.ctap import CtapError
from yubikit.core.smartcard import ApduError

from mfa_kit.core.errors import MfaKitError

Tell = Callable[[str], None]


@dataclass
class Person:
    """The person at a key.

    `tell` shows them a message. `touch` is called with whether they should touch the key or leave it alone. None means
    that nobody is there.
    """

    tell: Tell
    touch: Callable[[bool], None] | None = None
    _away: bool = False

    def say(self, message: str) -> None:
        """Show a message of mfa-kit, unless the person was told to leave the key alone."""
        if not self._away:
            self.tell(message)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let the person leave the key alone."""
        self._hand(may_touch=False)
        try:
            yield
        finally:
            self._hand(may_touch=True)

    def _hand(self, *, may_touch: bool) -> None:
        self._away = not may_touch
        if self.touch:
            self.touch(may_touch)


class Verdict(StrEnum):
    """Whether a key did what a row expects."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_RUN = "not run"


class Bench(Protocol):
    """A key and the person at it."""

    def lacks(self, needs: str) -> str | None:
        """Return why rows with this need cannot run, or None if they can. Every row needs the `key`."""
        ...

    def words(self, error: MfaKitError) -> str:
        """Return the words of an error without the name of the reader."""
        ...

    def clear(self) -> str:
        """Remove what the rows left on the key. Return whether something is left."""
        ...


B = TypeVar("B", bound=Bench)


@dataclass(frozen=True, slots=True)
class Row(Generic[B]):
    """One row: what the key is expected to do, the function that tries it, and what the row needs of the key."""

    name: str
    says: str
    ask: Callable[[B], str]
    needs: tuple[str, ...] = ()

    def answer(self, bench: B) -> str:
        """Try the row. Return what the key did, or the words of an error; for an unforeseen error, only its type."""
        try:
            return self.ask(bench)
        except MfaKitError as error:
            return bench.words(error)
        except ApduError as error:
            return f"status {error.sw:04x}"
        except CtapError as error:
            return f"CTAP status 0x{error.code:02x}"
        except Exception as error:  # noqa: BLE001 - the report goes on; the text of the error could hold a secret
            return type(error).__name__


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a key did in one row."""

    row: str
    expected: str
    did: str
    verdict: Verdict


def judge(row: Row[B], bench: B) -> RowResult:
    """Try a row, unless the key lacks what it needs."""
    lacking = next((why for need in ("key", *row.needs) if (why := bench.lacks(need))), None)
    if lacking:
        return RowResult(row.name, row.says, lacking, Verdict.NOT_RUN)
    did = row.answer(bench)
    return RowResult(row.name, row.says, did, Verdict.SAME if did == row.says else Verdict.DIFFERS)


def try_rows(rows: Sequence[Row[B]], bench: B) -> Iterator[RowResult]:
    """Try the rows in order, and yield what the key did. The last row removes what the others left on the key."""
    last: Row[B] = Row("nothing-left", "nothing is left", lambda bench: bench.clear())
    try:
        for row in rows:
            yield judge(row, bench)
    except BaseException:
        judge(last, bench)  # also after Ctrl-C
        raise
    yield judge(last, bench)


def table(rows: Sequence[RowResult]) -> str:
    """Return what a key did as a Markdown table, and how many rows have which verdict."""
    lines = ["| row | expected | the key did | verdict |", "|---|---|---|---|"]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (row.row, row.expected, row.did, row.verdict)) + " |"
        for row in rows
    ]
    counts = ", ".join(f"{sum(row.verdict is verdict for row in rows)} {verdict}" for verdict in Verdict)
    return "\n".join([*lines, "", f"{len(rows)} rows: {counts}"])


def as_json(about: Sequence[str], key: dict[str, object], rows: Sequence[RowResult]) -> str:
    """Return the same as JSON, with what is known about this computer, and what the key says of itself."""
    return json.dumps(
        {"about": [*about], "key": key, "rows": [asdict(row) for row in rows]}, indent=1, ensure_ascii=False
    )
