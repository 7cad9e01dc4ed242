"""The plan: the difference between IAM and a roster or a selection. Planning changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.age_plugin_demo import bech32
from tests.conftest import MfaKit
from tests.lab.client import Aws
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


def steps(rollout: Rollout) -> dict[str, dict[str, Any]]:
    return {row["user"]: row for row in json.loads(rollout.file.read_text())["rows"]}


def actions(rollout: Rollout) -> dict[str, str]:
    return {user: row["action"] for user, row in steps(rollout).items()}


def test_a_plan_has_an_action_for_each_user(rollout: Rollout, people: People, aws: Aws) -> None:
    """To enroll, skipped with the device, blocked with the reason, left for a station, waiting for the user."""
    new, has, fido, taken, orphan, desk, alone, late = people(8)
    aws.enrolled(has)
    key = rollout.lab.register_fido(fido, "key")
    aws.enable(has, aws.create(taken))
    aws.create(orphan)
    aws.enrolled(late)
    rows = [
        *(f"{user},," for user in (new, has, fido, taken, orphan, "ghost", late.upper())),
        f"{desk},oath,",
        f"{alone},self,",
        "arn:aws:iam::123456789012:user/x,,",
    ]
    done = rollout.plan(*rows, columns="user,kind,device_name")
    assert actions(rollout) == {
        new: "enroll",
        has: "skip",
        fido: "skip",
        taken: "blocked",
        orphan: "blocked",
        "ghost": "blocked",
        late: "skip",
        desk: "bench",
        alone: "self",
        "x": "blocked",
    }
    found = steps(rollout)
    assert found[fido]["devices"] == [key]
    assert f"{has} has arn:" in found[taken]["reason"]
    assert "delete-virtual-mfa-device" in found[orphan]["reason"]
    assert "blocked: ghost: there is no such user in account 000000000000" in done.err
    assert found["x"]["reason"] == "the user is in account 123456789012, not in 000000000000"


def test_only_users_without_a_virtual_device_are_looked_up(rollout: Rollout, people: People) -> None:
    """Planning takes two lists, the caller's identity, and one call per user of the roster who may have a key."""
    users = people(3)
    since = len(rollout.lab.calls)
    rollout.plan(*rollout.own(users))
    assert sorted(rollout.asked(since)) == sorted(
        ["GetCallerIdentity", "ListUsers", "ListVirtualMFADevices", *["ListMFADevices"] * len(users)]
    )


def test_users_without_a_copy_are_named(rollout: Rollout, people: People) -> None:
    """They would be locked out at their next sign-in."""
    own, none, desk = people(3)
    done = rollout.plan(*rollout.own([own]), none, f"{desk},,oath", columns="user,recipient,kind")
    assert f"without a copy   1: {none}\n" in done.out
    assert json.loads(rollout.file.read_text())["shut_out"] == [none]


def test_a_plan_estimates_calls_and_time(rollout: Rollout, people: People) -> None:
    """Two calls per user, and the lists of devices before and after."""
    users = people(20)
    done = json.loads(rollout.plan(*rollout.own(users), more=["--output", "json"]).out)
    assert (done["enroll"], done["api_calls"], done["estimated_s"]) == (20, 42, 4)


def test_a_roster_with_errors_stops_the_plan(rollout: Rollout, people: People) -> None:
    """Every fault is reported. No call is made to AWS, and nothing is written."""
    users = people(2)
    since = len(rollout.lab.calls)
    roster = rollout.roster(f"{users[0]},age1wrong", "al ice,", f"{users[1]},AGE-SECRET-KEY-1ABC")
    done = rollout.desk.run("rollout", "plan", roster, "-o", rollout.file)
    assert done.code == 2
    assert [line[8:22] for line in done.err.splitlines() if "note: line" in line] == [
        "line 2, recipi",
        "line 3, user: ",
        "line 4, recipi",
    ]
    assert "SECRET" not in done.err.replace("identity, which is secret", "")
    assert not rollout.file.exists()
    assert len(rollout.lab.calls) == since


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("ecdsa-sha2-nistp256 AAAA", "it is not a recipient: ecdsa-sha2-nistp256 keys cannot decrypt a file"),
        ("ssh-ed25519 AAAA", "it is not a recipient: the key is damaged, was cut off,"),
        (bech32("age1demo", b"x"), "it needs age-plugin-demo, which the configuration file does not allow"),
        ("age1wrong", "it is not a recipient;"),
    ],
)
def test_the_reason_why_a_users_key_is_not_a_recipient_is_named(rollout: Rollout, key: str, why: str) -> None:
    """The key itself is not quoted, because it may be a private key."""
    done = rollout.desk.run("rollout", "plan", rollout.roster(f"alice,{key}"), "-o", rollout.file)
    assert (done.code, f"note: line 2, recipient: {why}" in done.err) == (2, True), done.err
    assert key not in done.err


