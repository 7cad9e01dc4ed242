"""An account that is made from a description and kept between runs."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.lab import session
from mfa_kit.lab.aws import description, state
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, code, document, refused

SEED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 2
DESCRIBED = f"""
version = 1
region = "us-gov-west-1"
alias = "acme"

[root]
mfa = false
keys = 1
password_last_used = "2026-01-02T03:04:05+00:00"

[password_policy]
minimum_password_length = 14

[[policies]]
name = "all"
document = {{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = "*", Resource = "*" }}] }}

[[groups]]
name = "people"
attached = ["arn:aws-us-gov:iam::000000000000:policy/all"]

[[roles]]
name = "ops"
trust = {{ Version = "2012-10-17", Statement = [] }}

[[users]]
name = "alice"
path = "/team/"
groups = ["people"]
password = true
password_changed = "2025-01-02T03:04:05+00:00"
tags = {{ team = "red" }}

[[users.keys]]
id = "AKIAAAAAAAAAAAAAAAAA"
secret = "alices"
last_used = "2026-02-03T04:05:06+00:00"

[[users.devices]]
name = "alice"
seed = "{SEED}"
tags = {{ k = "v" }}
enabled = "2026-01-01T00:00:00+00:00"

[[users.devices]]
kind = "token"
serial = "GAHT12345678"

[[users.devices]]
kind = "fido"
name = "blue"
certifications = {{ FIDO = "L2" }}

[[devices]]
name = "orphan"

