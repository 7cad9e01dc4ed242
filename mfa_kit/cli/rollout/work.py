"""`mfa-kit rollout work`: enroll the users of a plan or an index, as one of several processes."""

import click

from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.apply_options import ApplyOptions, apply_options
from mfa_kit.cli.rollout.plan_run import apply_one
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@apply_options
@shared_options.AT_ONCE
@account_options(role=None, workers=False, results=False)
def work(*, wanted: ApplyOptions, settings: Settings, output: Output) -> int:
    """Enroll the users of PLAN (an index or one plan) together with other processes.

    Start this command several times, on one or more computers that share the ledger. Each process takes an account in
    which no other process works, then the next one. A process ends when no account is left.
    """
    return apply_one(wanted, settings=settings, output=output)
