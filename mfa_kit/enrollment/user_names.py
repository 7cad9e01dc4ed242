"""Find the IAM user that a command line names."""

from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.models import ROOT, USER_NAME, Caller
from mfa_kit.enrollment.ports import Inventory


def resolve_user(text: str, *, caller: Caller, inventory: Inventory, must_exist: bool = False) -> str:
    """Return the user name for a name, an ARN or `@me` (the caller), as IAM spells it.

    User names in IAM are case-insensitive, but those in the journal, tags and backups are case-sensitive. For a
    user who does not exist, raise NoSuchEntity if `must_exist` is true. If `must_exist` is false, return the name
    unchanged, because some commands remove the keys and backups of a deleted user. Raise UsageFault for an ARN of a
    role or a group, an ARN in another account, and `@me` if the caller is not a user.
    """
    name = _plain_name(text, caller=caller)
    if caller.user and name.lower() == caller.user.lower():
        return caller.user
    if name == ROOT or not USER_NAME.fullmatch(name):
        return name
    try:
        return inventory.spelled(name)
    except NoSuchEntity:
        if must_exist:
            raise
        return name


def _plain_name(text: str, *, caller: Caller) -> str:
    if text == "@me":
        if caller.user is None:
            raise UsageFault(f"you are not an IAM user but {caller.arn}", "give a user name instead of @me")
        return caller.user
    if not text.startswith("arn:"):
        return text
    here = f"arn:{caller.partition}:iam::{caller.account}:"
    if not text.startswith(here):
        raise UsageFault(f"{text} is not in this account, {caller.account}", "choose another --profile")
    resource = text.removeprefix(here)
    if resource != ROOT and not resource.startswith("user/"):
        raise UsageFault(f"{text} is not a user", "name an IAM user, because roles and groups have no MFA devices")
    return resource.rpartition("/")[2]
