"""`mfa-kit replace`: give a user a new device, and remove an old device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.method_verb import EPILOG, MethodVerb, device_options, name_of, options_of_old
from mfa_kit.core.errors import UsageFault
from mfa_kit.enrollment import revoke
from mfa_kit.enrollment.planning import EnrollRequest, resolve_user
from mfa_kit.wiring.methods.registry import METHODS

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import Caller, DeviceSpec, JournalEntry
    from mfa_kit.core.text import Cell
    from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts, EnrollmentProcedure
    from mfa_kit.wiring.methods.method import EnrollmentMethod, Options
    from mfa_kit.wiring.settings import Settings


@click.command(cls=MethodVerb, epilog=EPILOG, kind_of_old=True)
@device_options("Kind of device [default: the kind of the old device].")
@options.DEVICE
@click.option(
    "--lost", is_flag=True, help="The old device is lost or stolen: remove it before the new device is created."
)
def replace(
    *,
    user: str,
    method: str | None,
    method_options: Options | None,
    name: str | None,
    path: str,
    wanted: str | None,
    lost: bool,
    settings: Settings,
    output: Output,
    **backups: Unpack[wiring.stores.NewBackupOptions],
) -> None:
    """Replace an MFA device of USER. Without --lost, the old device is removed after the new device works."""
    with _opened(user, wanted, method=method, options=method_options, backups=backups, settings=settings) as (
        opened,
        ports,
        caller,
        oath_keys,
    ):
        enrollment_method, method_options = opened
        request = EnrollRequest(
            user=resolve_user(user, caller=caller, iam_reader=ports.iam_reader, must_exist=True),
            method=enrollment_method.method,
            name=name,
            path=path,
        )
        context = wiring.ports.method_context(settings, ports.iam_reader, oath_keys)
        backend, run = method_options.backend(context), wiring.ports.new_run_id(ports.iam_reader)
        spec, old = revoke.look_to_replace(
            request, backend, device_name=wanted, lost=lost, caller=caller, ports=ports, run=run
        )
        row: dict[str, Cell] = {
            "outcome": "planned",
            "user": request.user,
            "device": spec.serial,
            "kind": spec.method.name,
            "revoked": old.spec.serial if old else None,
            "backup": ports.store.place(spec, run) if spec.known_serial is None else None,
            "run": run,
            "listed": None,
        }
        if settings.dry_run:
            output.one(
                "replace", {**row, "steps": _steps(spec, old, run, enrollment_method.procedure, lost=lost, ports=ports)}
            )
            return
        if old:
            when = revoke.WHEN_LOST if lost else revoke.WHEN_REPLACED
            revoke.confirm_removal(old, when=when, person=None if settings.yes else settings.interaction)
        done = revoke.replace_device(
            spec, old, backend, lost=lost, ports=ports, run=run, procedure=enrollment_method.procedure
        )
        row |= {
            "outcome": "replaced",
            "revoked": done.revoked.serial if done.revoked else None,
            "listed": done.enrolled.listed,
        }
        # The commands that end the user's sessions are printed on stderr, so a table does not repeat them.
        if lost and output.form != "table":
            row["end_sessions"] = done.end_sessions
        for line in enrollment_method.usage(done.enrolled.spec, context):
            ports.progress.note(line)
        output.one("replace", row)


@contextmanager
def _opened(
    user: str,
    wanted: str | None,
    *,
    method: str | None,
    options: Options | None,
    backups: wiring.stores.NewBackupOptions,
    settings: Settings,
) -> Iterator[tuple[tuple[EnrollmentMethod, Options], EnrollmentPorts, Caller, wiring.oath_keys.OathKeys]]:
    """Connect to AWS, and yield the method with its options, the ports, the caller and the OATH keys.

    Without a method, the method is that of the old device, which is looked up through the same connection. Raise
    UsageFault if `options` belong to another method.
    """

    def prepare(options: Options) -> tuple[BackupStore, wiring.oath_keys.OathKeys]:
        store = wiring.stores.open_store_for_device(settings, backups, alone=options.backup_alone)
        return store, wiring.oath_keys.OathKeys(settings, password_stdin=options.password_stdin)

    prepared = prepare(options) if method and options else None
    with wiring.aws.connect(settings) as (iam, ledger, caller):
        open_ports = partial(wiring.ports.enrollment_ports, settings, iam=iam, ledger=ledger)
        if method is None or options is None or prepared is None:
            method = _kind_of_old(user, wanted, open_ports(store=wiring.stores.open_backup_store(settings)), caller)
            options = options or options_of_old(method)
            if (kind := name_of(options)) != method:
                raise UsageFault(
                    f"the options belong to --with {kind}, but the old device is of the kind {method}",
                    f"omit them, or write --with {kind}",
                )
            prepared = prepare(options)
        store, oath_keys = prepared
        yield (METHODS[method], options), open_ports(store=store, oath_keys=oath_keys), caller, oath_keys


def _kind_of_old(user: str, wanted: str | None, ports: EnrollmentPorts, caller: Caller) -> str:
    """Return the name of the kind of the device to replace, and print it. Raise UsageFault if there is no device."""
    name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader, must_exist=True)
    run = wiring.ports.new_run_id(ports.iam_reader)
    kind = revoke.method_of_old_device(name, wanted, caller=caller, ports=ports, run=run)
    if kind is None:
        raise revoke.no_device(name)
    if kind.name not in METHODS:
        raise UsageFault(f"{user} has no device whose kind the new one could have", "choose the kind: --with KIND")
    ports.progress.note(f"the new device is of the kind of the old one: {kind.name}")
    return kind.name


def _steps(
    spec: DeviceSpec,
    old: JournalEntry | None,
    run: str,
    procedure: EnrollmentProcedure,
    *,
    lost: bool,
    ports: EnrollmentPorts,
) -> list[str]:
    """Return the planned steps in order: those that make the new device, and those that remove the old device.

    With `lost`, the old device is removed first. `old` is None if there is no device to remove.
    """
    making = procedure.steps(spec, ports.store.place(spec, run))
    removing = revoke.removal_steps(old, lost=lost, ports=ports) if old else []
    return [*removing, *making] if lost else [*making, *removing]
