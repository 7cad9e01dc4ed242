"""Texts in the results for many accounts."""

OURS, AWS = "mfa-kit ", "aws "


def in_account(line: str, account: str) -> str:
    """Return a line that suggests a command with the account added. The command may come after a colon.

    Without the account, someone whose credentials belong to another account could change a user of the same name in
    that account. A command of mfa-kit gets the option --account, with which mfa-kit refuses other accounts. The AWS CLI
    has no such option, so its commands get a shell comment. Other lines are returned unchanged.
    """
    if line.startswith(AWS) or f": {AWS}" in line:
        return f"{line}  # in account {account}"
    if line.startswith(OURS) or f": {OURS}" in line:
        return f"{line.replace(f'; {OURS}', f' --account {account}; {OURS}')} --account {account}"
    return line
