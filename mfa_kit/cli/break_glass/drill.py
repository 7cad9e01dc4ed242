"""`mfa-kit break-glass drill`: practice a meeting, and test that the identity opens every backup."""

import time
from functools import partial
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass import drilling
from mfa_kit.break_glass.creating import facts_of
from mfa_kit.break_glass.drilling import check_users, concerned
from mfa_kit.break_glass.meeting import meet
from mfa_kit.break_glass.proof import find
from mfa_kit.cli import messages
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.break_glass.options import PRESENT, RECOVERY_KEY_DIR
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.text import iso_time
from mfa_kit.letters.sheet import DrillFacts, Paper, drill_protocol
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@PRESENT
@click.option(
    "--phone",
    "users",
    multiple=True,
    metavar="USER",
    help="Also compare the backups of this user, or of root, with their phone.",
)
@click.option(
    "--protocol",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="New PDF file for the record of the drill, which the custodians sign. It contains no secret.",
)
@PAPER
@RECOVERY_KEY_DIR
@BACKUP_DIR
def drill(
    *,
    keys: tuple[Path, ...],
    users: tuple[str, ...],
    protocol: Path | None,
    paper: str,
    folder: Path | None,
    backup_dir: BackupLocation | None,
    settings: Settings,
    output: Output,
) -> int:
    """Hold a meeting, and test that the identity opens every backup that is encrypted to it. No secret is shown.

    The ledger records the date, the custodians and the number of backups. The exit code is 5 if a backup fails.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = find(folder, ports)
    known = concerned(wiring.backups.known_backups(settings, backup_dir), recovery_key.manifest.recipient)
    if not known:
        raise UsageFault(
            f"no backup is encrypted to {recovery_key.manifest.recipient}",
            "encrypt a backup to this recipient, or name the folder of the backups: --backup-dir DIR",
        )
    check_users(users, known)
    row = {"recipient": recovery_key.manifest.recipient}
    if settings.dry_run:
        output.one("break-glass-drill", {"outcome": "planned", **row, "backups": len(known)})
        return 0
    letter = wiring.letters.LetterFile(path=protocol, paper=Paper(paper)) if protocol else None
    if letter:
        letter.check()
    opened = meet(recovery_key, keys, ports)
    result = drilling.drill(
        recovery_key,
        opened,
        known,
        users=users,
        ports=ports,
        backups=partial(wiring.break_glass.open_drilled, settings),
        counted=partial(messages.counted, progress=settings.progress, doing="testing backups"),
    )
    if letter:
        facts = DrillFacts(
            held=iso_time(time.time()),
            present=opened.names,
            backups=len(result.tested),
            opened=result.good,
            compared=result.compared,
            faults=result.faults,
        )
        text = wiring.files.packaged_text("letters/drill.md")
        letter.write(drill_protocol(facts, facts_of(recovery_key.manifest), text=text))
    output.one(
        "break-glass-drill",
        {
            "outcome": "passed" if result.passed else "failed",
            **row,
            "custodians": opened.names,
            "backups": len(result.tested),
            "opened": result.good,
            "faults": result.faults or None,
        },
    )
    return 0 if result.passed else IntegrityFault.exit_code
