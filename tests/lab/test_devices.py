"""Virtual devices: IAM's answer to each operation. docs/lab.md has the source of each answer."""

import base64
import io

import pytest
import zxingcpp
from PIL import Image

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, refused

START = "arn:aws:iam::000000000000:mfa"


def test_create_returns_the_seed_once_with_a_picture(admin: Aws) -> None:
    """The secret has 64 base32 characters. The QR code in the PNG contains AWS's label and that secret."""
    made = admin.iam.create_virtual_mfa_device(VirtualMFADeviceName="alice")["VirtualMFADevice"]
    with Image.open(io.BytesIO(made["QRCodePNG"])) as picture:
        (found,) = zxingcpp.read_barcodes(picture)
    issuer = "Amazon%20Web%20Services"
    seed = made["Base32StringSeed"].decode()
    assert found.text == f"otpauth://totp/{issuer}:alice@000000000000?secret={seed}&issuer={issuer}"
    assert (len(seed), len(base64.b32decode(seed))) == (64, 40)


def test_the_label_names_the_alias_of_an_account_that_has_one(admin: Aws) -> None:
    """The label in the QR code has the account's alias instead of its ID."""
    admin.iam.create_account_alias(AccountAlias="acme")
    made = admin.iam.create_virtual_mfa_device(VirtualMFADeviceName="alice")["VirtualMFADevice"]
    with Image.open(io.BytesIO(made["QRCodePNG"])) as picture:
        assert ":alice@acme?" in zxingcpp.read_barcodes(picture)[0].text


def test_two_devices_have_two_seeds(admin: Aws, lab: Lab) -> None:
    """Secrets are random, and the lab gives a test the octets of each."""
    one, other = admin.create("one"), admin.create("other")
    assert lab.seed(one) == base64.b32decode(admin.seeds[one]) != lab.seed(other)


def test_a_name_in_use_is_refused(admin: Aws) -> None:
    """A device is identified by its path and its name together."""
    admin.create("alice")
    with refused("EntityAlreadyExists", "MFA device already exists."):
        admin.create("alice")
    assert admin.create("alice", Path="/team/") == f"{START}/team/alice"


def test_enable_assigns_a_device_and_both_lists_show_it(admin: Aws, lab: Lab) -> None:
    """Both lists show the user and the date, and never secrets or tags."""
    serial = admin.create("alice", Tags=[{"Key": "k", "Value": "v"}])
    assert admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"] == [{"SerialNumber": serial}]
    admin.enable("alice", serial)
    (listed,) = admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"]
    assert set(listed) == {"SerialNumber", "User", "EnableDate"}
    assert (listed["User"]["UserName"], lab.assigned(serial)) == ("alice", "alice")
    (own,) = admin.iam.list_mfa_devices(UserName="alice")["MFADevices"]
    assert own == {"UserName": "alice", "SerialNumber": serial, "EnableDate": listed["EnableDate"]}


def test_enable_twice_and_enable_for_another_user_differ(admin: Aws) -> None:
    """EntityAlreadyExists has one message for the same user and another message for a different user."""
    serial = admin.enrolled("alice")
    with refused("EntityAlreadyExists", "MFA Device for user alice already exists."):
        admin.enable("alice", serial, 2)
    with refused("EntityAlreadyExists", "MFA Device is already in use."):
        admin.enable("bob", serial, 2)


@pytest.mark.parametrize("wrong", ["wrong", "same", "reversed"])
def test_any_wrong_pair_is_the_same_error(admin: Aws, wrong: str) -> None:
    """The error is the same for a wrong code, a repeated code and a wrong order. A correct pair works afterwards."""
    serial = admin.create("alice")
    good = admin.pair(admin.seeds[serial])
    first, second = good.values()
    codes = {
        "wrong": {"AuthenticationCode1": first, "AuthenticationCode2": f"{(int(second) + 1) % 10**6:06}"},
        "same": {"AuthenticationCode1": second, "AuthenticationCode2": second},
        "reversed": {"AuthenticationCode1": second, "AuthenticationCode2": first},
    }[wrong]
    with refused("InvalidAuthenticationCode", "Authentication code for device is not valid."):
        admin.iam.enable_mfa_device(UserName="alice", SerialNumber=serial, **codes)
    admin.iam.enable_mfa_device(UserName="alice", SerialNumber=serial, **good)


def test_a_used_pair_stays_used_after_deactivate(admin: Aws) -> None:
    """Both codes of a device's next pair must be later than its last pair, even for a different user."""
    serial = admin.enrolled("alice")
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    for offset in (0, 1):
        with refused("InvalidAuthenticationCode"):
            admin.enable("bob", serial, offset)
    admin.enable("bob", serial, 2)


