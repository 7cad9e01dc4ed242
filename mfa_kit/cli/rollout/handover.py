"""`mfa-kit rollout handover`: write a folder for each user, with their encrypted file and a letter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import click

from mfa_kit import wiring
from mfa_kit.backups.opening import ReadAhead
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.letters import PAPER, letter_page, letter_text
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import PlannedWork, read_accounts, read_files
from mfa_kit.cli.value_types import Day
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.letter import Letter, LetterTemplate
from mfa_kit.core.message import Message, clauses
from mfa_kit.core.models import RUN, BackupLocation, JournalEntry, copies_of, own_copy, recorded_location
from mfa_kit.core.text import count_of, few
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.letters.sheet import Paper
from mfa_kit.organization.accounts import AccountsChoice
from mfa_kit.rollout.handing_over import Handover, HandoverState, LeftOut, devices_of_plan, find_handovers
from mfa_kit.rollout.handover_letter import letter_values
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.records import entries_of_run
from mfa_kit.rollout.roster import ACCOUNT, csv_table
from mfa_kit.rollout.row_status import entries_by_serial
from mfa_kit.wiring.settings import Settings

T = TypeVar("T", Handover, LeftOut)
COLUMNS = ("user", "email", "file", "letter", "device", "state")
TABLE = "handover.csv"
# The forms of a letter: the name of each file, and the function that makes its content. handover.csv has the path of
# the first file.
FORMS: Mapping[str, Callable[[Letter], str]] = {"letter.html": letter_page, "letter.txt": letter_text}
PDF = "letter.pdf"


@dataclass(slots=True, kw_only=True)
class Letters:
    """Makes the folders of the users, one after another, and adds each result to `rows` or `failed`.

    `printer` returns the PDF of a letter. If it is None, no PDF is made. With `by_account`, each account has a
    folder that contains the folders of its users, and the table has a column for the account.
    """

    folder: Path
    template: LetterTemplate
    files: ReadAhead
    company: str
    contact: str
    deadline: str
    printer: Callable[[Letter], bytes] | None
    by_account: bool = False
    rows: list[dict[str, str]] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)

    def folders(self, handovers: Sequence[Handover]) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """Yield the path of each user's folder, relative to `folder`, with the contents of the user's files by name.

        With `by_account`, the empty folders of the accounts come first. A user whose file cannot be read is added to
        `failed` and gets no folder. The last path is "", with the table of all users.
        """
        by_copy = {handover.copy: handover for handover in handovers}
        if self.by_account:
            yield from ((account, {}) for account in sorted({handover.entry.spec.account for handover in handovers}))
        for handover in (by_copy[copy] for copy in self.files.prefetch(by_copy)):
            try:
                sealed = self.files.read(handover.copy)
            except IntegrityFault as error:
                account = handover.entry.spec.account if self.by_account else ""
                self.failed.append(
                    LeftOut(user=handover.user, reason=clauses([str(error), error.hint]), account=account)
                )
                continue
            letters = self._letters(handover)
            self.rows.append(self.row(handover))
            yield self._folder(handover), {handover.file: sealed, **letters}
        yield "", {TABLE: csv_table(self.columns, self.rows).encode()}

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the table."""
        return (ACCOUNT, *COLUMNS) if self.by_account else COLUMNS

    def row(self, handover: Handover) -> dict[str, str]:
        """Return the row of a user in the table."""
        below = self.folder / self._folder(handover)
        return {
            **({ACCOUNT: handover.entry.spec.account} if self.by_account else {}),
            "user": handover.user,
            "email": handover.email,
            "file": str(below / handover.file),
            "letter": str(below / next(iter(FORMS))),
            "device": handover.entry.spec.serial,
            "state": handover.state.value,
        }

    def _folder(self, handover: Handover) -> str:
        return f"{handover.entry.spec.account}/{handover.folder}" if self.by_account else handover.folder

    def _letters(self, handover: Handover) -> dict[str, bytes]:
        """Return the letter to a user in each form, by the name of the file."""
        letter = self.letter(handover)
        letters = {name: form(letter).encode() for name, form in FORMS.items()}
        return {**letters, PDF: self.printer(letter)} if self.printer else letters

    def letter(self, handover: Handover) -> Letter:
        """Return the letter to a user."""
        values = letter_values(
            handover.entry,
            file=handover.file,
            staged=handover.state is HandoverState.STAGED,
            email=handover.email,
            company=self.company,
            contact=self.contact,
            deadline=self.deadline,
        )
        return self.template.fill(values)


