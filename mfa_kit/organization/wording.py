"""Wording in results and messages about many accounts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount

# The maximum number of names that a sentence lists. If there are more, the sentence says how many are left out.
FEW = 3
# The word that replaces the ID of each account in a text about several accounts.
ACCOUNT = "ACCOUNT"
OURS, AWS = "mfa-kit ", "aws "


def in_account(line: str, account: str) -> str:
    """Return a line of advice, with the ID of the account added to the commands in the line.

    The first command is at the start of the line or after a colon. Further mfa-kit commands follow after semicolons. A
    line without a command is returned unchanged.

    Without the ID, someone whose credentials belong to another account could change a user of the same name in that
    account. A command of mfa-kit gets the option --account, with which mfa-kit refuses other accounts. The AWS CLI has
    no such option, so its commands get a shell comment.
    """
    if line.startswith(AWS) or f": {AWS}" in line:
        return f"{line}  # in account {account}"
    if line.startswith(OURS) or f": {OURS}" in line:
        return f"{line.replace(f'; {OURS}', f' --account {account}; {OURS}')} --account {account}"
    return line


def some_of(names: Sequence[str]) -> str:
    """Return names as a list for a sentence: all names, or the first FEW names and the number of the others."""
    if len(names) <= FEW:
        return ", ".join(names)
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def accounts_in_words(accounts: Sequence[OrgAccount]) -> str:
    """Return accounts for a message: `account NAME (ID)`, or the number of accounts and a few of their names."""
    listed = some_of([account.label for account in accounts])
    return f"account {listed}" if len(accounts) == 1 else f"{count_of(len(accounts), 'account')} ({listed})"


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
