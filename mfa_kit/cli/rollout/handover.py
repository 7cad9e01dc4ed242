"""`mfa-kit rollout handover`: write a folder for each user, with their encrypted file and a letter."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.backups.opening import open_of_row
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, identity
from mfa_kit.cli.letters import FORMS, PAPER, PDF, letter_page, sender_values
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import PlannedWork, read_accounts, read_files
from mfa_kit.cli.value_types import Day, LocalPath, check_path
from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.message import Message, clauses, mfa_kit
from mfa_kit.core.models import RUN, BackupLocation, Copies, JournalEntry, copies_of, own_copy
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import ResultRow, count_of, few
from mfa_kit.letters.sheet import Paper, confirm_secret
from mfa_kit.rollout.handing_over import Handover, HandoverState, LeftOut, devices_of_plan, find_handovers, find_own
from mfa_kit.rollout.handover_letter import letter_values
from mfa_kit.rollout.records import SEE_RUNS, entries_of_runs
from mfa_kit.rollout.roster import ACCOUNT
from mfa_kit.rollout.row_status import look_up_devices

if TYPE_CHECKING:
    from mfa_kit.backups.contents import Opened
    from mfa_kit.backups.opening import ReadAhead
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.core.letter import Letter, LetterTemplate
    from mfa_kit.enrollment.ports import BackupStore
    from mfa_kit.organization.accounts import AccountsChoice
    from mfa_kit.rollout.plan import PlanFiles
    from mfa_kit.rollout.roster_files import Shipping
    from mfa_kit.wiring.settings import Settings

T = TypeVar("T", Handover, LeftOut)
COLUMNS = ("user", "email", "file", "letter", "device", "state")
# The number of users who are looked up at a time.
LOOKUPS = 8
ELSEWHERE = "name a folder of its own on this computer: --passphrases DIR"


@dataclass(slots=True, kw_only=True)
class Letters:
    """Makes the folders of the users, one after another, and adds each result to `rows` or `failed`.

    `template` is that of letters about a file, `own` that of letters to users who register their device themselves, and
    `one_time` that of letters with a passphrase, which are in the folder `secret`. `sender` has the values of
    `sender_values`. `printer` returns the PDF of a letter. If it is None, no PDF is made. With `by_account`, each
    account has a folder that contains the folders of its users, and the table has a column for the account. The table
    also has the columns of `shipping`, and then the key or token with the device.
    """

    folder: Path
    template: LetterTemplate
    own: LetterTemplate
    one_time: LetterTemplate
    sender: Mapping[str, str]
    printer: Callable[[Letter], bytes] | None
    shipping: Shipping
    by_account: bool = False
    secret: Path | None = None
    rows: list[dict[str, str]] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)
    _files: Counter[str] = field(default_factory=Counter)
    _folders: dict[int, str] = field(default_factory=dict)

    def folders(self, handovers: Sequence[Handover], files: ReadAhead) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """Yield the path of each user's folder, relative to `folder`, with the contents of the user's files by name.

        Also the folder of a file that cannot be read has its name, so that a later run finds the same names. With
        `by_account`, the empty folders of the accounts come first. A user whose file cannot be read is added to
        `failed` and gets no folder. `files` reads the users' files. The last path is "", with the table of all users.
        """
        for handover in handovers:
            self._folder(handover)
        by_copy = {handover.copy: handover for handover in handovers if handover.copy}
        if self.by_account:
            yield from ((account, {}) for account in sorted({handover.spec.account for handover in handovers}))
        for copy in files.prefetch(by_copy):
            handover = by_copy[copy]
            try:
                sealed = files.read(copy)
            except IntegrityFault as error:
                self.fail(handover, error)
                continue
            yield self._add(handover, {handover.file: sealed})
        yield from (self._add(handover, {}) for handover in handovers if not handover.copy)
        yield "", {options.HANDOVER_TABLE: csv_table(self.columns, self.rows).encode()}

    def without_written(self, handovers: Sequence[Handover]) -> list[Handover]:
        """Return the users whose folder is missing, and add the rows of the others.

        A user whose folder is there, but without their file or letter, is added to `failed`.
        """
        missing = []
        for handover in handovers:
            row, below = self.row(handover), self.folder / self._folder(handover)
            if Path(row["file"] or row["letter"]).is_file():
                self.rows.append(row)
            elif below.exists():
                error = UsageFault(f"{below} exists, but without their new letter", "name another folder: -o DIR")
                self.fail(handover, error)
            else:
                missing.append(handover)
        return missing

    def fail(self, handover: Handover, error: MfaKitError) -> None:
        """Add a user whose file cannot be written because of an error."""
        account = handover.spec.account if self.by_account else ""
        self.failed.append(LeftOut(user=handover.user, reason=clauses([str(error), error.hint]), account=account))

    def _add(self, handover: Handover, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        """Add the row of a user. Return the path of the user's folder, with `files` and the letters."""
        self.rows.append(self.row(handover))
        return self._folder(handover), {**files, **self._letters(handover)}

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the table."""
        columns = (ACCOUNT, *COLUMNS) if self.by_account else COLUMNS
        return (*columns, "key", *self.shipping.columns) if self.shipping.rows else columns

    def row(self, handover: Handover, only: Collection[str] = COLUMNS) -> dict[str, str]:
        """Return the row of a user in the table, with those of COLUMNS that are in `only`."""
        below = self.folder / self._folder(handover)
        cells = {
            **self.shipping.cells_of(handover.user, handover.spec.name),
            ACCOUNT: handover.spec.account,
            "key": handover.spec.hardware or "",
            "user": handover.user,
            "email": handover.email,
            "file": str(below / handover.file) if handover.file else "",
            "letter": str(self._page_of(handover, below)),
            "device": handover.spec.serial if handover.entry else "",
            "state": handover.state.value,
        }
        return {name: cells[name] for name in self.columns if name in only or name not in COLUMNS}

    def _page_of(self, handover: Handover, below: Path) -> Path:
        """Return the path of the letter that the table names. `below` is the folder of the user's file."""
        if not (handover.by_passphrase and self.secret):
            return below / next(iter(FORMS))
        name = f"{handover.numbered}-{handover.number}{'.pdf' if self.printer else '.html'}"
        return self.secret.joinpath(*self.below(handover), name)

    def below(self, handover: Handover) -> tuple[str, ...]:
        """Return the names of the folders down to a file that a passphrase opens."""
        return (handover.spec.account, handover.folder) if self.by_account else (handover.folder,)

    def _folder(self, handover: Handover) -> str:
        """Return the path of the folder for a file: that of its user, or for a second file of the user, `USER~2`.

        The files of a user that passphrases open are in one folder.
        """
        if handover.by_passphrase:
            return "/".join(self.below(handover))
        if id(handover) not in self._folders:
            user = f"{handover.spec.account}/{handover.folder}" if self.by_account else handover.folder
            self._files[user] += 1
            self._folders[id(handover)] = user if self._files[user] == 1 else f"{user}~{self._files[user]}"
        return self._folders[id(handover)]

    def _letters(self, handover: Handover) -> dict[str, bytes]:
        """Return the letter to a user in each form, by the name of the file."""
        letter = self.letter(handover)
        letters = {name: form(letter).encode() for name, form in FORMS.items()}
        return {**letters, PDF: self.printer(letter)} if self.printer else letters

    def with_passphrase(self, handover: Handover, passphrase: Secret[str]) -> tuple[str, Secret[bytes]]:
        """Return the letter with the passphrase of a user's file: the ending of its name, and its content."""
        values = {**self._values(handover), "number": handover.number}
        letter = Secret(self.one_time.fill({**values, "passphrase": passphrase.reveal()}))
        if self.printer:
            return ".pdf", Secret(self.printer(letter.reveal()))
        return ".html", Secret(letter_page(letter.reveal()).encode())

    def letter(self, handover: Handover) -> Letter:
        """Return the letter to a user."""
        return (self.own if handover.state is HandoverState.SELF else self.template).fill(self._values(handover))

    def _values(self, handover: Handover) -> dict[str, str]:
        staged = handover.state is HandoverState.STAGED
        return letter_values(handover.spec, file=handover.file, staged=staged, email=handover.email, sender=self.sender)