def test_wrong_rows_can_be_skipped_and_corrected(rollout: Rollout, people: People) -> None:
    """The file that is written is a roster. It does not contain a private key that was entered by mistake."""
    good, bad = people(2)
    aside = rollout.folder / "bad.csv"
    rollout.plan(good, f"{bad},AGE-SECRET-KEY-1ABC", more=["--skip-bad", aside])
    assert actions(rollout) == {good: "enroll"}
    assert "SECRET" not in aside.read_text()
    assert rollout.desk.run("rollout", "plan", aside, "-o", rollout.file).code == 0
    assert actions(rollout) == {bad: "enroll"}


def test_only_an_earlier_plan_and_an_earlier_list_of_errors_are_replaced(rollout: Rollout, people: People) -> None:
    """Any other file may be one that the user still needs."""
    (good,) = people(1)
    roster, notes, aside = rollout.roster(good, "al ice"), rollout.folder / "notes.txt", rollout.folder / "bad.csv"
    notes.write_text("wrongly named\n")
    words = ("rollout", "plan", roster)
    for more in (("-o", notes, "--skip-bad", aside), ("-o", rollout.file, "--skip-bad", notes)):
        done = rollout.desk.run(*words, *more)
        assert (done.code, f"{notes} is not a " in done.err) == (2, True), done.err
    assert notes.read_text() == "wrongly named\n"
    for _ in range(2):
        done = rollout.desk.run(*words, "-o", rollout.file, "--skip-bad", aside)
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("out", "bad"), [("roster.csv", "bad.csv"), ("plan.json", "roster.csv"), ("plan.json", "plan.json")]
)
def test_two_files_of_a_plan_may_not_be_the_same(rollout: Rollout, out: str, bad: str) -> None:
    """Otherwise the roster would be replaced by its faulty rows."""
    path = rollout.roster("al ice", "bob")
    before = path.read_text()
    done = rollout.desk.run(
        "rollout", "plan", path, "-o", rollout.folder / out, "--skip-bad", rollout.folder / "." / bad
    )
    assert (done.code, "is given for two files" in done.err) == (2, True)
    assert [each.name for each in rollout.folder.iterdir()] == [path.name]
    assert path.read_text() == before


def test_a_path_without_a_slash_is_refused(rollout: Rollout) -> None:
    """No IAM user can have such a path, so the plan would be empty."""
    done = rollout.desk.run("rollout", "plan", "--path-prefix", "team/", "-o", rollout.file)
    assert (done.code, "--path-prefix /team/" in done.err, rollout.file.exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"user\n\xff\n", "line 2"),
        (b"user\nal\0ice\n", "line 2"),
        (b"", "is empty"),
        (b"PK\x03\x04\x14", "r.csv is a spreadsheet, which mfa-kit cannot read\n  try: save it as CSV"),
    ],
)
def test_a_file_that_is_not_a_roster_is_refused(rollout: Rollout, content: bytes | None, said: str) -> None:
    """The error names the line, if there is one."""
    path = rollout.folder / "r.csv"
    if content is not None:
        path.write_bytes(content)
    done = rollout.desk.run("rollout", "plan", path, "-o", rollout.file)
    assert done.code == 2
    assert said in done.err


def test_excels_unicode_text_is_read(rollout: Rollout, people: People) -> None:
    """It is UTF-16 with tabs."""
    (user,) = people(1)
    path = rollout.folder / "r.txt"
    path.write_bytes(f"User\tDevice name\r\n{user}\tx\r\n".encode("utf-16"))
    assert rollout.desk.run("rollout", "plan", path, "-o", rollout.file).code == 0
    assert steps(rollout)[user]["name"] == "x"


def test_a_changed_public_key_is_reported(rollout: Rollout, people: People, identity: pyrage.x25519.Identity) -> None:
    """It is compared with the key of the user's last device, even a removed one.

    SSH keys are shown as in ssh-keygen.
    """
    changed, same = people(2)
    rollout.enroll([changed, same])
    rsa = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"
    done = rollout.plan(f'{changed},"{rsa} \u202ecomment"', *rollout.own([same]))
    assert steps(rollout)[changed]["key"] == "SHA256:" + steps(rollout)[changed]["key"][7:]
    assert steps(rollout)[changed]["key_before"] == str(identity.to_public())
    assert "key_before" not in steps(rollout)[same]
    assert f"new public key: {changed}: SHA256:" in done.err
    assert "comment" not in rollout.file.read_text()
    assert rollout.desk.run("revoke", changed, "--yes", "--leave-without-mfa").code == 0
    rollout.plan(f"{changed},{rsa}")
    assert steps(rollout)[changed]["action"] == "enroll"
    assert steps(rollout)[changed]["key_before"] == str(identity.to_public())


