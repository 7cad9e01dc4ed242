"""The words of results for many accounts."""

OURS, AWS = "mfa-kit ", "aws "


def in_account(line: str, account: str) -> str:
    """Return a line with the account that its command is for.

    Without it, someone who has the credentials of another account would change the user of that name there. The
    command of mfa-kit gets --account and refuses other accounts. The AWS CLI has no such option, so its commands get a
    comment of the shell.
    """
    if line.startswith(AWS):
        return f"{line}  # in account {account}"
    return f"{line} --account {account}" if line.startswith(OURS) or f": {OURS}" in line else line
