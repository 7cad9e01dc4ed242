"""The snapshot: the requests it takes, how failed requests are handled, and the file that stores it."""

import json
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.reading import read_account
from mfa_kit.account.snapshot import Entity, RootPosture, Snapshot, SnapshotPart
from mfa_kit.account.users import account_users
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.files import snapshots
from mfa_kit.audit import registry
from mfa_kit.audit.finding import Limits, RuleResult
from mfa_kit.core.errors import AwsFault, IntegrityFault, NoSuchEntity, Outdated, UsageFault
from mfa_kit.core.models import REPORTED_ROOT, Caller, Device
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.lockout import may_have_to_change
from tests.audit.conftest import ago, changed, sound, taken
from tests.audit.test_rules import FIDO, KEY, user
from tests.lab.client import Aws

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
COLUMNS = (
    "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
    "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,"
    "access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,"
    "access_key_2_last_used_region,access_key_2_last_used_service"
)
# Recorded from the real service: radkawar/stackd, testdata/aws/iam/credential_report.json, with changed IDs.
ROW = (
    "alice,arn:aws:iam::123456789012:user/alice,2026-01-02T03:04:05Z,true,no_information,2026-01-02T03:04:06Z,"
    "2026-04-02T03:04:06Z,false,true,2026-01-02T03:04:07Z,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A"
)


