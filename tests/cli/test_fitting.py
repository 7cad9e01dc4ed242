"""Lines that are wider than a window: where they are wrapped, so that they can be read and copied."""

import subprocess
from types import SimpleNamespace
from typing import cast

import click
import pytest

from mfa_kit.cli import environment, forms
from mfa_kit.cli.forms import fitted_table, labeled
from mfa_kit.cli.messages import hanging
from mfa_kit.cli.results import Results
from mfa_kit.cli.rollout.results import AccountWork, report_failed
from mfa_kit.cli.rollout.running import name_next_command
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Command, Message, command, mfa_kit, suggest
from mfa_kit.organization.accounts import OrgAccount
from tests.conftest import MfaKit, pasted

AWS = command("aws iam update-account-password-policy --minimum-password-length 15 --allow-users-to-change-password")
QUOTED = mfa_kit(
    "backup verify -i {} --backup-dir {}", "my identity file with a long name.txt", "/srv/backups of everyone"
)
UV = command("uv pip install --python /home/administrator/.local/share/uv/tools/mfa-kit {}", "mfa-kit[tokens]")
POLICY = command(
    "aws iam put-user-policy --user-name {} --policy-document {}", "bob", '{"Version": "2012-10-17", "A": []}'
)
APPLY = mfa_kit(f"rollout apply p.json -r age1{'q' * 58}")


