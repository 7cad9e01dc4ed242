"""`mfa-kit usage update`: reads from CloudTrail when MFA devices were last used, and records it in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.interaction import Progress, counting
from mfa_kit.core.models import BackupLocation, S3Url
from mfa_kit.core.text import ResultRow, count_of, few, iso_time
from mfa_kit.enrollment.pacing import Backoff
from mfa_kit.usage.updating import (
    EventFile,
    FilesResult,
    HistoryReader,
    RegionResult,
    collectors_for,
    read_file,
    record_files,
    update_account,
)

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.settings import Settings

FORM = RowsForm(
    "usage-update",
    fields=("region", "read_since", "read_until", "devices", "pages", "why"),
    narrow=("region", "read_since", "read_until", "devices"),
    narrow_in_many=("region", "read_until", "devices"),
    empty="no events were found",
)
# The number of log files in a bucket that are read before their results are added up.
BATCH = 256
# The largest number of files that are named because they could not be read.
SHOWN = 20


@click.command(cls=options.Verb, acts_at_once=True)
@click.option(
    "--cloudtrail",
    "logs",
    type=PlaceType(),
    metavar="PATH|URL",
    help="Read log files in this folder, or below s3://BUCKET/PREFIX, instead of the event history of the account.",
)
@account_options(results=False)
def update(*, logs: BackupLocation | None, accounts: AccountsChoice | None, settings: Settings, output: Output) -> int:
    """Read from CloudTrail when MFA devices were last used, and record it in the ledger, for `status` and `audit`.

    The event history has the last 90 days. It is read in every enabled Region, two pages a second; the next time, only
    new events are read. After an interruption, run the command again.
    """
    with wiring.organization.open_organization(settings, accounts) as organization:
        records = wiring.ledger.usage_records(organization.ledger)
        if logs is not None:
            result = _read_files(logs, organization, settings)
            _report_files(result, settings.progress)

        def read(account: OrgAccount) -> AccountRows:
            opened, progress = organization.enter(account), ReadingProgress()
            history, now = wiring.aws.event_history(opened.iam, settings.stop), opened.iam.now
            turn = Backoff(sleep=settings.stop.sleep, progress=settings.progress)
            if logs is not None:
                return _rows(record_files(result, account.id, turn(history.regions), records, now=now()))
            reader = HistoryReader(
                account=account.id, history=history, records=records, now=now, turn=turn, on_page=progress.add
            )
            with nullcontext() if accounts else settings.progress.showing(progress.text):
                return _rows(update_account(reader, organization.within))

        visits = print_rows(organization, read, FORM, progress=settings.progress, output=output)
    incomplete = any(visit.found and visit.found.unread for visit in visits)
    return exit_code(visits, findings=incomplete)


class ReadingProgress:
    """Counts pages for the status line. Regions are read by several threads."""

    def __init__(self) -> None:
        self._pages, self._last = 0, ""

    def add(self, region: str, reached: float) -> None:
        """Note that a page of a Region was read, whose oldest event has the Unix time `reached`."""
        self._pages += 1
        self._last = f", {region} back to {iso_time(reached)[:10]}"

    def text(self) -> str:
        """Return the text of the status line."""
        return f"reading CloudTrail: {count_of(self._pages, 'page')}{self._last}"


def _rows(results: Sequence[RegionResult]) -> AccountRows:
    """Return a row for each Region, and the reasons why Regions were not read completely."""
    rows: list[ResultRow] = [
        {
            "region": result.region,
            "read_since": iso_time(result.since) if result.since is not None else None,
            "read_until": iso_time(result.until) if result.until is not None else None,
            "devices": len(result.devices),
            "pages": result.pages,
            "why": result.why or None,
        }
        for result in results
    ]
    by_reason: dict[str, list[str]] = {}
    for result in results:
        why = f"{result.why}; {result.error.hint}" if result.error else result.why
        for problem in [why, *(f"an event {problem}" for problem in result.problems)]:
            by_reason.setdefault(problem, []).append(result.region)
    unread = [f"{few(regions)}: {reason}" for reason, regions in by_reason.items() if reason]
    return AccountRows(rows, unread)


def _read_files(
    logs: BackupLocation, organization: wiring.organization.Organization, settings: Settings
) -> FilesResult:
    """Read all log files: those of a bucket several at a time, because each has to be fetched."""
    accounts = [account.id for account in organization.selection.chosen]
    now = organization.home.now()
    result = FilesResult(collectors=collectors_for(accounts, now=now))
    read: Callable[[EventFile], FilesResult] = partial(read_file, accounts=accounts, now=now)

    def results() -> Iterator[FilesResult]:
        files = wiring.stores.log_files(settings, logs)
        if not isinstance(logs, S3Url):
            yield from map(read, files)
        while batch := list(islice(files, BATCH)):
            yield from organization.within(read, batch)

    with counting(settings.progress, "reading log files", results()) as counted:
        for file_result in counted:
            result.add(file_result)
    return result


def _report_files(result: FilesResult, progress: Progress) -> None:
    for problem in result.problems[:SHOWN]:
        progress.alert(f"not read: {problem}")
    if result.problems:
        progress.alert(f"  try: download {count_of(len(result.problems), 'file')} again; the other files were read")
    for account, collector in result.collectors.items():
        for problem, count in collector.problems.items():
            progress.alert(f"not read: {count_of(count, 'event')} of account {account}: each {problem}")
    if result.others:
        others = count_of(result.others.total(), "event")
        progress.note(f"left out {others} of other accounts: {few([*result.others])}")
    progress.note(f"read {count_of(result.files, 'log file')}; whoever can write them can forge a use")
