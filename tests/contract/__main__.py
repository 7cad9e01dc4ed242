"""Ask an account what docs/lab.md says of IAM, and print where it answers otherwise.

    python -m tests.contract --account 111122223333            reads only; changes nothing
    python -m tests.contract --writes --account 111122223333   makes and removes users, keys and devices of its own

The credentials are those of the environment, as for any AWS client.
"""

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

import click

from tests.contract.cases import LACKS, Case, Desk, differences, reads, writes


def told(part: Sequence[Case], found: Sequence[tuple[Case, str]]) -> str:
    """Return the differences of a part as a table."""
    lines = [f"{len(part) - len(found)} of {len(part)} as docs/lab.md says"]
    for case, said in found:
        kind = "lacks it" if said.startswith(LACKS) else "says"
        lines += [f"  {case.row}", f"    expected  {case.says}", f"    {kind:<8}  {said}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the cases and print the differences. Return 1 if there are any."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--endpoint-url")
    options.add_argument("--region", default="us-east-1")
    options.add_argument("--writes", action="store_true", help="also the part that makes and removes things")
    options.add_argument("--account", help="refuse any other account; needed with --writes")
    options.add_argument("--patience", type=float, default=15, help="seconds until a new key is known everywhere")
    given = options.parse_args(arguments)
    desk = Desk(endpoint_url=given.endpoint_url, region=given.region, patience=given.patience)
    account = desk.account
    if given.account not in {None, account}:
        click.echo(f"the credentials belong to account {account}, not to {given.account}", err=True)
        return 2
    if given.writes and not given.account:
        click.echo(f"--writes needs --account {account}, if that is an account for tests", err=True)
        return 2
    click.echo("## Report of python -m tests.contract\n")
    click.echo(f"- Python {platform.python_version()}, mfa-kit {version('mfa-kit')}, botocore {version('botocore')}")
    click.echo(f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, region {given.region}\n")
    found = list(differences(reads, desk))
    click.echo(f"reads: {told(reads, found)}")
    if given.writes:
        try:
            written = list(differences(writes, desk))
            click.echo(f"writes: {told(writes, written)}")
            found += written
        finally:
            desk.clear()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
