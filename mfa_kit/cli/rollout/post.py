"""`mfa-kit rollout post`: the letters, the states and the secrets of keys that are sent to their users by post."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import BACKUP_DIR, identity
from mfa_kit.cli.letters import FORMS, PAPER, PDF, sender_values
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import call_place
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.running import confirm_at_terminal
from mfa_kit.cli.value_types import Day, LocalPath
from mfa_kit.core.device_records import DeviceState
from mfa_kit.core.errors import MfaKitError, UsageFault, notes_of
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.text import ResultRow, count_of, day_of, few
from mfa_kit.letters.sheet import Paper, PrintedSecret, confirm_secret, secret_letter
from mfa_kit.rollout.handing_over import LeftOut
from mfa_kit.rollout.handover_letter import parcel_letter
from mfa_kit.rollout.plan import Plan, check_account
from mfa_kit.rollout.posting import (
    Parcel,
    confirm_arrival,
    lose_device,
    parcels_of_plan,
    why_not,
)
from mfa_kit.rollout.row_status import look_up_devices

# The function that finds the PIN of a key, as `module:function`. Its module is imported only if --secrets is given.
FIND_PIN = "mfa_kit.cli.rollout.profiles:find_pin"

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.cli.rollout.profiles import find_pin
    from mfa_kit.core.letter import Letter
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.rollout.roster_files import Shipping
    from mfa_kit.wiring.settings import Settings
else:
    find_pin = partial(call_place, FIND_PIN)

COLUMNS = ("user", "name", "email", "device", "key", "state", "letter")
PASSWORD, PIN = "OATH password", "PIN"
_Command = TypeVar("_Command", bound=Callable[..., object])


def _users(option: str, words: str) -> Callable[[_Command], _Command]:
    """Return an option that names users, with commas or several times."""
    return click.option(option, metavar="A,B", multiple=True, callback=_names, help=words)


def _names(context: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    names = options.split_names(context, param, texts)
    if texts and not names:
        raise click.BadParameter("it names no user", context, param)
    return names


@click.command(cls=Verb)
@options.PLAN_FILE
@click.option("--letters", type=LocalPath(), metavar="DIR", help="New folder for the letters to put into the parcels.")
@options.SHIPPING
@click.option("--deadline", type=Day(), metavar="DATE", help="Deadline to print in the letters, such as 2026-12-01.")
@click.option("--pdf", is_flag=True, help="Also write each letter of --letters as a PDF file.")
@_users("--arrived", "Record that these users confirmed the arrival. Needs --how. Repeatable.")
@click.option("--how", metavar="CHANNEL", help="How they confirmed it, such as 'phone call'.")
@_users("--lost", "Remove the devices of keys that were lost on their way to these users. Repeatable.")
@click.option(
    "--secrets", type=LocalPath(), metavar="DIR", help="Folder for letters with passwords, after the arrival."
)
@identity("age identity or SSH private key that decrypts the passwords of --secrets.")
@options.ONLY
@PAPER
@BACKUP_DIR
@options.RESULTS
@options.RECORD
def post(
    *,
    plan_file: Path,
    letters: Path | None,
    shipping: Path | None,
    deadline: str | None,
    pdf: bool,
    arrived: tuple[str, ...],
    how: str | None,
    lost: tuple[str, ...],
    secrets: Path | None,
    keys: tuple[Path, ...],
    only: tuple[str, ...],
    paper: Paper,
    backup_dir: BackupLocation | None,
    results: Path | None,
    records: tuple[Path, ...],
    settings: Settings,
    output: Output,
) -> int:
    """Show where the keys of PLAN that are sent by post are. With an option, write letters or record what happened.

    The first letter has no secret. The second one has the password, and is written only after the arrival.
    """
    _check_options([letters, arrived, lost, secrets], how=how, arrived=arrived, secrets=secrets, keys=keys)
    plan, digest = wiring.rollout.read_plan(plan_file, expected=())
    store = wiring.stores.open_backup_store(settings, backup_dir)
    record = wiring.rollout.read_run_records([plan_file], records, results=results)
    folder = wiring.rollout.results_folder(results, plan_file)
    with wiring.rollout.open_rollouts(settings, None, store=store, workers=1, record=record) as rollouts:
        ports = rollouts.enter(rollouts.selection.chosen[0], progress=settings.progress)
        check_account(plan, ports.caller)
        users = arrived or lost
        parcels = _choose(_read_parcels(plan, rollouts, ports, settings), users=users, only=only)
        work = _Work(plan, parcels=parcels, settings=settings)
        if letters:
            wiring.rollout.check_handover(letters)
            columns = wiring.rollout.read_shipping(shipping, settings.progress)
            printer = wiring.files.letter_printer(paper) if pdf else None
            work.write_letters(letters, columns, sender=sender_values(settings, deadline), printer=printer)
        elif secrets:
            folders = [folder, *records]
            work.write_secrets(secrets, folders, keys, paper=paper, now=ports.ports.iam_reader.now())
        elif users and not settings.dry_run:
            if lost:
                confirm_at_terminal(
                    f"{count_of(len(parcels), 'key')} will be recorded as lost, and the prepared devices removed",
                    typed=str(len(parcels)),
                    settings=settings,
                )
            wiring.rollout.open_results_folder(results, plan_file)
            with ports.recording(folder, plan=digest) as recording:
                work.record(recording, how=how and how.strip())
    work.show(output)
    work.note_next_steps(str(plan_file), letters or secrets)
    return int(bool(work.refused))


def _read_parcels(
    plan: Plan, rollouts: wiring.rollout.Rollouts, ports: wiring.rollout.RolloutPorts, settings: Settings
) -> list[Parcel]:
    """Return the keys of a plan that are sent by post, as IAM, the ledger and the record show them."""
    with settings.progress.showing("reading devices"):
        proven = ports.prove(ports.execution(workers=1).list_holders())
    gone = {entry.spec.serial: entry for entry in rollouts.ledger.entries(plan.account) if entry.spec.posted}
    return parcels_of_plan(
        plan,
        {**gone, **proven.entries},
        ports.states(),
        lambda user: look_up_devices([user], ports=ports.ports, workers=1)[user],
    )


def _choose(parcels: Sequence[Parcel], *, users: Sequence[str], only: Sequence[str]) -> list[Parcel]:
    """Return the parcels of these users, or else of those in `only`. Raise UsageFault for a user without a parcel."""
    names = {name.lower() for name in users or only}
    chosen = [parcel for parcel in parcels if not names or parcel.step.user.lower() in names]
    known = {parcel.step.user.lower() for parcel in chosen}
    if unknown := [name for name in users if name.lower() not in known]:
        raise UsageFault(f"the plan has no key by post for {few(unknown)}", "check the spelling of the user")
    return chosen


def _check_options(
    actions: Sequence[object],
    *,
    how: str | None,
    arrived: Sequence[str],
    secrets: Path | None,
    keys: Sequence[Path],
) -> None:
    """Raise UsageFault or click.UsageError for options that cannot be used together."""
    if sum(map(bool, actions)) > 1:
        raise click.UsageError("--letters, --arrived, --lost and --secrets are separate steps; use one of them")
    wrong = {
        ("--arrived needs the channel by which the user confirmed it", "add --how 'phone call'"): (
            arrived and not (how or "").strip()
        ),
        ("--how is only for --arrived", "add --arrived USER, or leave out --how"): how is not None and not arrived,
        ("--secrets needs the identity that decrypts the passwords", "add -i IDENTITY"): secrets and not keys,
        ("-i is only for --secrets", "add --secrets DIR, or leave out -i"): keys and not secrets,
    }
    for fault, is_wrong in wrong.items():
        if is_wrong:
            raise UsageFault(*fault)


class _Work:
    """What is done with the parcels, and the new state and the letter of each, by the key of its row."""

    def __init__(self, plan: Plan, *, parcels: Sequence[Parcel], settings: Settings) -> None:
        self._plan, self.parcels, self._settings = plan, parcels, settings
        self.states: dict[str, str] = {}
        self.letters: dict[str, Path] = {}
        self.refused: list[LeftOut] = []

    def _refuse(self, parcel: Parcel, reason: str) -> None:
        self.refused.append(LeftOut(user=parcel.step.key, reason=reason))
        self._settings.progress.alert(f"{parcel.step.key}: {reason}")

    def record(self, recording: wiring.rollout.Recording, *, how: str | None) -> None:
        """Record that the parcels arrived, as the users confirmed by the channel `how`, or that they are lost.

        They are lost if `how` is None. Report errors row by row.
        """
        state = DeviceState.LOST if how is None else DeviceState.ARRIVED
        for parcel in self.parcels:
            try:
                if how is None:
                    lose_device(parcel, self._plan, ports=recording.ports, add_state=recording.add_state)
                else:
                    confirm_arrival(parcel, self._plan, how, add_state=recording.add_state)
            except MfaKitError as error:
                self._refuse(parcel, clauses([str(error), error.hint, *notes_of(error)]))
            else:
                self.states[parcel.step.key] = state

    def _ready(self) -> list[Parcel]:
        """Return the parcels that can be sent. Refuse the others one by one."""
        for parcel in self.parcels:
            if not parcel.is_ready:
                self._refuse(parcel, f"no letter: the key is {why_not(parcel)}")
        return [parcel for parcel in self.parcels if parcel.is_ready]

    def _arrived(self) -> list[Parcel]:
        """Return the parcels that have arrived. Refuse the others one by one, unless they were not sent."""
        arrived = [parcel for parcel in self.parcels if parcel.is_staged and parcel.state is DeviceState.ARRIVED]
        for parcel in self.parcels:
            if parcel not in arrived and not parcel.has_nothing_staged:
                self._refuse(parcel, f"no second letter: the key is {why_not(parcel)}, not arrived")
        return arrived

    def write_letters(
        self,
        folder: Path,
        shipping: Shipping,
        *,
        sender: Mapping[str, str],
        printer: Callable[[Letter], bytes] | None,
    ) -> None:
        """Write a folder with the letter for each parcel that can be sent, and the table of all of them."""
        text = wiring.files.packaged_text("rollout/parcel_letter.md")
        sent = self._ready()
        self.letters = {parcel.step.key: folder.absolute() / parcel.folder / next(iter(FORMS)) for parcel in sent}

        def folders() -> Iterator[tuple[str, Mapping[str, bytes]]]:
            for parcel in sent:
                letter = parcel_letter(parcel, self._plan, text=text, sender=sender)
                files = {name: form(letter).encode() for name, form in FORMS.items()}
                yield parcel.folder, {**files, PDF: printer(letter)} if printer else files
            rows = [
                {**shipping.cells_of(parcel.step.user, parcel.step.row.name), **self._cells(parcel)} for parcel in sent
            ]
            yield "", {options.HANDOVER_TABLE: csv_table((*COLUMNS, *shipping.columns), rows).encode()}

        if sent and not self._settings.dry_run:
            wiring.rollout.write_handover(folder, folders())

    def write_secrets(
        self, folder: Path, results: Sequence[Path], keys: Sequence[Path], *, paper: Paper, now: float
    ) -> None:
        """Write a PDF letter with the password of each key that has arrived, and another one with a PIN of a profile.

        Refuse the other keys one by one.
        """
        wiring.files.need_letters()
        if (folder.absolute().parent / options.HANDOVER_TABLE).exists() or (folder / options.HANDOVER_TABLE).exists():
            raise UsageFault(f"{folder} is a folder of the letters without secrets", "name another folder")
        wiring.files.check_output_folder(folder, self._settings.progress)
        arrived = self._arrived()
        if not arrived or self._settings.dry_run:
            return
        values = {**sender_values(self._settings, None), "date": day_of(now)}
        count = count_of(len(arrived), "letter")
        statement = f"{count} in {folder} will contain the passwords and PINs of keys"
        confirm_secret(statement, self._settings.interaction, several=len(arrived) > 1)
        sealed = [*map(wiring.rollout.secrets_folder, results)]
        opener = wiring.oath_keys.PasswordOpener(keys, sealed, self._settings)
        wiring.rollout.make_secret_folder(folder)
        for parcel in arrived:
            pins = [find_pin(place, self._plan, parcel.step, parcel.key) for place in sealed]
            pin = next(filter(None, pins), None)
            try:
                self._write_secret(parcel, folder, opener, pin, paper=paper, values=values)
            except MfaKitError as error:
                self._refuse(parcel, clauses([str(error), error.hint]))

    def _write_secret(
        self,
        parcel: Parcel,
        folder: Path,
        opener: wiring.oath_keys.PasswordOpener,
        pin: Path | None,
        *,
        paper: Paper,
        values: Mapping[str, str],
    ) -> None:
        entry = parcel.entry
        if entry is None or entry.spec.card is None:
            raise UsageFault("no second letter: a token has no password", "leave this user out with --only")
        values = {**values, "user": entry.spec.user, "key": parcel.key}
        path, text = folder.absolute() / f"{parcel.folder}.pdf", wiring.files.packaged_text("letters/secret.md")
        secrets = {path: PrintedSecret(label=PASSWORD, text=opener.open(entry))}
        if pin:
            secrets[path.with_name(f"{parcel.folder}-pin.pdf")] = PrintedSecret(label=PIN, text=opener.open_file(pin))
        for place, secret in secrets.items():
            if place.exists():
                raise UsageFault(
                    f"{place} already exists, maybe for a key that was lost", "delete it, or name another folder"
                )
            wiring.files.LetterFile(path=place, paper=paper).write(secret_letter(secret, text, values))
        self.letters[parcel.step.key] = path

    def _cells(self, parcel: Parcel) -> dict[str, str]:
        row, key = parcel.step.row, parcel.step.key
        return {
            "user": row.user,
            "name": (row.name or "") if row.is_further else "",
            "email": row.email or "",
            "device": parcel.entry.spec.serial if parcel.entry else "",
            "key": parcel.key,
            "state": self._state(parcel),
            "letter": str(self.letters.get(key, "")),
        }

    def show(self, output: Output) -> None:
        """Print a row for each parcel. JSON also has those that were refused."""
        rows: list[ResultRow] = [
            {name: cell or None for name, cell in self._cells(parcel).items()} for parcel in self.parcels
        ]
        output.many("rollout-post", rows, empty="no key of this plan is sent by post", narrow=("user", "key", "state"))

    def note_next_steps(self, plan: str, folder: Path | None) -> None:
        """Print where letters were written to (`folder`), and what is next for the keys in each state."""
        if self.letters and not self._settings.dry_run:
            self._settings.progress.note(f"{count_of(len(self.letters), 'letter')} written to {folder}")
        staged = {self._state(parcel) for parcel in self.parcels if not parcel.has_nothing_staged}
        states = {self._state(parcel) for parcel in self.parcels}
        on_the_way, arrived = states & {"nothing to prepare", DeviceState.PREPARED}, DeviceState.ARRIVED in staged
        exchanged = {self._state(parcel) for parcel in self.parcels if parcel.step.replaces}
        confirmed = "next: when a user has confirmed that the parcel arrived"
        steps = (
            (
                staged & {"not prepared", DeviceState.LOST},
                suggest("next: prepare the keys", "rollout station {} --stage", plan),
            ),
            (
                on_the_way and not self.letters,
                suggest("next: write the letters for the parcels", "rollout post {} --letters DIR", plan),
            ),
            (on_the_way, suggest(confirmed, "rollout post {} --arrived USER --how CHANNEL", plan)),
            (
                arrived and not self.letters,
                suggest("next: write the second letters", "rollout post {} --secrets DIR -i IDENTITY", plan),
            ),
            (arrived, suggest("next: when users have sent two codes", "rollout activate --proofs FILE -i IDENTITY")),
            (
                exchanged & {DeviceState.PROVEN, "enabled already"},
                suggest("next: remove the old devices", "rollout finish {}", plan),
            ),
        )
        for applies, message in steps:
            if applies:
                self._settings.progress.note(message)

    def _state(self, parcel: Parcel) -> str:
        return self.states.get(parcel.step.key) or why_not(parcel)
