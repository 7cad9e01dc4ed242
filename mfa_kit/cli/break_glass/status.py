"""`mfa-kit break-glass status`: show the custodians of an identity, when it was used, and what is due."""

from pathlib import Path

import click

from mfa_kit.break_glass.history import Record
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.break_glass.glass_options import GLASS_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.places import Place
from mfa_kit.core.timestamps import iso_time
from mfa_kit.wiring import break_glass as wiring
from mfa_kit.wiring import break_glass_upkeep as upkeep
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@GLASS_DIR
@BACKUP_DIR
def status(*, folder: Path | None, backup_dir: Place | None, settings: Settings, output: Output) -> None:
    """Show the custodians and their keys, the last drill and opening, and what is due."""
    glass = wiring.find_glass(settings, folder)
    manifest = glass.manifest
    state = upkeep.state(settings, manifest, backup_dir)
    row: ResultRow = {
        "folder": str(glass.folder),
        "recipient": manifest.recipient,
        "made": iso_time(manifest.made),
        "threshold": manifest.group.threshold,
        "custodians": manifest.group.names,
        "keys": [f"{each.name} {each.fingerprint}" for each in manifest.group.custodians],
        "removed": [each.name for each in manifest.former] or None,
        "last_drill": _time(state.last_drill),
        "last_opened": _time(state.last_opened),
        "backups": state.backups,
        "due": state.due or None,
    }
    output.one("break-glass-status", row)


def _time(found: Record | None) -> str | None:
    return iso_time(found.at) if found else None