def test_a_distant_pair_is_accepted_and_sets_the_skew(admin: Aws) -> None:
    """Enable accepts up to 1000 steps ahead. Resync then searches around that skew, not around the current step."""
    serial = admin.create("alice")
    with refused("InvalidAuthenticationCode"):
        admin.enable("alice", serial, 1002)
    admin.enable("alice", serial, 900)
    resync = {"UserName": "alice", "SerialNumber": serial}
    admin.iam.resync_mfa_device(**resync, **admin.pair(admin.seeds[serial], 1800))


def test_resync_is_for_the_device_of_that_user(admin: Aws) -> None:
    """Resync refuses an unassigned device and another user's device."""
    serial = admin.create("alice")
    with refused("NoSuchEntity", "MFA Device invalid for user."):
        admin.iam.resync_mfa_device(UserName="alice", SerialNumber=serial, **admin.pair(admin.seeds[serial]))
    admin.enable("bob", serial)
    with refused("NoSuchEntity", "MFA Device invalid for user."):
        admin.iam.resync_mfa_device(UserName="alice", SerialNumber=serial, **admin.pair(admin.seeds[serial], 2))


def test_the_ninth_device_is_too_many(admin: Aws) -> None:
    """A user can have eight devices."""
    for number in range(8):
        admin.enrolled("alice", f"a{number}")
    ninth = admin.create("ninth")
    with refused("LimitExceeded"):
        admin.enable("alice", ninth)


def test_the_account_has_a_quota_of_virtual_devices() -> None:
    """The quota of virtual devices is that of users. Unassigned devices count too."""
    with Lab(settings=LabSettings(users_quota=2)) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        admin.create("one")
        admin.create("two")
        with refused("LimitExceeded"):
            admin.create("three")
        assert admin.iam.get_account_summary()["SummaryMap"]["UsersQuota"] == 2


def test_delete_requires_deactivate_first(admin: Aws, lab: Lab) -> None:
    """An assigned device cannot be deleted. After Deactivate, it exists until it is deleted."""
    serial = admin.enrolled("alice")
    with refused("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first."):
        admin.iam.delete_virtual_mfa_device(SerialNumber=serial)
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    assert (lab.serials(), lab.assigned(serial)) == ({serial}, None)
    with refused("NoSuchEntity", "MFA Device invalid for user."):
        admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    admin.iam.delete_virtual_mfa_device(SerialNumber=serial)
    assert lab.serials() == set()
    with refused("NoSuchEntity"):
        admin.iam.delete_virtual_mfa_device(SerialNumber=serial)


def test_a_user_with_a_device_is_not_deleted(admin: Aws) -> None:
    """The error of DeleteUser says what must be removed first."""
    serial = admin.enrolled("alice")
    with refused("DeleteConflict", "Cannot delete entity, must remove tokens from principal first."):
        admin.iam.delete_user(UserName="alice")
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    admin.iam.delete_user(UserName="alice")
    with refused("NoSuchEntity", "The user with name alice cannot be found."):
        admin.iam.list_mfa_devices(UserName="alice")


def test_unknown_users_and_devices(admin: Aws) -> None:
    """Each call about an unknown user or device returns NoSuchEntity."""
    serial = admin.create("alice")
    with refused("NoSuchEntity", "The user with name nobody cannot be found."):
        admin.enable("nobody", serial)
    with refused("NoSuchEntity", f"VirtualMFADevice with serial number {START}/none does not exist."):
        admin.iam.enable_mfa_device(UserName="alice", SerialNumber=f"{START}/none", **admin.pair(admin.seeds[serial]))


@pytest.mark.parametrize(
    ("status", "error"), [(404, "NoSuchEntity"), (403, "InvalidAuthenticationCode"), (400, "ValidationError")]
)
def test_the_error_for_an_unknown_token_is_a_setting(status: int, error: str) -> None:
    """The setting `unknown_serial` selects the error, because it is not known which error AWS returns."""
    with Lab(("alice",), settings=LabSettings(unknown_serial=status)) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        with refused(error, "MFA device with serial number GAHT00000000 does not exist."):
            admin.iam.enable_mfa_device(UserName="alice", SerialNumber="GAHT00000000", **admin.pair(b"A" * 64))


