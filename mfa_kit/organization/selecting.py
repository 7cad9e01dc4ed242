"""Selects accounts by ID, name and tag, and the role to assume in each account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.text import count_of, few
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.wording import labels

# The default role for commands that only read. `mfa-kit policy org-role` prints a template that creates this role.
AUDIT_ROLE = "mfa-kit-audit"
# The default number of accounts that are read at the same time.
WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsChoice:
    """The options of a command that works in many accounts: which accounts, and the role to assume in them.

    `file` is the accounts file. If it is None, Organizations lists the accounts: all accounts of the organization, or
    only those in the unit `ou` (the ID of a unit or of the root) and in the units below it. `include` and `exclude` are
    account IDs and names, and `tags` are texts such as `env:prod`.

    `role_name` is the role that is assumed in accounts that have neither a role nor a profile. It is None if the
    command has no default role. With `replaces_roles`, this role also replaces the last role of each account that has
    roles. `external_id` and `source_identity` are sent with AssumeRole. `workers` is the number of accounts to work in
    at the same time. `output_dir` is the folder for the results. With `resume`, accounts whose complete results are
    already there are not read again.
    """

    file: Path | None = None
    ou: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    role_name: str | None = AUDIT_ROLE
    replaces_roles: bool = False
    external_id: str | None = None
    source_identity: str | None = None
    workers: int = WORKERS
    resume: bool = False
    output_dir: Path | None = None

    @property
    def org(self) -> bool:
        """Whether the accounts are listed by Organizations instead of a file."""
        return self.file is None


@dataclass(frozen=True, slots=True)
class AccountSelection:
    """The accounts to work in (`chosen`), and the selected accounts that are skipped because they are not active.

    `others` are the listed accounts that were not selected. If `is_many` is false, the command works in one account
    with the caller's own credentials, and `chosen` has only this account. Otherwise each account in `chosen` has a role
    or a profile.
    """

    chosen: tuple[OrgAccount, ...]
    skipped: tuple[OrgAccount, ...] = ()
    others: tuple[OrgAccount, ...] = ()
    is_many: bool = True


def only_account(account: str) -> AccountSelection:
    """Return the selection of a command that works in one account, from the ID of the account."""
    return AccountSelection((OrgAccount(id=account),), is_many=False)


def select_accounts(accounts: Iterable[OrgAccount], choice: AccountsChoice) -> AccountSelection:
    """Return the accounts that a choice selects, in the order in which they are listed.

    An account is selected if it is in `include` (or `include` is empty), is not in `exclude`, and has all of `tags`.
    `include` and `exclude` contain IDs or names. Selected accounts that are not active are skipped. Raise UsageFault
    for an ID, name or tag that no account has, or for a name that several accounts have. Also raise UsageFault if no
    account is left, or if an account has neither a role nor a profile and the choice has no default role.
    """
    listed = list(accounts)
    selected = _matching(listed, choice)
    chosen = [_with_role(account, choice) for account in selected if account.is_open]
    skipped = [account for account in selected if not account.is_open]
    if not chosen:
        raise _nothing_chosen(skipped, any_listed=bool(listed))
    if unclear := [account for account in chosen if not account.roles and account.profile is None]:
        raise UsageFault(
            f"{count_of(len(unclear), 'account')} without a role: {labels(unclear)}",
            "name the role to assume: --role-name NAME",
        )
    selected_ids = {account.id for account in selected}
    others = tuple(account for account in listed if account.id not in selected_ids)
    return AccountSelection(tuple(chosen), tuple(skipped), others)


def _matching(listed: Sequence[OrgAccount], choice: AccountsChoice) -> list[OrgAccount]:
    included = _named("--include", choice.include, listed) or {account.id for account in listed}
    selected_ids = included - _named("--exclude", choice.exclude, listed)
    _check_tags(choice.tags, listed)
    return [account for account in listed if account.id in selected_ids and set(choice.tags) <= set(account.tags)]


def _named(option: str, names: Sequence[str], listed: Sequence[OrgAccount]) -> set[str]:
    """Return the IDs of the accounts whose IDs or names are in `names`.

    Raise UsageFault if a name does not match exactly one account. `option` is the option that the error names.
    """
    account_ids: set[str] = set()
    wrong: list[UsageFault] = []
    for name in dict.fromkeys(names):
        matching = [account for account in listed if account.is_called(name)]
        if len(matching) == 1:
            account_ids.add(matching[0].id)
        elif matching:
            ids = few([account.id for account in matching])
            message = f"{option}: {len(matching)} accounts are named {name!r}: {ids}"
            wrong.append(UsageFault(message, f"give the ID: {option} {matching[0].id}"))
        else:
            hint = (
                nearest(name, names_of(listed)) or f"check {_kind(name)}; {count_of(len(listed), 'account')} are listed"
            )
            wrong.append(UsageFault(f"{option}: there is no account {name!r}", hint))
    _raise_first(wrong)
    return account_ids


def _check_tags(tags: Sequence[str], listed: Sequence[OrgAccount]) -> None:
    """Raise UsageFault for a tag that no account has."""
    known = {tag for account in listed for tag in account.tags}
    _raise_first(
        [
            UsageFault(
                f"--account-tag: no account has the tag {tag!r}",
                nearest(tag, known) or "write the tag as it is in the file, or as KEY:VALUE with --org",
            )
            for tag in dict.fromkeys(tags)
            if tag not in known
        ]
    )


def _raise_first(wrong: Sequence[UsageFault]) -> None:
    """Raise the first fault, with the other faults as its notes."""
    if wrong:
        for other in wrong[1:]:
            wrong[0].add_note(Message(f"{other}: ", other.hint))
        raise wrong[0]


def _kind(text: str) -> str:
    """Return "the ID" if a text that matches no account has the form of an account ID, else "the name"."""
    return "the ID" if ACCOUNT_ID.fullmatch(text) else "the name"


def names_of(accounts: Iterable[OrgAccount]) -> list[str]:
    """Return the names and IDs by which accounts can be chosen."""
    return [text for account in accounts for text in (account.name, account.id) if text]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the text in `known` that is most similar to `name`, or "" if no text is similar.

    Return "" for a complete account ID, because it may be the correct ID of an account that is not in `known`. A hint
    would then name a different account.
    """
    if ACCOUNT_ID.fullmatch(name):
        return ""
    lower = {text.lower(): text for text in known}
    close = get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[close[0]]!r}?" if close else ""


def _with_role(account: OrgAccount, choice: AccountsChoice) -> OrgAccount:
    """Return a copy of the account with the external ID and the role that the command line chooses.

    An account without roles gets the role of the choice. An account with roles keeps them, but with
    `choice.replaces_roles`, the role of the choice replaces the last one. An account with a profile gets no role.
    """
    account = replace(account, external_id=choice.external_id or account.external_id)
    if account.profile is not None or choice.role_name is None or (account.roles and not choice.replaces_roles):
        return account
    return replace(account, roles=(*account.roles[:-1], choice.role_name))


def _nothing_chosen(skipped: Sequence[OrgAccount], *, any_listed: bool) -> UsageFault:
    if skipped:
        states = few([f"{account.label} is {account.state}" for account in skipped])
        return UsageFault(f"none of the selected accounts is ACTIVE: {states}", "select other accounts")
    if any_listed:
        return UsageFault(
            "--include, --exclude and --account-tag together select no account", "omit one of these options"
        )
    return UsageFault("no accounts were found", "choose an organizational unit that has accounts, or another file")
