"""The accounts that Organizations lists, and the file that `accounts export` writes from them."""

import http.server
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.organizations import OrganizationReader
from mfa_kit.core.errors import AccessDenied, AwsFault, MfaKitError, NoSuchOperation, Throttled, UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import AccountState, OrgAccount
from mfa_kit.organization.control_policies import OrganizationPolicies
from mfa_kit.wiring.organization import read_accounts_file
from tests.adapters.test_hostile_server import open_iam, send, serve
from tests.conftest import ACCOUNT, MfaKit

# The responses for each operation, in order; the last one is repeated. A response is a status and a JSON document.
Answers = dict[str, list[tuple[int, dict[str, Any]]]]
MEMBERS = 23
ALICE = "arn:aws:iam::000000000000:user/alice"


@contextmanager
def organizations(answers: Answers) -> Iterator[OrganizationReader]:
    """Serve fixed responses of Organizations, listed by operation, and yield an OrganizationReader that gets them."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        queue = answers[handler.headers["X-Amz-Target"].rpartition(".")[2]]
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        send(handler, status, json.dumps(body).encode(), "application/x-amz-json-1.1")

    with serve(answer) as address:
        yield OrganizationReader(open_iam(address).ask_organizations)


def row(number: int, **fields: str) -> dict[str, str]:
    return {"Id": f"{number:012}", "Name": f"member-{number}", "State": "ACTIVE", **fields}


def refused(code: str, message: str = "") -> list[tuple[int, dict[str, Any]]]:
    return [(400, {"__type": code, "Message": message})]


@pytest.mark.usefixtures("at_lab")
def test_state_has_precedence_over_status() -> None:
    """The field State counts, not the older field Status.

    A state that mfa-kit does not know does not count as ACTIVE.
    """
    rows = [
        row(1, State="CLOSED", Status="ACTIVE"),
        {"Id": "000000000002", "Status": "SUSPENDED"},
        row(3, State="MELTED", Email="three@example.com"),
        {"Id": "000000000004"},
    ]
    with organizations({"ListAccounts": [(200, {"Accounts": rows})]}) as reader:
        assert list(reader.accounts()) == [
            OrgAccount(id="000000000001", name="member-1", state=AccountState.CLOSED),
            OrgAccount(id="000000000002", state=AccountState.SUSPENDED),
            OrgAccount(id="000000000003", name="member-3", state=AccountState.UNKNOWN, email="three@example.com"),
            OrgAccount(id="000000000004", state=AccountState.UNKNOWN),
        ]


@pytest.mark.usefixtures("at_lab")
def test_an_empty_page_may_be_followed_by_another() -> None:
    """Organizations may return a page without rows, but with a token for the next page."""
    pages: list[tuple[int, dict[str, Any]]] = [
        (200, {"Accounts": [], "NextToken": "a"}),
        (200, {"Accounts": [row(1)], "NextToken": "b"}),
        (200, {"Accounts": [row(2)]}),
    ]
    with organizations({"ListAccounts": pages}) as reader:
        assert [account.id for account in reader.accounts()] == ["000000000001", "000000000002"]


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ({"Accounts": [row(1)], "NextToken": "same"}, AwsFault, "Organizations returned the same page token twice"),
        ({"Accounts": [{"Id": "12", "Name": "x"}]}, AwsFault, "Organizations returned an invalid account ID"),
        ({"Accounts": [{"Name": "x"}]}, AwsFault, "Organizations returned an invalid account ID"),
    ],
)
@pytest.mark.usefixtures("at_lab")
def test_invalid_answers_are_errors(answers: dict[str, Any], kind: type[MfaKitError], said: str) -> None:
    """A response that AWS would never send raises an error, because it may come from another server."""
    with organizations({"ListAccounts": [(200, answers)]}) as reader, pytest.raises(kind, match=said):
        list(reader.accounts())


@pytest.mark.parametrize(
    ("code", "message", "kind", "said", "hint"),
    [
        ("AWSOrganizationsNotInUseException", "", AwsFault, "is not in an organization", "the management account"),
        (
            "AccessDeniedException",
            "You don't have permissions to access this resource.",
            AccessDenied,
            "the account of these credentials may not list the accounts of its organization",
            "a delegated administrator",
        ),
        (
            "AccessDeniedException",
            f"User: {ALICE} is not authorized to perform: organizations:ListAccounts on resource: *",
            AccessDenied,
            f"User: {ALICE} is not authorized to perform: organizations:ListAccounts",
            "allow the caller organizations:ListAccounts",
        ),
        ("TooManyRequestsException", "slow down", Throttled, "TooManyRequests", "try again later"),
        ("UnknownOperationException", "", NoSuchOperation, "UnknownOperation", "this server is not AWS"),
    ],
)
@pytest.mark.usefixtures("at_lab")
def test_a_refusal_says_who_may_list_the_accounts(
    code: str, message: str, kind: type[MfaKitError], said: str, hint: str
) -> None:
    """AWS uses one error code for a caller without the permission and for an account that may not list the accounts."""
    with organizations({"ListAccounts": refused(code, message)}) as reader, pytest.raises(kind) as caught:
        list(reader.accounts())
    assert type(caught.value) is kind
    assert (said in str(caught.value), hint in caught.value.hint) == (True, True)


POLICIES: Answers = {
    "DescribeOrganization": [(200, {"Organization": {"MasterAccountId": ACCOUNT}})],
    "ListRoots": [
        (200, {"Roots": []} | {"NextToken": "more"}),
        (200, {"Roots": [{"Id": "r-lab0", "PolicyTypes": [{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}]}]}),
    ],
    "ListPolicies": [
        (200, {"Policies": [], "NextToken": "more"}),
        (200, {"Policies": [{"Id": "p-aaaaaaaa", "Name": "guard"}]}),
    ],
    "DescribePolicy": [(200, {"Policy": {"Content": "{}"}})],
    "ListTargetsForPolicy": [
        (200, {"Targets": [], "NextToken": "more"}),
        (200, {"Targets": [{"TargetId": "r-lab0", "Name": "Root", "Type": "ROOT"}]}),
    ],
}


@pytest.mark.usefixtures("at_lab")
def test_policies_follow_empty_pages() -> None:
    """A page may be empty although more follow: go on until NextToken is missing."""
    with organizations({name: list(answers) for name, answers in POLICIES.items()}) as reader:
        found = reader.policies()
    assert (found.management, found.targets, found.names) == (ACCOUNT, {"p-aaaaaaaa": ("r-lab0",)}, {"r-lab0": "Root"})
    assert found.policies["p-aaaaaaaa"].text == "{}"


@pytest.mark.usefixtures("at_lab")
@pytest.mark.parametrize(
    ("operation", "answer"),
    [*((name, {}) for name in POLICIES), ("ListRoots", {"Roots": []}), ("ListRoots", {"Roots": [{"Id": "r-lab0"}]})],
)
def test_an_incomplete_answer_about_policies_is_an_error(operation: str, answer: dict[str, Any]) -> None:
    """Otherwise a policy could be missed, and users be called fine."""
    answers = {name: list(given) for name, given in POLICIES.items()} | {operation: [(200, answer)]}
    with organizations(answers) as reader, pytest.raises(AwsFault, match="a response of Organizations is incomplete"):
        reader.policies()


@pytest.mark.usefixtures("at_lab")
@pytest.mark.parametrize("parents", [{}, {"Parents": []}, {"Parents": [{"Id": "ou-lab0-00000001"}]}])
def test_units_without_a_root_are_an_error(parents: dict[str, Any]) -> None:
    """The policies of the root would be missed."""
    with organizations({"ListParents": [(200, parents)]}) as reader, pytest.raises(AwsFault):
        OrganizationPolicies(management=ACCOUNT).levels("000000000001", reader.units(OrgAccount(id="000000000001")))


@pytest.mark.parametrize("code", ["ParentNotFoundException", "InvalidInputException"])
@pytest.mark.usefixtures("at_lab")
def test_a_unit_that_does_not_exist_is_named(code: str) -> None:
    """Organizations also refuses an ID that does not have the form of a unit's ID."""
    answers: Answers = {"ListAccountsForParent": refused(code)}
    with organizations(answers) as reader, pytest.raises(UsageFault, match="no organizational unit 'ou-lab0-1"):
        list(reader.accounts("ou-lab0-12345678"))


