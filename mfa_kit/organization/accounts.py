"""The accounts of an organization: which of them a command works in, and how messages name them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import AWS, PROGRAM, Command, Message, ShellText, parts_of
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.text import count_of, few

# The name of a role, with or without a path before the name (IAM API reference, CreateRole), and the ARN of a role.
ROLE_NAME = re.compile(r"(?!arn:)(?:[!-.0-~]+/){0,100}[\w+=,.@-]{1,64}", re.ASCII)
ROLE_ARN = re.compile(rf"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{{12}}):role/{ROLE_NAME.pattern}", re.ASCII)
# An external ID and a source identity (botocore's model of STS, AssumeRole). AWS raised the limit of the latter from
# 64 to 256.
EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,256}", re.ASCII)


class AccountState(StrEnum):
    """The state of an account (Organizations API reference, Account: State).

    UNKNOWN is not a state of AWS. It means that Organizations returned no state, or a state that mfa-kit does not know.
    """

    PENDING_ACTIVATION = "PENDING_ACTIVATION"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    PENDING_CLOSURE = "PENDING_CLOSURE"
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgAccount:
    """An account in which a command works.

    `state` is None if the account comes from a file. `roles` are names or ARNs of roles that are assumed one after the
    other. The last role must be in this account; the others may be in any account. `profile` is an AWS profile that is
    used instead of a role. If there is neither a role nor a profile, the command's default role is assumed.
    `external_id` is sent with AssumeRole. `tags` are texts such as `env:prod`, and `variables` are values for other
    programs; both are in the format of c7n-org. `path` is the account's place in its organization, as in the response
    of ListAccounts, or "" if it is unknown.
    """

    id: str
    name: str = ""
    state: AccountState | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    profile: str | None = None
    external_id: str | None = None
    tags: tuple[str, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    path: str = ""

    @property
    def is_open(self) -> bool:
        """Whether commands may work in the account: its state is ACTIVE, or the account comes from a file."""
        return self.state in {None, AccountState.ACTIVE}

    def is_called(self, name: str) -> bool:
        """Return whether `name` is the account's ID or its name. A text of 12 digits is always an ID, never a name."""
        return name == self.id or (name == self.name and not ACCOUNT_ID.fullmatch(name))

    @property
    def label(self) -> str:
        """The account's name in messages: `NAME (ID)`, or only the ID if it has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id


# The default role for commands that only read, and the one for those that change devices. `mfa-kit policy org-role`
# prints a template that creates both.
AUDIT_ROLE, ENROLL_ROLE = "mfa-kit-audit", "mfa-kit-enroll"
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


# The maximum number of accounts that a sentence lists.
FEW = 3
# The word that replaces the ID of each account in a text about several accounts.
ACCOUNT = "ACCOUNT"
# Commands for no account: of the ledger and the documentation. Then those that work on the index of all accounts.
WITHOUT_ACCOUNT = (["ledger"], ["help"])
OF_ALL = {("rollout", "apply"), ("rollout", "status"), ("rollout", "work")}


def in_account(text: str, account: str) -> str:
    """Return a message in which each command names an account by its ID, except those that are for all accounts.

    Without the ID, someone whose credentials belong to another account could change a user of the same name in that
    account. A command of mfa-kit gets the option --account, with which mfa-kit refuses other accounts. The AWS CLI has
    no such option, so its commands get a shell comment.
    """
    return Message(*(_command_in(part, account) if isinstance(part, Command) else part for part in parts_of(text)))


def _command_in(line: Command, account: str) -> Command:
    program, *words = line.arguments
    if program == AWS:
        return Command((*line.arguments, ShellText(f" # in account {account}")))
    if program != PROGRAM or "--account" in words or words[:1] in WITHOUT_ACCOUNT or tuple(words[:2]) in OF_ALL:
        return line
    end = words.index("--") if "--" in words else len(words)
    return Command((program, *words[:end], "--account", account, *words[end:]))


def labels(accounts: Sequence[OrgAccount]) -> str:
    """Return the labels of accounts for a message: a few labels, and the number of the others."""
    return few([account.label for account in accounts], FEW)


def accounts_in_words(accounts: Sequence[OrgAccount]) -> str:
    """Return accounts for a message: `account NAME (ID)`, or the number of accounts and a few of their names."""
    number = len(accounts)
    return f"account {labels(accounts)}" if number == 1 else f"{count_of(number, 'account')} ({labels(accounts)})"


def by_reason(reasons: Iterable[tuple[OrgAccount, str]]) -> list[tuple[list[OrgAccount], str]]:
    """Group accounts by reason, and return pairs of a list of accounts and the reason that they share.

    `reasons` has pairs of an account and a reason. A reason may contain the ID or the label of its account. If reasons
    differ only in these, they count as the same reason, and the word ACCOUNT replaces the ID and the label. The groups
    are in the order of their first accounts.
    """
    groups: dict[str, list[tuple[OrgAccount, str]]] = defaultdict(list)
    for account, reason in reasons:
        groups[reason.replace(account.label, ACCOUNT).replace(account.id, ACCOUNT)].append((account, reason))
    return [
        ([account for account, _ in group], reason if len(group) > 1 else group[0][1])
        for reason, group in groups.items()
    ]
