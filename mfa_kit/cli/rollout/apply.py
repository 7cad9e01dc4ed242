"""`mfa-kit rollout apply`: enroll the users of a plan, and write a result for each user."""

import click

from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.apply_options import ApplyOptions, apply_options
from mfa_kit.cli.rollout.plan_run import apply_one
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@shared_options.ONE_PLAN_FILE
@apply_options
@account_options(role=None, workers=False, results=False)
def apply(*, options: ApplyOptions, settings: Settings, output: Output) -> int:
    """Enroll the users of PLAN, or of an index of plans. Run the same command again to continue."""
    return apply_one(options, settings=settings, output=output)
