"""`mfa-kit recipients fetch`: copy a roster, and add the users' public keys from a forge or a file to the copy."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.text import ResultRow, count_of, few, iso_time
from mfa_kit.rollout.recipient_choice import (
    FETCHED,
    FINGERPRINT,
    SOURCE,
    Chosen,
    FetchState,
    FoundKeys,
    choose_recipient,
)
from mfa_kit.rollout.roster import ACCOUNT, COLUMNS
from mfa_kit.rollout.roster_files import ARN, ReadRow

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings

GITHUB = "https://github.com"
USER = "user"
# A message lists at most this many names, so that it stays short.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """A row of the roster, and the recipient that was chosen for the row.

    `name` is the user's name at the forge or in the file of keys, and `source` is the URL or file with the user's keys.
    Both are "" if the row has no name.
    """

    row: ReadRow
    name: str
    source: str
    chosen: Chosen


@click.command(cls=Verb)
@click.argument("roster", type=LocalPath())
@click.option("-o", "--out", "new", required=True, type=LocalPath(), metavar="NEW", help="The roster to write.")
@click.option("--github", "column", metavar="COLUMN", help="The roster's column with the users' names at the forge.")
@click.option("--base-url", default=GITHUB, show_default=True, metavar="URL", help="The forge: GitHub or GitLab.")
@click.option(
    "--from",
    "file",
    type=LocalPath(),
    metavar="FILE",
    help="Read keys from FILE instead: a name and a key on each line.",
)
def fetch(
    *, roster: Path, new: Path, column: str | None, base_url: str, file: Path | None, settings: Settings, output: Output
) -> int:
    """Write the users' public keys from a forge's URL/NAME.keys, or from a file, into a copy of ROSTER.

    Review the result: whoever controls a user's account at the forge can add a key there.
    """
    if column is None and file is None:
        raise click.UsageError("give --github COLUMN, or --from FILE")
    named = (column or USER).lower()
    rows = _read_rows(roster, new, named)
    names = list(dict.fromkeys(filter(None, (_name(row, named) for row in rows))))
    keys_by_name = _read_keys(names, file, base_url, settings)
    before = wiring.rollout.recipients_before(settings)
    results = [_choose(row, _name(row, named), keys_by_name, before, source=str(file or base_url)) for row in rows]
    if not settings.dry_run:
        wiring.rollout.write_file(new, _roster(results, named, fetched_at=iso_time(time.time())))
    _report(results, settings)
    _show(results, new, output, dry=settings.dry_run)
    return int(any(result.chosen.state is FetchState.NONE for result in results))


def _report_unused(
    names: Sequence[str], keys_by_name: Mapping[str, FoundKeys], source: Path, settings: Settings
) -> None:
    """Print the names that are in a file of keys but in no row of the roster. They may be misspelled."""
    if unused := [ascii(name) for name in keys_by_name if name not in names]:
        settings.progress.note(f"{source} has keys of {count_of(len(unused), 'name')} not in the roster: {few(unused)}")


def _read_rows(roster: Path, new: Path, named: str) -> list[ReadRow]:
    """Return the rows of the roster. Raise UsageFault if it lacks the column `named`, or if `new` is the same file."""
    if os.path.realpath(roster) == os.path.realpath(new):
        raise UsageFault(f"{new} would overwrite the roster itself", "name another file: -o NEW")
    rows = wiring.rollout.read_roster_cells(roster, also=[named, FINGERPRINT])
    if not any(named in row.cells for row in rows):
        raise UsageFault(
            f"{roster} has no column {named!r}", "name the column with the users' names at the forge: --github COLUMN"
        )
    return rows


def _read_keys(names: Sequence[str], file: Path | None, base_url: str, settings: Settings) -> Mapping[str, FoundKeys]:
    """Return the keys of each name in the file, or of `names` at the forge. Print the unused names in the file."""
    with settings.progress.showing(f"reading the keys of {count_of(len(names), 'user')}"):
        keys_by_name = wiring.rollout.read_all(file) if file else wiring.rollout.fetch_all(base_url, names)
    if file:
        _report_unused(names, keys_by_name, file, settings)
    return keys_by_name


def _name(row: ReadRow, named: str) -> str:
    """Return the user's name at the forge or in the file of keys; "" if the row has none.

    If the cell has the ARN of a user, return only the name in the ARN.
    """
    cell = row.cells.get(named, "")
    arn = ARN.fullmatch(cell)
    return arn["user"] if arn else cell


def _choose(
    row: ReadRow,
    name: str,
    keys_by_name: Mapping[str, FoundKeys],
    before: Mapping[str, Mapping[str, str]],
    *,
    source: str,
) -> _Result:
    """Choose the recipient of a row. A row without a name keeps its recipient."""
    own = row.cells.get("recipient", "")
    if not name:
        return _Result(row=row, name="", source="", chosen=Chosen(state=FetchState.UNCHANGED, recipient=own))
    keys = keys_by_name.get(name) or FoundKeys(source=source, fault=f"{source} has no key of {name!a}")
    known = {" ".join(own.split()[:2])} if own else set()
    chosen = choose_recipient(keys, fingerprint=row.cells.get(FINGERPRINT, ""), before=known | _used(row, before))
    return _Result(row=row, name=name, source=keys.source, chosen=chosen)


def _used(row: ReadRow, before: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the user's recipients to which earlier backups were encrypted.

    If the user had a recipient in the row's account, return only the latest recipient in that account. Otherwise
    return the latest recipient in each account.

    `before` maps user names in lower case to mappings from account to latest recipient.
    """
    user = row.cells.get(USER, "")
    arn = ARN.fullmatch(user)
    account = arn["account"] if arn else row.cells.get(ACCOUNT, "")
    by_account = before.get((arn["user"] if arn else user).lower(), {})
    return {by_account[account]} if account in by_account else set(by_account.values())