class Answers:
    """IAM's answers in order, and the requests that were made. An error among the answers is raised."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, call: Callable[[Any], Any]) -> Any:
        return call(self)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def answered(**_: Any) -> Any:
            self.asked.append(operation)
            answer = self.answers[operation].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return answered


def report(text: str = f"{COLUMNS}\n{ROW}", *, hours: float = 0) -> dict[str, Any]:
    return {"Content": text.encode(), "GeneratedTime": NOW - timedelta(hours=hours)}


def reader(answers: Answers, slept: list[float] | None = None) -> AccountReader:
    return AccountReader(answers, now=NOW.timestamp, sleep=(slept if slept is not None else []).append)


STARTED, COMPLETE = {"State": "STARTED"}, {"State": "COMPLETE"}


def test_a_recent_report_is_used_as_it_is() -> None:
    """No new report is requested, because IAM throttles the creation of reports."""
    answers = Answers(get_credential_report=[report(hours=3)])
    found = reader(answers).report(max_age=4 * 3600)
    assert answers.asked == ["get_credential_report"]
    row = found.users["alice"]
    assert (row.password, row.password_used, row.mfa, len(row.keys), row.keys[0].used) == (True, None, False, 1, None)
    assert row.password_expires == datetime(2026, 4, 2, 3, 4, 6, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "first",
    [
        AwsFault("AWS answers ReportNotPresent: Unknown"),
        AwsFault("AWS answers ReportExpired: Unknown"),
        AwsFault("AWS answers ReportInProgress: Unknown"),
        report(hours=5),
    ],
    ids=["none", "expired", "in progress", "old"],
)
def test_a_new_report_is_requested_and_waited_for(first: Any) -> None:
    """A new report is requested if there is none, or if the existing one is too old."""
    slept: list[float] = []
    soon = AwsFault("AWS answers ReportInProgress: Unknown")
    answers = Answers(
        get_credential_report=[first, soon, soon, report()],
        generate_credential_report=[STARTED, {"State": "INPROGRESS"}, COMPLETE],
    )
    assert reader(answers, slept).report(max_age=4 * 3600).made == NOW.timestamp()
    assert len(slept) == 2


def test_an_old_report_does_not_count_as_the_new_one() -> None:
    """IAM may return the old report while it makes the new one."""
    slept: list[float] = []
    old = report(hours=5)
    answers = Answers(get_credential_report=[old, old, report()], generate_credential_report=[STARTED, STARTED])
    assert reader(answers, slept).report(max_age=0).made == NOW.timestamp()
    assert len(slept) == 1


def test_a_report_that_remains_too_old_is_refused() -> None:
    """IAM makes no new one within four hours, and another server may never make one."""
    old = report(hours=3)
    answers = Answers(get_credential_report=[old, old], generate_credential_report=[COMPLETE])
    with pytest.raises(Outdated, match=r"is 3 h 0 min old, and at most 2 h 0 min is accepted") as caught:
        reader(answers).report(max_age=2 * 3600)
    assert "--max-age" in caught.value.hint
    missing = AwsFault("AWS answers ReportNotPresent: Unknown")
    answers = Answers(get_credential_report=[missing, report(hours=24 * 365)], generate_credential_report=[COMPLETE])
    with pytest.raises(Outdated):
        reader(answers).report(max_age=4 * 3600)
    seconds_old = report(hours=30 / 3600)
    answers = Answers(get_credential_report=[missing, seconds_old], generate_credential_report=[COMPLETE])
    assert reader(answers).report(max_age=0).made == seconds_old["GeneratedTime"].timestamp(), "a new one"


def test_a_report_that_never_comes_is_unread_after_a_minute() -> None:
    """After a minute, the report counts as a part that could not be read."""
    missing = AwsFault("AWS answers ReportNotPresent: Unknown")
    answers = Answers(get_credential_report=[missing] * 99, generate_credential_report=[STARTED] * 99)
    slept: list[float] = []
    with pytest.raises(AwsFault, match="not ready after a minute"):
        reader(answers, slept).report(max_age=0)
    assert sum(slept) == 60


def test_other_errors_than_those_of_the_report_are_raised() -> None:
    """Errors such as a denial are raised, and no report is requested."""
    answers = Answers(get_credential_report=[AwsFault("AWS answers AccessDenied: no")])
    with pytest.raises(AwsFault, match="AccessDenied"):
        reader(answers).report(max_age=0)


@pytest.mark.parametrize("text", ["user,arn\nalice,x", f"{COLUMNS}\n{ROW.replace('2026-01-02T03:04:05Z', 'soon')}"])
def test_a_report_of_another_form_is_refused(text: str) -> None:
    """A missing column or an invalid date is rejected."""
    with pytest.raises(AwsFault, match="does not have the documented format"):
        reader(Answers(get_credential_report=[report(text)])).report(max_age=9e9)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (f"{COLUMNS}\n{ROW.rsplit(',', 5)[0]}".encode(), "is incomplete"),
        (f"{COLUMNS}\n{ROW}".encode() + b"\xc0", "documented format"),
        (f"{COLUMNS}\n".encode() + b"x" * 200_000, "documented format"),
    ],
)
def test_a_damaged_report_is_refused(content: bytes, what: str) -> None:
    """Cases: a row that ends early, text that is not UTF-8, and a cell without an end."""
    answer = {**report(""), "Content": content}
    with pytest.raises(AwsFault, match=what):
        reader(Answers(get_credential_report=[answer])).report(max_age=9e9)


def test_a_user_without_a_password_has_none_to_change() -> None:
    """IAM returns no login profile for a user without a password."""
    answers = Answers(get_login_profile=[NoSuchEntity("")])
    assert reader(answers).must_change("alice") is False


def test_a_session_of_root_lists_its_own_devices() -> None:
    """In a session of root, ListMFADevices is called without a user name."""
    rows = [{"SerialNumber": "GAHT12345678", "EnableDate": NOW}]
    answers = Answers(list_mfa_devices=[{"MFADevices": rows}])
    assert reader(answers).own_devices() == [Device("GAHT12345678", REPORTED_ROOT, NOW.timestamp())]


def test_the_whole_account_is_read_in_few_requests() -> None:
    """One request for each page, ten more, and one for each user whose types of devices are in no listing.

    Most types are in the listing of virtual devices.
    """

    def many(found: dict[str, Any]) -> None:
        found["users"] += [{"name": f"u{n}", "groups": ["people"], "devices": [{"name": f"u{n}"}]} for n in range(40)]
        found["users"] += [{"name": f"k{n}", "groups": ["people"], "devices": [FIDO]} for n in range(3)]

    snapshot, lab = taken(changed(many))
    operations = [call.operation for call in lab.calls]
    assert operations.count("ListMFADevices") == 3 + 1  # three such users and the administrator
    assert operations.count("GetMFADevice") == 1
    assert len(operations) <= 2 + 4 + 10
    assert snapshot.holes == ()
    assert snapshot.certified[snapshot.listed["lab-admin"][1].serial] == ("FIDO L1",)


def later(lab: Lab) -> None:
    """Make a report, and then create users."""
    admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    admin.iam.generate_credential_report()
    for name in ("dora", "emil"):
        admin.iam.create_user(UserName=name)
    admin.iam.create_login_profile(UserName="dora", Password="correct horse battery staple")
    admin.iam.create_access_key(UserName="emil")


def test_users_created_after_the_report_are_requested() -> None:
    """IAM keeps a report for four hours, and a rollout may create users within that time."""
    snapshot, _ = taken(sound(), first=later)
    assert snapshot.report
    dora, emil = (snapshot.report.users[name] for name in ("dora", "emil"))
    assert (dora.password, dora.keys) == (True, ())
    assert (emil.password, [key.active for key in emil.keys]) == (False, [True])
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules(["users.mfa"]), Limits())
    assert [each.subject for each in answer.findings] == ["dora"]


def test_devices_of_users_created_after_the_report_are_listed() -> None:
    """Only this listing shows a security key.

    The report has no row for the user, and so does not say whether the user has MFA.
    """

    def with_key(lab: Lab) -> None:
        later(lab)
        lab.register_fido("dora", "dora")

    snapshot, _ = taken(sound(), first=with_key)
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules(["users.mfa"]), Limits())
    assert (answer.result, [each.user for each in snapshot.listed["dora"]]) == (RuleResult.PASS, ["dora"])


def after(lab: Lab) -> None:
    """Make a report. Then alice gets a key, bob a password, carl loses a key and dan's key is deactivated."""
    admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    admin.iam.generate_credential_report()
    admin.iam.create_access_key(UserName="alice")
    admin.iam.create_login_profile(UserName="bob", Password="correct horse battery staple")
    for name, change in (("carl", admin.iam.delete_access_key), ("dan", admin.iam.update_access_key)):
        (key,) = admin.iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
        status = {"Status": "Inactive"} if name == "dan" else {}
        change(UserName=name, AccessKeyId=key["AccessKeyId"], **status)


