"""The root ceremony: what it says depends on the account's place in its organization and on the ledger."""

import json
import re
from dataclasses import replace
from typing import Any

import click
import pytest

from mfa_kit.account.snapshot import CentralRootAccess, OrganizationPlace, Snapshot
from mfa_kit.cli.letters import letter_text
from mfa_kit.cli.main import cli
from mfa_kit.core.letter import Letter
from mfa_kit.core.recovery_keys import CustodianKey, RecoveryKeyUse
from mfa_kit.policy import onboard as ceremony
from mfa_kit.wiring.files import packaged_text
from tests.audit.conftest import sound, taken
from tests.conftest import MfaKit

KEYS = tuple(CustodianKey(name=name, key=f"age1{name}") for name in ("alice", "bob", "carol"))
RECOVERY_KEY = RecoveryKeyUse(recipient="age1glass", threshold=2, custodians=KEYS, made=1.0)
ALONE = CentralRootAccess(place=OrganizationPlace.ALONE)


def root_ceremony(snapshot: Snapshot) -> Letter:
    return ceremony.root_ceremony(snapshot, text=packaged_text("policy/root_ceremony.md"))


@pytest.fixture(scope="module")
def account() -> Snapshot:
    return replace(taken(sound())[0], central_root=ALONE)


def text_of(snapshot: Snapshot) -> str:
    return " ".join(letter_text(root_ceremony(snapshot)).split())


def commands_in(snapshot: Snapshot) -> list[str]:
    return [each for section in root_ceremony(snapshot).sections for step in section.steps for each in step.commands]


def test_the_ceremony_has_all_its_parts(account: Snapshot) -> None:
    """Two devices, who is present, what is signed, and when to repeat it."""
    titles = [section.title for section in root_ceremony(account).sections]
    assert titles == [
        "Who is present",
        "Before the day",
        "First device: a security key",
        "Second device: a virtual device, for the custodians",
        "Check the result",
        "What is signed",
        "When to repeat",
    ]


def test_the_qr_code_goes_to_the_identity_of_the_ledger(account: Snapshot) -> None:
    """The last one that was made. Without one, making it is the first step."""
    older = replace(RECOVERY_KEY, recipient="age1old")
    known = replace(account, break_glass=(older, RECOVERY_KEY))
    add = "mfa-kit backup add --root --image /dev/shm/root.png -r {} --shred"
    assert add.format("age1glass") in commands_in(known)
    assert "2 of 3: alice, bob, carol" in text_of(known)
    assert "2 of the custodians, with their keys" in text_of(known)
    changed = replace(account, break_glass=(replace(RECOVERY_KEY, recipient="age1 {}; id"),))
    assert add.format("'age1 {}; id'") in commands_in(changed)  # a stored snapshot may have any text
    unknown = replace(account, break_glass=())
    assert add.format("RECIPIENT") in commands_in(unknown)
    assert commands_in(unknown)[0].startswith("mfa-kit break-glass create")


@pytest.mark.parametrize(("recovery_key", "recipient"), [((RECOVERY_KEY,), "age1glass"), ((), "RECIPIENT")])
def test_the_first_drill_has_a_backup_to_open(
    account: Snapshot, recovery_key: tuple[RecoveryKeyUse, ...], recipient: str
) -> None:
    """Without a backup that is encrypted to the identity, a drill is refused."""
    lines = commands_in(replace(account, break_glass=recovery_key))
    enroll = f"mfa-kit enroll ADMIN --with virtual -r {recipient}"
    assert lines[lines.index("mfa-kit break-glass drill") - 1] == enroll


@pytest.mark.parametrize(
    ("central", "enabled", "disabled"),
    [
        (CentralRootAccess(place=OrganizationPlace.ADMINISTRATOR, features=()), False, True),
        (
            CentralRootAccess(place=OrganizationPlace.ADMINISTRATOR, features=("RootCredentialsManagement",)),
            True,
            False,
        ),
        (None, False, True),
        (ALONE, False, False),
    ],
)
def test_an_organization_removes_root_from_its_members(
    account: Snapshot, central: CentralRootAccess | None, enabled: bool, disabled: bool
) -> None:
    """The text says so also if it is unknown whether there is an organization."""
    text = text_of(replace(account, central_root=central))
    assert ("is enabled already" in text, "enable-organizations-root-credentials-management" in text) == (
        enabled,
        disabled,
    )
    assert ("AWS recommends removing" in text) is (enabled or disabled)


@pytest.mark.parametrize("features", [None, (), ("RootCredentialsManagement",)])
def test_a_member_account_needs_no_ceremony(account: Snapshot, features: tuple[str, ...] | None) -> None:
    """Its root should have no credentials at all."""
    member = CentralRootAccess(place=OrganizationPlace.MEMBER, features=features)
    letter = root_ceremony(replace(account, central_root=member))
    assert [section.title for section in letter.sections] == ["Instead of a ceremony"]
    assert "Delete root user credentials" in letter.sections[0].steps[0].text


def test_govcloud_has_no_root(account: Snapshot) -> None:
    """There is nothing to do."""
    letter = root_ceremony(replace(account, caller="arn:aws-us-gov:iam::000000000000:user/lab-admin"))
    assert (letter.sections, "no root user" in letter.paragraphs[0]) == ((), True)


def test_each_command_of_mfa_kit_exists(account: Snapshot) -> None:
    """Each option too. Only the placeholders are not real."""
    for line in commands_in(account):
        words = line.split()
        if words[0] != "mfa-kit":
            assert words[0] == "aws"
            continue
        command: Any = cli
        context = click.Context(cli)
        rest = words[1:]
        while isinstance(command, click.Group) and rest:
            command = command.get_command(context, rest.pop(0))
        assert command is not None, line
        known = {name for param in command.params for name in param.opts}
        assert {word for word in rest if re.match(r"-", word)} <= known, line


@pytest.mark.usefixtures("lab")
def test_the_command_prints_text_or_steps(mfa_kit: MfaKit) -> None:
    """Text has at most 76 columns, except for commands. The other formats have a row per step."""
    done = mfa_kit.run("policy", "onboard", "--root-ceremony")
    assert done.code == 0, done.err
    assert done.out.startswith("Root ceremony for account 000000000000 (LAB")
    assert max(len(line) for line in done.out.splitlines() if not line.startswith("      ")) <= 76
    rows = json.loads(mfa_kit.run("policy", "onboard", "--root-ceremony", "--output", "json").out)["rows"]
    assert [row["step"] for row in rows] == [*range(1, len(rows) + 1)]
    assert {"First device: a security key", "When to repeat"} <= {row["why"] for row in rows}
    refused = mfa_kit.run("policy", "onboard", "--root-ceremony", "--user", "eve", "--group", "people")
    assert (refused.code, "--root-ceremony cannot be used with --user" in refused.err) == (2, True)
