"""The steps by which a user or role can gain rights, each with its source.

A source is an ID of pathfinding.cloud (Datadog, 2025), or a URL: a page of AWS or of HackTricks.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PATHFINDING = "https://pathfinding.cloud/paths/"
GUIDE = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
AWS = "https://docs.aws.amazon.com/"
EC2_ACTIONS = f"{AWS}service-authorization/latest/reference/list_amazonec2.html"
FLEETS = f"{AWS}AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html"
TEMPLATES = f"{AWS}AWSEC2/latest/UserGuide/permissions-for-launch-templates.html"
GROUPS = f"{AWS}autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html"
GROUP_ROLES = f"{AWS}autoscaling/ec2/userguide/us-iam-role.html"
STACKS = f"{AWS}AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html"
HACKTRICKS = "https://cloud.hacktricks.wiki/en/pentesting-cloud/aws-security/aws-privilege-escalation/"
PROJECTS, PIPELINES, PODS, SCHEDULES = [
    f"{HACKTRICKS}{page}-privesc/index.html"
    for page in ("aws-codebuild", "aws-codepipeline", "aws-eks", "eventbridgescheduler")
]
PASSING = f"{GUIDE}id_roles_use_passrole.html"
ATTACHING = f"{GUIDE}access_policies_manage-attach-detach.html"
BOUNDARIES = f"{GUIDE}access_policies_boundaries.html"
RHINO = "https://rhinosecuritylabs.com/aws/aws-privilege-escalation-methods-mitigation/"
# The steps of IAM and STS: for each action, its words and its source. The words follow "may". `{}` stands for the
# user, group, role or policy on which the caller acts. After `|` are the words for a caller that does it for another
# user or role, for whose name `{user}` stands.
CREDENTIALS = {
    "iam:CreateAccessKey": ("create an access key for {}", "iam-002"),
    "iam:CreateLoginProfile": ("set the password of {}", "iam-004"),
    "iam:UpdateLoginProfile": ("set the password of {}", "iam-006"),
}
ROLES = {
    "sts:AssumeRole": ("assume {}", "sts-001"),
    "iam:UpdateAssumeRolePolicy": ("let itself assume {}", "iam-012"),
    "iam:UpdateSAMLProvider": ("sign in as {} through its SAML provider", f"{GUIDE}id_roles_providers_saml.html"),
    "iam:PassRole": ("run code with {}", PASSING),
}
CHANGES = {
    "iam:AttachUserPolicy": ("change the policies of {}", "iam-008"),
    "iam:PutUserPolicy": ("change the policies of {}", "iam-007"),
    "iam:AttachRolePolicy": ("change the policies of {}", "iam-009"),
    "iam:PutRolePolicy": ("change the policies of {}", "iam-005"),
    "iam:AttachGroupPolicy": ("change the policies of its {}|change the policies of {}", "iam-010"),
    "iam:PutGroupPolicy": ("change the policies of its {}|change the policies of {}", "iam-011"),
    "iam:AddUserToGroup": ("join {}|add {user} to {}", "iam-013"),
    "iam:CreatePolicyVersion": ("write a new version of {}", "iam-001"),
    "iam:SetDefaultPolicyVersion": ("return to another version of {}", RHINO),
    **{
        f"iam:{verb}{kind}PermissionsBoundary": (
            "lift its permissions boundary|lift {user}'s permissions boundary",
            BOUNDARIES,
        )
        for kind in ("User", "Role")
        for verb in ("Delete", "Put")
    },
    **{
        f"iam:{verb}{kind}Policy": ("remove a Deny from {}", ATTACHING)
        for kind in ("User", "Role", "Group")
        for verb in ("Detach", "Delete")
    },
    "iam:RemoveUserFromGroup": ("leave {}", f"{GUIDE}id_groups_manage_add-remove-users.html"),
    "iam:TagUser": ("tag {}", f"{GUIDE}access_tags.html"),
    "iam:TagRole": ("tag {}", f"{GUIDE}access_tags.html"),
    "iam:CreateUser": ("create {}", "iam-015"),
    "iam:CreateGroup": ("create {}", f"{GUIDE}id_groups_create.html"),
    "iam:CreateRole": ("create {}", f"{GUIDE}id_roles_create.html"),
}
# The actions that give the caller the credentials of a user or role.
TAKING = {**CREDENTIALS, **ROLES}
RULES = {**TAKING, **CHANGES}
# REGION matches the region in a service's name, such as states.us-east-1.amazonaws.com, and DOMAIN the end of the name.
REGION = re.compile(r"\.[a-z]{2}(-[a-z]+)+-\d\.")
DOMAIN = re.compile(r"\.amazonaws\.com(\.cn)?\Z")
# Services that run code with a role that the caller passes. The keys are the services' names in trust policies, without
# the region and `.amazonaws.com`. Each set of actions, together with iam:PassRole, lets the caller run code with the
# role. The values are the sources.
SERVICES: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "tasks.apprunner": {("apprunner:CreateService",): "apprunner-001"},
    "bedrock-agentcore": {
        (
            "bedrock-agentcore:CreateCodeInterpreter",
            "bedrock-agentcore:StartCodeInterpreterSession",
            "bedrock-agentcore:InvokeCodeInterpreter",
        ): "bedrock-001"
    },
    "cloudformation": {
        ("cloudformation:CreateStack",): "cloudformation-001",
        ("cloudformation:UpdateStack",): STACKS,
        ("cloudformation:CreateStackSet", "cloudformation:CreateStackInstances"): "cloudformation-003",
        ("cloudformation:UpdateStackSet",): "cloudformation-004",
        ("cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"): "cloudformation-005",
    },
    "codebuild": {
        ("codebuild:CreateProject", "codebuild:StartBuild"): "codebuild-001",
        ("codebuild:UpdateProject", "codebuild:StartBuild"): PROJECTS,
        ("codebuild:CreateProject", "codebuild:StartBuildBatch"): "codebuild-004",
    },
    "codepipeline": {
        ("codepipeline:CreatePipeline",): PIPELINES,
        ("codepipeline:UpdatePipeline", "codepipeline:StartPipelineExecution"): PIPELINES,
    },
    "datapipeline": {("datapipeline:CreatePipeline", "datapipeline:PutPipelineDefinition"): "datapipeline-001"},
    "ec2": {
        ("ec2:RunInstances",): "ec2-001",
        ("ec2:RequestSpotInstances",): "ec2-003",
        ("ec2:AssociateIamInstanceProfile",): EC2_ACTIONS,
        ("ec2:ReplaceIamInstanceProfileAssociation",): EC2_ACTIONS,
        ("ec2:CreateLaunchTemplate", "ec2:CreateFleet"): FLEETS,
        ("ec2:CreateLaunchTemplateVersion",): TEMPLATES,
        ("ec2:CreateLaunchTemplate", "autoscaling:CreateAutoScalingGroup"): GROUPS,
        ("autoscaling:CreateLaunchConfiguration", "autoscaling:CreateAutoScalingGroup"): GROUP_ROLES,
        ("elasticmapreduce:RunJobFlow",): "emr-001",
        (
            "imagebuilder:CreateComponent",
            "imagebuilder:CreateImageRecipe",
            "imagebuilder:CreateInfrastructureConfiguration",
            "imagebuilder:CreateImage",
        ): "imagebuilder-001",
    },
    "ecs-tasks": {
        ("ecs:RegisterTaskDefinition", "ecs:RunTask"): "ecs-004",
        ("ecs:RegisterTaskDefinition", "ecs:StartTask"): "ecs-005",
        ("ecs:RegisterTaskDefinition", "ecs:CreateService"): "ecs-003",
        ("batch:RegisterJobDefinition", "batch:SubmitJob"): "batch-001",
    },
    "glue": {
        ("glue:CreateDevEndpoint",): "glue-001",
        ("glue:CreateJob", "glue:StartJobRun"): "glue-003",
        ("glue:CreateJob", "glue:CreateTrigger"): "glue-004",
        ("glue:UpdateJob", "glue:StartJobRun"): "glue-005",
        ("glue:UpdateJob", "glue:CreateTrigger"): "glue-006",
        ("glue:CreateSession", "glue:RunStatement"): "glue-007",
    },
    "lambda": {
        ("lambda:CreateFunction", "lambda:InvokeFunction"): "lambda-001",
        ("lambda:CreateFunction", "lambda:AddPermission"): "lambda-006",
        ("lambda:CreateFunction", "lambda:CreateEventSourceMapping"): "lambda-002",
    },
    "pods.eks": {("eks:CreatePodIdentityAssociation",): PODS},
    "sagemaker": {
        ("sagemaker:CreateNotebookInstance",): "sagemaker-001",
        ("sagemaker:CreateTrainingJob",): "sagemaker-002",
        ("sagemaker:CreateProcessingJob",): "sagemaker-003",
    },
    "scheduler": {("scheduler:CreateSchedule",): "scheduler-001", ("scheduler:UpdateSchedule",): SCHEDULES},
    "ssm": {("ssm:StartAutomationExecution",): "ssm-003"},
    "states": {
        ("states:CreateStateMachine", "states:StartExecution"): "stepfunctions-001",
        ("states:UpdateStateMachine", "states:StartExecution"): "stepfunctions-002",
    },
}
ACTIONS = (*RULES, *sorted({action for sets in SERVICES.values() for actions in sets for action in actions}))
NAMES = {action.lower(): action for action in ACTIONS}
# Why it is unknown whether somebody has a path, if the search was cut.
MANY = "there are too many ways to change users and roles one after another, and not all were tried"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# The trust policy of a role whose trust policy the callers write themselves.
OPEN = (
    '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*", "Service": ["'
    + '", "'.join([f"{name}.amazonaws.com" for name in SERVICES])
    + '"]}, "Action": "sts:AssumeRole"}]}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStep:
    """One step of a path. `caller` and `target` are ARNs; the caller carries out the actions on the target.

    `words` say what the caller may do, and `name` what the target is called in them. `subject` is the ARN of the user
    or role that may do more after the step, or whose credentials the caller then has. `source` is a URL.
    """

    caller: str
    actions: tuple[str, ...]
    target: str
    subject: str
    words: str
    name: str
    source: str


def fitting_tags(first: Mapping[str, str], sets: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the union of a set of tags and of all others that do not contradict it."""
    union = dict(first)
    for tags in sets:
        if all(union.get(key, tag) == tag for key, tag in tags.items()):
            union.update(tags)
    return union


def source_url(source: str) -> str:
    """Return the URL of a source."""
    return source if ":" in source else PATHFINDING + source


def path_words(steps: Iterable[PathStep], start: str) -> str:
    """Return the words for steps, which follow "may". `start` is the ARN of the caller for whom they are meant."""
    phrases = []
    caller, target = start, ""
    for step in steps:
        words = step.words.format(step.name)
        if step.target == target and ":user/" not in target:
            words = step.words.replace("its {}", "{}").replace("the policies of {}", "its policies").format("it")
            words = words.removeprefix("let itself ")
        actor = "" if step.caller == caller else f"as {step.caller.rpartition('/')[2]}, "
        phrases.append(f"{actor}{words} ({', '.join(step.actions)})")
        caller, target = step.caller, step.target
    return " and ".join(filter(None, (", ".join(phrases[:-1]), *phrases[-1:])))
