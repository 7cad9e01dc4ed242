"""Sessions in member accounts: which credentials sign a request, how a session begins, and how it is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session

from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.member_sessions import MemberSessions
from mfa_kit.core.errors import AccessDenied, UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import SOURCE_IDENTITY, AccountState, OrgAccount
from tests.conftest import ACCOUNT, MfaKit
from tests.organization.conftest import MEMBERS
from tests.sizes import size

ROLE = ("mfa-kit-audit",)


def member(number: str, **more: Any) -> OrgAccount:
    return OrgAccount(**{"id": number, "roles": ROLE, **more})


def _age(credentials: Any, *, minutes: int) -> None:
    """Move the expiry of credentials closer by this many minutes, as if that time had passed."""
    credentials._expiry_time -= timedelta(minutes=minutes)  # noqa: SLF001 - botocore has no public way to do this


@pytest.fixture
def sessions(org_kit: MfaKit) -> MemberSessions:  # noqa: ARG001 - it sets the environment
    return MemberSessions(Connection(workers=8))


def test_no_request_leaves_with_the_credentials_of_another_account(sessions: MemberSessions, org_lab: Lab) -> None:
    """Threads that share one client and change accounts at random get the answers of the right account."""
    for number in MEMBERS:
        org_lab.organization[number].add_user(f"only-in-{number}")
    entered = {number: sessions.enter(member(number))[0] for number in MEMBERS}
    asked: list[tuple[str, str]] = []
    lock = threading.Lock()

    def ask(at: int) -> bool:
        number = MEMBERS[at * 7 % len(MEMBERS)]
        names = [row["UserName"] for row in entered[number].iam.list_users()["Users"]]
        with lock:
            asked.append((number, entered[number].sts.get_caller_identity()["Account"]))
        return [name for name in names if name.startswith("only-in-")] == [f"only-in-{number}"]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(size(100, 3000))))
    assert {wanted == found for wanted, found in asked} == {True}


def test_a_request_without_an_account_is_not_sent(sessions: MemberSessions, org_lab: Lab) -> None:
    """A call of the shared client that names no account raises an error before a request is sent."""
    entered, _ = sessions.enter(member(MEMBERS[0]))
    before = len(org_lab.calls)
    with pytest.raises(LookupError):
        entered.iam._client.list_users()  # type: ignore[attr-defined]  # noqa: SLF001 - the client behind the account
    assert len(org_lab.calls) == before


def test_a_session_needs_one_assume_role_call(sessions: MemberSessions, org_lab: Lab) -> None:
    """The response of AssumeRole has the account and the role, so no other call is made."""
    _, caller = sessions.enter(member(MEMBERS[1]))
    assert caller.account == MEMBERS[1]
    assert caller.arn == f"arn:aws:sts::{MEMBERS[1]}:assumed-role/mfa-kit-audit/mfa-kit"
    assert [call.operation for call in org_lab.calls] == ["AssumeRole"]


def test_a_chain_of_roles_ends_in_the_account(sessions: MemberSessions, org_lab: Lab) -> None:
    """Several roles are assumed one after the other, each with the credentials of the previous role."""
    hub, target = MEMBERS[0], MEMBERS[2]
    backend = org_lab.organization[target].backend
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": '
        f'{{"AWS": "arn:aws:iam::{hub}:role/OrganizationAccountAccessRole"}}}}]}}'
    )
    backend.create_role("from-hub", trust, "/", None, "", [], "3600")
    first = f"arn:aws:iam::{hub}:role/OrganizationAccountAccessRole"
    _, caller = sessions.enter(member(target, roles=(first, "from-hub")))
    assert caller.arn == f"arn:aws:sts::{target}:assumed-role/from-hub/mfa-kit"


def test_a_role_of_another_account_is_refused(sessions: MemberSessions) -> None:
    """If the last role is in another account, no work is done with it."""
    wrong = f"arn:aws:iam::{MEMBERS[3]}:role/mfa-kit-audit"
    with pytest.raises(UsageFault, match=f"{MEMBERS[2]} belong to account {MEMBERS[3]}"):
        sessions.enter(member(MEMBERS[2], roles=(wrong,)))


@pytest.mark.parametrize("role", ["no-such-role", "mfa-kit-audit"])
def test_a_role_that_cannot_be_assumed_has_a_hint(role: str, sessions: MemberSessions, org_lab: Lab) -> None:
    """A missing role and a closed account are AccessDenied, not expired credentials.

    The hint names the possible causes.
    """
    organization = org_lab.organization
    account = organization.records[MEMBERS[4]]
    before = account.state
    account.state = AccountState.SUSPENDED if role == "mfa-kit-audit" else before
    try:
        with pytest.raises(AccessDenied) as error:
            sessions.enter(member(MEMBERS[4], roles=(role,)))
    finally:
        account.state = before
    assert "cannot be assumed" in str(error.value)
    assert "its trust policy allows you" in error.value.hint


def test_a_session_is_renewed_before_it_expires(sessions: MemberSessions, org_lab: Lab) -> None:
    """Shortly before the session expires, a request first assumes the role again."""
    entered, _ = sessions.enter(member(MEMBERS[0]))
    credentials = entered.credentials
    assert isinstance(credentials, RefreshableCredentials)
    _age(credentials, minutes=55)
    entered.iam.list_users()
    assert [call.operation for call in org_lab.calls] == ["AssumeRole", "AssumeRole", "ListUsers"]


def test_a_renewal_that_is_denied_is_access_denied(sessions: MemberSessions, org_lab: Lab) -> None:
    """If the role is deleted during the work, the error says so, and does not say that credentials expired."""
    entered, _ = sessions.enter(member(MEMBERS[0]))
    credentials = entered.credentials
    assert isinstance(credentials, RefreshableCredentials)
    _age(credentials, minutes=59)
    org_lab.faults.add("AssumeRole", "denied", at="every")
    iam = Iam(observe=lambda _: None, sleep=lambda _: None, clients=lambda _: entered)
    with pytest.raises(AccessDenied, match="mfa-kit-audit cannot be assumed"):
        iam.users()


@pytest.mark.usefixtures("org_kit")
def test_the_source_identity_and_the_external_id_are_sent(org_lab: Lab) -> None:
    """A role that requires both can be assumed with them, and not without."""
    backend = org_lab.organization[MEMBERS[1]].backend
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sts:AssumeRole", '
        f'"sts:SetSourceIdentity"], "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:root"}}, "Condition": '
        '{"StringEquals": {"sts:ExternalId": "ours", "sts:SourceIdentity": "alice"}}}]}'
    )
    backend.create_role("strict", trust, "/", None, "", [], "3600")
    one = member(MEMBERS[1], roles=("strict",), external_id="ours")
    as_alice = MemberSessions(Connection(), source_identity="alice")
    as_alice.enter(one)
    for wrong, sessions in ((replace(one, external_id=None), as_alice), (one, MemberSessions(Connection()))):
        with pytest.raises(AccessDenied):
            sessions.enter(wrong)


@pytest.mark.usefixtures("org_kit")
def test_the_longest_source_identity_of_aws_is_accepted() -> None:
    """The limit is that of botocore's model of AssumeRole. The option and the lab have the same."""
    assert SOURCE_IDENTITY.fullmatch("a" * 256)
    assert not SOURCE_IDENTITY.fullmatch("a" * 257)
    shape = get_session().get_service_model("sts").operation_model("AssumeRole").input_shape
    assert shape is not None
    longest = shape.members["SourceIdentity"].metadata["max"]  # 64 in older versions of botocore
    sessions = MemberSessions(Connection(), source_identity="a" * longest)
    assert sessions.enter(member(MEMBERS[0]))[1].account == MEMBERS[0]
    assert longest in {64, 256}


@pytest.mark.parametrize("fault", ["throttle", "error-before", "lost-before"])
def test_a_throttled_assume_role_is_retried(fault: str, sessions: MemberSessions, org_lab: Lab) -> None:
    """AssumeRole is retried like a read, because all accounts share the caller's quota for it."""
    org_lab.faults.add("AssumeRole", fault)
    assert sessions.enter(member(MEMBERS[0]))[1].account == MEMBERS[0]