@click.command(cls=Verb)
@click.argument("plan_or_run", metavar="PLAN|RUN")
@click.option("-o", "--out", "folder", required=True, type=Path, metavar="DIR", help="New folder for the users' files.")
@options.ONLY
@click.option("--deadline", type=Day(), metavar="DATE", help="Deadline to print in the letters, such as 2026-12-01.")
@click.option("--template", type=Path, metavar="FILE", help="Text of the letters, in place of the built-in text.")
@click.option("--pdf", is_flag=True, help="Also write each letter as a PDF file.")
@PAPER
@BACKUP_DIR
@account_options(workers=False, results=False)
def handover(
    *,
    plan_or_run: str,
    folder: Path,
    only: str | None,
    deadline: str | None,
    template: Path | None,
    pdf: bool,
    paper: str,
    backup_dir: BackupLocation | None,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Write a folder for each user with a device of PLAN or RUN: their encrypted file, and a letter.

    PLAN may be an index of plans. DIR/handover.csv lists the users for a mail merge. mfa-kit sends nothing.
    """
    is_run = RUN.fullmatch(plan_or_run) is not None
    if is_run and accounts:
        raise UsageFault(
            f"{plan_or_run} is a run, and a run belongs to one account",
            "give the index, or leave out the options for many accounts, such as --org",
        )
    letters = prepare_letters(
        folder,
        deadline=deadline,
        template=template,
        pdf=pdf,
        paper=paper,
        settings=settings,
        by_account=accounts is not None,
    )
    store = wiring.stores.open_backup_store(settings, backup_dir)
    copy_of = finder_of_copies(store if backup_dir else None)
    files = None if is_run else read_files([Path(plan_or_run)], accounts)
    with wiring.rollout.open_rollouts(settings, accounts, store=store, workers=1) as rollouts:
        if files is None:
            handovers, left_out = _find_in_run(plan_or_run, rollouts, copy_of, settings.progress)
            unread = 0
        else:
            reading = read_accounts(files, _reader(copy_of), rollouts, accounts, progress=settings.progress)
            handovers, left_out = _join([visit.found for visit in reading.visits if visit.found is not None])
            unread = reading.exit_code
    code = write_letters(
        letters, handovers, left_out, only=only, plan_or_run=plan_or_run, settings=settings, output=output
    )
    return code or unread


def _join(parts: Sequence[tuple[list[Handover], list[LeftOut]]]) -> tuple[list[Handover], list[LeftOut]]:
    return [handover for part, _ in parts for handover in part], [omission for _, part in parts for omission in part]


def _reader(
    copy_of: Callable[[JournalEntry], BackupLocation | None],
) -> "Callable[[wiring.rollout.RolloutPorts, PlannedWork, LiveProgress], tuple[list[Handover], list[LeftOut]]]":
    """Return a function that finds the users of a plan who get a file, and those who get none."""

    def look(
        ports: "wiring.rollout.RolloutPorts", planned_work: PlannedWork, _: LiveProgress
    ) -> tuple[list[Handover], list[LeftOut]]:
        handovers, left_out = find_in_plan(planned_work.plan, ports, copy_of)
        account = "" if planned_work.work.alone else planned_work.planned.id
        return handovers, [replace(omission, account=account) for omission in left_out]

    return look


def _find_in_run(
    run: str,
    rollouts: "wiring.rollout.Rollouts",
    copy_of: Callable[[JournalEntry], BackupLocation | None],
    progress: LiveProgress,
) -> tuple[list[Handover], list[LeftOut]]:
    """Return the users of a run in the caller's account who get a file, and those who get none."""
    with progress.showing("reading devices"):
        ports = rollouts.enter(rollouts.selection.chosen[0], progress=progress)
        entries = entries_of_run(run, account=ports.caller.account, journal=ports.ports.journal)
        return find_handovers(entries, holders=ports.execution(workers=1).list_holders(), emails={}, copy_of=copy_of)


def prepare_letters(
    folder: Path,
    *,
    deadline: str | None,
    template: Path | None,
    pdf: bool,
    paper: str,
    settings: Settings,
    by_account: bool = False,
) -> Letters:
    """Return the object that makes the users' folders.

    Raise UsageFault if `folder` exists, if the template cannot be read or has errors, or if the software for `pdf` is
    not installed.
    """
    wiring.rollout.check_handover(folder)
    return Letters(
        folder=folder.absolute(),
        template=wiring.rollout.read_template(settings, template),
        files=wiring.rollout.sealed_files(settings),
        company=settings.config.company or "",
        contact=settings.config.contact or "",
        deadline=deadline or "",
        printer=wiring.files.letter_printer(Paper(paper)) if pdf else None,
        by_account=by_account,
    )


def write_letters(
    letters: Letters,
    handovers: list[Handover],
    left_out: list[LeftOut],
    *,
    only: str | None,
    plan_or_run: str,
    settings: Settings,
    output: Output,
) -> int:
    """Write the folders of the users in `handovers`, and print the result. Return the exit code.

    `left_out` are users without a file. `plan_or_run` is the plan or the run on the command line. In a dry run, write
    nothing.
    """
    handovers, left_out = _keep(handovers, only), _keep(left_out, only)
    if unknown := _not_among([*handovers, *left_out], only):
        settings.progress.alert(f"no user of {plan_or_run} is named {', '.join(unknown)}")
    if settings.dry_run:
        letters.rows = [_outline(letters.row(handover)) for handover in handovers]
    elif handovers:
        with settings.progress.showing(lambda: f"{len(letters.rows)} of {len(handovers)} letters"):
            wiring.rollout.write_handover(letters.folder, letters.folders(handovers))
    _report(left_out, letters.failed, settings)
    _show(letters, [*left_out, *letters.failed], output, dry=settings.dry_run)
    return int(bool(letters.failed) or not letters.rows)


def _outline(row: dict[str, str]) -> dict[str, str]:
    """Return the cells of a row that a dry run shows."""
    return {name: cell for name, cell in row.items() if name in {ACCOUNT, "user", "state"}}


def _keep(users: list[T], only: str | None) -> list[T]:
    """Return the users whose names are in `--only A,B`, or all users if the option was not given."""
    named = {name.lower() for name in options.split_names(only)}
    return [person for person in users if person.user.lower() in named] if named else users


def _not_among(users: Sequence[Handover | LeftOut], only: str | None) -> list[str]:
    """Return, in lower case, the names in `--only A,B` that are not names of these users."""
    named = dict.fromkeys(name.lower() for name in options.split_names(only))
    known = {person.user.lower() for person in users}
    return [name for name in named if name not in known]


def find_in_plan(
    plan: Plan, ports: "wiring.rollout.RolloutPorts", copy_of: Callable[[JournalEntry], BackupLocation | None]
) -> tuple[list[Handover], list[LeftOut]]:
    """Return the users of a plan who get a file, and those who get none."""
    entries, left_out = devices_of_plan(plan, entries_by_serial(plan.account, ports=ports.ports))
    emails = {step.user: step.row.email or "" for step in plan.steps}
    holders = ports.execution(workers=1).list_holders()
    handovers, others = find_handovers(entries, holders=holders, emails=emails, copy_of=copy_of)
    return handovers, [*others, *left_out]


def finder_of_copies(store: BackupStore | None) -> Callable[[JournalEntry], BackupLocation | None]:
    """Return a function that finds, for a journal entry, the file that only the entry's user can decrypt.

    The function returns the place of the file, or None if the user has no such file. With `store`, this is the place
    where the vault would now store the file. Otherwise it is the place that the ledger recorded.
    """

    def find(entry: JournalEntry) -> BackupLocation | None:
        own, spec = copies_of(entry).user, entry.spec
        if own is None or store is None:
            return recorded_location(own) if own else None
        return own_copy(store.new(spec.account, spec.user, spec.name, run=entry.run).path)

    return find


def _report(left_out: Sequence[LeftOut], failed: Sequence[LeftOut], settings: Settings) -> None:
    """Print each user in `failed` with the reason, and then the users in `left_out`, grouped by reason."""
    for omission in failed:
        settings.progress.alert(Message(f"{_named(omission)}: ", omission.reason))
    by_reason: dict[str, list[str]] = {}
    for omission in left_out:
        by_reason.setdefault(omission.reason, []).append(_named(omission))
    for reason, users in by_reason.items():
        settings.progress.alert(f"no file for {count_of(len(users), 'user')} ({few(users)}): {reason}")


def _named(omission: LeftOut) -> str:
    """Return the name of a user, and the user's account if there are several accounts."""
    return f"{omission.user} in {omission.account}" if omission.account else omission.user


def _show(letters: Letters, left_out: Sequence[LeftOut], output: Output, *, dry: bool) -> None:
    """Print the path of the folder, and how many users have a file and how many have none.

    JSON also has a row for each user. CSV has only the rows of the users with a file.
    """
    rows: list[ResultRow] = [{name: row.get(name) or None for name in letters.columns} for row in letters.rows]
    if output.form == "csv":
        output.many("rollout-handover", rows, empty="", narrow=("user", "email", "state"))
        return
    written = bool(letters.rows) and not dry
    head: ResultRow = {
        "folder": str(letters.folder) if written else None,
        "table": str(letters.folder / TABLE) if written else None,
        "users": len(rows),
        "without_file": len(left_out),
    }
    if output.form == "json":
        head = {**head, "rows": rows, "left_out": _left_out_rows(left_out, by_account=letters.by_account)}
    output.one("rollout-handover", head)


def _left_out_rows(left_out: Sequence[LeftOut], *, by_account: bool) -> list[ResultRow]:
    return [
        {
            **({ACCOUNT: omission.account} if by_account else {}),
            "user": omission.user,
            "reason": omission.reason,
        }
        for omission in left_out
    ]
