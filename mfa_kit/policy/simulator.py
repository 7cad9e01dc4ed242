"""Compares mfa-kit's decisions on a policy with those of IAM's policy simulator (iam:SimulateCustomPolicy)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfa_kit.account.evaluator import NO_MFA, PLAIN_KEYS, WITH_MFA, WORK, Decision, RequestContext, evaluate
from mfa_kit.core.errors import MfaKitError

if TYPE_CHECKING:
    from mfa_kit.account.reading import AccountSource

WAYS: Mapping[str, RequestContext] = {
    "access keys": PLAIN_KEYS,
    "console without MFA": NO_MFA,
    "session with MFA": WITH_MFA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of a comparison with IAM's policy simulator.

    `differing` describes the actions for which the simulator decides differently from mfa-kit. `why_not` says why the
    comparison was not possible, or is "" if it was possible.
    """

    differing: tuple[str, ...] = ()
    why_not: str = ""


def compare_with_simulator(document: str, account: "AccountSource") -> Comparison:
    """Compare mfa-kit's decisions on a policy with those of iam:SimulateCustomPolicy, and return the differences.

    A few actions are evaluated three times: for access keys, for console sessions without MFA, and for sessions with
    MFA. Two decisions differ if exactly one of them is an explicit deny. If mfa-kit's decision is UNKNOWN, it is not
    compared.
    """
    differing = []
    actions = (*WORK, "sts:GetSessionToken", "iam:ChangePassword", "iam:ListVirtualMFADevices")
    try:
        for request_kind, context in WAYS.items():
            theirs = account.simulated([document], actions, context)
            for action, verdict in theirs.items():
                ours = evaluate([document], action, "*", context)
                # If `ours` is UNKNOWN, it depends on a condition key whose value was not sent to the simulator.
                if ours is not Decision.UNKNOWN and Decision.EXPLICIT in {ours, verdict} and ours is not verdict:
                    differing.append(f"{action} ({request_kind}): IAM says {verdict}, mfa-kit says {ours}")
    except MfaKitError as error:
        return Comparison(why_not=str(error))
    return Comparison(differing=tuple(differing))
