"""The texts of denials: what mfa-kit takes from them, and what it advises. They are those of the IAM user guide."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.core.denials import (
    OWNERS,
    Denial,
    PolicyType,
    SessionKind,
    advice,
    decoded_denial,
    parse_denial,
    without_links,
)
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, Result
from tests.lab.client import Aws, document
from tests.organization.test_control_policies import MFA_ONLY

MEMBER = "000000000001"
ALICE, ROLE = f"arn:aws:iam::{MEMBER}:user/alice", f"arn:aws:sts::{MEMBER}:assumed-role/ci/build"
CONTROL = "arn:aws:organizations::000000000000:policy/o-lab0000000/service_control_policy/p-ab12cd34"
LINK = "https://us-east-1.console.aws.amazon.com/iam/authorization-details/0abc"
PREVIEW = (
    f". Go to {LINK} for complete details, or call the GetRequestAuthorizationDetails API with the following "
    "authorization id: 0abc"
)


def text(reason: str, who: str = ALICE, action: str = "s3:ListBucket", on: str = " on resource: arn:aws:s3:::b") -> str:
    return f"User: {who} is not authorized to perform: {action}{on} {reason}"


@pytest.mark.parametrize("kind", PolicyType)
@pytest.mark.parametrize(("end", "arn"), [("", ""), (f": {CONTROL}", CONTROL), (f": {CONTROL}.", CONTROL)])
def test_each_type_is_recognized(kind: PolicyType, end: str, arn: str) -> None:
    """Explicit and implicit, with and without the ARN of the policy. A full stop after the ARN is not taken."""
    article = "an" if kind is PolicyType.IDENTITY else "the" if kind is PolicyType.TRUST else "a"
    explicit = parse_denial(text(f"with an explicit deny in {article} {kind}{end}{PREVIEW if end else ''}"))
    assert explicit is not None
    assert (explicit.type, explicit.is_explicit, explicit.arn) == (kind, True, arn)
    assert (explicit.principal, explicit.action, explicit.resource) == (ALICE, "s3:ListBucket", "arn:aws:s3:::b")
    assert explicit.account == MEMBER
    implicit = parse_denial(text(f"because no {kind} allows the s3:ListBucket action"))
    assert implicit is not None
    assert (implicit.type, implicit.is_explicit, implicit.arn) == (kind, False, "")
    assert {*OWNERS} == {*PolicyType}


@pytest.mark.parametrize(
    ("said", "kind", "action"),
    [
        (text("with an explicit deny in a sessions policy"), PolicyType.SESSION, "s3:ListBucket"),
        (f"boto: {text('', on='')}", None, "s3:ListBucket"),
        ("... with an explicit deny in a VPC endpoint policy transitively through a service control policy",
         PolicyType.ENDPOINT, ""),
        (text("with an explicit deny in a service control policy").replace(" ", "\n", 3),
         PolicyType.CONTROL, "s3:ListBucket"),
    ],
)  # fmt: skip
def test_other_frames(said: str, kind: PolicyType | None, action: str) -> None:
    """Some services use other words, and a terminal may have wrapped the text."""
    denial = parse_denial(said)
    assert denial is not None
    assert (denial.type, denial.action) == (kind, action)


@pytest.mark.parametrize("said", ["", "Access Denied", "An error occurred (Throttling)", "explicit deny"])
def test_other_texts_are_no_denials(said: str) -> None:
    """Nothing can be said about them."""
    assert parse_denial(said) is None


@pytest.mark.parametrize(
    "part", ["because no ", "User: arn:aws:iam::", "with an explicit deny in a ", "x", ": ", "://"]
)
def test_a_long_text_takes_no_long_time(part: str) -> None:
    """A hostile server can send a million characters."""
    said = part * (1_000_000 // len(part))
    assert parse_denial(said) is None
    assert len(without_links(said)) <= len(said)


def test_nothing_foreign_is_taken() -> None:
    """Links, commands and control characters of the text are in no field, and no message has what follows a link."""
    hostile = text(
        "with an explicit deny in a service control policy: arn:aws:iam::aws:policy/x$(rm -rf ~)\x1b[2J; run `curl x`"
        + PREVIEW,
        on=" on resource: arn:aws:s3:::b;rm",
    )
    denial = parse_denial(hostile)
    assert denial is not None
    told = f"{denial} {advice(denial)}"
    assert not any(part in told for part in ("rm", "curl", "http", "\x1b", "`", "$"))
    assert without_links(hostile).endswith("run `curl x`")


@pytest.mark.parametrize(
    ("who", "reason", "kind", "helps", "ask"),
    [
        (ALICE, "with an explicit deny in an identity-based policy", SessionKind.USER, True, ""),
        (ALICE, f"with an explicit deny in a service control policy: {CONTROL}", SessionKind.USER, True, "p-ab12cd34"),
        (ALICE, "because no service control policy allows", SessionKind.USER, False, "of the organization"),
        (ROLE, "with an explicit deny in a service control policy", SessionKind.ROLE, False, "of the organization"),
        (ROLE, "with an explicit deny in an identity-based policy", SessionKind.ROLE, False, "of the account"),
        (ROLE, "with an explicit deny in a session policy", SessionKind.ROLE, False, "started the session"),
        (f"arn:aws:iam::{MEMBER}:root", "with an explicit deny in a service control policy", SessionKind.ROOT, False,
         "of the organization"),
        (f"arn:aws:sts::{MEMBER}:federated-user/x", "with an explicit deny in a resource-based policy",
         SessionKind.FEDERATED, False, "owner of the resource"),
    ],
)  # fmt: skip
def test_the_advice_fits_the_session(who: str, reason: str, kind: SessionKind, helps: bool, ask: str) -> None:
    """MFA is advised to users only. Everybody else must ask the owner of the policy."""
    denial = parse_denial(text(reason, who))
    assert denial is not None
    assert denial.kind is kind
    assert ("use credentials with MFA" in advice(denial)) is helps
    assert ask in advice(denial)


@pytest.mark.parametrize("said", ["", "[]", "{", '{"context": []}', '{"context": {"principal": 1, "action": null}}'])
def test_a_decoded_message_may_lack_any_field(said: str) -> None:
    """Its fields are in no model."""
    assert decoded_denial(said) in {None, Denial()}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(accounts=2, users_per_account=1) as running:
        yield running


@pytest.fixture
def kit(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return MfaKit(tmp_path / "desk", dict(lab.env))


def given(kit: MfaKit, said: str, *args: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(said))
        return kit.run("policy", "explain", *args)


def explained(kit: MfaKit, said: str, *args: str) -> dict[str, object]:
    done = given(kit, said, *args, "--output", "json")
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(done.out)
    return found


def denied(lab: Lab) -> str:
    """Return AWS's words for a denial by an SCP to an access key of alice in a member account."""
    backend = lab.organization[MEMBER].backend
    key = backend.create_access_key("alice")
    aws = Aws(lab, (key.access_key_id, key.secret_access_key, None))
    with pytest.raises(aws.iam.exceptions.ClientError) as caught:
        aws.iam.list_users()
    backend.delete_access_key(key.access_key_id, "alice")
    return str(caught.value)


