"""`mfa-kit key info`: show what one key reports about itself."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import ALLOW_OLDER, MDS, MDS_ROOT, PASSWORD_STDIN, PIN_STDIN, WHICH
from mfa_kit.cli.key.sources import FidoSource, KeyRow, OathSource, PluggedRows, complain, key_users, look, user_cells
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import Cell
from mfa_kit.core.errors import DeviceFault, InUse, MfaKitError
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import suggest
from mfa_kit.oath_keys.choosing import choose_line
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
@click.option("--count", is_flag=True, help="Also count the resident credentials. Asks for the PIN.")
@PIN_STDIN
@MDS
@MDS_ROOT
@ALLOW_OLDER
def info(
    *,
    wanted: str | None,
    password_stdin: bool,
    count: bool,
    pin_stdin: bool,
    mds: Path | None,
    mds_root: Path | None,
    allow_older: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Show what a key reports about itself, and its OATH credentials. Asks for the OATH password if the key has one.

    To prove which model a FIDO key is, use `verify fido2`.
    """
    fido = wiring.security_keys.SecurityKeys(
        settings, mds=mds, mds_root=mds_root, allow_older=allow_older, pin_stdin=pin_stdin
    )
    oath = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
    sources = (
        FidoSource(fido, count=count, key_name=wanted),
        OathSource(oath, beside=fido.find_same_device, key_name=wanted),
    )
    plugged = look(sources)
    chosen = _choose(wanted, plugged, settings.interaction)
    row, failed = _read(chosen)
    row |= user_cells(chosen, key_users(settings))
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
    # Fields that every key has come first, then those of FIDO, then those of OATH.
    kinds = ("credentials", "oath_", "fido_")
    return {name: row[name] for name in sorted(row, key=lambda name: [name.startswith(kind) for kind in kinds])}, failed


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
