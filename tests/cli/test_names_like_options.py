"""Names that look like options: each command that mfa-kit suggests acts on the user of that name only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mfa_kit.cli import main
from mfa_kit.cli.method_verb import METHOD_NAME
from mfa_kit.core.message import Command, command, mfa_kit
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import in_account
from tests.cli.test_hints import SOURCE, VALUE
from tests.conftest import MfaKit
from tests.lab.client import Aws

NAMES = ["--root", "--all", "-rage1qqq"]
# The AWS CLI's parser of options: a word that begins with a dash is never the value of the option before it.
AWS = """#!{python}
import sys
import boto3, jmespath
from botocore import xform_name
service, verb, *words = sys.argv[1:]
options = {{}}
while words:
    name, equals, value = words.pop(0).partition("=")
    if not name.startswith("--"):
        sys.exit(f"aws: unknown argument {{name}}")
    options[name] = value if equals else words.pop(0) if words and not words[0].startswith("-") else True
query, _ = options.pop("--query", "@"), options.pop("--output", None)
client = boto3.client(service)
call = client.meta.method_to_api_mapping[verb.replace("-", "_")]
shape = client.meta.service_model.operation_model(call).input_shape
members = {{"--" + xform_name(member, "-"): member for member in shape.members}}
answer = getattr(client, verb.replace("-", "_"))(**{{members[name]: value for name, value in options.items()}})
print("\\t".join(map(str, jmespath.search(query, answer) or [])))
"""  # fmt: skip


@pytest.mark.parametrize(
    ("line", "arguments", "text"),
    [
        ("enroll {} --with {} --add", ("--root", "fido2"), "mfa-kit enroll --with fido2 --add -- --root"),
        ("revoke {} --mfa-device {}", ("--all", "-key"), "mfa-kit revoke --mfa-device=-key -- --all"),
        ("revoke {} --mfa-device {}", ("alice", "my key"), "mfa-kit revoke alice --mfa-device 'my key'"),
        ("rollout undo PLAN {} {}", ("-a", "b"), "mfa-kit rollout undo PLAN -- -a b"),
        ("rollout undo PLAN {} {}", ("a", "-b"), "mfa-kit rollout undo PLAN a -- -b"),
        ("backup show -i {} {}", ("-id", "-file"), "mfa-kit backup show -i -id -- -file"),
    ],
)
def test_a_name_is_never_an_option(line: str, arguments: tuple[str, ...], text: str) -> None:
    """A value is joined to its option. An argument stands after `--`."""
    assert mfa_kit(line, *arguments) == text


def test_the_account_stands_before_the_name() -> None:
    """What stands after `--` would be another name."""
    line = mfa_kit("revoke {}", "--root")
    assert in_account(line, "111122223333") == "mfa-kit revoke --account 111122223333 -- --root"
    assert command("aws iam get-user --user-name {}", "--root") == "aws iam get-user --user-name=--root"


def templates() -> Iterator[tuple[str, str]]:
    """Yield each literal of a command of mfa-kit that has a place for an argument, with its file."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"mfa_kit", "suggest"}
            ):
                line = node.args[node.func.id == "suggest"]
                if isinstance(line, ast.Constant) and VALUE in str(line.value).split():
                    yield file.relative_to(SOURCE).as_posix(), str(line.value)


def values_of(line: Command) -> list[str]:
    """Return the values of the options and arguments of a command of mfa-kit, as click parses it."""
    verb: click.Command = main.cli
    ctx = click.Context(verb, **verb.context_settings)
    words = list(line.arguments[1:])
    while isinstance(verb, click.Group):
        found = verb.get_command(ctx, words.pop(0))
        assert found
        verb, ctx = found, click.Context(found, parent=ctx)
    before_names = words[: words.index("--")] if "--" in words else words
    if "--with" in before_names:
        ctx.meta[METHOD_NAME] = before_names[before_names.index("--with") + 1]
    values = verb.make_parser(ctx).parse_args(words)[0].values()
    return [word for value in values for word in (value if isinstance(value, list | tuple) else [value]) if word]


def test_each_command_takes_names_that_begin_with_a_dash() -> None:
    """Each literal is filled with such names, and parsed: no name is lost, split or taken for an option."""
    lines = list(templates())
    assert len(lines) > 40
    wrong = []
    for file, line in lines:
        words = line.split()
        names = [
            "fido2" if before == "--with" else f"--{chr(97 + place)}"
            for place, (before, word) in enumerate(zip(["", *words], words, strict=False))
            if word == VALUE
        ]
        values = values_of(mfa_kit(line, *names))
        wrong += [(file, line, values)] if [name for name in names if values.count(name) != 1] else []
    assert wrong == []


def admin_of(lab: Lab) -> Aws:
    """Return a client of the lab's admin."""
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))


def facts(lab: Lab, name: str) -> list[object]:
    """Return what an offboarding changes of a user: groups, policies, password, state of the keys, devices."""
    iam = admin_of(lab).client("iam")
    try:
        password = bool(iam.get_login_profile(UserName=name))
    except iam.exceptions.NoSuchEntityException:
        password = False
    return [
        [group["GroupName"] for group in iam.list_groups_for_user(UserName=name)["Groups"]],
        iam.list_user_policies(UserName=name)["PolicyNames"],
        password,
        [key["Status"] for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]],
        len(iam.list_mfa_devices(UserName=name)["MFADevices"]),
    ]


@pytest.mark.slow
def test_the_commands_that_offboard_a_user_reach_only_this_user(
    mfa_kit: MfaKit, at_lab: Lab, recipient: str, tmp_path: Path
) -> None:
    """A shell runs the printed commands, for users whose names are options. The other users stay as they were."""
    iam = admin_of(at_lab).client("iam")
    iam.create_group(GroupName="--staff")
    made = ["--with", "virtual", "--codes", "generated", "-r", recipient, "--add"]
    for name in (*NAMES, "alice"):
        at_lab.add_user(name)
        iam.create_login_profile(UserName=name, Password="A long one 1!")
        iam.create_access_key(UserName=name)
        iam.add_user_to_group(UserName=name, GroupName="--staff")
        for _ in range(2):
            assert mfa_kit.run("enroll", *made, "--", name).code == 0
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("aws", AWS), ("mfa-kit", "#!{python}\nfrom mfa_kit.cli.main import main\nmain()\n")):
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    before = {name: facts(at_lab, name) for name in (*NAMES, "alice")}
    for name in NAMES:
        assert before[name] == [["--staff"], [], True, ["Active"], 2]
        lines = mfa_kit.run("policy", "offboard", "--", name).out.splitlines()
        lines = [line for line in lines if line.startswith(("mfa-kit revoke", "mfa-kit status", "aws iam", "for key"))]
        for line in lines:
            done = subprocess.run(
                ["/bin/sh", "-c", line.replace("mfa-kit", "mfa-kit --yes")],
                env={**mfa_kit.variables, "PATH": f"{programs}:/usr/bin:/bin"},
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            # The lab has no service-specific credentials.
            assert done.returncode == 0 or "ListServiceSpecificCredentials" in done.stderr, (line, done.stderr)
        before[name] = [[], ["DenyEverything"], False, ["Inactive"], 0]
        assert {other: facts(at_lab, other) for other in before} == before
