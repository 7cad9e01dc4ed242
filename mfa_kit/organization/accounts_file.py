"""The accounts file: a list of AWS accounts, in JSON or YAML.

The file has the format of `CONFIG_SCHEMA` in c7n_org/cli.py of Cloud Custodian, but only for AWS accounts. There are
two more differences: an account may have neither a role nor a profile, and a key that c7n-org would ignore is an error.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TypeVar

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, clauses, mfa_kit
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.organization.accounts import EXTERNAL_ID, ROLE_ARN, ROLE_NAME, OrgAccount

T = TypeVar("T")
# The keys of an account. mfa-kit ignores the keys in IGNORED: IAM has no regions, and the ID of the organization is not
# needed.
KEYS = ("account_id", "name", "display_name", "email", "role", "profile", "external_id", "tags", "vars")
IGNORED = ("org_id", "regions")
# The top-level keys of a file, and the keys under which c7n-org lists accounts of other clouds.
TOP = ("accounts", "vars")
OTHER_CLOUDS = ("subscriptions", "projects", "tenancies")
# The maximum depth to which values in `vars` may be nested.
DEEPEST = 50
FORMAT = Message(
    "see", mfa_kit("help organizations/accounts-file"), "or write a file", mfa_kit("accounts export -o FILE")
)

# A function that returns the place of an account or of one of its keys in the file, such as `line 3`. The arguments are
# the index of the account, counted from 0, and the name of the key, or None for the whole account.
Locate = Callable[[int, str | None], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFault:
    """An error in one account of a file.

    `place` says where the account is in the file, such as `line 3`. `key` is the name of the invalid key, or None if
    the error concerns the whole account. `what` is the error message.
    """

    place: str
    key: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.place}{f', {self.key}' if self.key else ''}: {self.what}"


@dataclass(frozen=True, slots=True)
class ParsedAccounts:
    """The valid accounts of a file, and all errors in the file."""

    accounts: list[OrgAccount]
    faults: list[AccountFault]


def number_accounts(index: int, _: str | None) -> str:
    """Return where an account is in a file without line numbers: `account 1` for the index 0."""
    return f"account {index + 1}"


def parse_accounts(document: object, *, locate: Locate = number_accounts) -> ParsedAccounts:
    """Parse an accounts file. `document` is the value that was read from its JSON or YAML.

    Return the valid accounts, and all errors. `locate` returns the place of an account in the file, for error messages.
    Raise UsageFault if there is no list of accounts, or if the top-level key `vars` is invalid.
    """
    items, shared, faults = _top(document)
    accounts: list[OrgAccount] = []
    first: dict[str, str] = {}
    for index, item in enumerate(items):
        entry = _Item(index=index, value=item, shared=shared, locate=locate)
        account = entry.parse()
        if account and account.id in first:
            entry.reject("account_id", f"{account.id} is a duplicate of {first[account.id]}")
        elif account:
            first[account.id] = locate(index, None)
            accounts.append(account)
        faults += entry.faults
    return ParsedAccounts(accounts, faults)


def _top(document: object) -> tuple[list[object], dict[str, object], list[AccountFault]]:
    """Return the unparsed accounts, the variables that all accounts share, and an error for each unknown top-level key.

    Raise UsageFault if there is no list of accounts, or if the top-level key `vars` is invalid.
    """
    if not isinstance(document, dict) or not set(document) & {*TOP, *OTHER_CLOUDS}:
        raise UsageFault("the file has no top-level key 'accounts'", FORMAT)
    for key in OTHER_CLOUDS:
        if key in document:
            raise UsageFault(f"the file lists {key}, which are not AWS accounts", f"remove {key} from the file")
    items, shared = document.get("accounts"), document.get("vars", {})
    if not isinstance(items, list) or not items:
        raise UsageFault("the file's 'accounts' is not a list of accounts, or is empty", FORMAT)
    faults = [
        AccountFault(
            place="top of the file", key=None, what=f"unknown key {_quoted(key)}; remove it, or move it to vars"
        )
        for key in document
        if key not in TOP
    ]
    try:
        return items, _variables(shared), faults
    except UsageFault as fault:
        raise UsageFault(f"'vars' at the top of the file: {fault}", fault.hint) from None


@dataclass(slots=True, kw_only=True)
class _Item:
    """One account of a file, and its errors. Parsing continues after an error, so that every key is checked."""

    index: int
    value: object
    shared: Mapping[str, object]
    locate: Locate
    members: Mapping[object, object] = field(default_factory=dict)
    faults: list[AccountFault] = field(default_factory=list)

    def parse(self) -> OrgAccount | None:
        """Return the account, or None if it has an error."""
        if not isinstance(self.value, dict):
            self.reject(None, "the account is not an object with account_id")
            return None
        self.members = self.value
        self._check_keys()
        account = OrgAccount(
            id=self._parse("account_id", _account_id, required=True) or "",
            name=self._name(),
            email=self._parse("email", _text),
            roles=self._parse("role", _roles) or (),
            profile=self._parse("profile", _text),
            external_id=self._parse("external_id", _external_id),
            tags=self._parse("tags", _tags) or (),
            variables={**self.shared, **(self._parse("vars", _variables) or {})},
        )
        self._check_role(account)
        return None if self.faults else account

    def reject(self, key: str | None, message: str) -> None:
        """Record an error in a key, or in the whole account if `key` is None."""
        self.faults.append(AccountFault(place=self.locate(self.index, key), key=key, what=message))

    def _check_keys(self) -> None:
        """Record an error for each unknown key, because otherwise a misspelled `role` would go unnoticed."""
        for key in self.members:
            if key not in {*KEYS, *IGNORED}:
                close = get_close_matches(str(key), KEYS, n=1)
                advice = f"did you mean {close[0]!r}?" if close else "remove it, or move it to vars"
                place = self.locate(self.index, key if isinstance(key, str) else None)
                self.faults.append(AccountFault(place=place, key=None, what=f"unknown key {_quoted(key)}; {advice}"))

    def _parse(self, key: str, parse: Callable[[object], T], *, required: bool = False) -> T | None:
        """Return the parsed value of a key, or None if it is missing, null or invalid.

        Record an error if the value is invalid, or if it is required and missing.
        """
        value = self.members.get(key)
        if value is None:
            if required:
                self.reject(key if key in self.members else None, f"the account has no {key}")
            return None
        try:
            return parse(value)
        except UsageFault as error:
            self.reject(key, clauses([str(error), error.hint]))
            return None

    def _name(self) -> str:
        names = [self._parse(key, _text) for key in ("name", "display_name")]
        return names[0] or names[1] or ""

    def _check_role(self, account: OrgAccount) -> None:
        """Record an error if the account has a role and a profile, or if its last role belongs to another account."""
        if account.roles and account.profile is not None:
            self.reject("profile", "the account also has a role; remove one of the two")
        arn = ROLE_ARN.fullmatch(account.roles[-1]) if account.roles else None
        if arn and account.id and arn["account"] != account.id:
            where = f"in account {arn['account']}, not in {account.id}"
            self.reject("role", f"the last role is {where}; correct the role or the account ID")


def _quoted(value: object) -> str:
    """Return a text in quotation marks, cut after 60 characters, or the type name of any other value."""
    return ascii(value[:60]) if isinstance(value, str) else type(value).__name__


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageFault("the value is not text", "write text, in quotation marks if it looks like a number or a date")
    return value.strip()


def _account_id(value: object) -> str:
    if isinstance(value, int | float):
        raise UsageFault(
            "the ID is a number, which loses its leading zeros",
            'write all 12 digits in quotation marks: "012345678901"',
        )
    text = _text(value)
    if not ACCOUNT_ID.fullmatch(text):
        raise UsageFault(f"{_quoted(text)} is not an account ID", "write the 12 digits of the ID, without dashes")
    return text


def _roles(value: object) -> tuple[str, ...]:
    """Return a single role, or the roles of a chain, as names or ARNs in the order in which they are assumed.

    Raise UsageFault if a role is invalid, or if a role of a chain, other than the last, is not an ARN.
    """
    if not isinstance(value, list):
        return (_role(value),)
    if not value:
        raise UsageFault("the list of roles is empty", "write a role, or remove the key")
    roles = tuple(map(_role, value))
    if named := [role for role in roles[:-1] if not ROLE_ARN.fullmatch(role)]:
        raise UsageFault(f"{_quoted(named[0])} in the chain of roles is not an ARN", "write the ARN of each role")
    return roles


def _role(value: object) -> str:
    text = _text(value)
    if not (ROLE_ARN if text.startswith("arn:") else ROLE_NAME).fullmatch(text):
        raise UsageFault(
            f"{_quoted(text)} is not the name or ARN of a role", "write a name, or arn:aws:iam::ACCOUNT:role/NAME"
        )
    return text


def _external_id(value: object) -> str:
    text = _text(value)
    if not EXTERNAL_ID.fullmatch(text):
        raise UsageFault("the value is not an external ID", "use 2 to 1224 letters, digits and +=,.@:/-_")
    return text


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise UsageFault("the tags are not a list of texts", 'write ["env:prod", "team:web"]')
    return tuple(value)


def _variables(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageFault("the variables are not an object", "write names with their values, or remove the key")
    _check_plain(value, above=frozenset(), done=set())
    return {str(name): variable for name, variable in value.items()}


def _check_plain(value: object, *, above: frozenset[int], done: set[int]) -> None:
    """Raise UsageFault if JSON cannot represent a value, or if the value is nested too deep.

    In YAML, a list can contain itself. `above` has the `id()` of each list and dictionary that contains this value.
    `done` has the `id()` of each list and dictionary that was already checked.
    """
    if isinstance(value, dict | list):
        if id(value) in above or len(above) > DEEPEST:
            raise UsageFault("a value contains itself, or is nested too deep", "write the value without references (*)")
        if id(value) not in done:
            for part in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
                _check_plain(part, above=above | {id(value)}, done=done)
            done.add(id(value))
    elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageFault(f"JSON cannot represent one of the values (type: {_quoted(value)})", "write the value as text")


def with_own_profile(accounts: Iterable[OrgAccount], own: str, *, profile: str | None) -> list[OrgAccount]:
    """Return the accounts. With `profile`, that with the ID `own`, which is the caller's, has the profile and no role.

    In the caller's own account, mfa-kit uses the caller's credentials instead of a role, because the caller's account
    is usually the management account, and StackSets do not deploy roles there. Other programs need the profile for it.
    """
    return [replace(account, profile=profile) if profile and account.id == own else account for account in accounts]


def accounts_document(accounts: Iterable[OrgAccount], *, partition: str) -> dict[str, object]:
    """Return the content of an accounts file that c7n-org can read: `{"accounts": [...]}`.

    Each account must have a role or a profile.

    c7n-org expands the name of a single role to an ARN in the partition `aws`. It does not expand names in a chain of
    roles. In other partitions and in chains, roles are therefore written as ARNs. c7n-org requires a name for each
    account, so an account without a name gets its ID as the name.
    """
    return {"accounts": [_account_object(account, partition) for account in accounts]}


def _account_object(account: OrgAccount, partition: str) -> dict[str, object]:
    values: dict[str, object] = {
        "account_id": account.id,
        "name": account.name or account.id,
        "email": account.email,
        "profile": account.profile,
        "role": _role_value(account, partition),
        "external_id": account.external_id,
        "tags": list(account.tags),
        "vars": dict(account.variables),
    }
    return {key: value for key, value in values.items() if value}


def _role_value(account: OrgAccount, partition: str) -> str | list[str] | None:
    if account.profile is not None or not account.roles:
        return None
    if len(account.roles) == 1 and (partition == "aws" or ROLE_ARN.fullmatch(account.roles[0])):
        return account.roles[0]
    arns = [
        role if ROLE_ARN.fullmatch(role) else f"arn:{partition}:iam::{account.id}:role/{role}" for role in account.roles
    ]
    return arns if len(arns) > 1 else arns[0]
