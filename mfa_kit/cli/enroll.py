"""`mfa-kit enroll`: give a user or root an MFA device. The order of the steps is in `enrollment/enroll.py`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import identity
from mfa_kit.cli.browser.options import AtTerminal, asked_at, page_options
from mfa_kit.cli.method_verb import EPILOG, RESUME, ROOT, MethodVerb, device_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ROOT as ROOT_USER
from mfa_kit.core.models import (
    VIRTUAL,
    BackupLocation,
    DeviceSpec,
    Enrolled,
    Outcome,
    Registered,
    Skipped,
    recorded_location,
)
from mfa_kit.core.text import Cell, ResultRow, iso_time
from mfa_kit.enrollment import enroll as use_case
from mfa_kit.enrollment.fido_console import JOINED
from mfa_kit.enrollment.making import resume_device
from mfa_kit.enrollment.planning import EnrollRequest, resolve_user
from mfa_kit.wiring.methods.fido2 import Fido2Options
from mfa_kit.wiring.methods.registry import METHODS

if TYPE_CHECKING:
    from mfa_kit.cli.browser.page import OpenPage
    from mfa_kit.cli.output import Output
    from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts, EnrollmentProcedure
    from mfa_kit.wiring.methods.method import Options
    from mfa_kit.wiring.settings import Settings


@click.command(cls=MethodVerb, epilog=EPILOG)
@device_options()
@click.option("--add", is_flag=True, help="Add a device to a user who already has one.")
@click.option(RESUME, "resume", is_flag=True, help="Enable a half-made device with its encrypted backup (needs -i).")
@click.option(ROOT, "root", is_flag=True, help="Enroll the account's root user instead of USER (needs --with fido2).")
@identity()
@page_options
def enroll(
    *,
    user: str = "",
    method: str | None,
    method_options: Options,
    name: str | None,
    path: str,
    add: bool,
    resume: bool,
    root: bool,
    keys: tuple[Path, ...],
    page: bool,
    no_browser: bool,
    settings: Settings,
    output: Output,
    **backups: Unpack[wiring.stores.NewBackupOptions],
) -> int:
    """Give USER an MFA device."""
    if page:
        _check_page(method, method_options, other=root or resume or settings.dry_run)
    if root:
        output.one("enroll", _enroll_root(method_options, name=name, add=add, settings=settings))
        return 0
    if resume:
        _check_resume(method, identities=keys, settings=settings)
        identities = wiring.age_keys.Identities(
            keys, passphrase_fd=backups["passphrase_fd"], person=settings.interaction
        )
        output.one("enroll", _resume(user, method_options, identities, backups["backup_dir"], settings=settings))
        return 0
    enrollment_method = METHODS[method or VIRTUAL.name]
    store = wiring.stores.open_store_for_device(settings, backups, alone=method_options.backup_alone)
    with asked_at(settings, page=page, browser=not no_browser, user=user, calls=enrollment_method.call_user) as place:
        request = EnrollRequest(user=user, method=enrollment_method.method, name=name, path=path, add=add)
        return _enroll(request, method_options, store, place=place, output=output)


def _enroll(
    request: EnrollRequest,
    method_options: Options,
    store: BackupStore,
    *,
    place: OpenPage | AtTerminal,
    output: Output,
) -> int:
    """Make the device that `request` describes, print the result, and return the exit code.

    With --dry-run, print what would be done. `request.user` may be an ARN or @me.
    """
    settings, method = place.settings, METHODS[request.method.name]
    with wiring.ports.open_device_work(settings, request.user, method_options, store) as work:
        request, ports, caller, context = replace(request, user=work.user), work.ports, work.caller, work.context
        place.name(request.user, account=wiring.aws.account_label(caller.account, lab=caller.lab))
        backend = method_options.backend(context)
        run = wiring.ports.new_run_id(ports.iam_reader)
        if settings.dry_run:
            planned = use_case.look_to_enroll(request, backend, caller=caller, ports=ports)
            output.one("enroll", _planned_row(planned, run, method.procedure, ports=ports))
            return 0
        outcome = use_case.enroll(request, backend, caller=caller, ports=ports, run=run, procedure=method.procedure)
        _finish(place, outcome)
        if isinstance(outcome, Enrolled):
            for line in method.usage(outcome.spec, context):
                ports.progress.note(line)
        output.one("enroll", _row(outcome))
        # The exit code is 1 if IAM does not report a certification that the key policy requires. The security key is
        # enabled in this case too.
        return int(isinstance(outcome, Enrolled) and bool(outcome.registered and outcome.registered.missing))


def _check_page(method: str | None, method_options: Options, *, other: bool) -> None:
    """Raise UsageFault unless the command shows a QR code and asks for codes. `--page` supports nothing else."""
    if other or method != VIRTUAL.name or method_options.backup_alone:
        raise UsageFault(
            "--page works only for a user who scans a QR code and types codes",
            "use --page with --with virtual, and without --codes generated, --resume, --root and --dry-run",
        )


def _finish(place: OpenPage | AtTerminal, outcome: Outcome) -> None:
    """Show the last messages of the page: one for the admin, and one for the colleague."""
    if isinstance(outcome, Enrolled):
        user = outcome.spec.user
        place.finish(
            admin=f"{user} is enrolled: {outcome.spec.serial}",
            colleague="Done. From now on, AWS asks you for a code of this app. You can close this window.",
        )
    else:
        place.finish(admin=f"{outcome.user} {outcome.reason}", colleague="Nothing was changed. Please ask the admin.")


def _planned_row(
    planned: DeviceSpec | Skipped, run: str, procedure: EnrollmentProcedure, *, ports: EnrollmentPorts
) -> ResultRow:
    """Return the result row of a dry run: the device, and the steps in which `procedure` would make the device.

    The backup's file name contains `run`, the run ID. A device with a known serial, such as a token sold for AWS, gets
    no backup.
    """
    if isinstance(planned, Skipped):
        return _row(planned)
    backup = ports.store.place(planned, run) if planned.known_serial is None else None
    return {
        "outcome": "planned",
        "user": planned.user,
        "device": planned.serial,
        "kind": planned.method.name,
        "backup": backup,
        "steps": procedure.steps(planned, backup),
    }


def _enroll_root(method_options: Options, *, name: str | None, add: bool, settings: Settings) -> ResultRow:
    """Wait until root registers a security key in the console, and return the result row.

    Raise UsageFault if `--with` is not fido2, and AwsFault if root has no new key before `--timeout` ends.
    """
    if not isinstance(method_options, Fido2Options):
        raise UsageFault("AWS has no API to enroll root", f"register a security key: {ROOT} --with fido2")
    store = wiring.stores.open_backup_store(settings)
    wiring.stores.check_not_retired(settings, store.recipients())
    with wiring.ports.open_ports(settings, store=store) as (ports, caller):
        outcome = wiring.browser.enroll_root(
            name or "root-key", add=add, seconds=method_options.timeout, caller=caller, ports=ports
        )
    if isinstance(outcome, Skipped):
        return _row(outcome)
    serial = outcome.device.serial if outcome.device else None
    return {
        "outcome": "enrolled",
        "user": ROOT_USER,
        "device": serial,
        "kind": "fido2" if serial else None,
        "hardware": method_options.asset,
        "joined_by": JOINED if serial else "AWS reports that root has MFA, but not which device",
    }


def _check_resume(method: str | None, *, identities: tuple[Path, ...], settings: Settings) -> None:
    if not identities:
        raise UsageFault(f"{RESUME} needs an identity to decrypt the backup", "add an identity file: -i FILE")
    if settings.dry_run or method not in {None, VIRTUAL.name}:
        raise UsageFault(
            f"{RESUME} accepts neither --dry-run nor --with, except --with virtual", "remove --with and --dry-run"
        )


def _resume(
    user: str,
    method_options: Options,
    identities: wiring.age_keys.Identities,
    backup_dir: BackupLocation | None,
    *,
    settings: Settings,
) -> ResultRow:
    """Enable a user's half-made device, and return its result row.

    The secret is taken from the device's encrypted backup.
    """
    oath_keys = wiring.oath_keys.OathKeys(settings)
    store = wiring.stores.open_backup_store(settings, backup_dir)
    wiring.stores.check_not_retired(settings, store.recipients())
    with wiring.ports.open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
        context = wiring.ports.method_context(settings, ports.iam_reader, oath_keys)
        enrolled = resume_device(
            resolve_user(user, caller=caller, iam_reader=ports.iam_reader),
            method_options.backend(context),
            opened=lambda entry: wiring.backups.open_created(
                settings, recorded_location(ports.store.find(entry) or ""), identities
            ),
            caller=caller,
            ports=ports,
        )
        return _row(enrolled)


def _row(outcome: Outcome) -> ResultRow:
    """Return the outcome of an enrollment as a result row."""
    row = asdict(use_case.enroll_result(outcome))
    registered = outcome.registered if isinstance(outcome, Enrolled) else None
    return row | _registered_cells(registered) if registered else row


def _registered_cells(registered_key: Registered) -> dict[str, Cell]:
    """Return the additional cells for a security key.

    They have what IAM reports about the key, the requirements of the key policy that the key does not meet, and
    warnings.
    """
    return {
        "since": iso_time(registered_key.since),
        "certifications": registered_key.levels,
        "policy_lacks": registered_key.missing,
        "joined_by": JOINED,
        "warnings": registered_key.warnings,
    }
