"""`mfa-kit doctor`: find problems with this computer's setup before they interrupt an enrollment."""

from collections.abc import Callable

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.flags import given
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.status_line import find_progress
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@account_options(results=False)
def doctor(*, read_settings: Callable[[], Settings], output: Output) -> int:
    """Check credentials, clock, permissions, folders and terminal. The exit code is 1 if something is wrong.

    With several accounts, check only that mfa-kit can access each account, read whether its root user has MFA, and list
    its virtual devices.
    """
    with find_progress(plain=given().plain, quiet=given().quiet).showing("checking"):
        diagnoses = list(wiring.doctor.diagnose_computer(read_settings))
    rows = [
        {"check": diagnosis.what, "state": diagnosis.health, "found": diagnosis.found, "hint": diagnosis.hint or None}
        for diagnosis in diagnoses
    ]
    output.many("doctor", rows, empty="")
    return int(any(diagnosis.health is wiring.diagnosis.Health.BAD for diagnosis in diagnoses))
