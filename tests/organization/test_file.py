"""Accounts files in c7n-org's format: parsing, the place of each error, and writing."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.adapters.files.accounts_file import accounts_text
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.accounts_file import accounts_document, parse_accounts
from mfa_kit.wiring.organization import read_accounts_file
from tests.conftest import MfaKit, bare

ONE, TWO = "000000000001", "000000000002"
WHOLE = {
    "vars": {"team": "security", "level": 1},
    "accounts": [
        {
            "account_id": ONE,
            "name": "dev",
            "display_name": "Development",
            "org_id": "o-abcdefghij",
            "email": "dev@example.com",
            "role": "mfa-kit-audit",
            "external_id": "x-1",
            "tags": ["env:dev", "type:sandbox"],
            "regions": ["eu-central-1"],
            "vars": {"level": 2},
        },
        {"account_id": TWO, "display_name": "Production", "profile": "prod"},
        {"account_id": "000000000003", "role": [f"arn:aws:iam::{ONE}:role/hub", "path/audit"]},
        {"account_id": "000000000004"},
    ],
}
NUMBER = 'the ID is a number, which loses its leading zeros; write all 12 digits in quotation marks: "012345678901"'
ACCOUNTS = [
    OrgAccount(
        id=ONE,
        name="dev",
        email="dev@example.com",
        roles=("mfa-kit-audit",),
        external_id="x-1",
        tags=("env:dev", "type:sandbox"),
        variables={"team": "security", "level": 2},
    ),
    OrgAccount(id=TWO, name="Production", profile="prod", variables={"team": "security", "level": 1}),
    OrgAccount(
        id="000000000003",
        roles=(f"arn:aws:iam::{ONE}:role/hub", "path/audit"),
        variables={"team": "security", "level": 1},
    ),
    OrgAccount(id="000000000004", variables={"team": "security", "level": 1}),
]


def read(folder: Path, text: str, name: str = "accounts.yml") -> list[OrgAccount]:
    (folder / name).write_text(text, encoding="utf-8")
    return list(read_accounts_file(folder / name))


def faults(folder: Path, text: str, name: str = "accounts.yml") -> list[str]:
    """Return all errors in a file: the notes of the exception, or else the exception itself without the path."""
    with pytest.raises(UsageFault) as caught:
        read(folder, text, name)
    assert caught.value.hint
    return getattr(caught.value, "__notes__", None) or [str(caught.value).removeprefix(f"{folder / name}: ")]


def test_all_keys_of_the_format_are_read(tmp_path: Path) -> None:
    """The variables at the top of the file apply to each account that does not set them.

    An account may have no role.
    """
    assert read(tmp_path, json.dumps(WHOLE), "accounts.json") == ACCOUNTS


def test_yaml_and_json_give_the_same_accounts(tmp_path: Path) -> None:
    """YAML merge keys are resolved. A key of the account has precedence over a merged key."""
    text = f"""
accounts:
- &base
  account_id: "{ONE}"
  role: audit
  tags: [env:dev]
- <<: *base
  account_id: '{TWO}'
  name: two
"""
    assert read(tmp_path, text) == [
        OrgAccount(id=ONE, roles=("audit",), tags=("env:dev",)),
        OrgAccount(id=TWO, name="two", roles=("audit",), tags=("env:dev",)),
    ]
    assert read(tmp_path, json.dumps(WHOLE), "accounts.yml") == ACCOUNTS
    assert read(tmp_path, f"{{accounts: [{{account_id: '{ONE}'}}]}}") == [OrgAccount(id=ONE)]


def test_dates_and_repeated_lists_can_be_written_as_json(tmp_path: Path) -> None:
    """A date becomes text. Each of thirty lists contains the previous list twice."""
    lists = "\n".join(f"  l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 30))
    text = f"accounts: [{{account_id: '{ONE}'}}]\nvars:\n  since: 2026-11-26\n  l0: &l0 []\n{lists}"
    (account,) = read(tmp_path, text)
    assert account.variables["since"] == "2026-11-26"


def test_each_fault_has_its_line(tmp_path: Path) -> None:
    """All errors of a file are reported at once, each with its line."""
    text = f"""accounts:
- account_id: {int(TWO)}
  role: audit
- account_id: "{ONE}"
  rol: audit
  tags: env:dev
- role: audit
- account_id: "{ONE}"
  role: audit
  profile: dev