def test_tags(admin: Aws) -> None:
    """Tags are set at creation or later and listed in pages. Their keys must differ by more than case."""
    serial = admin.create("alice", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    admin.iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "c", "Value": "3"}])
    admin.iam.untag_mfa_device(SerialNumber=serial, TagKeys=["a"])
    first = admin.iam.list_mfa_device_tags(SerialNumber=serial, MaxItems=1)
    rest = admin.iam.list_mfa_device_tags(SerialNumber=serial, Marker=first["Marker"])
    assert [first["Tags"], rest["Tags"]] == [[{"Key": "b", "Value": "2"}], [{"Key": "c", "Value": "3"}]]
    with refused("InvalidInput"):
        admin.create("bob", Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
    with refused("LimitExceeded"):
        admin.iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(49)])


def test_a_tag_may_have_any_script_but_no_comma(admin: Aws) -> None:
    """Tag values may not contain a comma, although user names may."""
    serial = admin.create("alice", Tags=[{"Key": "naïve ключ", "Value": "ЖΩ é_.:/=+-@"}])
    assert admin.iam.list_mfa_device_tags(SerialNumber=serial)["Tags"][0]["Value"] == "ЖΩ é_.:/=+-@"
    with refused("ValidationError"):
        admin.create("bob", Tags=[{"Key": "user", "Value": "smith,john"}])


@pytest.mark.parametrize(
    ("name", "path"),
    [("a b", "/"), ("a/b", "/"), ("ä", "/"), ("a", "team/"), ("a", "/team"), ("a", "//team\x7f/")],
)
def test_names_and_paths_that_iam_refuses(admin: Aws, name: str, path: str) -> None:
    """The lab refuses values that break the patterns of the service model, which botocore does not check."""
    with refused("ValidationError"):
        admin.create(name, Path=path)


def test_codes_are_digits(admin: Aws) -> None:
    """Six letters pass botocore's checks, and the service refuses them."""
    serial = admin.create("alice")
    said = (
        "1 validation error detected: Value 'abcdef' at 'authenticationCode1' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\d]+"
    )
    with refused("ValidationError", said):
        admin.iam.enable_mfa_device(
            UserName="alice", SerialNumber=serial, AuthenticationCode1="abcdef", AuthenticationCode2="123456"
        )


def test_lists_come_in_pages(admin: Aws) -> None:
    """A marker stays valid after a deletion. Any text that is not a marker is refused."""
    serials = sorted(admin.create(f"d{number}") for number in range(5))
    first = admin.iam.list_virtual_mfa_devices(MaxItems=2)
    assert first["IsTruncated"]
    admin.iam.delete_virtual_mfa_device(SerialNumber=serials[0])
    rest = admin.iam.list_virtual_mfa_devices(Marker=first["Marker"])
    assert [row["SerialNumber"] for row in first["VirtualMFADevices"] + rest["VirtualMFADevices"]] == serials
    assert not rest["IsTruncated"]
    with refused("ValidationError", "Invalid Marker."):
        admin.iam.list_virtual_mfa_devices(Marker="5")


def test_the_list_by_assignment(admin: Aws) -> None:
    """The lists with Assigned and Unassigned together are the list with Any."""
    held, free = admin.enrolled("alice"), admin.create("free")
    for status, wanted in (("Assigned", [held]), ("Unassigned", [free]), ("Any", sorted([held, free]))):
        found = admin.iam.list_virtual_mfa_devices(AssignmentStatus=status)["VirtualMFADevices"]
        assert [row["SerialNumber"] for row in found] == wanted


@pytest.mark.parametrize(("region", "partition"), [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")])
def test_partitions_are_separate(region: str, partition: str) -> None:
    """ARNs contain the partition, and an access key works in one partition only."""
    with Lab(("alice",), region=region) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        assert admin.enrolled("alice") == f"arn:{partition}:iam::000000000000:mfa/alice"
        with refused("InvalidClientTokenId"):
            admin.client("iam", region_name="us-east-1").list_users()


def test_user_names_are_not_distinguished_by_case(admin: Aws) -> None:
    """ALICE is the same user as alice, and the name is shown as it was created."""
    with refused("EntityAlreadyExists"):
        admin.iam.create_user(UserName="ALICE")
    assert admin.iam.get_user(UserName="Alice")["User"]["UserName"] == "alice"


def test_a_hardware_token_needs_no_create(lab: Lab, admin: Aws) -> None:
    """AWS has the seeds of the tokens that it sold. Enable takes the serial, and Deactivate leaves no device."""
    lab.add_token("GAHT12345678", "A" * 64)
    admin.iam.enable_mfa_device(UserName="alice", SerialNumber="GAHT12345678", **admin.pair(b"A" * 64))
    assert (lab.assigned("GAHT12345678"), lab.serials()) == ("alice", set())
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber="GAHT12345678")
    with refused("NoSuchEntity"):
        admin.iam.delete_virtual_mfa_device(SerialNumber="GAHT12345678")
