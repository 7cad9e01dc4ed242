"""Tests of `mfa_kit.api`: its promise, its secrets, and that it does what the commands do."""

import base64
import dataclasses
import inspect
import json
import re
import signal
import subprocess
import sys
import threading
import types
import typing
from collections import abc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pyotp
import pyrage
import pytest
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection

from mfa_kit import api
from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.api import DeviceFault, IntegrityFault, InternalError, MfaKit, OathKey, UsageFault
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.otp import Created, Secret, Seed
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.lab.aws.server import Lab
from mfa_kit.network.http import BoundedResponse
from tests import pcsc
from tests.conftest import ACCOUNT, ROOT, bare
from tests.conftest import MfaKit as Program
from tests.postgresql import Server
from tests.test_secrets import Frames, loudest, secrets_in

STORED = ROOT / "tests/data/api.txt"
PUBLIC = {name: getattr(api, name) for name in api.__all__}
ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
CONNECTIONS = (AWSHTTPConnection, AWSHTTPSConnection)
# Words in a name of something that may be secret.
SECRET = re.compile(r"(^|_)(secret|seed|password|passphrase|pin|codes?|uri|otpauth|qr|picture|token|credentials?)(_|$)")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use the lab, and a folder of mfa-kit's files that no other test uses."""
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "home"))
    return tmp_path


