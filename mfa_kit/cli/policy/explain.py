"""`mfa-kit policy explain`: say what the text of an AWS denial means, and what helps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.core.denials import LONGEST, Denial, advice, parse_denial
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.policy.denials import Cause, find_cause, first_cause, needs_aws

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.option("--offline", is_flag=True, help="Only read the text: call AWS for nothing.")
def explain(*, offline: bool, settings: Settings, output: Output) -> int:
    """Explain the text of a denial (AccessDenied), of mfa-kit or another program, from stdin.

    mfa-kit reads the service control policy that the text names, and decodes an encoded message, if you may do that.
    It neither prints nor follows links of the text. The text alone does not prove which statement denied the request.
    """
    try:
        denial = parse_denial(sys.stdin.read(LONGEST))
    except UnicodeDecodeError:
        denial = None
    if denial is None:
        raise UsageFault("this is not the text of a denial by AWS", "give the whole message on stdin")
    cause = first_cause(denial)
    if not offline and needs_aws(denial):
        denial, cause = _looked_up(denial, cause, settings)
    output.one(
        "policy-explain",
        {
            "principal": denial.principal or None,
            "session": denial.kind,
            "action": denial.action or None,
            "resource": denial.resource or None,
            "policy": cause.policy,
            "explicit": denial.is_explicit,
            "requires_mfa": cause.mfa,
            "mfa_present": denial.mfa,
            "unknown": cause.why or None,
            "advice": advice(denial, mfa=cause.mfa),
        },
    )
    return 0


def _looked_up(denial: Denial, cause: Cause, settings: Settings) -> tuple[Denial, Cause]:
    """Return what AWS says about a denial. If AWS cannot be asked, return the arguments, with the reason in `why`."""
    try:
        with wiring.organization.open_explanations(settings) as (source, decode):
            return find_cause(denial, source, decode)
    except MfaKitError as error:
        return denial, cause._replace(why=f"not read: {error}")
