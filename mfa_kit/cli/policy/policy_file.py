"""The parameter type of policy files, and the function that reads them."""

import contextlib
import sys
from pathlib import Path

import click

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.policy.lint import find_traps

POLICY_FILE = click.Path(path_type=Path, allow_dash=True)
LONGEST = 1 << 20


def read_policy(file: Path) -> str:
    """Return the text of a policy; `-` is stdin. Raise UsageFault if the file cannot be read or is not a policy."""
    try:
        with contextlib.nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8") as source:
            text = source.read(LONGEST + 1)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "name a policy file, or - for stdin") from None
    except UnicodeDecodeError:
        raise UsageFault(
            f"{file} is not an IAM policy: it is not UTF-8", suggest("to see a valid policy", "policy show")
        ) from None
    if len(text) > LONGEST:
        raise UsageFault(
            f"{file} is not an IAM policy: it is larger than {LONGEST >> 20} MiB",
            suggest("to see a valid policy", "policy show"),
        )
    find_traps(text)  # raises UsageFault if the text is not a policy
    return text
