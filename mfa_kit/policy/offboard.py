"""The steps for a user who leaves an account.

The first steps end the user's access, and can be undone. MFA devices are removed later, because that cannot be undone.
"""

from collections.abc import Iterator

from mfa_kit.account.account_users import AccountUser, account_users
from mfa_kit.account.snapshot import Snapshot, SnapshotPart
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import command, mfa_kit, suggest
from mfa_kit.core.models import check_user
from mfa_kit.enrollment.revoke import session_commands
from mfa_kit.policy.onboard import SetupStep, StepState

# The start of the filter for a user's events in CloudTrail. The user's name is appended.
BY_NAME = "AttributeKey=Username,AttributeValue="


def offboard_steps(snapshot: Snapshot, user: str) -> list[SetupStep]:
    """Return the steps for a user who leaves. mfa-kit runs none of them.

    Raise UsageFault for a name that IAM would refuse, or if there is no such user.
    """
    check_user(user)
    account_user = next(
        (candidate for candidate in account_users(snapshot) if candidate.name.lower() == user.lower()), None
    )
    if account_user is None and snapshot.hole(SnapshotPart.DETAILS) is None:
        raise UsageFault(f"there is no user {user!r}", suggest("list the users", "status"))
    name = account_user.name if account_user else user
    return [*_sign_in(name, account_user), *_removals(name, account_user), _checks(name)]


def _state(*, present: bool | None) -> StepState:
    """Return the state of a step that removes something: done if it is not present, unknown if `present` is None."""
    if present is None:
        return StepState.UNKNOWN
    return StepState.TO_DO if present else StepState.DONE


def _sign_in(name: str, account_user: AccountUser | None) -> Iterator[SetupStep]:
    """Yield the steps after which the user can neither sign in nor call AWS."""
    known = account_user is not None and account_user.credentials is not None
    each_key = f"$({command('aws iam list-access-keys --user-name {}', name)}"
    yield SetupStep(
        what=f"deactivate the access keys of {name}",
        why="to undo this, run it with --status Active instead of Inactive",
        state=_state(present=bool(account_user.keys) if account_user and known else None),
        commands=(
            f"for key in {each_key} --query 'AccessKeyMetadata[].AccessKeyId' --output text); do "
            + command("aws iam update-access-key --user-name {} --status Inactive --access-key-id", name)
            + ' "$key"; done',
        ),
    )
    yield SetupStep(
        what="end all sessions, and deny everything from now on",
        why="existing sessions last up to 36 hours, console sessions up to 90 days, and new sessions can begin until "
        "the password is deleted; to undo this, delete the policy",
        state=StepState.TO_DO,
        commands=session_commands(name, time=None),
    )
    yield SetupStep(
        what="delete the password",
        why="a new password can be set later; the old one cannot be restored",
        state=_state(present=account_user.password if account_user and known else None),
        commands=(command("aws iam delete-login-profile --user-name {}", name),),
    )


def _removals(name: str, account_user: AccountUser | None) -> Iterator[SetupStep]:
    """Yield the step that removes the MFA devices, which cannot be undone, and the step that ends group memberships."""
    devices = account_user.devices if account_user else ()
    complete = account_user is not None and account_user.complete
    revoke = mfa_kit("revoke {}", name)
    yield SetupStep(
        what="remove the MFA devices, and the backups of their secrets",
        why="only after the password is deleted: until then the device protects the sign-in. This cannot be undone",
        state=_state(present=True if devices else False if complete else None),
        commands=tuple(
            f"{revoke} {command('--mfa-device {}', device.serial)} --leave-without-mfa" for device in devices
        )
        or (f"{revoke} --leave-without-mfa",),
    )
    groups = account_user.user.groups if account_user else ()
    yield SetupStep(
        what="remove the user from all groups",
        why="so that a credential that was overlooked has no permissions; the user can be added again",
        state=_state(present=bool(groups) if account_user else None),
        commands=tuple(
            command("aws iam remove-user-from-group --user-name {} --group-name {}", name, group) for group in groups
        )
        or (command("aws iam list-groups-for-user --user-name {}", name),),
    )


def _checks(name: str) -> SetupStep:
    asked = ("list-access-keys", "list-mfa-devices", "list-ssh-public-keys", "list-signing-certificates")
    more = ("list-service-specific-credentials", "list-user-policies", "list-attached-user-policies")
    return SetupStep(
        what="what to check afterwards",
        why="other credentials and policies of the user, roles that the user can assume, and the user's last API calls",
        state=StepState.TO_DO,
        commands=(
            mfa_kit("status {}", name),
            *(command("aws iam {} --user-name {}", verb, name) for verb in (*asked, *more)),
            suggest("# roles whose trust policy names the user", "audit --rule roles.trust"),
            command("aws cloudtrail lookup-events --lookup-attributes {}", f"{BY_NAME}{name}"),
            "# IAM deletes the user only after everything in these lists is removed, including the policy of step 2: "
            + command("aws iam delete-user --user-name {}", name),
        ),
    )
