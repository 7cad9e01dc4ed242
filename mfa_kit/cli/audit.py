"""`mfa-kit audit`: the account around the devices, read and judged, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options

SEVERITIES = ("critical", "high", "medium", "low")
SNAPSHOT = click.option(
    "--snapshot",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this snapshot instead of AWS; a file that is not there yet is made, 0600.",
)
MAX_AGE = click.option(
    "--max-age",
    type=options.Age(),
    default="4h",
    show_default=True,
    help="Have IAM make a new credential report when it is older. IAM keeps one for 4h.",
)


@click.command(cls=options.Verb, html=True)
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Only this rule, or a subject's: root, admins ...")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default="low",
    show_default=True,
    help="Exit with 1 when a rule of this severity, or a worse one, fails or cannot be answered.",
)
@click.option(
    "--password-profile",
    "advice",
    type=click.Choice(["nist", "cis"]),
    default="nist",
    show_default=True,
    help="By whose advice the password policy is judged.",
)
@SNAPSHOT
@MAX_AGE
@options.BACKUP_DIR
@options.DRILLED_WITHIN
def audit(**wish: Any) -> int:
    """Judge the account around the devices: root, administrators, users, groups, roles, passwords, backups.

    Reads only. What could not be read is named and is never a pass.
    """
    from mfa_kit.cli.deeds import audit as deed

    return deed.audit(options.common(), **wish)
