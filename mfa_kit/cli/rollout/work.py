"""`mfa-kit rollout work`: enroll the users of a plan or an index, as one of several processes."""

import click

from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.apply_options import ApplyOptions, apply_options
from mfa_kit.cli.rollout.plan_run import apply_one
from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@shared_options.PLAN_FILES
@apply_options
@shared_options.AT_ONCE
@account_options(role=None, workers=False, results=False)
def work(*, options: ApplyOptions, settings: Settings, output: Output) -> int:
    """Enroll the users of each PLAN, a plan or an index of plans, together with other processes.

    Start this command several times, on one or more computers that share the ledger. Each process takes an account in
    which no other process works, then the next account. A process ends when no account is left.
    """
    if len(set(options.plan_files)) > 1:
        raise UsageFault(
            "several plans can be used only with several accounts", "add --org or --accounts FILE, or give one plan"
        )
    return apply_one(options, settings=settings, output=output)
