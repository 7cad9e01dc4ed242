"""`mfa-kit key list`, `info` and `metadata`: the connected keys, one key, and the published metadata of a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSWORD_STDIN, PIN_STDIN, WHICH, metadata_options
from mfa_kit.cli.key.sources import (
    FidoSource,
    KeyRow,
    KeySource,
    OathSource,
    PluggedRows,
    complain,
    device_cells,
    key_users,
    look,
    user_cells,
)
from mfa_kit.cli.options import Verb
from mfa_kit.core.errors import DeviceFault, InUse, MfaKitError
from mfa_kit.core.message import suggest
from mfa_kit.core.stopping import sleep
from mfa_kit.oath_keys.choosing import choose_line

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Interaction, Progress
    from mfa_kit.core.text import Cell, ResultRow
    from mfa_kit.security_keys.authenticator import MetadataSource, Model
    from mfa_kit.wiring.settings import Settings

# Seconds between two checks for a change.
WATCH = 0.3
NARROW = ("key", "serial", "firmware", "where", "fido_pin", "oath_password", "users", "computers")


def sources_of(settings: Settings) -> tuple[KeySource, ...]:
    """Return a source for each kind of key, in the order in which the sources are queried."""
    fido = wiring.security_keys.SecurityKeys(settings)
    return FidoSource(fido), OathSource(wiring.oath_keys.OathKeys(settings), beside=fido.find_same_device)


@click.command("list", cls=Verb, needs_config=False)
@click.option(
    "--watch", is_flag=True, help="Keep running and report each key that is connected or removed, until Ctrl-C."
)
def list_keys(*, watch: bool, settings: Settings, output: Output) -> None:
    """List the keys that are plugged in."""
    sources, progress = sources_of(settings), settings.progress
    # The state is read before the keys, so that a key inserted in between is noticed later.
    state = _state(sources) if watch else []
    users = key_users(settings)
    rows, faults = _look(sources, users)
    if not watch:
        _print_list(rows, faults, output=output, progress=progress)
        return
    complain(faults, progress)
    lines = output._replace(form="jsonl") if output.form == "json" else output
    for row in rows:
        lines.one("key-watch", {"event": "there", **row})
    _watch(sources, rows, state, users=users, output=lines, progress=progress)


def _print_list(
    rows: Sequence[ResultRow], faults: Sequence[MfaKitError], *, output: Output, progress: Progress
) -> None:
    """Print the keys on stdout, and the errors on stderr. If there are errors but no keys, raise the first error."""
    complain(faults if rows else faults[1:], progress)
    named = [{**row, "serial": row["serial"] or "no serial"} for row in rows]
    output.many("key-list", named if output.form == "table" else rows, empty="no keys", narrow=NARROW)
    if faults and not rows:
        raise faults[0]


def _state(sources: Sequence[KeySource]) -> list[object]:
    return [source.state() for source in sources]


def _look(
    sources: Sequence[KeySource], users: wiring.ledger.KeyUsers | None
) -> tuple[list[ResultRow], list[MfaKitError]]:
    plugged = look(sources)
    rows = [{**row.cells(), **user_cells(row, users)} for row in plugged.rows]
    return _alike(rows), [*plugged.faults, *plugged.missing]


def _alike(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the rows with the same fields, as `Output.many` requires. A missing field becomes None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _watch(
    sources: Sequence[KeySource],
    rows: list[ResultRow],
    state: list[object],
    *,
    users: wiring.ledger.KeyUsers | None,
    output: Output,
    progress: Progress,
) -> None:
    """Print each key that is plugged in or removed, until Ctrl-C.

    `rows` has the result rows of the keys at the start, and `state` the states of the sources at the start. `users` has
    the users of keys, from the ledger, or is None.
    """
    while True:
        sleep(WATCH)
        if (now := _state(sources)) == state:
            continue
        state, before = now, rows
        rows, faults = _look(sources, users)
        complain(faults, progress)
        for event, some, others in (("removed", before, rows), ("plugged in", rows, before)):
            for row in some:
                if row not in others:
                    output.one("key-watch", {"event": event, **row})
        sys.stdout.flush()


@click.command(cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
@click.option("--count", is_flag=True, help="Also count the resident credentials. Asks for the PIN.")
@PIN_STDIN
@metadata_options
def info(
    *,
    wanted: str | None,
    password_stdin: bool,
    count: bool,
    settings: Settings,
    output: Output,
    **key_options: Unpack[wiring.security_keys.KeyOptions],
) -> None:
    """Show what a key reports about itself, and its OATH credentials. Asks for the OATH password if the key has one.

    To prove which model a FIDO key is, use `verify fido2`.
    """
    fido = wiring.security_keys.SecurityKeys(settings, **key_options)
    oath = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
    sources = (
        FidoSource(fido, count=count, key_name=wanted),
        OathSource(oath, beside=fido.find_same_device, key_name=wanted),
    )
    plugged = look(sources)
    chosen = _choose(wanted, plugged, settings.interaction)
    row, failed = _read(chosen)
    row |= user_cells(chosen, key_users(settings))
    row |= device_cells(chosen, settings, as_text=output.form in {"table", "csv", "text"})
    row = _in_order(row)
    if len(failed) == len(chosen.details):
        raise failed[0]
    # If a reader or a USB device does not answer, a part of the chosen key may be unread, so the command fails.
    silent = [fault for fault in plugged.faults if wanted is None or _may_concern(chosen, fault)]
    wrong = [*failed, *silent]
    others = [fault for fault in plugged.faults if fault not in silent]
    complain([*others, *plugged.missing, *wrong[1:]], settings.progress)
    output.one("key-info", row)
    if wrong:
        raise wrong[0]


def _may_concern(chosen: KeyRow, fault: MfaKitError) -> bool:
    """Return whether an error may be about a part of the key: its OATH half may be in a reader that is in use."""
    return any(place in str(fault) for place in chosen.where) or (chosen.oath is None and isinstance(fault, InUse))


def _read(chosen: KeyRow) -> tuple[dict[str, Cell], list[MfaKitError]]:
    """Return what a key reports through its interfaces (FIDO, OATH), and an error for each unreadable interface."""
    row: dict[str, Cell] = chosen.common()
    failed: list[MfaKitError] = []
    for details in chosen.details:
        try:
            row |= {name: cell for name, cell in details().items() if row.get(name) in (None, ())}
        except MfaKitError as fault:
            failed.append(fault)
    if failed:
        row = {**chosen.cells(), **row}
    return row, failed


def _in_order(row: ResultRow) -> dict[str, Cell]:
    """Return the fields that every key has first, then those of FIDO, then those of OATH."""
    kinds = ("credentials", "oath_", "fido_")
    return {name: row[name] for name in sorted(row, key=lambda name: [name.startswith(kind) for kind in kinds])}


def _choose(key_name: str | None, plugged: PluggedRows, person: Interaction) -> KeyRow:
    """Return the key named `key_name`, or the only key if `key_name` is None. If there are several, the user chooses.

    If no key matches, raise the first error of the search that contains `key_name`. Any error counts if `key_name` is
    None. If there is no such error, raise DeviceFault. Raise Declined if the user cannot be asked.
    """
    match [row for row in plugged.rows if key_name is None or row.answers_to(key_name)]:
        case []:
            raise _no_key(key_name, plugged)
        case [row]:
            return row
        case rows:
            return rows[choose_line([_line(row) for row in rows], person)]


def _no_key(key_name: str | None, plugged: PluggedRows) -> MfaKitError:
    faults = [*plugged.faults, *plugged.missing]
    named = [fault for fault in faults if key_name is None or key_name in str(fault)]
    if named:
        return named[0]
    message = "no key is plugged in" if key_name is None else f"no key {key_name} is plugged in"
    fault = DeviceFault(message, suggest("plug the key in and try again; to see the connected keys", "key list"))
    for row in plugged.rows:
        fault.add_note(f"plugged in: {_line(row)}")
    for cause in faults:
        fault.add_note(str(cause))
    return fault


def _line(row: KeyRow) -> str:
    return f"{row.key}, {row.serial or 'no serial'}, at {' and '.join(row.where)}"


@click.command(cls=Verb)
@click.argument("model", required=False)
@metadata_options
def metadata(
    *,
    model: str | None,
    settings: Settings,
    output: Output,
    **key_options: Unpack[wiring.security_keys.KeyOptions],
) -> int:
    """Show the FIDO metadata of MODEL, or the age of the metadata. The exit code is 1 if MODEL is not found.

    MODEL is an AAGUID, a key identifier, or a part of the model's name.
    """
    source, models = wiring.security_keys.SecurityKeys(settings, **key_options).published(model)
    if model is None:
        output.one("key-metadata-source", _source_row(source))
        return 0
    output.many(
        "key-metadata",
        [_model_row(published_model) for published_model in models],
        empty=f"the metadata has no model {model}",
    )
    return 0 if models else 1


def _source_row(source: MetadataSource) -> ResultRow:
    return {
        "source": source.name,
        "number": source.number,
        "next_update": source.next_update.isoformat(),
        "current": source.next_update >= datetime.now(UTC).date(),
        "signed": source.root is not None,
        "root_sha256": source.root,
        "models": source.models,
        "passed_over": source.passed_over,
    }


def _model_row(model: Model) -> ResultRow:
    return {
        "name": model.name,
        "aaguid": model.aaguid or ", ".join(model.identifiers),
        "version": model.version,
        "status": [status.status for status in model.statuses],
        "attestation": model.attestation,
        "roots": len(model.roots),
    }