@pytest.fixture
def chosen(people: People, aws: Aws) -> dict[str, str]:
    """Make users in a group, with a tag, below a path, with a password."""
    group, tag, plain = people(3)
    mark = f"g-{group}"
    aws.iam.create_group(GroupName=mark)
    aws.iam.add_user_to_group(GroupName=mark, UserName=group)
    aws.iam.tag_user(UserName=tag, Tags=[{"Key": "team", "Value": mark}])
    below = f"p-{plain}"
    aws.iam.create_user(UserName=below, Path=f"/{mark}/")
    return {"mark": mark, "group": group, "tag": tag, "path": below, "plain": plain}


@pytest.mark.parametrize(
    ("flag", "value", "who"),
    [("--group", "{}", "group"), ("--tag", "team={}", "tag"), ("--path-prefix", "/{}/", "path")],
)
def test_users_can_be_selected_in_iam(
    rollout: Rollout, chosen: dict[str, str], flag: str, value: str, who: str
) -> None:
    """Users are selected by group, tag or path, or by their names. Names also narrow another selection.

    IAM ignores the case of groups, tag keys and user names, but not of paths and tag values.
    """
    select = ("rollout", "plan", "-o", rollout.file, flag, value.format(chosen["mark"]))
    assert rollout.desk.run(*select).code == 0
    assert actions(rollout) == {chosen[who]: "enroll"}
    assert rollout.desk.run(*select[:4], flag, value.format(chosen["mark"]).swapcase()).code == 0
    assert actions(rollout) == ({} if flag == "--path-prefix" or "=" in value else {chosen[who]: "enroll"})
    assert rollout.desk.run(*select[:4], flag, value.replace("team", "TEAM").format(chosen["mark"])).code == 0
    assert actions(rollout) == {chosen[who]: "enroll"}
    assert rollout.desk.run(*select, "--only", chosen[who].upper()).code == 0
    assert rollout.desk.run(*select, "--only", chosen["plain"]).code == 2
    named = rollout.desk.run(*select[:4], "--only", f"{chosen['plain']}, {chosen[who].upper()}")
    assert named.code == 0
    assert set(actions(rollout)) == {chosen["plain"], chosen[who]}


def test_a_selection_without_users_prints_a_message(rollout: Rollout, people: People) -> None:
    """The plan is written nevertheless. The path / selects all users."""
    users = people(2)
    select = ("rollout", "plan", "-o", rollout.file)
    nobody = rollout.desk.run(*select, "--group", "no-such-group")
    assert (nobody.code, "no user in the account matches" in nobody.err) == (0, True)
    assert actions(rollout) == {}
    assert rollout.desk.run(*select, "--path-prefix", "/").code == 0
    assert set(users) <= set(actions(rollout))


def test_without_mfa_selects_passwords_without_a_device(rollout: Rollout, people: People, aws: Aws) -> None:
    """The credential report lists passwords. Users whose data is old are looked up, unless --trust-report is given."""
    rollout.lab.account.report = None
    with_password, without, since, before = people(4)
    for user in (with_password, since, before):
        aws.iam.create_login_profile(UserName=user, Password="Aa1!Aa1!Aa1!Aa1!")
    rollout.lab.register_fido(before, "key")
    select = ("rollout", "plan", "-o", rollout.file, "--without-mfa")
    assert rollout.desk.run(*select).code == 0
    found = actions(rollout)
    assert without not in found
    assert (found[with_password], found[before]) == ("enroll", "skip")
    rollout.lab.register_fido(since, "key")
    calls = len(rollout.lab.calls)
    trusted = rollout.desk.run(*select, "--trust-report")
    assert "ListMFADevices" not in {call.operation for call in rollout.lab.calls[calls:]}
    assert "report age s" in trusted.out
    assert actions(rollout)[since] == "enroll"
    assert actions(rollout)[before] == "skip"
    assert rollout.desk.run(*select).code == 0
    assert actions(rollout)[since] == "skip"


