"""Texts in the results for many accounts."""

OURS, AWS = "mfa-kit ", "aws "


def in_account(line: str, account: str) -> str:
    """Add the account to a line that suggests a command. The command may come after a colon.

    Without this, someone whose credentials belong to another account could change a user of the same name in that
    account. A command of mfa-kit gets the option --account, with which it refuses other accounts. The AWS CLI has no
    such option, so its commands get a shell comment.
    """
    if line.startswith(AWS) or f": {AWS}" in line:
        return f"{line}  # in account {account}"
    if line.startswith(OURS) or f": {OURS}" in line:
        return f"{line.replace(f'; {OURS}', f' --account {account}; {OURS}')} --account {account}"
    return line
