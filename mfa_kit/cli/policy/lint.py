"""`mfa-kit policy lint`: find traps in policies that mention MFA."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.cli.visits import alert_unread
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.policy.lint import Holder, Trap, account_traps, find_traps

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings

POLICY_FILE = LocalPath(allow_dash=True)
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


@click.command(cls=Verb)
@click.argument("policy_file", metavar="[FILE]", type=POLICY_FILE, required=False)
@click.option(
    "--on",
    type=click.Choice([str(kind) for kind in Holder]),
    help="What FILE is or will be attached to; scp: a service control policy.",
)
@SNAPSHOT
@MAX_AGE
def lint(
    *,
    policy_file: Path | None,
    on: str | None,
    file: Path | None,
    max_age: float,
    settings: Settings,
    output: Output,
) -> int:
    """Find the traps in the policy in FILE (- is stdin), or in all of the account's policies that mention MFA."""
    if policy_file is not None:
        partition = wiring.audit.chosen_partition(settings, None)
        traps = find_traps(read_policy(policy_file), on=Holder(on) if on else None, partition=partition)
        return _write([(str(policy_file), traps)], output)
    source = wiring.audit.SnapshotSource(file=file, max_age=max_age)
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    policy_traps = account_traps(snapshot)
    alert_unread(snapshot.unread_users, settings.progress)
    return _write(policy_traps, output)


def _write(linted: Sequence[tuple[str, Sequence[Trap]]], output: Output) -> int:
    """Print the traps of each policy, with the policy's name. Return the exit code: 1 if there are any, otherwise 0."""
    rows = [
        {"policy": where, "statement": trap.statement, "trap": trap.name, "what": trap.what, "instead": trap.instead}
        for where, traps in linted
        for trap in traps
    ]
    empty = f"no traps found; policies checked: {len(linted)}"
    output.many("policy-lint", rows, empty=empty, below=("what", "instead"))
    return 1 if rows else 0
