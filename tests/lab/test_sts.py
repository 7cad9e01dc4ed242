"""STS: the codes that it accepts, when it learns of a device, and the permissions of its credentials."""

from mfa_kit.lab.aws.mfa_devices import UNABLE, DeviceCodes, LabSettings, StsCodes
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, code, document, refused

INVALID = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 2
# A Unix time at the start of a step and of one of STS's windows of three minutes.
START = 1_800_000_000 // 180 * 180


def _bound(propagation: float = 0) -> tuple[StsCodes, LabSettings]:
    book = StsCodes()
    book.bind("d", "alice", DeviceCodes(SECRET), now=START)
    return book, LabSettings(propagation=propagation)


def _taken(book: StsCodes, offset: int, *, at: float, settings: LabSettings, user: str = "alice") -> str:
    """Return STS's error message for the code at `offset` steps from the time `at`, or "" if STS accepts the code."""
    given = code(SECRET.encode(), int(at) // 30 + offset)
    return book.refusal("d", given, user=user, now=at, settings=settings)


def test_a_code_is_accepted_two_steps_around_the_clock() -> None:
    """Codes that are two steps off are accepted, and codes that are three steps off are refused."""
    for offset, said in ((-3, INVALID), (-2, ""), (0, ""), (2, ""), (3, INVALID)):
        book, settings = _bound()
        assert _taken(book, offset, at=START + 30, settings=settings) == said


def test_each_code_once_and_in_any_order() -> None:
    """An unused code is valid even after a later one. A used code is never valid again."""
    book, settings = _bound()
    assert [_taken(book, offset, at=START, settings=settings) for offset in (1, -1, 1, -1)] == [
        "",
        "",
        INVALID,
        INVALID,
    ]


def test_nine_attempts_in_three_minutes() -> None:
    """The tenth attempt gets the error for an unknown device, even with a valid code, until three minutes are over."""
    book, settings = _bound()
    assert [_taken(book, 9, at=START, settings=settings) for _ in range(10)] == [*[INVALID] * 9, UNABLE]
    assert _taken(book, 0, at=START + 179, settings=settings) == UNABLE
    assert _taken(book, 0, at=START + 180, settings=settings) == ""


def test_sts_sees_enable_and_deactivate_later() -> None:
    """STS sees the old state of the device until IAM's change has propagated."""
    book, settings = _bound(12)
    assert _taken(book, 0, at=START + 11, settings=settings) == UNABLE
    assert _taken(book, 0, at=START + 12, settings=settings) == ""
    book.bind("d", None, DeviceCodes(SECRET), now=START + 20)
    assert _taken(book, 1, at=START + 31, settings=settings) == ""
    assert _taken(book, 1, at=START + 32, settings=settings) == UNABLE


def test_the_skew_moves_the_window() -> None:
    """If the pair was found 40 steps ahead, STS expects codes 40 steps ahead."""
    book = StsCodes()
    book.bind("d", "alice", DeviceCodes(SECRET, skew=40), now=START)
    settings = LabSettings(propagation=0)
    assert [_taken(book, offset, at=START, settings=settings) for offset in (0, 42)] == [INVALID, ""]


def test_a_session_with_a_code_works_and_carries_mfa(admin: Aws) -> None:
    """The credentials are the user's, and the context has aws:MultiFactorAuthPresent."""
    serial = admin.enrolled("alice")
    wanted = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    policy = document({"Action": "iam:ListUsers", "Resource": "*", "Condition": wanted})
    admin.iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=policy)
    alice = admin.user("alice")
    with refused("AccessDenied"):
        alice.iam.list_users()
    session = alice.mfa_session(serial)
    assert session.sts.get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:user/alice"
    assert session.iam.list_users()["Users"]


def test_a_session_without_a_code_may_not_call_iam(admin: Aws) -> None:
    """After GetSessionToken without MFA, IAM does not know the token, and STS allows no further sessions."""
    alice = admin.user("alice")
    session = alice.session(alice.sts.get_session_token()["Credentials"])
    with refused("InvalidClientTokenId"):
        session.iam.get_user()
    with refused("AccessDenied"):
        session.sts.get_session_token()


def test_a_device_of_another_user_proves_nothing(admin: Aws) -> None:
    """STS requires a device of the calling user, and both the serial and the code."""
    serial = admin.enrolled("bob")
    alice = admin.user("alice")
    for given in (
        {"SerialNumber": serial, "TokenCode": code(admin.seeds[serial], admin.now())},
        {"TokenCode": "123456"},
    ):
        with refused("AccessDenied", UNABLE):
            alice.sts.get_session_token(**given)