- account_id: "1234-5678-9012"
- {ONE}
- account_id: "{TWO}"
  role: [hub, audit]
  external_id: "?"
  vars: []
- account_id: "000000000003"
  role: arn:aws:iam::{ONE}:role/audit
  7: seven
- account_id: "000000000004"
- account_id: "000000000004"
- account_id: "000000000005"
  role: []
  name: 5
- account_id: "000000000006"
  role: a b
  email: " "
"""
    assert faults(tmp_path, text) == [
        f"line 2, account_id: {NUMBER}",
        "line 5: unknown key 'rol'; did you mean 'role'?",
        'line 6, tags: the tags are not a list of texts; write ["env:prod", "team:web"]',
        "line 7: the account has no account_id",
        "line 10, profile: the account also has a role; remove one of the two",
        "line 11, account_id: '1234-5678-9012' is not an account ID; write the 12 digits of the ID, without dashes",
        "line 12: the account is not an object with account_id",
        "line 14, role: 'hub' in the chain of roles is not an ARN; write the ARN of each role",
        "line 15, external_id: the value is not an external ID; use 2 to 1224 letters, digits and +=,.@:/-_",
        "line 16, vars: the variables are not an object; write names with their values, or remove the key",
        "line 17: unknown key int; remove it, or move it to vars",
        f"line 18, role: the last role is in account {ONE}, not in 000000000003; correct the role or the account ID",
        "line 21, account_id: 000000000004 is a duplicate of line 20",
        "line 24, name: the value is not text; write text, in quotation marks if it looks like a number or a date",
        "line 23, role: the list of roles is empty; write a role, or remove the key",
        "line 27, email: the value is not text; write text, in quotation marks if it looks like a number or a date",
        "line 26, role: 'a b' is not the name or ARN of a role; write a name, or arn:aws:iam::ACCOUNT:role/NAME",
    ]


def test_faults_of_json_have_the_number_of_the_account(tmp_path: Path) -> None:
    """The first account is number 1."""
    document = {"accounts": [{"account_id": ONE}, {"account_id": ONE}, {"account_id": None, "role": 7}]}
    assert faults(tmp_path, json.dumps(document), "accounts.json") == [
        f"account 2, account_id: {ONE} is a duplicate of account 1",
        "account 3, account_id: the account has no account_id",
        "account 3, role: the value is not text; write text, in quotation marks if it looks like a number or a date",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- account_id", "the file has no top-level key 'accounts'"),
        ("accounts: {}", "the file's 'accounts' is not a list of accounts, or is empty"),
        ("accounts: []", "the file's 'accounts' is not a list of accounts, or is empty"),
        ("vars: {}", "the file's 'accounts' is not a list of accounts, or is empty"),
        ("accounts: [1]\nvars: []", "'vars' at the top of the file: the variables are not an object"),
        ("accounts: [1]\nvars: &v {a: [*v]}", "'vars' at the top of the file: a value contains itself"),
        (
            "accounts: [1]\nvars: {a: .inf}",
            "'vars' at the top of the file: JSON cannot represent one of the values (type: float)",
        ),
        (
            "accounts: [1]\nvars: {a: !!binary aGk=}",
            "'vars' at the top of the file: JSON cannot represent one of the values (type: bytes)",
        ),
        (
            f"accounts: [1]\nvars: {'[' * 99}{']' * 99}",
            "'vars' at the top of the file: the variables are not an object",
        ),
        (f"accounts: [1]\nvars: {{a: {'[' * 99}{']' * 99}}}", "'vars' at the top of the file: a value contains itself"),
        ("subscriptions: []", "the file lists subscriptions, which are not AWS accounts"),
        ("accounts: []\naccounts: []", "line 2: the key 'accounts' occurs twice"),
        ("accounts:\n- name: a\n  name: b", "line 3: the key 'name' occurs twice"),
        ("accounts:\n- ]", "line 2: the file is not valid YAML: did not find expected node content"),
        ("a: !!python/name:os.system", "line 1: the file is not valid YAML: could not determine a constructor"),
        ("a: !!timestamp maybe", "the file has a value that is not valid YAML"),
        ("a: !!bool maybe", "the file has a value that is not valid YAML"),
        ("a: \x01", "the file is not valid YAML: unacceptable character"),
        ("[" * 100_000, "line 1: the file is not valid YAML: exceeded maximum nesting depth"),
        ('{"accounts": [}', "line 1: the file is not valid YAML"),
    ],
)
def test_a_file_that_lists_no_accounts_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """YAML that PyYAML's safe loader refuses, and a key that occurs twice, are refused too.

    Each error is one sentence.
    """
    (found,) = faults(tmp_path, text)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"accounts": [}', "the file is not valid JSON: line 1, column 15: expecting value"),
        ('{"accounts": 1, "accounts": 2}', "the file is not valid JSON: it has the key 'accounts' twice in one object"),
        ("accounts: []", "the file is not valid JSON: line 1, column 1: expecting value"),
    ],
)
def test_a_file_named_json_is_read_as_json_only(tmp_path: Path, text: str, said: str) -> None:
    """For a file with the extension .json, the error is about JSON, not about YAML."""
    assert faults(tmp_path, text, "accounts.json") == [said]


def test_an_unknown_key_at_the_top_does_not_hide_other_errors(tmp_path: Path) -> None:
    """Each error has a line, so that one correction of the file is enough."""
    assert faults(tmp_path, "acounts: []\npolicies: []\naccounts:\n- name: a") == [
        "top of the file: unknown key 'acounts'; remove it, or move it to vars",
        "top of the file: unknown key 'policies'; remove it, or move it to vars",
        "line 4: the account has no account_id",
    ]


def test_errors_of_the_file_are_found_before_any_call(mfa_kit: MfaKit, at_lab: Lab, tmp_path: Path) -> None:
    """They need no credentials."""
    wrong = tmp_path / "accounts.json"
    wrong.write_text('{"accounts": [{"name": "dev"}]}')
    called = len(at_lab.calls)
    done = mfa_kit.run("audit", "--accounts", wrong)
    assert (done.code, len(at_lab.calls)) == (UsageFault.exit_code, called)
    assert "account 1: the account has no account_id" in done.err


def test_merges_inside_each_other_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each of sixty mappings merges the previous mapping three times, which would give 3^60 keys."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 3)}]}}\n" for n in range(1, 60)
    )
    assert faults(tmp_path, bomb) == ["the file has no top-level key 'accounts'"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The file is missing, is a folder, is not text, or is too large."""
    (tmp_path / "latin.yml").write_bytes(b"accounts: \xe9")
    with (tmp_path / "large.yml").open("wb") as large:
        large.truncate((16 << 20) + 1)
    for name, said in [
        ("none.yml", "the file cannot be read: No such file or directory"),
        ("", "the file cannot be read: Is a directory"),
        ("latin.yml", "the file is not in UTF-8"),
        ("large.yml", "the file is larger than 16 MB"),
    ]:
        with pytest.raises(UsageFault) as caught:
            read_accounts_file(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {said}"


def test_without_pyyaml_json_is_read_and_yaml_names_the_extra(tmp_path: Path) -> None:
    """For a YAML file, the error has the command that installs the extra with PyYAML."""
    (tmp_path / "accounts.json").write_text(json.dumps(WHOLE))
    (tmp_path / "accounts.yml").write_text("accounts: []")
    program = f"""
import sys; sys.modules["yaml"] = None
from pathlib import Path
from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.organization import read_accounts_file
print(len(read_accounts_file(Path({str(tmp_path / "accounts.json")!r}))))
try:
    read_accounts_file(Path({str(tmp_path / "accounts.yml")!r}))
except UsageFault as fault:
    print(fault, fault.hint, sep="|")
"""
    needed = "the file is not JSON, and YAML needs PyYAML, which is not installed"
    done = subprocess.run([sys.executable, "-c", program], env=bare(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "4",
        f"{tmp_path / 'accounts.yml'}: {needed}|pip install 'mfa-kit[org]'",
    ]


def test_the_document_has_what_c7n_org_needs() -> None:
    """Each account has a name. A role in another partition, and each role of a chain, is an ARN."""
    accounts = [
        OrgAccount(id=ONE, roles=("audit",)),
        OrgAccount(id=TWO, name="two", roles=(f"arn:aws:iam::{ONE}:role/hub", "audit"), profile=None),
        OrgAccount(id="000000000003", name="three", roles=("audit",), profile="three"),
    ]
    assert accounts_document(accounts, partition="aws") == {
        "accounts": [
            {"account_id": ONE, "name": ONE, "role": "audit"},
            {
                "account_id": TWO,
                "name": "two",
                "role": [f"arn:aws:iam::{ONE}:role/hub", f"arn:aws:iam::{TWO}:role/audit"],
            },
            {"account_id": "000000000003", "name": "three", "profile": "three"},
        ]
    }
    (found,) = parse_accounts(accounts_document(accounts[:1], partition="aws-cn")).accounts
    assert found.roles == (f"arn:aws-cn:iam::{ONE}:role/audit",)


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
ROLE = st.from_regex(r"\A([a-z]+/){0,2}[a-zA-Z+=,.@_-]{1,64}\Z")
ACCOUNT = st.builds(
    OrgAccount,
    id=st.from_regex(r"\A[0-9]{12}\Z"),
    name=TEXT,
    email=st.none() | TEXT,
    roles=st.tuples() | st.tuples(ROLE),
    external_id=st.none() | st.from_regex(r"\A[a-zA-Z0-9+=,.@:/_-]{2,20}\Z"),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    variables=st.dictionaries(TEXT, TEXT | st.integers(0, 9) | st.lists(TEXT, max_size=2), max_size=3),
)


@given(st.lists(ACCOUNT, min_size=1, max_size=5, unique_by=lambda account: account.id))
def test_a_written_file_can_be_read_again(tmp_path_factory: pytest.TempPathFactory, accounts: list[OrgAccount]) -> None:
    """The written file is valid JSON, and so also valid YAML. Reading it returns the same accounts."""
    folder = tmp_path_factory.mktemp("written")
    text = accounts_text(accounts_document(accounts, partition="aws")).decode()
    assert read(folder, text, "accounts.json") == accounts
    assert read(folder, f"# YAML\n{text}") == accounts


def test_one_error_is_spoken_of_as_one(tmp_path: Path) -> None:
    """If a file has a single error, the message and the hint are in the singular."""
    path = tmp_path / "accounts.json"
    path.write_text('{"accounts": [{"account_id": "1"}]}')
    with pytest.raises(UsageFault, match="has 1 error") as error:
        read_accounts_file(path)
    assert error.value.hint == "correct it, and try again"


def test_broken_json_has_a_place_and_a_next_step(tmp_path: Path) -> None:
    """The message has the line, the column and the reason, and the hint names the usual cause."""
    path = tmp_path / "accounts.json"
    path.write_text('{"accounts": [\n {"account_id": "000000000001"}\n {"account_id": "000000000002"}]}')
    with pytest.raises(
        UsageFault, match="the file is not valid JSON: line 3, column 2: expecting ',' delimiter"
    ) as error:
        read_accounts_file(path)
    assert error.value.hint == "look for a missing comma, quotation mark or bracket in line 3 or the line before"


@pytest.mark.parametrize("name", ["accounts.json", "accounts.yml"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    """The hint is the command that writes the file."""
    path = tmp_path / name
    path.write_text("\n")
    with pytest.raises(UsageFault, match="the file is empty") as error:
        read_accounts_file(path)
    assert "mfa-kit accounts export -o FILE" in error.value.hint


def test_a_tab_in_the_indentation_is_named(tmp_path: Path) -> None:
    """The hint names the tab, which is invisible in most editors. Other errors of YAML only have the line."""
    path = tmp_path / "accounts.yml"
    path.write_text('accounts:\n\t- account_id: "000000000001"\n')
    with pytest.raises(UsageFault, match="line 2: the file is not valid YAML") as error:
        read_accounts_file(path)
    assert error.value.hint == "indent line 2 with spaces, because YAML allows no tabs there"
    path.write_text('accounts:\n- account_id: "000000000001\n')
    with pytest.raises(UsageFault, match="line 3: the file is not valid YAML") as error:
        read_accounts_file(path)


@pytest.mark.parametrize("tag", ["", "!!int "])
def test_a_long_number_in_base_60_takes_no_time(tag: str, tmp_path: Path) -> None:
    """YAML 1.1 allows colons in integers. PyYAML takes minutes for one of a megabyte."""
    file = tmp_path / "accounts.yaml"
    file.write_text(f"vars: {{n: {tag}1{':1' * 500_000}}}\naccounts:\n- account_id: '{ONE}'\n", "utf-8")
    began = time.process_time()
    [account] = read_accounts_file(file)
    assert account.id == ONE
    assert time.process_time() - began < 5