class Person:
    """Answers with fixed texts, and remembers the questions."""

    def __init__(self, *, word: str | None = None, passphrase: str = "") -> None:
        self.asked: list[str] = []
        self.touched: list[str] = []
        self._word, self._passphrase = word, passphrase
        self.next_code: Callable[[], str] = lambda: "000000"

    def pin(self, prompt: str) -> str:
        self.asked.append(prompt)
        return "1234"

    def passphrase(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self._passphrase

    def code(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.next_code()

    def touch(self, prompt: str) -> None:
        self.touched.append(prompt)

    def confirm(self, action: str, word: str) -> str:
        self.asked.append(action)
        return word if self._word is None else self._word


def methods(owner: type) -> dict[str, Callable[..., object]]:
    """Return the public methods of a class, and those that a with statement and a call of the class use."""
    names = [name for name in vars(owner) if not name.startswith("_") or name in {"__init__", "__enter__", "__exit__"}]
    names = [name for name in names if not (name == "__init__" and owner is api.Interaction)]
    return {name: vars(owner)[name] for name in names if inspect.isfunction(vars(owner)[name])}


def written() -> str:
    """Return all public names with their signatures, fields and base classes, one on each line."""
    lines = []
    for name, value in sorted(PUBLIC.items()):
        if issubclass(value, BaseException):
            lines.append(f"{name}({', '.join(base.__name__ for base in value.__bases__)}) exit_code={value.exit_code}")
        elif is_dataclass(value):
            lines += [f"{name}.{each.name}: {_type_text(each.type)}{_default(each)}" for each in fields(value)]
            lines += [] if fields(value) else [f"{name}()"]
        else:
            lines += [f"{name}.{key}{inspect.signature(method)}" for key, method in methods(value).items()]
    return "\n".join(lines).replace("pathlib._local.Path", "pathlib.Path") + "\n"  # the name of Python 3.13


def _type_text(kind: Any) -> str:
    return str(kind) if typing.get_args(kind) else str(getattr(kind, "__name__", kind))


def _default(field: "dataclasses.Field[Any]") -> str:
    return "" if field.default is dataclasses.MISSING else f" = {field.default!r}"


def test_the_names_and_signatures_are_those_of_the_stored_file() -> None:
    """docs/development.md promises them. After a change that it allows, write the file again with the failing text."""
    assert written() == STORED.read_text("utf-8")


def test_an_old_name_is_kept_for_one_release() -> None:
    """It warns, and it is not among the names of a star import."""
    with pytest.warns(DeprecationWarning, match="ReportedUnread"):
        assert vars(api)["__getattr__"]("ReportedHole") is api.ReportedUnread
    with pytest.raises(AttributeError, match="no attribute 'ReportedRole'"):
        getattr(api, "Reported" + "Role")


def types_in(kind: Any) -> Iterator[Any]:
    """Yield a type, or a generic type and each type in its arguments."""
    if isinstance(kind, list):
        yield from chain.from_iterable(map(types_in, kind))
        return
    yield typing.get_origin(kind) or kind
    yield from chain.from_iterable(map(types_in, typing.get_args(kind)))


PLAIN = {str, int, float, bool, None, type(None), Path, typing.Self, Ellipsis, object}
CONTAINERS = {tuple, list, abc.Sequence, abc.Iterator, abc.Callable, types.UnionType, typing.Union}


def secrets_of(public: dict[str, Any]) -> set[str]:
    """Return each parameter, field and result of these classes that is or may carry a secret."""
    wrong = set()

    def look(place: str, name: str, kind: Any) -> None:
        if not {*types_in(kind)} <= {*PLAIN, *CONTAINERS, *public.values()} or SECRET.search(name):
            wrong.add(place)

    for owner, value in public.items():
        if issubclass(value, BaseException):
            continue
        if is_dataclass(value):
            for name, kind in typing.get_type_hints(value).items():
                look(f"{owner}.{name}", name, kind)
        for key, method in methods(value).items():
            if is_dataclass(value) and key.startswith("__"):
                continue
            for name, kind in typing.get_type_hints(method).items():
                # The answers of an Interaction are the one way in.
                one_way = value is api.Interaction and name == "return"
                look(f"{owner}.{key} {name}", "" if one_way or name == "return" else name, kind)
    return wrong


def test_no_public_type_carries_a_secret() -> None:
    """Each public type has only plain values and other public types, and nothing in it has the name of a secret."""
    assert not secrets_of(PUBLIC)


def test_the_walk_finds_secrets() -> None:
    """A parameter, a result, a field and a nested type are each found, also in a container."""

    class Leaky:
        def one(self, seed: str) -> None: ...
        def two(self) -> Secret[str]:
            return Secret("")

        def three(self) -> tuple[Seed, ...]:
            return ()

        def four(self, ask: Callable[[Secret[str]], None]) -> None: ...
        def five(self) -> Created | None:
            return None

        def fine(self, user: str) -> tuple[str, ...]:
            return ()

    @dataclasses.dataclass
    class Row:
        passphrase: str

    public = {"Leaky": Leaky, "Row": Row}
    assert secrets_of(public) == {
        "Leaky.one seed",
        "Leaky.two return",
        "Leaky.three return",
        "Leaky.four ask",
        "Leaky.five return",
        "Row.passphrase",
    }


@pytest.mark.parametrize("value", [each for each in PUBLIC.values() if is_dataclass(each)])
def test_values_are_frozen(value: Any) -> None:
    assert value.__dataclass_params__.frozen


def test_the_errors_are_those_of_the_exit_codes() -> None:
    """Each exit code of an error has one public class, from which all other errors with this code inherit."""
    public = {value.exit_code: value for value in PUBLIC.values() if issubclass(value, MfaKitError)}
    assert public.keys() == {2, 3, 4, 5, 6, 7, 8, 70}


IMPORT = """
import gc, os, sys
read = []
class Environment(dict):
    def __getitem__(self, name):
        note(); return super().__getitem__(name)
    def get(self, name, default=None):
        note(); return super().get(name, default)
    def __contains__(self, name):
        note(); return super().__contains__(name)
def note():
    frame = sys._getframe(2)
    if "mfa_kit" in frame.f_code.co_filename:
        read.append(frame.f_code.co_filename)
os.environ = Environment(os.environ)
import signal
def handlers():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    return [signal.getsignal(number) for number in numbers], sys.excepthook
before = handlers()
import mfa_kit.api
assert not read, read
assert "boto3" not in sys.modules and "click" not in sys.modules
with mfa_kit.api.MfaKit():
    pass
assert handlers() == before
assert gc.get_freeze_count() == 0 and gc.get_threshold()[0] < 10000
assert "click" not in sys.modules
"""


def test_the_import_changes_nothing_in_the_process(tmp_path: Path) -> None:
    """It reads no environment, and loads neither boto3 nor the command line. Signals and the collector stay."""
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("at_lab")
def test_each_method_returns_the_fields_of_its_command(
    home: Path, users: Callable[[], str], recipient: str, identity_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The JSON of the commands has the same fields. The API prints nothing, also not to the descriptors."""
    program = Program(home / "home")

    def fields_of(*words: str | Path) -> set[str]:
        document = json.loads(program.run(*words, "--output", "json").out)
        rows = document.get("rows", [document])
        return {*(rows[0] if rows else {})} - {"schema", "version"}

    def names(result: Any, *without: str) -> set[str]:
        return {*asdict(result)} - {*without}

    one, two = users(), users()
    roster = home / "roster.csv"
    roster.write_text(f"user,recipient\n{two},{recipient}\n")
    with MfaKit(to=[recipient], interaction=Person()) as kit:
        new = kit.enroll(one)
        assert isinstance(new, api.EnrolledUser)
        old = kit.enroll(one)
        (status,) = kit.status(one)
        (checked,) = kit.verify_backup(new.backup or "", identities=[identity_file])
        plan = kit.plan(roster, home / "plan.json")
        (row,) = kit.apply(plan.plan, sha256=plan.sha256)
        audit, after = kit.audit(rules=["users"]), kit.lockout()
        other = kit.replace(one)
        gone = kit.revoke(two, leave_without_mfa=True)
    assert capfd.readouterr() == ("", "")
    assert checked.opens
    three = users()
    assert names(new) == fields_of("enroll", three, "--with", "virtual", "--codes", "generated", "-r", recipient)
    assert names(old) == fields_of("enroll", three, "--with", "virtual", "--codes", "generated", "-r", recipient)
    assert names(status, "computer", "drilled_on") == fields_of("status", one)
    assert names(checked) == fields_of("backup", "verify", other.backup or "", "-i", identity_file)
    assert names(plan, "users") == fields_of("rollout", "plan", roster, "-o", home / "other.json")
    applied = program.run("rollout", "apply", home / "other.json", "-r", recipient, "--output", "json")
    assert names(row) == {*json.loads(applied.out)["rows"][0]}
    documents = json.loads(program.run("audit", "--rule", "users", "--output", "json").out)
    assert names(audit) == documents.keys() - {"schema", "version"}
    assert json.loads(json.dumps(asdict(audit.rules[0]))).keys() == documents["rules"][0].keys()
    assert names(after[0]) == fields_of("policy", "lockout")
    replaced = program.run(
        "replace",
        one,
        "--with",
        "virtual",
        "--codes",
        "generated",
        "-r",
        recipient,
        "--yes",
        "--lost",
        "--output",
        "json",
    )
    assert names(other) == json.loads(replaced.out).keys() - {"schema", "version"}
    revoked = program.run("revoke", two, "--yes", "--lost", "--leave-without-mfa", "--output", "json")
    assert names(gone) == json.loads(revoked.out).keys() - {"schema", "version"}
    values = [value for result in (new, status, plan, row, audit, after[0]) for value in asdict(result).values()]
    assert all(type(value) in {str, int, float, bool, tuple, type(None)} for value in values)


@pytest.mark.usefixtures("at_lab")
def test_without_an_interaction_each_question_is_refused(user: str, recipient: str) -> None:
    """A removal and a touch each raise Declined, and nothing is changed."""
    with MfaKit(to=[recipient]) as kit:
        device = kit.enroll(user)
        for act in (
            lambda: kit.revoke(user, leave_without_mfa=True),
            lambda: kit.replace(user),
            lambda: kit.enroll(user, OathKey(), add=True),
        ):
            with pytest.raises(api.Declined) as refused:
                act()
            assert refused.value.exit_code == 8
        assert [row.device for row in kit.status(user)] == [asdict(device)["device"]]
    with (
        MfaKit(to=[recipient], interaction=Person(word="no")) as kit,
        pytest.raises(api.Declined, match="not confirmed"),
    ):
        kit.revoke(user, leave_without_mfa=True)


@pytest.mark.usefixtures("at_lab", "cheap_passphrases")
def test_an_interaction_returns_the_passphrase(home: Path, user: str, recipient: str, identity_file: Path) -> None:
    """The backup is decrypted with an identity that a passphrase protects. The PIN in its name is no question."""
    locked = home / "SHIPPING.age"
    locked.write_bytes(pyrage.passphrase.encrypt(identity_file.read_bytes(), "a long passphrase"))
    person = Person(passphrase="a long passphrase")
    with MfaKit(to=[recipient], interaction=person) as kit:
        made = kit.enroll(user)
        (checked,) = kit.verify_backup(asdict(made)["backup"], identities=[locked])
    assert checked.opens
    assert person.asked == [f"passphrase of {locked}"]
    with MfaKit(to=[recipient]) as kit, pytest.raises(api.Declined):
        kit.verify_backup(asdict(made)["backup"], identities=[locked])


def test_a_code_is_asked_for_once(
    home: Path, at_lab: Lab, users: Callable[[], str], recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls of an MfaKit use the session that the first one got with the code of the caller's device."""
    pcsc.clear()  # the code could be on a key
    admin, user = users(), users()
    with MfaKit(to=[recipient]) as kit:
        kit.enroll(admin)
    serial, key = f"arn:aws:iam::{ACCOUNT}:mfa/{admin}", at_lab.account.backend.create_access_key(admin)
    at_lab.account.backend.get_user(admin).policies["all"] = ALL
    config = home / "config"
    config.write_text(
        f"[profile {admin}]\naws_access_key_id = {key.access_key_id}\nmfa_serial = {serial}\n"
        f"aws_secret_access_key = {key.secret_access_key}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(at_lab.account, "settings", dataclasses.replace(at_lab.account.settings, propagation=0))
    person = Person()
    person.next_code = pyotp.TOTP(base64.b32encode(at_lab.seed(serial)).decode()).now
    with MfaKit(profile=admin, to=[recipient], interaction=person) as kit:
        kit.enroll(user)
        with suppress(api.AwsFault):
            kit.revoke("nobody-of-this-name")
        assert kit.status(user)[0].kind == "virtual"
    assert len(person.asked) == 1
    with MfaKit(profile=admin) as kit, pytest.raises(api.Declined):
        kit.status(user)


@pytest.mark.usefixtures("at_lab")
def test_threads_and_several_contexts_work_at_the_same_time(users: Callable[[], str], recipient: str) -> None:
    """Eight threads share one MfaKit, and another one of the same account is open."""
    names = [users() for _ in range(8)]
    with MfaKit(to=[recipient]) as one, MfaKit(to=[recipient]) as two, ThreadPoolExecutor(8) as pool:
        kits = [one if number % 4 else two for number in range(8)]
        made = list(pool.map(lambda name, kit: kit.enroll(name), names, kits))
    assert [asdict(device)["user"] for device in made] == names
    assert {type(device) for device in made} == {api.EnrolledUser}


@pytest.mark.usefixtures("at_lab")
def test_the_limits_of_responses_end_with_the_last_context(user: str) -> None:
    """Otherwise the program could not load larger objects from S3 after it used mfa-kit."""
    with MfaKit() as one, MfaKit() as two:
        one.status(user)
        two.status(user)
        assert [vars(kind).get("response_class") for kind in CONNECTIONS] == [BoundedResponse] * 2
    assert [vars(kind).get("response_class") for kind in CONNECTIONS] == [None] * 2


@pytest.mark.usefixtures("at_lab")
def test_two_contexts_have_their_own_accounts(home: Path, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each MfaKit calls its own endpoint with its own profile."""
    with Lab(users=["only-here"]) as other:
        config = home / "config"
        config.write_text(
            f"[profile other]\naws_access_key_id = {other.admin.access_key_id}\n"
            f"aws_secret_access_key = {other.admin.secret_access_key}\nregion = us-east-1\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        endpoint = other.env["AWS_ENDPOINT_URL"]
        with MfaKit() as here, MfaKit(profile="other", endpoint=endpoint) as there:
            assert user in {row.user for row in here.status()}
            assert {row.user for row in there.status()} >= {"only-here"}
            assert user not in {row.user for row in there.status()}


def test_a_closed_iterator_finishes_the_users_in_progress(
    home: Path, at_lab: Lab, users: Callable[[], str], recipient: str
) -> None:
    """No device is half-made then, and applying the plan again continues. At its end, an MfaKit closes iterators."""
    names = [users() for _ in range(24)]
    roster = home / "roster.csv"
    roster.write_text("user,recipient\n" + "".join(f"{name},{recipient}\n" for name in names))
    before = signal.getsignal(signal.SIGINT)
    with MfaKit(to=[recipient]) as kit:
        plan = kit.plan(roster, home / "plan.json")
        assert plan.enroll == 24
        for _ in kit.apply(plan.plan, workers=2):
            break
        made = {serial for serial in at_lab.serials() if serial.rpartition("/")[2] in names}
        assert 1 <= len(made) < 24
        assert all(map(at_lab.assigned, made))
        rest = kit.apply(plan.plan, workers=2)
        next(rest)
    assert next(rest, None) is None
    assert threading.active_count() == 1 or not [each for each in threading.enumerate() if "worker_" in each.name]
    with MfaKit(to=[recipient]) as kit:
        results = {row.user: row.outcome for row in kit.apply(plan.plan)}
    assert results == dict.fromkeys(names, "enrolled")
    assert signal.getsignal(signal.SIGINT) is before
    assert {row["outcome"] for row in json.loads((home / "plan-results/results.json").read_text())["rows"]} == {
        "enrolled"
    }


def test_an_error_in_one_call_does_not_end_the_next(user: str, at_lab: Lab) -> None:
    """Errors have the class, exit code, hint and AWS's code of the commands."""
    with MfaKit() as kit:
        with pytest.raises(api.AwsFault) as denied:
            kit.status("nobody-of-this-name")
        assert (denied.value.exit_code, denied.value.aws_code) == (4, "NoSuchEntity")
        at_lab.faults.add("ListUsers", "denied")
        with pytest.raises(api.AwsFault) as denied:
            kit.status()
        assert denied.value.aws_code == "AccessDenied"
        at_lab.faults.clear()
        assert kit.status(user)[0].kind == "none"
        with pytest.raises(UsageFault, match="a recipient is required"):
            kit.enroll(user)
    with pytest.raises(UsageFault, match="not open"):
        kit.status()


def test_bad_input_is_refused_before_anything_is_made(home: Path, at_lab: Lab, user: str, recipient: str) -> None:
    """Each is a UsageFault with a hint; a wrong roster has a note for each wrong row. AWS gets no write."""
    roster, plan = home / "roster.csv", home / "plan.json"
    roster.write_text(f"user,recipient\n{user},{recipient}\n")
    wrong = home / "wrong.csv"
    wrong.write_text("user,kind\nalice,phone\nal ice,\n")
    before = len(at_lab.calls)

    def of_kit(method: str, **options: Any) -> object:
        with MfaKit(**options) as kit:
            return getattr(kit, method)(user)

    with MfaKit() as kit:
        kit.plan(roster, plan)
        refused: list[Callable[[], object]] = [
            lambda: kit.plan(wrong, home / "other.json"),
            lambda: kit.plan(home / "missing.csv", home / "other.json"),
            lambda: next(iter(kit.apply(plan, sha256="0" * 64))),
            lambda: next(iter(kit.apply(roster))),
            lambda: next(iter(kit.apply(plan, staged=True))),
            lambda: next(iter(kit.apply(plan, workers=0))),
            lambda: next(iter(kit.apply(plan, workers=65))),
            lambda: next(iter(kit.apply(plan, max_failures=-1))),
            lambda: kit.enroll(user),
            lambda: kit.enroll(user, cast("Any", "virtual")),
            lambda: kit.verify_backup(home / "missing.png.age", identities=[home / "missing.txt"]),
            lambda: kit.audit(rules=["no-such-rule"]),
            lambda: kit.lockout("no policy"),
            lambda: kit.lockout(group="no-such-group"),
            lambda: of_kit("status", account="123456789012"),
            lambda: of_kit("enroll", to=["no key"]),
            lambda: of_kit("enroll", backup_dir="s3://"),
            lambda: of_kit("status", endpoint="http://aws.example"),
        ]
        faults = []
        for act in refused:
            with pytest.raises(UsageFault) as fault:
                act()
            assert fault.value.hint
            faults.append(fault.value)
    assert len(faults[0].__notes__) == 2
    written = {call.operation for call in at_lab.calls[before:]}
    assert not [name for name in written if not name.startswith(("Get", "List", "Generate"))]


@pytest.mark.usefixtures("at_lab")
@pytest.mark.parametrize(
    ("method", "arguments", "hint"),
    [
        ("enroll", {"user": None}, "pass a str"),
        ("enroll", {"user": "alice", "method": "virtual"}, "pass a Virtual or an OathKey"),
        ("enroll", {"user": "alice", "add": 1}, "pass a bool"),
        ("status", {"user": ["alice"]}, "pass a str or None"),
        ("status", {"max_age": "4h"}, "pass a float"),
        ("verify_backup", {"identities": "identity.txt"}, "pass a list of str or Path"),
        ("plan", {"plan": "plan.json", "roster": b"roster.csv"}, "pass a str or a Path"),
        ("plan", {"roster": "roster.csv", "plan": "plan.json", "only": "alice"}, "pass a list of str"),
        ("apply", {"plan": "plan.json", "workers": True}, "pass an int"),
        ("audit", {"rules": "root"}, "pass a list of str"),
        ("lockout", {"policy": {"Version": "2012-10-17"}}, "pass a str or None"),
        ("__init__", {"to": "age1"}, "pass a list of str"),
        ("__init__", {"progress": "print"}, "pass a function or None"),
    ],
)
def test_an_argument_of_another_type_is_refused(method: str, arguments: dict[str, Any], hint: str) -> None:
    """The error names the parameter, and never the value, which may be a secret."""
    name = list(arguments)[-1]
    with MfaKit() as kit, pytest.raises(UsageFault, match=f"^the type of {name} is wrong$") as caught:
        getattr(kit, method)(**arguments)
    assert caught.value.hint == hint


@pytest.mark.usefixtures("at_lab")
@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (api.Declined("no", "later"), api.Declined),
        (ValueError(), InternalError),
    ],
)
def test_what_a_callback_raises_ends_the_call(user: str, raised: BaseException, seen: type[BaseException]) -> None:
    """Ctrl-C and the errors of the API pass. Any other exception is reported as an InternalError."""

    def show(_: str) -> None:
        raise raised

    with MfaKit(progress=show) as kit, pytest.raises(seen):
        kit.status(user)


@pytest.mark.usefixtures("at_lab")
def test_an_unexpected_exception_shows_no_secret(user: str, recipient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes an InternalError without its message, which may quote a secret."""
    seeds: list[bytes] = []

    def broken(_self: BackupAlone, _intent: Any, created: Created) -> None:
        seeds.append(created.seed.reveal())
        raise RuntimeError(base64.b32encode(created.seed.reveal()).decode())

    monkeypatch.setattr(BackupAlone, "install", broken)
    with MfaKit(to=[recipient]) as kit, pytest.raises(InternalError) as caught:
        kit.enroll(user)
    shown = repr(caught.value) + repr(caught.value.__cause__) + repr(getattr(caught.value, "__notes__", ""))
    assert not secrets_in(shown.encode(), seeds[0])
    assert not isinstance(caught.value, DeviceFault)


@pytest.mark.slow
def test_no_result_message_log_or_variable_shows_a_secret(
    home: Path, user: str, recipient: str, at_lab: Lab, identity_file: Path
) -> None:
    """The test searches results, messages, logs, files and the local variables of mfa-kit at each line."""
    said: list[str] = []
    with (
        loudest() as loud,
        Frames() as frames,
        MfaKit(to=[recipient], progress=said.append, interaction=Person()) as kit,
    ):
        made = kit.enroll(user)
        seed = at_lab.seed(asdict(made)["device"])
        checked = kit.verify_backup(asdict(made)["backup"], identities=[identity_file])
        shown = [made, checked, kit.status(user), kit.revoke(user, leave_without_mfa=True)]
    text = repr(shown) + "".join(said) + loud.text.getvalue()
    assert "CreateVirtualMFADevice answered 200" in text
    assert not secrets_in(text.encode(), seed)
    for path in home.rglob("*"):
        assert not path.is_file() or not secrets_in(path.read_bytes(), seed), path
    assert {"api.py:enroll", "api.py:_call"} <= set(frames.seen)
    leaks = {where for where, values in frames.seen.items() for each in values if secrets_in(each.encode(), seed)}
    assert leaks <= {"first line of otp.py:__init__", "first line of iam.py:_answered"}


def test_a_lost_session_of_the_ledger_raises(
    home: Path, user: str, recipient: str, postgresql: Server, at_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command ends its process then. The API raises, and makes no further write to AWS."""
    database = postgresql.new_database()
    program = Program(home / "home")
    address = postgresql.address(database)
    assert program.run("ledger", "init", "--ledger", address).code in {0, 2}
    seal = AgeFiles.seal
    calls: list[int] = []

    def lose(*args: Any, **more: Any) -> Any:
        sql = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"
        while postgresql.execute(sql):  # a session ends a moment after it is told to
            pass
        calls.append(len(at_lab.calls))
        return seal(*args, **more)

    monkeypatch.setattr(AgeFiles, "seal", lose)
    bucket = home / "shared"
    with (
        MfaKit(ledger=address, to=[recipient], backup_dir=bucket, local_backups=True) as kit,
        pytest.raises(IntegrityFault, match="was lost"),
    ):
        kit.enroll(user)
    later = {call.operation for call in at_lab.calls[calls[0] :]}
    assert calls
    assert not [name for name in later if not name.startswith(("Get", "List"))]


@pytest.mark.slow
def test_the_script_of_the_page_enrolls_fifty_users_with_two_interruptions(
    home: Path, at_lab: Lab, users: Callable[[], str], recipient: str, identity_file: Path
) -> None:
    """After Ctrl-C nothing is half-made. After a kill, the next start settles, and each user has one device."""
    page = (ROOT / "docs/rollout-script.md").read_text("utf-8")
    script, roster, plan = home / "rollout.py", home / "roster.csv", home / "plan.json"
    script.write_text(page.partition("cat >rollout.py <<'END'\n")[2].partition("\nEND\n")[0])
    names = [users() for _ in range(50)]
    roster.write_text("user,recipient\n" + "".join(f"{name},{recipient}\n" for name in names))
    words = [sys.executable, str(script), str(roster), str(plan), recipient]
    env = {**bare(), **at_lab.env, "MFA_KIT_HOME": str(home / "home")}

    def devices() -> list[str]:
        return sorted(serial for serial in at_lab.serials() if serial.rpartition("/")[2] in names)

    for number, kind in enumerate([signal.SIGINT, signal.SIGKILL], 1):
        process = subprocess.Popen(
            words, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while len(devices()) < 15 * number:
            assert process.poll() is None
        process.send_signal(kind)
        process.communicate()
        assert process.returncode != 0
        assert len(devices()) < 50
        assert kind is signal.SIGKILL or all(map(at_lab.assigned, devices()))
    done = subprocess.run(words, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {tuple(line.split()[:2]) for line in done.stdout.splitlines()} == {(name, "enrolled") for name in names}
    assert [at_lab.assigned(serial) for serial in devices()] == sorted(names)
    rows = json.loads((home / "plan-results/results.json").read_text())["rows"]
    with MfaKit(to=[recipient]) as kit:
        checks = kit.verify_backup(*(row["backup"] for row in rows), identities=[identity_file])
    assert [check.fault for check in checks] == [None] * 50