def test_enable_does_not_spend_codes_for_sts(admin: Aws) -> None:
    """Each code of the pair that enabled a device works for one session."""
    serial = admin.enrolled("alice")
    alice = admin.user("alice")
    for offset in (-1, 0):
        alice.mfa_session(serial, offset)
    with refused("AccessDenied", INVALID):
        alice.mfa_session(serial, 0)


def test_the_recorded_delay_is_the_default() -> None:
    """Right after Enable, STS does not know the device."""
    with Lab(("alice",)) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        serial = admin.enrolled("alice")
        with refused("AccessDenied", UNABLE):
            admin.user("alice").mfa_session(serial)


def test_credentials_end(admin: Aws, lab: Lab) -> None:
    """A session token expires after DurationSeconds. A wrong token or secret is refused."""
    alice = admin.user("alice")
    made = alice.sts.get_session_token(DurationSeconds=900)["Credentials"]
    assert made["Expiration"].timestamp() == int(lab.account.now()) + 900
    with refused("InvalidClientTokenId"):
        alice.session(made | {"SessionToken": "other"}).sts.get_caller_identity()
    with refused("SignatureDoesNotMatch"):
        alice.session(made | {"SecretAccessKey": "other"}).sts.get_caller_identity()
    session = lab.account.sessions[made["AccessKeyId"]]
    lab.account.sessions[made["AccessKeyId"]] = type(session)(
        session.secret, session.token, lab.account.now(), session.caller
    )
    with refused("ExpiredToken"):
        alice.session(made).sts.get_caller_identity()


def _role(admin: Aws, trust: dict[str, object], name: str = "ops") -> str:
    trusts = document({"Action": "sts:AssumeRole", **trust})
    role = admin.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusts)["Role"]
    allow = document({"Action": "iam:List*", "Resource": "*"})
    admin.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow)
    return str(role["Arn"])


def test_a_role_is_assumed_by_a_trusted_principal(admin: Aws) -> None:
    """The session has the role's permissions, belongs to no user, and has no MFA in its context."""
    arn = _role(admin, {"Principal": {"AWS": "arn:aws:iam::000000000000:user/alice"}})
    with refused("AccessDenied"):
        admin.user("bob").sts.assume_role(RoleArn=arn, RoleSessionName="desk")
    alice = admin.user("alice")
    session = alice.session(alice.sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"])
    assert session.sts.get_caller_identity()["Arn"] == "arn:aws:sts::000000000000:assumed-role/ops/desk"
    assert session.iam.list_users()["Users"]
    with refused("AccessDenied"):
        session.iam.create_user(UserName="x")
    with refused("ValidationError", "Must specify userName when calling with non-User credentials"):
        session.iam.list_mfa_devices()


def test_a_role_that_trusts_the_account_requires_a_policy(admin: Aws) -> None:
    """A trust policy that names the account leaves the decision to the account's policies."""
    arn = _role(admin, {"Principal": {"AWS": "000000000000"}})
    with refused("AccessDenied"):
        admin.user("alice").sts.assume_role(RoleArn=arn, RoleSessionName="desk")
    allow = document({"Action": "sts:AssumeRole", "Resource": arn})
    admin.iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=allow)
    assert admin.user("alice").sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"]


def test_a_role_can_require_mfa(admin: Aws) -> None:
    """A code in AssumeRole meets the condition, and so does a session with MFA."""
    wanted = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    who = {"AWS": "arn:aws:iam::000000000000:user/alice"}
    arn = _role(admin, {"Principal": who, "Condition": wanted})
    serial = admin.enrolled("alice")
    alice = admin.user("alice")
    given = {"RoleArn": arn, "RoleSessionName": "desk"}
    with refused("AccessDenied"):
        alice.sts.assume_role(**given)
    proof = {"SerialNumber": serial, "TokenCode": code(admin.seeds[serial], admin.now())}
    assert alice.sts.assume_role(**given, **proof)["Credentials"]
    assert alice.mfa_session(serial, 1).sts.assume_role(**given)["Credentials"]


def test_a_role_can_require_an_external_id_and_can_deny(admin: Aws) -> None:
    """The call's ExternalId meets a condition on sts:ExternalId. A Deny in the trust policy wins."""
    who = {"Principal": {"AWS": "arn:aws:iam::000000000000:user/alice"}}
    arn = _role(admin, {**who, "Condition": {"StringEquals": {"sts:ExternalId": "x1"}}})
    alice = admin.user("alice")
    given = {"RoleArn": arn, "RoleSessionName": "desk"}
    with refused("AccessDenied"):
        alice.sts.assume_role(**given)
    assert alice.sts.assume_role(**given, ExternalId="x1")["Credentials"]
    allow = {"Action": "sts:AssumeRole", "Principal": "*"}
    trusts = document(allow, {"Effect": "Deny", "Action": "sts:AssumeRole", **who})
    admin.iam.update_assume_role_policy(RoleName="ops", PolicyDocument=trusts)
    with refused("AccessDenied"):
        alice.sts.assume_role(**given, ExternalId="x1")


