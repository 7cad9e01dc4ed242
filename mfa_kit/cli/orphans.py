"""`mfa-kit orphans`: devices that nobody has, and which of them may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mfa_kit.cli import options, output
from mfa_kit.cli.keys import PASSWORD_STDIN
from mfa_kit.core.errors import MfaKitError

if TYPE_CHECKING:
    from mfa_kit.enrollment.orphans import Orphan

OLDER_THAN = click.option(
    "--older-than",
    type=options.Age(),
    default="24h",
    show_default=True,
    help="Of other desks, only what is older than this.",
)


@click.group(cls=options.Noun)
def orphans() -> None:
    """Explain and remove virtual devices that nobody has."""


@orphans.command("list")
@OLDER_THAN
def list_(*, older_than: float) -> None:
    """List every unassigned device: whose it is, since when, and whether `orphans clean` removes it."""
    from mfa_kit.enrollment import orphans as use_case
    from mfa_kit.wiring import desk as kit

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), None)) as (desk, _):
        found = use_case.orphans(desk=desk)
        output.many(
            "orphans-list",
            [_row(each, older_than=older_than, now=desk.inventory.now()) for each in found],
            output=options.form(),
            empty="every device is assigned",
        )


@orphans.command()
@OLDER_THAN
@click.option("--max", "limit", type=click.IntRange(0), default=50, show_default=True, help="Refuse to remove more.")
@click.option("--lost", metavar="KEY", help="The serial or label of a key that is lost or was reset: not waited for.")
@PASSWORD_STDIN
def clean(*, older_than: float, limit: int, lost: str | None, password_stdin: bool) -> None:
    """Settle what this desk's dead runs left, and remove what other desks left long ago."""
    from mfa_kit.enrollment import orphans as use_case
    from mfa_kit.wiring import desk as kit
    from mfa_kit.wiring.oath_keys import OathKeys

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), None), oath_keys=OathKeys(common, password_stdin=password_stdin)) as (
        desk,
        caller,
    ):
        found = use_case.orphans(desk=desk)
        now = desk.inventory.now()
        going = [each for each in found if each.goes(older_than=older_than, now=now)]
        rows = [_row(each, older_than=older_than, now=now) for each in going]
        if common.dry_run:
            output.many("orphans-clean", rows, output=options.form(), empty="nothing to remove")
            return
        if (others := sum(each.standing is use_case.Standing.DESK for each in going)) and not common.yes:
            for each in going:
                desk.progress.note(f"would go: {each.serial}, {each.standing}")
            common.interaction.confirm(f"{others} of these are of other desks, by their tags", typed=str(others))
        done = list(
            use_case.clean(found, account=caller.account, older_than=older_than, limit=limit, desk=desk, lost=lost)
        )
        output.many(
            "orphans-clean",
            [
                {"device": each.serial, "ended": each.ended, "why": str(each.error) if each.error else None}
                for each in done
            ],
            output=options.form(),
            empty="nothing to remove",
        )
        _raise_first([each.error for each in done if each.error])


def _row(orphan: Orphan, *, older_than: float, now: float) -> output.Row:
    return {
        "device": orphan.serial,
        "standing": orphan.standing,
        "user": orphan.user,
        "since": options.written(orphan.since) if orphan.since is not None else None,
        "run": orphan.run,
        "clean": "removes it" if orphan.goes(older_than=older_than, now=now) else "leaves it",
    }


def _raise_first(errors: list[MfaKitError]) -> None:
    if errors:
        first, *others = errors
        for other in others:
            first.add_note(f"{other}; {other.hint}")
        raise first