def test_for_chosen_users_the_report_is_not_enough() -> None:
    """Keys and passwords are requested anew, and only their last use comes from the report."""
    described = sound()
    for number, name in enumerate(("bob", "carl", "dan")):
        used = {"id": f"AKIAAAAAAAAAAAAAAAA{number}", "secret": "s", "last_used": ago(3)}
        described["users"].append({"name": name, "groups": ["people"], "keys": [used]})
    chosen = {"alice", "bob", "carl", "dan"}
    snapshot, lab = taken(described, first=after, afresh=lambda one: one.name in chosen)
    assert snapshot.report
    alice, bob, carl, dan = (snapshot.report.users[name] for name in sorted(chosen))
    assert (len(alice.keys), alice.password, alice.password_used is not None) == (1, True, True)
    assert (bob.password, bob.password_used, bob.password_changed is not None) == (True, None, True)
    assert bob.keys[0].used is not None
    assert carl.keys == ()
    assert (dan.keys[0].active, dan.keys[0].used is not None) == (False, True)
    assert [call.operation for call in lab.calls].count("GetLoginProfile") == len(chosen)
    believed, _ = taken(described, first=after)
    assert believed.report
    assert (believed.report.users["bob"].password, len(believed.report.users["carl"].keys)) == (False, 1)


def test_a_user_deleted_before_the_request_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who was deleted meanwhile has neither a password nor keys."""

    def gone(_: AccountReader, user: Any) -> Any:
        raise NoSuchEntity(f"there is no user {user.name}")

    monkeypatch.setattr(AccountReader, "credentials", gone)
    snapshot, _ = taken(sound(), afresh=lambda one: one.name == "alice")
    assert snapshot.report
    assert (snapshot.report.users["alice"].password, snapshot.holes) == (False, ())


def test_a_user_who_cannot_be_read_is_named_as_unread() -> None:
    """The user's credentials are unknown, not absent."""
    snapshot, _ = taken(sound(), "ListAccessKeys", first=later)
    assert [(hole.part, hole.about) for hole in snapshot.holes] == [
        (SnapshotPart.REPORT, "dora"),
        (SnapshotPart.REPORT, "emil"),
    ]
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules(["users.mfa"]), Limits())
    assert (answer.result, [each.subject for each in answer.unknown]) == (RuleResult.UNKNOWN, ["dora", "emil"])


