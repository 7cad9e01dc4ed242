"""`mfa-kit rollout`: many users from a roster; a plan first, and any number of interruptions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options
from mfa_kit.cli.method_options import click_options, single
from mfa_kit.wiring.methods.registry import METHODS

TO = click.option(
    "-r", "--recipient", "to", multiple=True, metavar="RECIPIENT", help="Who can open every backup: an age or SSH key."
)
TO_FILES = click.option(
    "-R", "--recipients-file", "to_files", multiple=True, type=Path, metavar="FILE", help="Recipients, one a line."
)
AT_ONCE = click.option(
    "--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="How many users are worked on at once."
)
PLAN = click.argument("plan", type=Path)
RESULTS = click.option(
    "--results", type=Path, metavar="DIR", help="Where results.csv, results.json and failed.csv go [beside PLAN]."
)
EXPECTED = click.option(
    "--expect-sha256", "expected", metavar="HEX", help="Refuse any other plan than the reviewed one."
)
LISTED = click.option("--only", metavar="A,B", help="Only the users named here.")
GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Users of a group of IAM.")


def sealing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say who opens the backups, and where they are."""
    return TO(TO_FILES(options.BACKUP_DIR(function)))


@click.group(cls=options.Noun)
def rollout() -> None:
    """Enroll many users from a roster: plan, apply, bench, undo."""


@rollout.command()
@click.argument("roster", type=Path, required=False)
@click.option("-o", "--plan", "out", type=Path, required=True, metavar="FILE", help="Where the plan is written.")
@GROUP
@click.option("--path-prefix", metavar="PATH", help="Users below a path of IAM.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Users with a tag.")
@click.option("--without-mfa", is_flag=True, help="Users with a console password and no MFA device.")
@LISTED
@click.option("--skip-bad", type=Path, metavar="FILE", help="Leave wrong rows out, and write them to FILE.")
@click.option("--trust-report", is_flag=True, help="Believe the credential report, which is up to four hours old.")
@AT_ONCE
def plan(**wish: Any) -> None:
    """Compare ROSTER, or a selection of IAM's users, with IAM, and write down what would be done."""
    from mfa_kit.cli.deeds import rollout as deeds

    chosen = bool(wish["groups"] or wish["tags"] or wish["without_mfa"] or wish["path_prefix"])
    if chosen if wish["roster"] else not (chosen or wish["only"]):
        raise click.UsageError(
            "give either a ROSTER or a selection: --group, --path-prefix, --tag, --without-mfa, --only"
        )
    deeds.plan(**wish)


@rollout.command()
@PLAN
@sealing
@click.option("--stage", "staged", is_flag=True, help="Create and seal only; `rollout activate` enables later.")
@click.option("--accept-lockout", is_flag=True, help="Enroll also who could not open his own copy.")
@click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop after more failed users than this.")
@EXPECTED
@RESULTS
@AT_ONCE
def apply(**wish: Any) -> int:
    """Enroll the users of PLAN. Run again, it goes on where it stood."""
    from mfa_kit.cli.deeds import rollout as deeds

    return deeds.apply(**wish)


class Bench(options.Verb):
    """Takes the options of every kind that is made at a desk, but for those that the row or the key itself says."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        of_kinds = {
            option.name: option
            for recipe in METHODS.values()
            for option in click_options(recipe.options)
            if recipe.call and option.name not in single(recipe.options)
        }
        *own, page = super().get_params(ctx)
        return [*own, *of_kinds.values(), page]


@rollout.command(cls=Bench)
@PLAN
@click.option(
    "--with",
    "kinds",
    multiple=True,
    type=click.Choice([name for name, recipe in METHODS.items() if recipe.call]),
    help="Only rows of this kind; with virtual also those of phones, which `apply` makes otherwise [all but virtual].",
)
@LISTED
@sealing
@EXPECTED
@RESULTS
def bench(
    *,
    plan: Path,
    kinds: tuple[str, ...],
    only: str | None,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    expected: str | None,
    results: Path | None,
    **own: object,
) -> int:
    """Work through the rows of PLAN that need a key, a token or a phone here. Run again, it goes on where it stood."""
    from mfa_kit.cli.deeds import bench as deeds

    return deeds.bench(
        plan,
        own,
        kinds=kinds,
        only=only,
        sealing=(to, to_files, backup_dir),
        expected=expected,
        results=results,
    )


@rollout.command()
@GROUP
@LISTED
@options.identity(required=True)
@options.BACKUP_DIR
@AT_ONCE
def activate(**wish: Any) -> int:
    """Enable staged devices from their sealed seeds."""
    from mfa_kit.cli.deeds import rollout as deeds

    return deeds.activate(**wish)


@rollout.command(html=True)
@PLAN
@options.BACKUP_DIR
@AT_ONCE
def status(**wish: Any) -> None:
    """Show how it stands with each user of PLAN, from the ledger and IAM."""
    from mfa_kit.cli.deeds import rollout as deeds

    deeds.status(**wish)


@rollout.command()
@click.argument("run")
@click.option("--leave-without-mfa", is_flag=True, help="Also where it is the user's last device.")
@options.BACKUP_DIR
@AT_ONCE
def undo(**wish: Any) -> int:
    """Take away exactly the devices that RUN made."""
    from mfa_kit.cli.deeds import rollout as deeds

    return deeds.undo(**wish)
