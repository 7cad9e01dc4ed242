"""`mfa-kit rollout activate`: enable the devices that `rollout apply --stage` created."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, identity
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.results import AccountWork, exit_code
from mfa_kit.cli.rollout.running import OneByOne, OpenWork, Runner, open_for_changes
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.core.errors import AccessDenied, UsageFault
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.models import VIRTUAL, BackupLocation, JournalEntry, recorded_location
from mfa_kit.core.otp import PERIOD, Created
from mfa_kit.core.text import count_of, few
from mfa_kit.core.wrong_codes import ADVICE_IN_CALL
from mfa_kit.enrollment import backends
from mfa_kit.organization.accounts import AccountsChoice, OrgAccount, accounts_in_words
from mfa_kit.rollout.activate import activate_devices, check_proofs, results_without_device, staged_entries
from mfa_kit.rollout.posting import check_arrival, users_of_lost
from mfa_kit.rollout.proofs import MOST_LINES, AppProof, ProofLine, prove
from mfa_kit.rollout.roster import UserSelection
from mfa_kit.rollout.row_status import STANDS
from mfa_kit.rollout.undo import read_run_tags

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.device_records import RecordedState
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.enrollment.ports import BackupStore
    from mfa_kit.rollout.execution import Execution, RowResult
    from mfa_kit.wiring.settings import Settings

PROOFS = click.option(
    "--proofs",
    type=LocalPath(),
    metavar="FILE",
    help="CSV file with user, code1, code2 and time. "
    "Enable only the devices of users whose codes prove that the app works.",
)
PROMPT = click.option("--prompt", metavar="USER", help="Ask for two codes that this user reads to you over the phone.")
ACCEPT_UNKNOWN_CLOCK = click.option(
    "--accept-unknown-clock",
    "accept_unknown",
    is_flag=True,
    help="Accept two codes in --proofs even if their time is missing.",
)
INSTEAD = "--proofs FILE"
STAGED_ELSEWHERE = Message(
    "  try: name the results of the run that staged the devices",
    mfa_kit("rollout activate --record DIR -i IDENTITY"),
    "without its record, remove them",
    mfa_kit("rollout undo PLAN --adopt-unrecorded"),
)
NONE_STAGED = "no device is staged on this computer"


@dataclass(slots=True, kw_only=True)
class RequiredProofs:
    """The proofs that the command line requires. Without `lines` and `prompt`, no proof is required.

    `lines` maps the lower-case name of each user to that user's lines in the file of proofs. `prompt` is the user who
    reads codes aloud over the phone. `secrets` has the secrets that were decrypted for `prompt`, and `read` has the
    proofs from the phone call, both by the device's serial.
    """

    lines: Mapping[str, Sequence[ProofLine]] | None
    prompt: str | None
    accept_unknown: bool
    secrets: dict[str, Created] = field(default_factory=dict)
    read: dict[str, AppProof] = field(default_factory=dict)

    @property
    def users(self) -> set[str] | None:
        """The lower-case names of the users whose devices may be enabled, or None for all users."""
        if self.prompt is not None:
            return {self.prompt.lower()}
        return None if self.lines is None else set(self.lines)

    def require(self, now: Callable[[], float]) -> Callable[[JournalEntry, Created], AppProof] | None:
        """Return a function that returns the proof for a device, or raises Lockout if the user gave no valid proof.

        If no proof is required, return None instead of a function. `now` returns AWS's time in Unix seconds.
        """
        if self.prompt is not None:
            return lambda entry, _: self.read[entry.spec.serial]
        if (lines := self.lines) is None:
            return None

        def require(entry: JournalEntry, created: Created) -> AppProof:
            of_user = lines[entry.spec.user.lower()]
            return prove(of_user, created.seed, now=now(), accept_unknown=self.accept_unknown)

        return require

    def ask(
        self,
        entries: Sequence[JournalEntry],
        open_backup: Callable[[JournalEntry], Created],
        *,
        settings: Settings,
        now: Callable[[], float],
    ) -> None:
        """Ask for the codes of the user `prompt`. If `prompt` is None, do nothing.

        `now` returns the Unix time by AWS's clock. `entries` are the user's staged devices. Raise UsageFault unless
        there is exactly one.
        """
        if self.prompt is None:
            return
        if len(entries) != 1:
            hint = suggest("see", "rollout status PLAN") if entries else "check the spelling of the user's name"
            message = f"the ledger has {len(entries) or 'no'} staged devices for {self.prompt}"
            raise UsageFault(f"{message}, but --prompt needs exactly one", hint)
        [entry] = entries
        spec, person = entry.spec, settings.interaction
        person.check(instead=INSTEAD)
        created = self.secrets[spec.serial] = open_backup(entry)
        person.say(f"ask {spec.user} for two consecutive codes from the app's entry {spec.name}")
        skew = backends.prove(
            created.seed, typed=2, now=now, interaction=person, instead=INSTEAD, advice=ADVICE_IN_CALL
        )
        self.read[spec.serial] = AppProof(skew * PERIOD, skew)


def _users(entries: Iterable[JournalEntry]) -> set[str]:
    """Return the names of the users in lower case."""
    return {entry.spec.user.lower() for entry in entries}


def read_required(proofs: Path | None, prompt: str | None, *, accept_unknown: bool, selects: bool) -> RequiredProofs:
    """Return the proofs that the options require. `selects` says whether other options select users.

    Raise click.UsageError for options that exclude each other, and UsageFault if the file of proofs cannot be read.
    """
    if prompt is not None and (proofs or selects):
        raise click.UsageError("--prompt names the only user, so it cannot be used with --proofs, --group or --only")
    if accept_unknown and not proofs:
        raise click.UsageError("--accept-unknown-clock works only with --proofs")
    lines: dict[str, list[ProofLine]] | None = None
    if proofs:
        lines = {}
        for line in wiring.rollout.read_proof_lines(proofs):
            of_user = lines.setdefault(line.user.lower(), [])
            if len(of_user) <= MOST_LINES:  # one more shows that there are too many
                of_user.append(line)
    return RequiredProofs(lines=lines, prompt=prompt, accept_unknown=accept_unknown)


@click.command(cls=Verb)
@PROOFS
@PROMPT
@ACCEPT_UNKNOWN_CLOCK
@options.GROUP
@options.ONLY
@identity(required=True)
@BACKUP_DIR
@options.RECORD
@options.WORKERS
@account_options(role=None, workers=False, results=False)
def activate(
    *,
    proofs: Path | None,
    prompt: str | None,
    accept_unknown: bool,
    groups: tuple[str, ...],
    only: tuple[str, ...],
    keys: tuple[Path, ...],
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Enable staged devices, using the secrets from their encrypted backups.

    With --proofs or --prompt, enable only the devices of users who can already produce codes that AWS accepts.
    """
    if prompt is not None and accounts:
        raise click.UsageError(
            "--prompt is for one device; use the credentials of the device's account, without --accounts and --org"
        )
    required = read_required(proofs, prompt, accept_unknown=accept_unknown, selects=bool(groups or only))
    store = wiring.stores.open_backup_store(settings, backup_dir)
    named = {name.lower() for name in only}
    record = wiring.rollout.read_run_records([], records)
    with open_for_changes(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        identities = wiring.age_keys.Identities(keys, passphrase_fd=None, person=settings.interaction)
        read = wiring.rollout.checked_reader(settings, wiring.rollout.known_hashes(rollouts.ledger, record))
        opened_by = wiring.backups.opener(settings, identities, rollouts.ledger.called, read)

        activation = _Activation(
            made=rollouts.made_by_account(progress=settings.progress),
            required=required,
            groups=groups,
            named=named,
            store=store,
            open_backup=opened_by,
            settings=settings,
            records=records,
        )
        staged = list(chain(*map(activation.staged, activation.made)))
        rollouts.check_ended(staged)
        rollouts.report_computers(staged, settings.progress)
        works = activation.works(rollouts.selection.chosen, alone=accounts is None)
        missing = accounts is not None and activation.report_missing()
        activation.report_unread(rollouts.selection.chosen)
        if prompt is not None and not settings.dry_run:
            [account] = activation.made
            [*map(arrival_check(activation.staged(account), rollouts.states), activation.staged(account))]
            required.ask(activation.staged(account), activation.created, settings=settings, now=rollouts.now)
        runner = Runner(
            schema="rollout-activate",
            works=works,
            scheduler=OneByOne(works),
            enter=rollouts.enter,
            workers=workers,
            progress=settings.progress,
            output=output,
            more=() if required.users is None else ("clock_offset",),
        )
        asked = runner.run(activation.activate)
        return max(exit_code(works, asked=asked), int(activation.report_unrecorded() or missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Activation:
    """The devices to enable. `made` are the journal entries of all devices in each account, by account ID.

    If `groups` or `named` have names, only members of these groups, or these users, get their devices enabled.
    `open_backup` decrypts a backup in `store`, or in the place that the ledger recorded. `records` are the folders of
    --record; the first gets a record of the proofs. `unrecorded` gets the names of staged devices of these users that
    nothing proves.
    """

    made: Mapping[str, Sequence[JournalEntry]]
    required: RequiredProofs
    groups: Sequence[str]
    named: set[str]
    store: BackupStore
    open_backup: Callable[[JournalEntry, BackupLocation], Created]
    settings: Settings
    records: Sequence[Path]
    unrecorded: list[str] = field(default_factory=list)

    def created(self, entry: JournalEntry) -> Created:
        """Return the secret of a device, from its backup unless it was decrypted already."""
        known = self.required.secrets.get(entry.spec.serial)
        return known or self.open_backup(entry, recorded_location(self.store.find(entry) or entry.backup or ""))

    def staged(self, account: str) -> list[JournalEntry]:
        """Return the journal entries of the staged devices of an account that are to be enabled.

        If proofs are required, leave out users who have sent none. If `named` has names, leave out other users.
        """
        return staged_entries(staged_entries(self.made[account], self.required.users), self.named or None)

    def works(self, accounts: Sequence[OrgAccount], *, alone: bool) -> list[AccountWork]:
        """Return the work in the accounts that have a device to enable, or in the only account (`alone`)."""
        return [
            AccountWork(account=account, total=len(self.staged(account.id)), alone=alone)
            for account in accounts
            if self.staged(account.id) or alone
        ]

    def activate(self, opened: OpenWork) -> None:
        """Enable the devices in an account."""
        account, tally = opened.work.account.id, opened.tally
        selected = list_users(opened.ports, self.groups, self.named)
        entries = staged_entries(self.staged(account), selected)
        self._warn_of_lockout(entries, opened.work.progress(self.settings.progress))
        without: Sequence[RowResult] = ()
        if opened.work.alone:
            sent = {
                user: lines
                for user, lines in (self.required.lines or {}).items()
                if selected is None or user in selected
            }
            lost = users_of_lost(opened.ports.states())
            without = list(results_without_device(sent, staged=_users(entries), ours=self.made[account], lost=lost))
            self._report_not_staged(entries)
        opened.work.total = tally.total = len(entries) + len(without)
        for result in without:
            tally.take(result)
        dry = self.settings.dry_run
        with opened.ports.recording_proofs(self.records) as record_proof:
            outcomes = outcomes_of(
                entries,
                self.created,
                self.required,
                opened.execution,
                ports=opened.ports,
                dry=dry,
                check=arrival_check(entries, opened.ports.states),
                record_proof=record_proof,
            )
            opened.take_all(outcomes, tally.take)
        self._find_unrecorded(opened, selected)

    def _warn_of_lockout(self, entries: Sequence[JournalEntry], progress: LiveProgress) -> None:
        """Warn about users who prove nothing and have no file that only they can open."""
        if self.required.users is not None:
            return
        virtual = [entry.spec for entry in entries if entry.spec.method.name == VIRTUAL.name]
        if users := sorted({spec.user for spec in virtual if not spec.recipient}):
            statement = (
                f"warning: {count_of(len(users), 'user')} without a public key ({few(users)}) cannot sign in if they "
                "have neither the secret nor another device; to enable only devices of users who send two codes"
            )
            progress.alert(suggest(statement, f"rollout activate {INSTEAD} -i IDENTITY"))

    def _find_unrecorded(self, opened: OpenWork, selected: set[str] | None) -> None:
        """Find the staged devices that nothing proves. IAM's list is read only if no device was enabled."""
        execution, ports, progress = opened.execution, opened.ports.ports, self.settings.progress
        holders = execution.holders or execution.list_holders()
        known = {entry.spec.serial for entry in self.made[opened.work.account.id]}
        if not any(user is None and serial not in known for serial, user in holders.items()):
            return
        unassigned = opened.ports.prove(holders).unassigned  # another process may have staged devices meanwhile
        with progress.showing("reading the tags of devices"), suppress(AccessDenied):
            for serial, _, user, staged in read_run_tags(unassigned, ports=ports, workers=execution.workers):
                if staged and all(users is None or user.lower() in users for users in (selected, self.required.users)):
                    self.unrecorded.append(serial.rpartition("/")[2])

    def report_unrecorded(self) -> bool:
        """Print the staged devices that nothing proves, or that nothing is known. Return whether either is the case."""
        if names := sorted(self.unrecorded):
            devices = count_of(len(names), "staged device")
            self.settings.progress.alert(f"IAM has {devices} that neither the ledger nor a record has: {few(names)}")
        if names or self.is_empty:
            self.settings.progress.alert(STAGED_ELSEWHERE)
        return bool(names) or self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether neither the ledger nor a record has a device that is staged, or that was enabled already."""
        return not any(staged_entries(made, None) or self._enabled(account) for account, made in self.made.items())

    def _enabled(self, account: str) -> list[JournalEntry]:
        return [entry for entry in self.made[account] if entry.reached in STANDS]

    def _report_not_staged(self, entries: Sequence[JournalEntry]) -> None:
        """Print the named users who have no staged device in the only account, or that no user has one."""
        if missing := self.named - _users(entries):
            self.settings.progress.alert(f"{NONE_STAGED} for {', '.join(sorted(missing))}")
        elif not entries and self.required.users is None:
            self.settings.progress.alert(f"{NONE_STAGED} for these users")

    def report_missing(self) -> bool:
        """Print the users who should have a staged device, but have none. Return whether any of them sent proofs.

        With a file of proofs, each user in the file should have a staged device, unless `named` has names and the user
        is not among them. Without a file of proofs, each user in `named` should have one; if no account has a staged
        device and `named` is empty, print this instead. A user whose device is already enabled is not printed, so that
        a file of proofs can be used again.
        """
        staged = _users(chain(*map(self.staged, self.made)))
        enabled = _users(chain(*map(self._enabled, self.made)))
        sent, named = self.required.users or set(), self.named
        lacking = sorted(((sent & named if named and sent else sent or named) - staged) - enabled)
        if lacking:
            self.settings.progress.alert(f"{NONE_STAGED} for {', '.join(lacking)}")
        elif not staged and not sent:
            self.settings.progress.alert(f"{NONE_STAGED} in these accounts")
        return bool(lacking and sent)

    def report_unread(self, accounts: Sequence[OrgAccount]) -> None:
        """Print the chosen accounts in which no call is made, because nothing is known to be staged there."""
        unread = [account for account in accounts if not staged_entries(self.made[account.id], None)]
        if 0 < len(unread) < len(accounts):
            where = f"no device is known to be staged in {accounts_in_words(unread)}, so nothing was read there"
            self.settings.progress.note(suggest(f"{where}; to see their devices", "rollout status INDEX"))


def outcomes_of(
    entries: Sequence[JournalEntry],
    open_backup: Callable[[JournalEntry], Created],
    required: RequiredProofs,
    execution: Execution,
    *,
    ports: wiring.rollout.RolloutPorts,
    dry: bool,
    check: Callable[[JournalEntry], None],
    record_proof: Callable[[JournalEntry], None],
) -> Generator[RowResult, None, None]:
    """Enable the devices, and yield the result of each.

    In a dry run, enable nothing, and only check the proofs in the file of --proofs, if there is one. `check` raises
    Lockout for a key that was sent by post and has not arrived.
    """
    require = required.require(ports.ports.iam_reader.now)
    if not dry:
        return activate_devices(
            entries,
            open_backup=open_backup,
            ports=ports.ports,
            execution=execution,
            check_arrival=check,
            require_proof=require,
            record_proof=record_proof,
        )
    in_file = None if required.lines is None else require
    return check_proofs(
        entries, open_backup=open_backup, execution=execution, require_proof=in_file, check_arrival=check
    )


def arrival_check(
    entries: Sequence[JournalEntry], read_states: Callable[[], Mapping[str, RecordedState]]
) -> Callable[[JournalEntry], None]:
    """Return a function that raises Lockout for a key that was sent by post, unless its arrival is confirmed.

    The states are read only if one of `entries` is about such a key.
    """
    states = read_states() if any(entry.spec.posted for entry in entries) else {}
    return lambda entry: check_arrival(entry, states)


def list_users(ports: wiring.rollout.RolloutPorts, groups: Sequence[str], named: set[str]) -> set[str] | None:
    """Return the lower-case names of the users whose devices may be enabled, or None for all users.

    If `groups` has names, only members of at least one of these groups are returned. If `named` has names, only these
    users are returned.
    """
    if not groups and not named:
        return None
    selection = UserSelection(groups=tuple(groups))
    people = ports.people.users(details=bool(groups))
    names = {person.name.lower() for person in people if selection.matches(person, set())}
    return names & named if named else names