@pytest.mark.parametrize(
    ("line", "prose", "command"),
    [
        (Message("      ", AWS), "", AWS),
        (Message("  note: to continue", APPLY), "note: to continue:", APPLY),
        (Message("      # IDENTITY decrypts it", QUOTED), "# IDENTITY decrypts it:", QUOTED),
        (Message("  try: ", UV), "try:", UV),
        (Message("", POLICY), "", POLICY),
    ],
)  # fmt: skip
def test_a_command_at_the_end_can_be_copied(line: Message, prose: str, command: Command) -> None:
    """The command starts on a new line and is broken only between its words. The shell joins its lines."""
    lines = hanging(line, 80)
    assert max(map(len, lines)) <= 80
    start = 1 if prose else 0
    assert "".join(lines[:start]).strip() == prose
    joined = "printf '%s\\n' \\\n" + "\n".join(lines[start:])
    done = subprocess.run(["bash", "-c", joined], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(command.arguments)


@pytest.mark.parametrize("arguments", [(), ("alice", "bob")])
def test_a_command_takes_as_many_arguments_as_it_has_places(arguments: tuple[str, ...]) -> None:
    """A missing or surplus argument is an error, because the suggested command would do something else."""
    with pytest.raises(ValueError, match="arguments"):
        command("aws iam get-user --user-name {}", *arguments)


def test_a_command_within_a_message_can_be_copied() -> None:
    """The words after it begin on a new line. Otherwise they would look like a part of it."""
    rest = f"or enroll {'the users ' * 5}again"
    lines = hanging(Message("try: undo the run", mfa_kit("rollout undo RUN"), rest), 60)
    assert lines[:3] == [
        "try: undo the run:",
        "  mfa-kit rollout undo RUN",
        "  or enroll the users the users the users the users the",
    ]


def test_each_line_of_a_comment_is_a_comment() -> None:
    """It may be copied with the command below it, and a shell would run its second line."""
    lines = hanging(Message("      # request a higher quota of users, which limits devices too", AWS), 50)
    assert lines[:3] == [
        "      # request a higher quota of users, which",
        "        # limits devices too:",
        "        aws iam update-account-password-policy \\",
    ]


def test_the_command_that_continues_can_be_copied() -> None:
    """After Ctrl-C, a note has the command as a value, so it is printed as one at any width."""
    arguments = ["rollout", "apply", "plans of May.json", "-r", f"age1{'q' * 58}"]
    with click.Context(click.Command("apply")) as context:
        context.meta[environment.ARGUMENTS] = arguments
        with pytest.raises(KeyboardInterrupt) as caught, name_next_command():
            raise KeyboardInterrupt
    [note] = caught.value.__notes__
    [continues] = Message("  note: ", note).commands
    assert pasted(continues) == ["mfa-kit", *arguments]


def test_the_reason_of_an_account_keeps_its_command() -> None:
    """The line about an account in which work failed has the command as a value, which names the account."""
    alerts: list[str] = []
    error = UsageFault("the backup cannot be written", suggest("see", "backup list"))
    work = AccountWork(account=OrgAccount(id="000000000001", name="one"), total=1, error=error)
    report_failed([work], cast("Progress", SimpleNamespace(alert=alerts.append)))
    [line] = alerts
    [see] = Message(line).commands
    assert pasted(see) == ["mfa-kit", "backup", "list", "--account", "000000000001"]


def test_a_wide_path_in_a_cell_is_broken_after_a_slash() -> None:
    """An ARN is broken after a colon. Other words are broken only if there is no other way."""
    rows = [{"check": "configuration", "found": "/home/administrator/mfa-kit/config.toml, does not exist"}]
    lines = fitted_table(rows, ["check", "found"], 45)
    assert [line[15:] for line in lines[1:]] == ["/home/administrator/mfa-kit/", "config.toml, does not exist"]


def test_a_checksum_fits_beside_its_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If it needs the space, it begins further to the left than the other values."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    forms.write_table(Results("plan", [{"plan": "p.json", "sha256": "a" * 64, "no_admin_backup": 2}], single=True))
    assert capsys.readouterr().out.splitlines() == [
        "plan             p.json",
        f"sha256  {'a' * 64}",
        "no admin backup  2",
    ]


def test_a_title_is_wrapped_beside_its_label() -> None:
    """If the label leaves too little room, the title begins below it."""
    assert labeled("FAIL  root.mfa  ", "Root signs in with MFA", 80) == ["FAIL  root.mfa  Root signs in with MFA"]
    assert labeled("FAIL  root.mfa  ", "Root signs in with MFA", 34) == [
        "FAIL  root.mfa  Root signs in with",
        "                MFA",
    ]
    assert labeled("FAIL  root.mfa  ", "Root signs in with MFA", 24) == [
        "FAIL  root.mfa",
        "    Root signs in with",
        "    MFA",
    ]


def test_a_command_beside_a_label_keeps_its_arn() -> None:
    """In the prose before it, the name of the resource is enough. Only ARNs are shortened: a part of one is not."""
    arn = "arn:aws:iam::111122223333:mfa/alice"
    part = "user/${aws:username} does not match users with a path, such as user/team/zoe"
    assert " ".join(map(str.strip, labeled("", part, 40, short=True))) == part
    lines = labeled(
        "    WHY  ", suggest(f"the only device is {arn}, so give another", "revoke x {}", arn), 60, short=True
    )
    assert lines[0] == "    WHY  the only device is alice, so give another:"
    assert " ".join(line.strip().removesuffix(" \\") for line in lines[1:]) == f"mfa-kit revoke x {arn}"


def test_long_cells_are_below_their_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only if the window has no room for a table with all columns. An empty cell has no line."""
    rows = [
        {"user": "alice", "why": "x" * 30, "first": "mfa-kit enroll alice"},
        {"user": "bob", "why": "y", "first": ""},
    ]
    results = Results("policy-lockout", rows, below=("why", "first"))
    monkeypatch.setattr(forms, "output_width", lambda: 50)
    forms.write_table(results)
    assert capsys.readouterr().out.splitlines() == [
        "USER",
        "alice",
        f"    WHY    {'x' * 30}",
        "    FIRST  mfa-kit enroll alice",
        "bob",
        "    WHY    y",
    ]
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    forms.write_table(results)
    assert capsys.readouterr().out.splitlines()[0].split() == ["USER", "WHY", "FIRST"]


def test_doctor_prints_its_commands_below_their_rows(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a column, a command would be broken at words, so a shell would not get its arguments."""
    mfa_kit.home.mkdir()
    mfa_kit.home.chmod(0o755)
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    done = mfa_kit.run("doctor")
    assert done.code == 1, done.err
    assert "HINT" not in done.out.splitlines()[0]
    hint = "\n".join(line.strip() for line in done.out.splitlines()).partition("HINT  chmod")[2]
    assert hint.replace(" \\\n", " ").startswith(f" 700 {mfa_kit.home}\n"), done.out