@pytest.mark.usefixtures("at_lab")
def test_units_that_contain_each_other_are_read_once() -> None:
    """Reading ends even if two units contain each other, which only a server other than AWS reports."""
    answers: Answers = {
        "ListAccountsForParent": [(200, {"Accounts": [row(1)]}), (200, {"Accounts": [row(2)]})],
        "ListOrganizationalUnitsForParent": [
            (200, {"OrganizationalUnits": [{"Id": "ou-lab0-00000002"}]}),
            (200, {"OrganizationalUnits": [{"Id": "ou-lab0-00000001"}]}),
        ],
    }
    with organizations(answers) as reader:
        assert [account.id for account in reader.accounts("ou-lab0-00000001")] == ["000000000001", "000000000002"]


@pytest.fixture(scope="module")
def organization() -> Iterator[Lab]:
    """Run a lab with an organization, in which one account is closed and another is suspended."""
    with Lab(accounts=MEMBERS) as lab:
        lab.organization.records["000000000002"].state = AccountState.CLOSED
        lab.organization.records["000000000004"].state = AccountState.SUSPENDED
        yield lab


@pytest.fixture
def export(organization: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs `accounts export -o accounts.json` in the management account.

    The function returns a pair: the result of the command, and the accounts in the file.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "home"))
    for name, value in organization.env.items():
        monkeypatch.setenv(name, value)
    mfa_kit = MfaKit(tmp_path / "home")

    def run(*words: str) -> Any:
        done = mfa_kit.run("accounts", "export", "-o", "accounts.json", *words)
        file = tmp_path / "accounts.json"
        return done, list(read_accounts_file(file)) if file.exists() else []

    return run