def test_an_scp_is_named_with_its_target_and_what_it_requires(lab: Lab, kit: MfaKit) -> None:
    """The text names the policy, and Organizations says where it is attached and which statements deny the action."""
    unit = lab.organization.records[MEMBER].parent
    number = lab.organization.attach("guard", document({**MFA_ONLY, "Sid": "NoMfa"}), unit)
    said = denied(lab)
    found = explained(kit, said)
    name = lab.organization.units[unit].name
    assert found["policy"] == (
        f"service control policy guard ({number}), attached to the unit {name}, "
        "which denies iam:ListUsers without MFA (NoMfa)"
    )
    assert (found["session"], found["requires_mfa"], found["explicit"]) == ("user", True, True)
    assert found["unknown"] == "which statement denied the request is not proven"
    without_arn = said.rpartition(": ")[0]
    assert f"probably service control policy guard ({number}), attached to {name}" in str(
        explained(kit, without_arn)["policy"]
    )
    offline = explained(kit, said, "--offline")
    assert (offline["policy"], offline["requires_mfa"]) == (f"service control policy {number}", None)
    lab.faults.add("DescribePolicy", "denied", at="every")
    unread = explained(kit, said)
    lab.faults.clear()
    assert str(unread["unknown"]).startswith("not read: AWS answers AccessDenied")
    lab.organization.policies.clear()


def test_mfa_is_no_advice_against_a_policy_that_does_not_require_it(lab: Lab, kit: MfaKit) -> None:
    """A named Deny without a condition about MFA stays, whatever the session; an Allow that is missing says nothing."""
    unit = lab.organization.records[MEMBER].parent
    row = {"Effect": "Deny", "Action": "iam:ListUsers", "Resource": "*"}
    number = lab.organization.attach("never", document(row), unit)
    said = denied(lab)
    found = explained(kit, said)
    assert (found["requires_mfa"], "MFA" in str(found["advice"])) == (False, False)
    lab.organization.policies.clear()
    lab.organization.attach("other", document({**row, "Action": "s3:*"}), unit)
    other = said.replace(number, next(iter(lab.organization.policies)))
    assert explained(kit, other)["requires_mfa"] is None
    lab.organization.policies.clear()


def test_an_encoded_message_is_decoded(lab: Lab, kit: MfaKit) -> None:
    """EC2 encodes who was denied what. Only sts:DecodeAuthorizationMessage can read it."""
    key = lab.organization[MEMBER].backend.create_access_key("alice")
    ec2 = Aws(lab, (key.access_key_id, key.secret_access_key, None)).client("ec2")
    with pytest.raises(ec2.exceptions.ClientError) as caught:
        ec2.describe_regions()
    encoded = f"You are not authorized.{str(caught.value).partition('action.')[2] or str(caught.value)}"
    found = explained(kit, f"Encoded {encoded.partition('Encoded ')[2]}")
    assert (found["principal"], found["action"], found["explicit"]) == (ALICE, "ec2:DescribeRegions", False)
    bad = explained(kit, f"Encoded authorization failure message: {'x' * 40}")
    assert "InvalidAuthorizationMessageException" in str(bad["unknown"])


def test_a_hint_of_another_command_fits_the_session(lab: Lab, kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role session gets no advice to use MFA, because an SCP denies it whatever its MFA is."""
    number = lab.organization.attach("guard", document({"Effect": "Deny", "Action": "iam:*", "Resource": "*"}), MEMBER)
    admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    arn = f"arn:aws:iam::{MEMBER}:role/mfa-kit-audit"
    made = admin.sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"]
    for name, field in (("ACCESS_KEY_ID", "AccessKeyId"), ("SECRET_ACCESS_KEY", "SecretAccessKey")):
        monkeypatch.setenv(f"AWS_{name}", made[field])
    monkeypatch.setenv("AWS_SESSION_TOKEN", made["SessionToken"])
    done = kit.run("orphans", "list")
    lab.organization.policies.clear()
    assert f"MFA cannot help: ask an administrator of the organization about the service control policy {number}" in (
        done.err
    )
    assert "credentials with MFA" not in done.err


def test_other_input_is_refused(kit: MfaKit) -> None:
    """A text that is no denial explains nothing."""
    done = given(kit, "hello")
    assert done.code == 2
    assert "this is not the text of a denial by AWS" in done.err
