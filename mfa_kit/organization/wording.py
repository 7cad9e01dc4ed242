"""Wording in results and messages about many accounts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from mfa_kit.core.message import AWS, PROGRAM, Command, Message, ShellText, parts_of
from mfa_kit.core.text import count_of, few
from mfa_kit.organization.accounts import OrgAccount

# The maximum number of accounts that a sentence lists.
FEW = 3
# The word that replaces the ID of each account in a text about several accounts.
ACCOUNT = "ACCOUNT"
# Commands that work on the index of all accounts, or on the ledger.
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
    if program != PROGRAM or "--account" in words or words[:1] == ["ledger"] or tuple(words[:2]) in OF_ALL:
        return line
    return Command((*line.arguments, "--account", account))


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