def test_the_accounts_of_all_pages_are_written(export: Callable[..., Any], tmp_path: Path) -> None:
    """Accounts that are not ACTIVE are left out, and listed with their state. Only the user can read the file."""
    done, accounts = export("--output", "json")
    assert done.code == 0, done.err
    assert len(accounts) == MEMBERS + 1 - 2
    assert accounts[1] == OrgAccount(
        id="000000000001", name="member-001", email="member-001@example.com", roles=("mfa-kit-audit",)
    )
    left_out = [
        {"id": "000000000002", "name": "member-002", "state": "CLOSED"},
        {"id": "000000000004", "name": "member-004", "state": "SUSPENDED"},
    ]
    found = json.loads(done.out)
    assert (found["file"], found["accounts"], found["left_out"]) == ("accounts.json", len(accounts), left_out)
    assert "left out: member-002 (000000000002) is CLOSED" in done.err
    assert (tmp_path / "accounts.json").stat().st_mode & 0o777 == 0o600


def test_export_never_overwrites_a_file(export: Callable[..., Any], tmp_path: Path) -> None:
    """If the file exists, the exit code is 5, and the file is unchanged."""
    (tmp_path / "accounts.json").write_text('{"accounts": [{"account_id": "000000000009"}]}')
    done, accounts = export()
    assert (done.code, [account.id for account in accounts]) == (5, ["000000000009"])
    assert "accounts.json already exists" in done.err


def test_a_dry_run_of_export_writes_nothing(export: Callable[..., Any]) -> None:
    """With --dry-run, the command prints how many accounts the file would have."""
    done, accounts = export("--dry-run")
    assert (done.code, accounts) == (0, [])
    assert f"accounts  {MEMBERS + 1 - 2}" in done.out


def test_a_unit_includes_the_units_below_it(export: Callable[..., Any], organization: Lab) -> None:
    """For --ou with the unit `workloads`, the file has the accounts of the two units below it, and no others."""
    units = {unit.name: unit.id for unit in organization.organization.units.values()}
    below = {units["production"], units["development"]}
    records = organization.organization.records.values()
    wanted = {record.account.id for record in records if record.parent in below and record.state is AccountState.ACTIVE}
    _, accounts = export("--ou", units["workloads"])
    assert {account.id for account in accounts} == wanted
    assert 0 < len(wanted) < MEMBERS


def test_accounts_are_chosen_by_name_and_tag(export: Callable[..., Any]) -> None:
    """With -t, the accounts' tags are read from Organizations and written to the file."""
    done, accounts = export("-t", "stage:sandbox", "--exclude", "member-003", "--role-name", "reader")
    assert done.code == 0, done.err
    assert {account.tags for account in accounts} == {("stage:sandbox",)}
    assert {account.roles for account in accounts} == {("reader",)}
    assert "member-003" not in {account.name for account in accounts}


def test_a_misspelled_name_writes_nothing(export: Callable[..., Any]) -> None:
    """The error suggests the name that was probably meant."""
    done, accounts = export("-a", "membr-003")
    assert (done.code, accounts) == (2, [])
    assert "there is no account 'membr-003'" in done.err
    assert "did you mean 'member-003'?" in done.err


def test_the_callers_account_is_written_with_its_profile(
    export: Callable[..., Any], organization: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The management account has no role that a StackSet deploys. Without a profile, a note says so."""
    done, accounts = export("-a", ACCOUNT)
    assert [account.roles for account in accounts] == [("mfa-kit-audit",)]
    assert f"these credentials belong to account {ACCOUNT}" in " ".join(done.err.split())
    (tmp_path / "accounts.json").unlink()
    keys = {name.lower(): organization.env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    lines = "\n".join(f"{name} = {value}" for name, value in keys.items())
    (tmp_path / "credentials").write_text(f"[hub]\n{lines}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    done, accounts = export("-a", ACCOUNT, "--profile", "hub")
    assert [(account.roles, account.profile) for account in accounts] == [((), "hub")]
    assert "no role is assumed there" not in done.err


def test_a_member_account_may_not_list_the_organization(
    export: Callable[..., Any], organization: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Organizations refuses a user of a member account, although the user's policies allow everything."""
    sts = boto3.Session().client("sts", endpoint_url=organization.url)  # the default session keeps older credentials
    role = "arn:aws:iam::000000000001:role/OrganizationAccountAccessRole"
    made = sts.assume_role(RoleArn=role, RoleSessionName="export")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", made["SessionToken"])
    done, accounts = export()
    assert (done.code, accounts) == (4, [])
    assert "the account of these credentials may not list the accounts of its organization" in done.err


def test_an_account_without_an_organization_gets_an_error(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """The exit code of `accounts export` is 4, and no file is written."""
    done = mfa_kit.run("accounts", "export", "-o", tmp_path / "accounts.json")
    assert (done.code, (tmp_path / "accounts.json").exists()) == (4, False)
    assert "the account of these credentials is not in an organization" in done.err


def test_the_management_account_is_named(organization: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """DescribeOrganization returns the ID of the management account."""
    for name, value in organization.env.items():
        monkeypatch.setenv(name, value)
    described = Iam(observe=lambda _: None).ask_organizations(lambda client: client.describe_organization())
    assert described["Organization"]["MasterAccountId"] == ACCOUNT