def test_devices_that_cannot_be_listed_are_unknown() -> None:
    """For users created after the report, nothing else shows whether they have MFA. They are not said to have none."""
    snapshot, _ = taken(sound(), "ListMFADevices", first=later)
    assert {one.name: one.mfa for one in account_users(snapshot) if one.name in {"dora", "emil"}} == {
        "dora": None,
        "emil": None,
    }
    assert {one.sign_in_way for one in account_users(snapshot) if one.name == "dora"} == {"kind unknown"}
    for rule, unknown in (
        *(("users.mfa", "dora"), ("users.keys-mfa", "emil")),
        *(("users.sms", "dora"), ("users.fido-keys", "emil")),
    ):
        (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules([rule]), Limits())
        assert (answer.result, answer.findings) == (RuleResult.UNKNOWN, ())
        assert unknown in [each.subject for each in answer.unknown]


def test_which_users_are_asked_about_a_new_password() -> None:
    """Only users who have not signed in since their password was set have to change it."""
    new = user("bob", password=True, password_reset_required=True)
    snapshot, lab = taken(changed(new), passwords_of=may_have_to_change)
    assert snapshot.must_change == {"bob": True}
    assert [call.operation for call in lab.calls].count("GetLoginProfile") == 1


def test_a_user_deleted_meanwhile_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose devices cannot be listed is named as unread."""

    def devices(_: Iam, name: str) -> list[Device]:
        raise NoSuchEntity("gone") if name == "bob" else AwsFault("throttled")

    monkeypatch.setattr(Iam, "devices", devices)
    snapshot, _ = taken(changed(user("bob", password=True, devices=[FIDO])))
    assert snapshot.listed == {"bob": ()}
    assert [(hole.part, hole.about) for hole in snapshot.holes] == [(SnapshotPart.DEVICES, "lab-admin")]


class Rooted:
    """An account as a session of root sees it, with a few of each kind of entity."""

    def __init__(self, *own: Device) -> None:
        self.own = list(own)

    def now(self) -> float:
        return NOW.timestamp()

    def devices(self, user: str) -> list[Device]:
        raise AssertionError(user)

    def report(self, *, max_age: float) -> Any:
        return reader(Answers(get_credential_report=[report()])).report(max_age=max_age)

    def summary(self) -> Mapping[str, int]:
        return {"AccountMFAEnabled": 1, "AccountAccessKeysPresent": 0}

    def details(self) -> Iterable[Any]:
        return iter(())

    def virtual(self) -> Iterable[Device]:
        return iter([each for each in self.own if ":mfa/" in each.serial])

    def own_devices(self) -> list[Device]:
        return self.own

    def certificates(self) -> Iterable[Any]:
        return iter(())

    def sign_in_session(self, entity: Entity) -> int | None:
        raise AssertionError(entity)

    def password_policy(self) -> Any:
        return reader(Answers(get_account_password_policy=[NoSuchEntity("")])).password_policy()


@pytest.mark.parametrize(
    ("serials", "result"),
    [
        (["arn:aws:iam::123456789012:mfa/root"], RuleResult.FAIL),
        (["arn:aws:iam::123456789012:mfa/root", "arn:aws:iam::123456789012:u2f/root/key"], RuleResult.PASS),
        (["GAHT12345678"], RuleResult.PASS),
    ],
)
def test_a_session_of_root_lists_all_devices_of_root(serials: list[str], result: RuleResult) -> None:
    """Only a session of root shows whether all of root's devices are virtual."""
    account: Any = Rooted(*(Device(serial, REPORTED_ROOT) for serial in serials))
    caller = Caller("123456789012", "arn:aws:iam::123456789012:root")
    snapshot = read_account(account, account, caller=caller, max_age=0, backups=lambda _: ())
    assert snapshot.root_devices == tuple(account.own)
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules(["root.hardware"]), Limits())
    assert answer.result is result


