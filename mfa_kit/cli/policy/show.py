"""`mfa-kit policy show` and `policy org-role`: print policies and roles, with explanations."""

import json
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.permissions import Job, job_policy, permissions_of
from mfa_kit.policy.texts import (
    Certification,
    OrgRoleChoices,
    PolicyChoices,
    Variant,
    control_policy,
    first_sign_in_line,
    mfa_policy,
    org_role_template,
)

if TYPE_CHECKING:
    from mfa_kit.wiring.settings import Settings

# AWS advises it for iam:DeleteVirtualMFADevice (IAM user guide, "Deactivate an MFA device").
WITHOUT_MFA = """sign in with MFA yourself, and add to each statement: \
"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}"""

# The options of the policy that requires MFA, by the names of their parameters.
CHOICES = {"variant", "control", "first_sign_in", "user_paths", "own_names", "certification", "fips"}


@click.command("show", cls=Verb)
@click.option(
    "--for",
    "job",
    type=click.Choice([str(job) for job in Job]),
    help="Print the least permissions for a job with mfa-kit instead: enrolling single users, a station, a rollout, a "
    "worker of a rollout, or auditing.",
)
@click.option(
    "--variant",
    type=click.Choice(["self-managed", "admin-managed"]),
    default="self-managed",
    show_default=True,
    help="Who enrolls devices: users themselves or only administrators.",
)
@click.option("--scp", "control", is_flag=True, help="Print a service control policy for an organization instead.")
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
    job: str | None,
    variant: str,
    control: bool,
    first_sign_in: bool,
    user_paths: bool,
    own_names: bool,
    certification: str | None,
    fips: bool,
    partition: str | None,
    settings: "Settings",
    output: Output,
) -> None:
    """Print a policy that requires MFA: the JSON on stdout, and an explanation of each line on stderr.

    With --for, print the policy that somebody needs to do a job with mfa-kit.
    """
    partition = wiring.audit.chosen_partition(settings, partition) or "aws"
    if job:
        _refuse_choices()
        for row in permissions_of(Job(job)):
            settings.progress.note(f"{row.action}: {row.purpose} ({row.command})")
        settings.progress.note(WITHOUT_MFA)
        output.text(json.dumps(job_policy(Job(job), partition=partition), indent=2) + "\n")
        return
    choices = PolicyChoices(
        partition=partition,
        variant=Variant(variant),
        first_sign_in=first_sign_in,
        user_paths=user_paths,
        own_names=own_names,
        certification=Certification(certification) if certification else None,
        fips=fips,
    )
    if control:
        if any((first_sign_in, user_paths, own_names)):
            raise UsageFault(
                "--first-sign-in, --user-paths and --own-names are not for service control policies", "omit them"
            )
        document, lines = control_policy(choices)
    else:
        document, lines = mfa_policy(choices)
        lines = [*lines, first_sign_in_line(choices)]
    for line in lines:
        settings.progress.note(f"{line.text}: {line.why}")
    output.text(json.dumps(document, indent=2) + "\n")


def _refuse_choices() -> None:
    """Raise UsageFault if an option was typed that has no effect on the policy of a job."""
    ctx = click.get_current_context()
    typed = [
        param.opts[0]
        for param in ctx.command.params
        if param.name in CHOICES and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise UsageFault(f"{typed[0]} belongs to the policy that requires MFA, not to --for", "omit one of them")


@click.command("org-role", cls=Verb)
@click.option("--hub", metavar="ARN", help="The role, user or account root that may assume the roles.")
@click.option("--organization", metavar="ID", help="The ID of the organization, such as o-a1b2c3d4e5.")
@click.option("--enroll", is_flag=True, help="Also create the role that enrolls and removes devices.")
@click.option("--require-mfa", is_flag=True, help="Allow the roles to be assumed only with MFA.")
@click.option(
    "--users",
    metavar="PATTERN",
    default="user/*",
    show_default=True,
    help="The users whose devices may be changed, such as user/staff/*.",
)
def org_role(
    *,
    hub: str | None,
    organization: str | None,
    enroll: bool,
    require_mfa: bool,
    users: str,
    settings: "Settings",
    output: Output,
) -> None:
    """Print the roles that mfa-kit needs in each account of an organization, as a CloudFormation template.

    The template is printed on stdout, and an explanation of its lines on stderr. The options set the defaults of the
    template's parameters.
    """
    choices = OrgRoleChoices(hub=hub, organization=organization, enroll=enroll, require_mfa=require_mfa, users=users)
    template, lines = org_role_template(choices, text=wiring.files.packaged_text("policy/org_role.yaml"))
    for line in lines:
        settings.progress.note(f"{line.text}: {line.why}")
    output.text(template)