@pytest.mark.parametrize("more", [(), ("--group", "g", "ROSTER"), ("--tag", "nokey"), ("--only", "")])
def test_a_plan_needs_either_a_roster_or_a_selection(rollout: Rollout, more: tuple[str, ...]) -> None:
    """Giving neither of them, or both, is an error."""
    given = [str(rollout.roster("x")) if word == "ROSTER" else word for word in more]
    assert rollout.desk.run("rollout", "plan", "-o", rollout.file, *given).code == 2


def test_a_dry_run_writes_no_plan(rollout: Rollout, people: People) -> None:
    """The file of faulty rows is not written either. The summary is printed nevertheless."""
    done = rollout.plan(*people(1), "al ice", more=["--dry-run", "--skip-bad", rollout.folder / "bad.csv"])
    assert "enroll " in done.out
    assert "skipping 1 row with errors\n" in done.err
    assert [each.name for each in rollout.folder.iterdir()] == ["roster.csv"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: plan.replace('"version": 1', '"version": 2'),
        lambda plan: plan[:-4],
        lambda plan: plan.replace('"action": "enroll"', '"action": "delete"'),
        lambda plan: plan.replace('{"user"', '{"name": "a b", "user"'),
        lambda plan: plan.replace('"kind": "virtual"', '"kind": "oath"'),
        lambda plan: plan.replace('"action": "enroll"', '"action": "skip", "repair": true'),
        lambda plan: plan.replace('"kind": "virtual"', '"kind": "self"').replace(
            '"action": "enroll"', '"action": "blocked", "repair": true'
        ),
        lambda plan: f"[{plan}]",
    ],
)
def test_a_plan_is_checked_like_a_roster(rollout: Rollout, people: People, spoil: Callable[[str], str]) -> None:
    """A plan may have been edited, on purpose or by accident."""
    rollout.plan(*rollout.own(people(1)))
    rollout.file.write_text(spoil(rollout.file.read_text()))
    done = rollout.apply()
    assert (done.code, f"{rollout.file} is not a rollout plan" in done.err) == (2, True)


def test_only_the_plan_that_was_reviewed_is_applied(rollout: Rollout, people: People) -> None:
    """--expect-sha256 has the SHA-256 of its file, which `plan` prints."""
    done = rollout.plan(*rollout.own(people(1)), more=["--output", "json"])
    digest = json.loads(done.out)["sha256"]
    refused = rollout.apply("--expect-sha256", "0" * 64)
    assert (refused.code, digest in refused.err) == (2, True)
    assert rollout.apply("--expect-sha256", digest).code == 0


def test_a_plan_of_another_account_is_refused(rollout: Rollout, people: People) -> None:
    """No device has been made yet."""
    rollout.plan(*rollout.own(people(1)))
    rollout.file.write_text(rollout.file.read_text().replace("000000000000", "123456789012"))
    done = rollout.apply()
    assert (done.code, "for account 123456789012" in done.err) == (2, True)


def test_the_orphan_of_a_dead_run_is_shown_and_repaired(rollout: Rollout, people: People) -> None:
    """The half-made device exists when the plan is made. `apply` settles it first, and then enrolls the user."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    faults = rollout.lab.faults
    faults.add("EnableMFADevice", "lost-before", at="every")
    faults.add("DeleteVirtualMFADevice", "denied", at="every")
    assert rollout.apply().code == 1
    faults.clear()
    rollout.plan(*rollout.own([user]))
    assert steps(rollout)[user]["reason"].startswith("interrupted run ")
    assert rollout.apply().code == 0
    rollout.works([user])


def test_devices_of_another_computer_block_a_row(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """The tags say who made the device. This computer's own staged devices wait for activation."""
    staged, left = people(2)
    other = MfaKit(tmp_path / "other", rollout.desk.env)
    rollout.enroll([staged], "--stage")
    rollout.plan(*rollout.own([staged]))
    assert actions(rollout) == {staged: "staged"}
    rollout.plan(*rollout.own([left]))
    rollout.lab.faults.add("EnableMFADevice", "lost-before", at="every")
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    assert rollout.apply().code == 1
    rollout.lab.faults.clear()
    roster = rollout.roster(*rollout.own([staged, left]))
    file = tmp_path / "other" / "plan.json"
    done = other.process("rollout", "plan", roster, "-o", file)
    assert f"blocked: {staged}: another computer has staged" in done.err
    assert f"blocked: {left}: another computer left" in done.err


def test_the_plan_command_names_columns_that_it_does_not_read(rollout: Rollout) -> None:
    """The plan is made, and its field for the device's name is still `name`."""
    done = rollout.plan("alice,alice-1,x", columns="user,device_name,Emial")
    assert "not read: Emial (did you mean email?)" in done.err
    assert '"name": "alice-1"' in rollout.file.read_text()