# the file


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The file has mode 0600. It contains the unread parts too, and no key IDs or seeds."""
    loud = user("bob", password=True, keys=[KEY], devices=[FIDO])
    root = RootPosture(account="1", password=True, devices=(Device("GAHT12345678", REPORTED_ROOT),), unread=("denied",))
    snapshot, lab = taken(changed(loud), "ListVirtualMFADevices", member_root=lambda: root)
    assert (snapshot.central_root is not None, snapshot.member_root) == (True, root)
    file = tmp_path / "account.json"
    snapshots.write_snapshot(snapshot, file)
    assert snapshots.read_snapshot(file) == snapshot
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["account.json"]
    text = file.read_text()
    assert "AKIA" not in text
    assert lab.admin.secret_access_key not in text


def test_a_snapshot_never_overwrites_another_file(tmp_path: Path) -> None:
    """No partial file remains in the folder either."""
    file = tmp_path / "account.json"
    file.write_text("mine")
    with pytest.raises(IntegrityFault, match="cannot be written"):
        snapshots.write_snapshot(taken(sound())[0], file)
    assert file.read_text() == "mine"
    with pytest.raises(IntegrityFault, match="cannot be written"):
        snapshots.write_snapshot(taken(sound())[0], tmp_path / "no" / "folder.json")
    assert list(tmp_path.iterdir()) == [file]


HEAD = {"schema": "mfa-kit/snapshot", "version": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a snapshot"),
        ("[]", "is not a snapshot"),
        pytest.param("[" * 100_000, "is not a snapshot", id="deep"),
        (json.dumps({**HEAD, "version": 2}), "is not a snapshot"),
        (json.dumps(HEAD), "is damaged"),
        (json.dumps({**HEAD, "at": "now", "account": "1", "caller": "arn:aws:a"}), "is damaged"),
        (json.dumps({**HEAD, "at": 1, "account": 1, "caller": "arn:aws:a"}), "is damaged"),
        (json.dumps({**HEAD, "at": 1, "account": "1", "caller": "arn:aws:a", "users": {}}), "is damaged"),
        (
            json.dumps({**HEAD, "at": 1, "account": "1", "caller": "arn:aws:a", "holes": [{"part": "x", "why": ""}]}),
            "is damaged",
        ),
        (json.dumps({**HEAD, "at": 1, "account": "1", "caller": "me"}), "is damaged"),
        (json.dumps({**HEAD, "at": True, "account": "1", "caller": "arn:aws:a"}), "is damaged"),
    ],
)
def test_a_text_that_is_not_a_snapshot_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """Each text is refused with a message of one sentence."""
    file = tmp_path / "account.json"
    file.write_text(text)
    with pytest.raises(UsageFault, match=said):
        snapshots.read_snapshot(file)


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    """Later versions may add fields."""
    file = tmp_path / "account.json"
    file.write_text(json.dumps({**HEAD, "at": 1, "account": "1", "caller": "arn:aws:x", "new": {"field": 1}}))
    assert snapshots.read_snapshot(file) == Snapshot(at=1.0, account="1", caller="arn:aws:x")


def test_a_snapshot_of_an_older_version_lacks_parts_and_is_read(tmp_path: Path) -> None:
    """A part that an older version did not store counts as unread."""
    snapshot, _ = taken(sound())
    file, older = tmp_path / "account.json", tmp_path / "older.json"
    snapshots.write_snapshot(snapshot, file)
    stored = json.loads(file.read_text())
    del stored["central_root"], stored["member_root"]
    older.write_text(json.dumps(stored))
    assert snapshots.read_snapshot(older) == replace(snapshot, central_root=None)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases: a folder, an endless file and another user's file."""
    for file in (tmp_path, Path("/dev/zero")):
        with pytest.raises(UsageFault, match="cannot be read: it is not a file"):
            snapshots.read_snapshot(file)

    def denied(*_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "account.json").touch()
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(UsageFault, match="cannot be read: Permission denied"):
        snapshots.read_snapshot(tmp_path / "account.json")