def _roster(results: Sequence[_Result], named: str, *, fetched_at: str) -> str:
    """Return the new roster as CSV: the columns of a roster, the column `named`, and three about the recipients."""
    account = [ACCOUNT] if any(result.row.cells.get(ACCOUNT) for result in results) else []
    extra = [] if named in {*COLUMNS, ACCOUNT} else [named]
    rows = []
    for result in results:
        cells = dict(result.row.cells)
        if result.chosen.state is not FetchState.UNCHANGED:
            fetched = bool(result.chosen.recipient)
            cells |= {
                "recipient": result.chosen.recipient,
                SOURCE: result.source if fetched else "",
                FETCHED: fetched_at if fetched else "",
                FINGERPRINT: result.chosen.fingerprint or result.row.cells.get(FINGERPRINT, ""),
            }
        rows.append(cells)
    return csv_table((*COLUMNS, *account, *extra, SOURCE, FETCHED, FINGERPRINT), rows)


def _report(results: Sequence[_Result], settings: Settings) -> None:
    for result in results:
        for note in result.chosen.notes:
            settings.progress.alert(f"{result.row.cells.get(USER, '')}: {note}")


def _show(results: Sequence[_Result], new: Path, output: Output, *, dry: bool) -> None:
    """Print the number of rows in each state. JSON also has a row per user, and CSV has only the rows per user."""
    rows: list[ResultRow] = [
        {
            "user": result.row.cells.get(USER, ""),
            "name": result.name or None,
            "state": result.chosen.state.value,
            "recipient_fingerprint": result.chosen.fingerprint or None,
            "recipient_source": result.source or None,
            "notes": list(result.chosen.notes),
        }
        for result in results
    ]
    if output.form in {"csv", "text"}:
        output.many("recipients-fetch", rows, empty="", narrow=("user", "name", "state", "notes"))
        return
    counts = {
        state.value.replace(" ", "_"): sum(result.chosen.state is state for result in results) for state in FetchState
    }
    head: ResultRow = {"roster": None if dry else str(new), **counts}
    output.one("recipients-fetch", {**head, "rows": rows} if output.form == "json" else head)