def test_a_session_policy_limits_a_role(admin: Aws) -> None:
    """The role and the session policy must both allow a call. A role's session cannot call GetSessionToken."""
    arn = _role(admin, {"Principal": {"AWS": "arn:aws:iam::000000000000:user/alice"}})
    alice = admin.user("alice")
    narrow = document({"Action": "iam:ListGroups", "Resource": "*"})
    made = alice.sts.assume_role(RoleArn=arn, RoleSessionName="desk", Policy=narrow)["Credentials"]
    session = alice.session(made)
    assert session.iam.list_groups()["Groups"] == []
    said = (
        "User: arn:aws:sts::000000000000:assumed-role/ops/desk is not authorized to perform: iam:ListUsers "
        "on resource: arn:aws:iam::000000000000:user/ because no session policy allows the iam:ListUsers action"
    )
    with refused("AccessDenied", said):
        session.iam.list_users()
    with refused("AccessDenied"):
        session.sts.get_session_token()


def test_a_session_of_a_role_cannot_create_a_federated_user(admin: Aws) -> None:
    """Only a user's own keys can create a federated user, whatever the role's policies allow."""
    arn = _role(admin, {"Principal": {"AWS": "arn:aws:iam::000000000000:user/alice"}})
    everything = document({"Action": "*", "Resource": "*"})
    admin.iam.put_role_policy(RoleName="ops", PolicyName="p", PolicyDocument=everything)
    alice = admin.user("alice")
    session = alice.session(alice.sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"])
    with refused("AccessDenied", "Cannot call GetFederationToken with session credentials"):
        session.sts.get_federation_token(Name="desk")


def test_federated_credentials_may_not_call_iam(admin: Aws) -> None:
    """Credentials of GetFederationToken are for console sign-in and other services. STS still identifies them."""
    made = admin.sts.get_federation_token(Name="desk", Policy='{"Statement": []}')
    assert made["FederatedUser"]["Arn"] == "arn:aws:sts::000000000000:federated-user/desk"
    session = admin.session(made["Credentials"])
    assert session.sts.get_caller_identity()["UserId"] == "000000000000:desk"
    with refused("InvalidClientTokenId"):
        session.iam.list_users()
    with refused("AccessDenied", "Cannot call GetFederationToken with session credentials"):
        session.sts.get_federation_token(Name="desk")
    with refused("AccessDenied", "Cannot call AssumeRole with session credentials"):
        session.sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/any", RoleSessionName="desk")


def test_assume_root_is_not_allowed(admin: Aws) -> None:
    """A lab without an organization denies AssumeRoot."""
    policy = {"arn": "arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials"}
    with refused("AccessDenied"):
        admin.sts.assume_root(TargetPrincipal="000000000000", TaskPolicyArn=policy)


def test_a_security_key_is_not_mfa_for_sts(admin: Aws, lab: Lab) -> None:
    """A user whose only device is a security key cannot use MFA with access keys."""
    serial = lab.register_fido("alice", "key")
    with refused("AccessDenied", UNABLE):
        admin.user("alice").sts.get_session_token(SerialNumber=serial, TokenCode="123456")


def test_the_edges_of_enables_window() -> None:
    """Enable accepts 998 steps behind and 1000 ahead of the adjusted time, and not one more."""
    settings, step = LabSettings(), START // 30
    for second, good in ((-999, False), (-998, True), (1000, True), (1001, False)):
        codes = DeviceCodes(SECRET)
        two = [code(SECRET.encode(), step + second + n) for n in (-1, 0)]
        assert codes.accept_pair(*two, now=START, settings=settings) is good
        assert (codes.skew, codes.last) == ((second, step + second) if good else (0, -1))


def test_a_window_may_be_wider_behind_than_ahead() -> None:
    """Each side of the window has its own setting. The nearest pair is found first."""
    settings, step = LabSettings(pair_behind=2, pair_ahead=1), START // 30
    for second, good in ((-3, False), (-2, True), (1, True), (2, False)):
        two = [code(SECRET.encode(), step + second + n) for n in (-1, 0)]
        assert DeviceCodes(SECRET).accept_pair(*two, now=START, settings=settings) is good


def test_resync_makes_a_drifted_device_work_again(admin: Aws) -> None:
    """STS uses the skew that Resync found."""
    serial = admin.enrolled("alice")
    admin.iam.resync_mfa_device(UserName="alice", SerialNumber=serial, **admin.pair(admin.seeds[serial], 50))
    alice = admin.user("alice")
    with refused("AccessDenied", INVALID):
        alice.mfa_session(serial, 0)
    assert alice.mfa_session(serial, 51).sts.get_caller_identity()["Arn"].endswith("user/alice")
