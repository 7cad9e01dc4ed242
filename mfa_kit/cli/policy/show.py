"""`mfa-kit policy show`: print a policy that requires MFA."""

import json

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.policy.texts import Certification, PolicyChoices, Variant, first_sign_in_line, mfa_policy
from mfa_kit.wiring.settings import Settings


@click.command("show", cls=Verb)
@click.option(
    "--variant",
    type=click.Choice(["self-managed", "admin-managed"]),
    default="self-managed",
    show_default=True,
    help="Who enrolls devices: users themselves or only administrators.",
)
@click.option("--first-sign-in", is_flag=True, help="Let users change their password before they have a device.")
@click.option("--user-paths", is_flag=True, help="Support users with a path, such as /team/.")
@click.option("--own-names", is_flag=True, help="Let users create only devices that have their user name.")
@click.option(
    "--require-certification",
    "certification",
    type=click.Choice([str(level) for level in Certification], case_sensitive=False),
    help="Deny security keys with a lower FIDO certification, or with none.",
)
@click.option("--fips", is_flag=True, help="Deny security keys without a FIPS 140 certification.")
@click.option(
    "--partition", metavar="NAME", help="AWS partition: aws, aws-us-gov, aws-cn ... [default: from the region]."
)
def show_policy(
    *,
    variant: str,
    first_sign_in: bool,
    user_paths: bool,
    own_names: bool,
    certification: str | None,
    fips: bool,
    partition: str | None,
    settings: Settings,
    output: Output,
) -> None:
    """Print a policy that requires MFA: the JSON on stdout, and an explanation of each line on stderr."""
    choices = PolicyChoices(
        partition=wiring.audit.chosen_partition(settings, partition) or "aws",
        variant=Variant(variant),
        first_sign_in=first_sign_in,
        user_paths=user_paths,
        own_names=own_names,
        certification=Certification(certification) if certification else None,
        fips=fips,
    )
    document, lines = mfa_policy(choices)
    for line in (*lines, first_sign_in_line(choices)):
        settings.progress.note(f"{line.text}: {line.why}")
    output.text(json.dumps(document, indent=2) + "\n")