[[tokens]]
serial = "GAHT00000001"
seed = "{SEED}"
"""


def _admin(lab: Lab) -> Aws:
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))


@pytest.fixture
def described(tmp_path: Path) -> dict[str, object]:
    """Return the description DESCRIBED, read from a file."""
    file = tmp_path / "account.toml"
    file.write_text(DESCRIBED, "utf-8")
    return description.read_description(file)


def test_a_described_account_has_the_described_entities(described: dict[str, object]) -> None:
    """Cases: users, groups, keys, devices of all types, passwords, roles, policies and the state of root."""
    with Lab(description=described) as lab:
        admin = _admin(lab)
        alice = Aws(lab, ("AKIAAAAAAAAAAAAAAAAA", "alices", None), {"alice": SEED.encode()})
        start = "arn:aws-us-gov:iam::000000000000"
        assert alice.sts.get_caller_identity()["Arn"] == f"{start}:user/team/alice"
        held = [row["SerialNumber"] for row in alice.iam.list_mfa_devices()["MFADevices"]]
        assert held[:2] == ["GAHT12345678", f"{start}:mfa/alice"]
        assert held[2].startswith(f"{start}:u2f/user/alice/blue-")
        assert alice.iam.get_mfa_device(SerialNumber=held[2])["Certifications"] == {"FIDO": "L2"}
        assert lab.serials() == {f"{start}:mfa/alice", f"{start}:mfa/orphan"}
        assert alice.iam.list_mfa_device_tags(SerialNumber=held[1])["Tags"] == [{"Key": "k", "Value": "v"}]
        proof = {"SerialNumber": held[1], "TokenCode": code(SEED.encode(), alice.now())}
        assert alice.sts.get_session_token(**proof)["Credentials"]
        admin.iam.enable_mfa_device(UserName="lab-admin", SerialNumber="GAHT00000001", **admin.pair(SEED.encode()))
        seen = admin.iam.get_account_summary()["SummaryMap"]
        assert (seen["AccountMFAEnabled"], seen["AccountAccessKeysPresent"]) == (0, 1)
        assert admin.iam.get_account_password_policy()["PasswordPolicy"]["MinimumPasswordLength"] == 14
        assert admin.iam.list_account_aliases()["AccountAliases"] == ["acme"]


def test_an_account_is_saved_and_restored(described: dict[str, object], tmp_path: Path) -> None:
    """The restored account is the same, and only the owner of the file can read it."""
    with Lab(("bob",), description=described) as lab:
        admin = _admin(lab)
        serial = admin.enrolled("bob")
        admin.iam.create_group(GroupName="other")
        admin.iam.put_group_policy(
            GroupName="other", PolicyName="p", PolicyDocument=document({"Action": "*", "Resource": "*"})
        )
        admin.iam.attach_user_policy(UserName="bob", PolicyArn="arn:aws-us-gov:iam::aws:policy/IAMReadOnlyAccess")
        before = state.describe_account(lab.account)
    file = tmp_path / "kept.json"
    state.save_description(before, file)
    assert file.stat().st_mode & 0o777 == 0o600
    with Lab(description=description.read_description(file)) as again:
        assert state.describe_account(again.account) == before
        after = Aws(again, admin.keys, admin.seeds)
        with refused("InvalidAuthenticationCode"):
            after.iam.resync_mfa_device(UserName="bob", SerialNumber=serial, **admin.pair(admin.seeds[serial]))


@pytest.mark.parametrize(
    ("root", "mfa", "virtual"),
    [
        ({}, True, 0),
        ({"mfa": False}, False, 0),
        ({"virtual": True}, True, 1),
        ({"devices": []}, False, 0),
        ({"devices": [{"kind": "fido"}, {"kind": "token", "serial": "GAHT00000009"}]}, True, 0),
        ({"devices": [{"kind": "virtual"}, {"kind": "virtual"}, {"kind": "fido"}]}, True, 2),
    ],
)
def test_the_devices_of_root_are_in_all_listings(
    root: dict[str, object], mfa: bool, virtual: int, tmp_path: Path
) -> None:
    """The summary, the report and the list of virtual devices agree, also after a save and a restore."""
    with Lab(description={"version": 1, "root": root}) as lab:
        iam = _admin(lab).iam
        assert iam.get_account_summary()["SummaryMap"]["AccountMFAEnabled"] == int(mfa)
        iam.generate_credential_report()
        [titles, row] = [line.split(",") for line in iam.get_credential_report()["Content"].decode().splitlines()[:2]]
        assert row[titles.index("mfa_active")] == str(mfa).lower()
        serials = [each["SerialNumber"] for each in iam.list_virtual_mfa_devices()["VirtualMFADevices"]]
        assert len(set(serials)) == len(serials) == virtual
        held = lab.account.root_devices()
        state.save_description(state.describe_account(lab.account), tmp_path / "kept.json")
    with Lab(description=description.read_description(tmp_path / "kept.json")) as again:
        assert again.account.root_devices() == held


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "cannot be read: No such file or directory"),
        ("bad.json", "{", "is neither JSON nor TOML"),
        ("bad.toml", "=", "is neither JSON nor TOML"),
        ("other.json", '{"version": 7}', "has version 7, but this lab reads version 1"),
        ("list.json", "[]", "has no version"),
    ],
)
def test_files_that_are_not_an_account(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    """The error for a file that describes no account names the file."""
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(UsageFault, match=name) as caught:
        description.read_description(tmp_path / name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"user": []}, "the description: unknown field 'user'"),
        ({"users": {}}, "the description: the field 'users' is of type dict, not list"),
        ({"users": [{"name": "a", "password": "secret"}]}, "users: the field 'password' is of type str, not bool"),
        ({"users": ["alice"]}, "users: 'alice' is not a table"),
        ({"users": [{"name": "a b"}]}, "one of the users has the invalid name 'a b'"),
        ({"users": [{}]}, "one of the users has the invalid name None"),
        ({"users": [{"name": "a"}, {"name": "A"}]}, "User with name A already exists."),
        ({"users": [{"name": "a", "groups": ["none"]}]}, "none"),
        ({"users": [{"name": "a", "devices": [{"kind": "card", "name": "c"}]}]}, "unknown kind of device: 'card'"),
        ({"devices": [{"kind": "fido", "name": "c"}]}, "unknown kind of device: 'fido'"),
        ({"users": [{"name": "a", "devices": [{"kind": "fido"}]}]}, "devices: a fido device has no name"),
        ({"devices": [{"kind": "virtual"}]}, "one of the devices has no 'name'"),
        ({"tokens": [{"seed": SEED}]}, "one of the tokens has no 'serial'"),
        ({"users": [{"name": "a", "created": "yesterday"}]}, "Invalid isoformat string"),
        ({"policies": [{"name": "p", "document": {}}]}, "Syntax errors in policy."),
        ({"password_policy": {"length": 3}}, "password_policy: unknown field 'length'"),
        ({"region": "mars"}, "the lab has no region 'mars'"),
    ],
)
def test_invalid_descriptions_of_accounts(found: dict[str, Any], said: str) -> None:
    """The error names the field that is unknown, duplicate, missing or of the wrong type."""
    with pytest.raises(UsageFault) as caught:
        Lab(description={"version": 1, **found})
    assert said in str(caught.value)


def test_a_folder_keeps_the_account_for_one_lab_at_a_time(tmp_path: Path) -> None:
    """A later lab finds the account of the first one.

    A second lab at the same time is refused. So are options for a new account, such as --users.
    """
    request = session.LabOptions(folder=tmp_path / "lab")
    with session.running_lab(request) as (lab, home):
        lab.add_user("zoe")
        assert home == tmp_path / "lab" / "home"
        with pytest.raises(UsageFault, match="another lab is using"), session.running_lab(request):
            pass
    with session.running_lab(request) as (lab, _):
        assert "zoe" in lab.account.backend.users
    with (
        pytest.raises(UsageFault, match="already contains an account"),
        session.running_lab(session.LabOptions(folder=tmp_path / "lab", users=3)),
    ):
        pass


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """If --state names a file instead of a folder, the error is a usage error."""
    (tmp_path / "file").write_text("", "utf-8")
    with (
        pytest.raises(UsageFault, match="cannot store the state of a lab"),
        session.running_lab(session.LabOptions(folder=tmp_path / "file")),
    ):
        pass


def test_a_full_disk_leaves_the_saved_account_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab reports the error and leaves no partial file."""
    request = session.LabOptions(folder=tmp_path, users=1)
    with session.running_lab(request):
        pass
    before = (tmp_path / "account.json").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    again = session.LabOptions(folder=tmp_path)
    with pytest.raises(IntegrityFault, match="No space left on device"), session.running_lab(again) as (lab, _):
        lab.add_user("zoe")
    assert (tmp_path / "account.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"account.json", "home", "lock"}


def test_settings_are_given_by_name() -> None:
    """Windows and delays are settings. The error names an unknown setting or an invalid number."""
    with session.running_lab(session.LabOptions(timings=("propagation=0.5", "sts_window=3"))) as (lab, _):
        assert (lab.account.settings.propagation, lab.account.settings.sts_window) == (0.5, 3)
    wrong_ones = (
        "propagation=soon",
        "sts_window=0.5",
        "gravity=9",
        "sts_window=-1",
        "propagation=nan",
        "propagation=inf",
    )
    for wrong in (*wrong_ones, "unknown_serial=500", "sts_span=0"):
        with pytest.raises(UsageFault, match=wrong), session.running_lab(session.LabOptions(timings=(wrong,))):
            pass


def test_users_have_names_then_numbers() -> None:
    """The first names are alice to erin. The next ones are user0001 and so on."""
    with session.running_lab(session.LabOptions(users=7)) as (lab, _):
        names = [user.name for user in lab.account.backend.users.values()]
    assert names == ["lab-admin", "alice", "bob", "carol", "dave", "erin", "user0001", "user0002"]


def test_a_saved_account_is_json(tmp_path: Path) -> None:
    """The file states its schema and version."""
    with session.running_lab(session.LabOptions(folder=tmp_path)):
        pass
    kept = json.loads((tmp_path / "account.json").read_text("utf-8"))
    assert (kept["schema"], kept["version"]) == ("mfa-kit.lab", 1)


def test_the_home_of_the_commands_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a shell that has the lab's variables may change its folder."""
    monkeypatch.chdir(tmp_path)
    with session.running_lab(session.LabOptions(folder=Path("lab"), users=1)) as (_, home):
        assert home == tmp_path / "lab" / "home"