# `find_handovers`, which has its other arguments already.
FindHandovers = Callable[..., tuple[list[Handover], list[LeftOut]]]


@click.command(cls=Verb)
@click.argument("plan_or_run", metavar="PLAN|RUN")
@click.option(
    "-o", "--out", "folder", required=True, type=LocalPath(), metavar="DIR", help="New folder for the users' files."
)
@options.ONLY
@click.option("--deadline", type=Day(), metavar="DATE", help="Deadline to print in the letters, such as 2026-12-01.")
@click.option(
    "--template", type=LocalPath(), metavar="FILE", help="Text of the letters, in place of the built-in text."
)
@click.option("--pdf", is_flag=True, help="Also write each letter as a PDF file.")
@PAPER
@click.option("--passphrase-files", is_flag=True, help="Users without a public key get a file that a passphrase opens.")
@identity("age identity or SSH private key that opens the backups, for --passphrase-files.")
@click.option("--passphrases", metavar="DIR", help="Folder for the letters with the passphrases, unencrypted.")
@options.SHIPPING
@BACKUP_DIR
@options.RECORD
@account_options(workers=False, results=False)
def handover(
    *,
    plan_or_run: str,
    folder: Path,
    only: tuple[str, ...],
    deadline: str | None,
    template: Path | None,
    pdf: bool,
    paper: str,
    passphrase_files: bool,
    keys: tuple[Path, ...],
    passphrases: str | None,
    shipping: Path | None,
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Write a folder for each user with a device of PLAN or RUN: their encrypted file, and a letter.

    PLAN may be an index of plans. DIR/handover.csv lists the users for a mail merge. mfa-kit sends nothing.
    """
    plans = [] if _is_run(plan_or_run, accounts) else [Path(plan_or_run)]
    secret = _check_passphrases(passphrases, keys, folder, wanted=passphrase_files)
    if secret:  # the folder as it was named, because links are refused
        wiring.files.check_output_folder(Path(str(passphrases)), settings.progress)
    if not (secret and (folder / options.HANDOVER_TABLE).is_file()):
        wiring.rollout.check_handover(folder)
    letters = Letters(
        folder=folder.absolute(),
        template=wiring.rollout.read_template(settings, template),
        own=wiring.rollout.packaged_template("rollout/self_letter.md"),
        one_time=wiring.rollout.packaged_template("rollout/handover_letter.md"),
        secret=secret,
        sender=sender_values(settings, deadline),
        printer=wiring.files.letter_printer(Paper(paper)) if pdf else None,
        by_account=accounts is not None,
        shipping=wiring.rollout.read_shipping(shipping, settings.progress),
    )
    store = wiring.stores.open_backup_store(settings, backup_dir)
    find_handed = partial(
        find_handovers, copies_of=finder_of_copies(store if backup_dir else None), passphrases=passphrase_files
    )
    find = partial(_find_in_plans, read_files(plans, accounts)) if plans else partial(_find_in_run, plan_or_run)
    record = wiring.rollout.read_run_records(plans, records)
    with wiring.rollout.open_rollouts(settings, accounts, store=store, workers=LOOKUPS, record=record) as rollouts:
        handovers, left_out, unread = find(rollouts, accounts, find_handed, settings.progress)
        hashes = wiring.rollout.known_hashes(rollouts.ledger, record)
        entries = [handover.entry for handover in handovers if handover.entry]
        rollouts.report_computers(entries, settings.progress)
    files = wiring.rollout.read_ahead(settings, hashes)
    code = write_letters(
        letters,
        handovers,
        left_out,
        files,
        only=only,
        keys=keys,
        plan_or_run=plan_or_run,
        settings=settings,
        output=output,
    )
    return code or unread


def _check_passphrases(letters: str | None, keys: Sequence[Path], files: Path, *, wanted: bool) -> Path | None:
    """Return the folder for the letters with passphrases, or None if no files with passphrases are `wanted`.

    `files` is the folder for the files. Raise UsageFault for options that cannot be used together, and for a folder
    that does not fit.
    """
    if not wanted:
        if letters or keys:
            raise UsageFault("--passphrases and -i are only for --passphrase-files", "add --passphrase-files")
        return None
    if letters is None or not keys:
        raise UsageFault(
            "--passphrase-files needs the identity that opens the backups, and a folder for the letters",
            "add -i IDENTITY --passphrases DIR",
        )
    return _folder_apart(letters, files)


def _folder_apart(letters: str, files: Path) -> Path:
    """Return the folder for the letters. Raise UsageFault if it is with the files, or in a bucket, or is a file."""
    if "://" in letters:
        raise UsageFault(f"{letters} is in a bucket, and the letters are not encrypted", ELSEWHERE)
    check_path(letters)
    place, with_files = Path(letters).resolve(), files.resolve()
    if place.exists() and not place.is_dir():
        raise UsageFault(f"{letters} is not a folder", ELSEWHERE)
    if place == with_files or place in with_files.parents or with_files in place.parents:
        raise UsageFault(
            f"{letters} is in or above {files}, and who gets a file must not get its passphrase with it", ELSEWHERE
        )
    return place


def _is_run(name: str, choice: AccountsChoice | None) -> bool:
    """Return whether a name is that of a run, and not of a plan. Raise UsageFault for a run and several accounts."""
    is_run = RUN.fullmatch(name) is not None
    if is_run and choice is not None:
        raise UsageFault(
            f"{name} is a run, and a run belongs to one account",
            "give the index, or leave out the options for many accounts, such as --org",
        )
    return is_run


def _find_in_plans(
    files: PlanFiles,
    rollouts: wiring.rollout.Rollouts,
    choice: AccountsChoice | None,
    find_handed: FindHandovers,
    progress: LiveProgress,
) -> tuple[list[Handover], list[LeftOut], int]:
    """Return the users of plans who get a file, those who get none, and the exit code."""
    reading = read_accounts(files, partial(find_in_plan, find_handed=find_handed), rollouts, choice, progress=progress)
    parts = [visit.found for visit in reading.visits if visit.found is not None]
    handovers = [handover for part, _ in parts for handover in part]
    return handovers, [omission for _, part in parts for omission in part], reading.exit_code


def _find_in_run(
    run: str,
    rollouts: wiring.rollout.Rollouts,
    _: AccountsChoice | None,
    find_handed: FindHandovers,
    progress: LiveProgress,
) -> tuple[list[Handover], list[LeftOut], int]:
    """Return the users of a run in the caller's account who get a file, those who get none, and the exit code."""
    with progress.showing("reading devices"):
        ports = rollouts.enter(rollouts.selection.chosen[0], progress=progress)
        holders = ports.execution(workers=1).list_holders()
        proven = ports.prove(holders)
        entries = entries_of_runs(
            {run}, proven.entries.values(), account=ports.caller.account, journal=ports.ports.journal
        )
        left_out = [
            LeftOut(user=line.device.spec.user, reason=proven.refused[line.key[1]], unproven=True)
            for line in ports.record.lines
            if line.run.id == run and line.key[1] in proven.refused
        ]
        if not entries and not left_out:
            progress.alert(f"neither the ledger nor a record has a device of run {run}")
            progress.alert(Message("  try: ", SEE_RUNS))
    handovers, others = find_handed(entries, holders=holders, emails={})
    return handovers, [*others, *left_out], 0


def write_letters(
    letters: Letters,
    handovers: list[Handover],
    left_out: list[LeftOut],
    files: ReadAhead,
    *,
    only: tuple[str, ...],
    keys: Sequence[Path] = (),
    plan_or_run: str,
    settings: Settings,
    output: Output,
) -> int:
    """Write the folders of the users in `handovers`, and print the result. Return the exit code.

    `left_out` are users without a file. `keys` are identity files for files with passphrases. `plan_or_run` is the plan
    or the run on the command line. In a dry run, write nothing.
    """
    _check_table(letters, {*(handover.user for handover in handovers), *(omission.user for omission in left_out)})
    named = dict.fromkeys(name.lower() for name in only)
    chosen, left_out = _keep(handovers, named), _keep(left_out, named)
    people: list[Handover | LeftOut] = [*chosen, *left_out]
    _report_unknown(named, {person.user.lower() for person in people}, plan_or_run, settings)
    if settings.dry_run:
        letters.rows = [letters.row(handover, only={"user", "state"}) for handover in chosen]
    elif chosen:
        _write(letters, chosen, files, keys=keys, everyone=handovers, settings=settings)
    _report(left_out, letters.failed, settings)
    _show(letters, [*left_out, *letters.failed], output, dry=settings.dry_run)
    return int(bool(letters.failed) or not letters.rows or any(map(attrgetter("unproven"), left_out)))


def _report_unknown(named: Iterable[str], known: Collection[str], plan_or_run: str, settings: Settings) -> None:
    """Print the names in `named` that are not in `known`, and which command lists the users."""
    if unknown := [name for name in named if name not in known]:
        settings.progress.alert(f"no user of {plan_or_run} is named {', '.join(unknown)}")
        see = SEE_RUNS if RUN.fullmatch(plan_or_run) else mfa_kit("rollout status {}", plan_or_run)
        settings.progress.alert(Message("  try: ", see))


def _check_table(letters: Letters, users: Collection[str]) -> None:
    """Raise UsageFault if the folder has the table of other users, or of parcels, which would be replaced."""
    file = letters.folder / options.HANDOVER_TABLE
    if file.is_file():
        rows = csv.DictReader(io.StringIO(wiring.rollout.read_table(file)))
        known = {*users, *(f"'{user}" for user in users)}  # an apostrophe keeps spreadsheets from computing a cell
        if [*(rows.fieldnames or ())] != [*letters.columns] or not {row["user"] for row in rows} <= known:
            raise UsageFault(
                f"{letters.folder} has letters of users who are not in this plan, or whose account was not read",
                "name another folder: -o DIR",
            )


def _write(
    letters: Letters,
    chosen: Sequence[Handover],
    files: ReadAhead,
    *,
    keys: Sequence[Path],
    everyone: Sequence[Handover],
    settings: Settings,
) -> None:
    """Write what the users in `chosen` get. If the folder is there, write what is missing, and the table of all."""
    sealed = [handover for handover in chosen if handover.by_passphrase]
    others = [handover for handover in chosen if not handover.by_passphrase]
    if sealed or (letters.folder / options.HANDOVER_TABLE).is_file():
        _write_sealed(letters, sealed, others, files, keys=keys, everyone=everyone, settings=settings)
    else:
        _write_tree(letters, others, files, settings)


def _write_tree(letters: Letters, handovers: Sequence[Handover], files: ReadAhead, settings: Settings) -> None:
    """Write the folder with the files of users who have their own, and with the letters without a passphrase.

    If it exists, because an earlier run wrote files with passphrases, add the missing folders of users.
    """
    exists = (letters.folder / options.HANDOVER_TABLE).is_file()
    missing = letters.without_written(handovers) if exists else handovers
    if kept := len(letters.rows):
        settings.progress.note(f"{count_of(kept, 'letter')} without a passphrase kept in {letters.folder}")
    with settings.progress.showing(lambda: f"{len(letters.rows) - kept} of {len(missing)} letters"):
        if not exists:
            wiring.rollout.write_handover(letters.folder, letters.folders(missing, files))
            return
        for below, contents in letters.folders(missing, files):
            if below and contents:
                wiring.rollout.write_handover(letters.folder / below, [("", contents)])


def _write_sealed(
    letters: Letters,
    sealed: Sequence[Handover],
    others: Sequence[Handover],
    files: ReadAhead,
    *,
    keys: Sequence[Path],
    everyone: Sequence[Handover],
    settings: Settings,
) -> None:
    """Write the folders of `others`, then the files in `sealed`, which a passphrase opens, each with its letter.

    The table is then that of all files and letters of `everyone` that exist.
    """
    assert letters.secret is not None  # noqa: S101 - only with this folder are there such files
    identities = wiring.age_keys.Identities(keys, passphrase_fd=None, person=settings.interaction).read()
    if sealed:
        confirm_secret(
            f"{count_of(len(sealed), 'letter')} in {letters.secret} will contain the passphrases of files",
            settings.interaction,
            several=len(sealed) > 1,
        )
    _write_tree(letters, others, files, settings)
    before = len(letters.rows)
    with (
        wiring.backups.open_opener(settings, identities, read=files.read) as (opener, _),
        wiring.rollout.open_passphrase_folders(letters.folder, letters.secret) as folders,
        settings.progress.showing(lambda: f"{len(letters.rows) - before} of {len(sealed)} files with passphrases"),
    ):
        for letter in folders.removed:
            settings.progress.note(f"{letter} removed, because the file that it opens is gone")
        try:
            for handover in sealed:
                _write_one(letters, handover, opener.open, folders.write)
        finally:
            rows = [letters.row(handover) for handover in _written(letters, everyone, folders.number)]
            wiring.rollout.write_file(letters.folder / options.HANDOVER_TABLE, csv_table(letters.columns, rows))
            if sealed:
                written = count_of(len(letters.rows) - before, "letter")
                place = f"{letters.secret}: print, then delete them"
                settings.progress.note(f"{written} with a passphrase written to {place}")


def _write_one(
    letters: Letters,
    handover: Handover,
    open_backup: Callable[[BackupLocation], Opened],
    write: Callable[..., None],
) -> None:
    """Write a file that a new passphrase opens, and its letter, and add the row, or else the reason why not."""
    assert handover.copy is not None  # noqa: S101 - the place of the administrators' backup
    assert handover.entry is not None  # noqa: S101 - the device with this backup
    try:
        picture = open_of_row(handover.entry, handover.copy, open_backup).picture
    except IntegrityFault as error:
        letters.fail(handover, error)
        return
    passphrase = wiring.age_keys.one_time_passphrase()
    handover = replace(handover, number=wiring.age_keys.letter_number())
    page, content = letters.with_passphrase(handover, passphrase), wiring.age_keys.seal_once(picture, passphrase)
    write(letters.below(handover), handover.numbered, handover.number, letter=page, sealed=content)
    letters.rows.append(letters.row(handover))


def _written(
    letters: Letters, handovers: Sequence[Handover], number_of: Callable[[Sequence[str], str], str | None]
) -> Iterator[Handover]:
    """Yield the users whose letter exists, with the number of a file that a passphrase opens."""
    for handover in handovers:
        if handover.by_passphrase:
            if number := number_of(letters.below(handover), handover.numbered):
                yield replace(handover, number=number)
        elif Path((row := letters.row(handover))["file"] or row["letter"]).is_file():
            yield handover


def _keep(users: list[T], named: Collection[str]) -> list[T]:
    """Return the users whose names are in `named`, in lower case, or all users if it is empty."""
    return [person for person in users if person.user.lower() in named] if named else users


def find_in_plan(
    ports: wiring.rollout.RolloutPorts,
    work: PlannedWork,
    progress: LiveProgress,
    *,
    find_handed: FindHandovers,
) -> tuple[list[Handover], list[LeftOut]]:
    """Return the users of a plan who get a letter, and those who get none."""
    plan = work.plan
    holders = ports.execution(workers=1).list_holders()
    entries, left_out = devices_of_plan(plan, ports.prove(holders), holders)
    emails = {step.user: step.row.email or "" for step in plan.steps}
    handovers, others = find_handed(entries, holders=holders, emails=emails)
    with progress.showing("looking up users"):
        own, enrolled = find_own(plan, entries, partial(look_up_devices, ports=ports.ports, workers=LOOKUPS))
    account = "" if work.alone else plan.account
    return [*handovers, *own], [replace(omission, account=account) for omission in (*others, *left_out, *enrolled)]


def finder_of_copies(store: BackupStore | None) -> Callable[[JournalEntry], Copies]:
    """Return a function that returns the places of the backup of a journal entry.

    With `store`, these are the places where the vault would now store the files. Otherwise they are those that the
    ledger recorded.
    """

    def find(entry: JournalEntry) -> Copies:
        copies, spec = copies_of(entry), entry.spec
        if store is None or entry.backup is None:
            return copies
        path = store.new(spec.account, spec.user, spec.name, run=entry.run).path
        return Copies(admin=copies.admin and str(path), user=copies.user and str(own_copy(path)))

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

    JSON also has a row for each user. CSV and text have only the rows of the users with a file.
    """
    rows: list[ResultRow] = [{name: row.get(name) or None for name in letters.columns} for row in letters.rows]
    if output.form in {"csv", "text"}:
        output.many("rollout-handover", rows, empty="", narrow=("user", "email", "state"))
        return
    written = bool(letters.rows) and not dry
    head: ResultRow = {
        "folder": str(letters.folder) if written else None,
        "table": str(letters.folder / options.HANDOVER_TABLE) if written else None,
        "users": len(rows),
        "without_file": len(left_out),
    }
    if output.form == "json":
        head = {**head, "rows": rows, "left_out": _left_out_rows(left_out, by_account=letters.by_account)}
    output.one("rollout-handover", head)


def _left_out_rows(left_out: Sequence[LeftOut], *, by_account: bool) -> list[ResultRow]:
    names = (ACCOUNT, "user", "reason") if by_account else ("user", "reason")
    return [{name: getattr(omission, name) for name in names} for omission in left_out]
