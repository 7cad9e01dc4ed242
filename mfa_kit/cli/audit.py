"""`mfa-kit audit`: takes or reads a snapshot of the account, applies the rules, and prints the findings.

In many accounts, it prints a row for each account, and can write a folder for each.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from mfa_kit.audit.finding import Severity
from mfa_kit.audit.frameworks import FRAMEWORKS
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import ASFF, OCSF, Output, call_place
from mfa_kit.cli.value_types import Age, LocalPath

# The function that does the work of the command, as `module:function`. Its module is imported only for the work.
WORK = "mfa_kit.cli.audit_output:run_audit"

if TYPE_CHECKING:
    from mfa_kit.cli.audit_output import run_audit
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.organization.accounts import AccountsChoice
    from mfa_kit.wiring.settings import Settings
else:
    run_audit = partial(call_place, WORK)


class AuditChoices(TypedDict):
    """The values of the options of `audit`."""

    rules: tuple[str, ...]
    framework: str | None
    max_session: float | None
    fail_on: str
    advice: str
    baseline: Path | None
    file: Path | None
    max_age: float
    backup_dir: BackupLocation | None
    drilled_within: float


@click.command(cls=Verb, html=True, forms=(ASFF, OCSF))
@click.option(
    "--rule", "rules", multiple=True, metavar="ID", help="Only this rule, or all rules of a subject such as root."
)
@click.option(
    "--framework",
    metavar="ID",
    help="Show each control of this framework with its verdict: " + ", ".join(FRAMEWORKS) + ".",
)
@click.option(
    "--max-session",
    type=Age(),
    help="Report console users and roles whose sign-in sessions can last longer than this (one request for each).",
)
@click.option(
    "--fail-on",
    type=click.Choice([str(severity) for severity in Severity]),
    default="low",
    show_default=True,
    help="Exit with 1 if a rule of this or a worse severity fails or is unknown.",
)
@click.option(
    "--password-profile",
    "advice",
    type=click.Choice(["nist", "cis"]),
    default="nist",
    show_default=True,
    help="The standard by which the password policy is checked.",
)
@click.option(
    "--baseline",
    type=LocalPath(),
    metavar="FILE",
    help="File of accepted findings, which do not count as failures. Each has an owner, a reason and an end date.",
)
@SNAPSHOT
@MAX_AGE
@BACKUP_DIR
@DRILLED_WITHIN
@account_options(in_one=("framework", "max_session", "file"))
def audit(
    *, accounts: AccountsChoice | None, settings: Settings, output: Output, **choices: Unpack[AuditChoices]
) -> int:
    """Check an account for MFA problems: root, administrators, users, groups, roles, passwords and backups.

    mfa-kit changes nothing in the account. If mfa-kit cannot read the data for a rule, the rule does not pass.
    """
    return run_audit(accounts=accounts, settings=settings, output=output, **choices)
