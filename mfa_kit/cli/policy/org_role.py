"""`mfa-kit policy org-role`: print a CloudFormation template of the roles for an organization's accounts."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.policy.org_role import OrgRoleChoices, org_role_template
from mfa_kit.wiring.settings import Settings


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
    settings: Settings,
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
