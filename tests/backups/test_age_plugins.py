"""Recipients and identities of age plugins. The plugin is tests/age_plugin_demo.py; Debian's age uses it too."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit import api
from mfa_kit.adapters.files.identities import parse_recipients, read_identities
from mfa_kit.adapters.files.plugins import DEBUG, Plugins, decrypt, encrypt
from mfa_kit.cli import terminal
from mfa_kit.core import otp
from mfa_kit.core.errors import Declined, DeviceFault, MfaKitError, UsageFault
from mfa_kit.core.interaction import Nobody
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.lab.aws.server import Lab
from tests import age_plugin_demo as demo
from tests.backups.conftest import sealed
from tests.conftest import ACCOUNT, ROOT, MfaKit, judge, local
from tests.test_api import Person

# What a plugin may print instead of following the protocol.
BROKEN = [
    "",
    "garbage\n",
    "\x1b[31m",
    "-> nonsense\n\n",
    "-> file-key\n\n",
    "-> file-key 7\n\n",
    "-> file-key 0\nAAAA\n",
    "-> error identity 9\n\n",
    "-> error recipient x\n\n",
    "-> recipient-stanza\n\n",
    "-> confirm !!!\n\n",
    "-> done\n\n",
]


class Answers:
    """Prompts that answer from a list, and keep what was said and asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def say(self, text: str) -> None:
        self.asked.append(text)

    def ask(self, prompt: str) -> str:
        return str(self._answer(prompt))

    def ask_secret(self, prompt: str) -> Secret[str]:
        return Secret(str(self._answer(prompt)))

    def confirm(self, message: str, yes: str, no: str | None) -> bool:
        return bool(self._answer(f"{message} {yes} {no}"))

    def _answer(self, prompt: str) -> Any:
        self.asked.append(prompt)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def program_in(folder: Path, name: str = "age-plugin-demo") -> Path:
    """Write a program that runs the plugin of the tests."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.age_plugin_demo "$@"\n')
    file.chmod(0o755)
    return file


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return program_in(tmp_path / "plugins")


def plugins(program: Path, *answers: Any) -> tuple[Plugins, Answers]:
    prompts = Answers(*answers)
    return Plugins(lambda: [str(program)], prompts), prompts


@pytest.fixture
def opened(program: Path, tmp_path: Path, identity: pyrage.x25519.Identity) -> Callable[..., tuple[bytes, list[str]]]:
    """Decrypt a message with an identity of the plugin. Return the message, and what the plugin said and asked."""

    def open_with(*answers: Any, **request: Any) -> tuple[bytes, list[str]]:
        known, prompts = plugins(program, *answers)
        [to] = parse_recipients([demo.recipient(str(identity.to_public()))], plugins=known)
        (tmp_path / "id.txt").write_text(f"# mine\n{demo.identity(str(identity), **request)}\n")
        keys = read_identities([tmp_path / "id.txt"], plugins=known)
        return decrypt(encrypt(Secret(b"hello"), [to.key]), keys.reveal()), prompts.asked

    return open_with


def age(*words: str | Path, program: Path, content: bytes) -> bytes:
    """Run Debian's age with the plugin on its PATH."""
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return subprocess.run([judge("age"), *words], env=env, input=content, check=True, capture_output=True).stdout


def test_two_threads_do_not_change_the_search_path_at_once(
    program: Path, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the second one would restore the search path of the first one, and it would stay."""
    before, real = os.environ["PATH"], pyrage.plugin.RecipientPluginV1
    both, done = threading.Barrier(2), threading.Event()

    def slow(*args: Any) -> Any:
        # The first thread waits for the other one, which then ends last.
        with suppress(threading.BrokenBarrierError):
            if both.wait(0.5) == 1:
                done.wait(0.5)
        found = real(*args)
        done.set()
        return found

    monkeypatch.setattr(pyrage.plugin, "RecipientPluginV1", slow)
    monkeypatch.setattr("mfa_kit.adapters.files.plugins.encrypt", lambda *_: b"")
    text = demo.recipient(str(identity.to_public()))
    known = plugins(program)[0]
    threads = [threading.Thread(target=known.recipient, args=(text,), kwargs={"where": "here"}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.environ["PATH"] == before


def test_age_decrypts_what_was_encrypted_with_a_plugin(
    program: Path, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """The file and the identity are the ones of age, and the plugin is the same program."""
    [to] = parse_recipients([demo.recipient(str(identity.to_public()))], plugins=plugins(program)[0])
    (tmp_path / "id.txt").write_text(f"{demo.identity(str(identity))}\n")
    sealed = encrypt(Secret(b"hello"), [to.key])
    assert age("-d", "-i", tmp_path / "id.txt", program=program, content=sealed) == b"hello"


def test_a_file_of_age_is_decrypted_with_a_plugin(
    program: Path, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    sealed_by_age = age("-r", demo.recipient(str(identity.to_public())), program=program, content=b"hello")
    (tmp_path / "id.txt").write_text(f"{demo.identity(str(identity))}\n")
    keys = read_identities([tmp_path / "id.txt"], plugins=plugins(program)[0])
    assert decrypt(sealed_by_age, keys.reveal()) == b"hello"


@pytest.mark.parametrize(
    ("behavior", "answer", "asked"),
    [
        ({"message": "touch the key"}, None, "touch the key"),
        ({"pin": "123456"}, "123456", "PIN of the demo key"),
        ({"public": "mine"}, "mine", "name of the demo key"),
        ({"confirm": ["use it", "stop"]}, True, "May the demo key be used? use it stop"),
        ({"confirm": ["use it"]}, True, "May the demo key be used? use it None"),
    ],
)
def test_a_plugin_asks_through_the_prompts(
    behavior: dict[str, Any], answer: Any, asked: str, opened: Callable[..., tuple[bytes, list[str]]]
) -> None:
    """These are the five kinds of messages and questions in the protocol. Each says that it is the plugin's."""
    assert opened(answer, **behavior) == (b"hello", [f"age-plugin-demo says: {asked}"])


def test_a_message_of_a_plugin_is_one_line(opened: Callable[..., tuple[bytes, list[str]]]) -> None:
    """A second line would look like a line of mfa-kit."""
    assert opened(message="touch it\nmfa-kit: error\x1b[2J")[1] == [
        "age-plugin-demo says: touch it mfa-kit: error\\x1b[2J"
    ]


def test_a_plugin_has_no_variables_of_aws(
    opened: Callable[..., tuple[bytes, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no credentials. Afterward this process and its other children have the variables again."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWSOME", "kept")
    assert opened(tell="AWS")[1] == ["age-plugin-demo says: AWSOME"]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "secret"
    assert subprocess.check_output(["/usr/bin/printenv", "AWS_SECRET_ACCESS_KEY"], text=True) == "secret\n"


@pytest.mark.parametrize(
    ("behavior", "answer", "why"),
    [
        ({"pin": "123456"}, "1", "wrong PIN"),
        ({"confirm": ["use it", "stop"]}, False, "not confirmed"),
        ({"fail": "no \x1b[31mkey\u202e"}, None, "no [31mkey"),
        ({"fail": ""}, None, ""),
    ],
)
def test_the_reason_of_a_plugin_is_in_the_error(
    behavior: dict[str, Any], answer: Any, why: str, opened: Callable[..., tuple[bytes, list[str]]]
) -> None:
    """The error is one sentence with the plugin's name. It has no control characters."""
    with pytest.raises(DeviceFault) as caught:
        opened(answer, **behavior)
    assert str(caught.value) == f"age-plugin-demo could not decrypt: age-plugin-demo says: {why}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Declined("no terminal"), UsageFault("no"), ValueError("no")])
@pytest.mark.parametrize("behavior", [{"pin": "1"}, {"public": "1"}, {"confirm": ["a", "b"]}])
def test_an_exception_of_a_prompt_is_raised_again(
    behavior: dict[str, Any],
    error: BaseException,
    opened: Callable[..., tuple[bytes, list[str]]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Otherwise pyrage would panic, and print the traceback with its values to stderr."""
    with pytest.raises(type(error)) as caught:
        opened(error, **behavior)
    assert caught.value is error
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("printed", BROKEN)
def test_a_broken_plugin_is_an_error(printed: str, opened: Callable[..., tuple[bytes, list[str]]]) -> None:
    with pytest.raises((MfaKitError, pyrage.DecryptError)):
        opened(**{"break": printed})


@pytest.mark.parametrize("printed", BROKEN)
def test_a_recipient_that_a_broken_plugin_takes_is_an_error(
    printed: str, program: Path, identity: pyrage.x25519.Identity
) -> None:
    with pytest.raises(DeviceFault, match="could not encrypt: it "):
        parse_recipients([demo.recipient(str(identity.to_public()), **{"break": printed})], plugins=plugins(program)[0])


def test_a_recipient_that_its_plugin_refuses_is_an_error(program: Path, recipient: str) -> None:
    """The plugin is asked when the recipient is parsed, before a device is created."""
    with pytest.raises(DeviceFault, match="age-plugin-demo could not encrypt: age-plugin-demo says: no such key"):
        parse_recipients([demo.recipient(recipient, fail="no such key")], plugins=plugins(program)[0])


def test_other_identities_are_tried_before_a_plugin(
    program: Path, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """So a plugin asks for a PIN only if it is needed."""
    known, prompts = plugins(program)
    to = parse_recipients([demo.recipient(recipient), recipient], plugins=known)
    (tmp_path / "id.txt").write_text(f"{demo.identity(str(identity), pin='1')}\n{identity}\n")
    keys = read_identities([tmp_path / "id.txt"], plugins=known)
    assert decrypt(encrypt(Secret(b"hello"), [each.key for each in to]), keys.reveal()) == b"hello"
    assert prompts.asked == []


def test_the_conversation_with_a_plugin_is_never_printed(
    opened: Callable[..., tuple[bytes, list[str]]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With AGEDEBUG, pyrage would print the file key and the PIN to stderr."""
    monkeypatch.setenv(DEBUG, "plugin")
    opened("123456", pin="123456")
    assert capfd.readouterr().err == ""


# Which programs may run


def refused(program: Path | str, text: str) -> UsageFault:
    with pytest.raises(UsageFault) as caught:
        parse_recipients([text], plugins=Plugins(lambda: [str(program)], Answers()))
    return caught.value


def test_a_plugin_that_is_only_on_the_path_never_runs(
    program: Path, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the key of the configuration, for a recipient and for an identity."""
    ran = tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    allowed = program_in(tmp_path / "allowed", "age-plugin-other")
    fault = refused(allowed, demo.recipient(recipient))
    assert "needs age-plugin-demo, which the configuration file does not allow" in str(fault)
    assert fault.hint == 'add its absolute path to the file: age-plugins = ["/usr/bin/age-plugin-demo"]'
    (tmp_path / "id.txt").write_text(f"{demo.identity(str(identity))}\n")
    with pytest.raises(UsageFault, match=r"the identity in .*id.txt needs age-plugin-demo"):
        read_identities([tmp_path / "id.txt"])
    assert not ran.exists()


def test_the_allowed_program_runs_and_not_the_first_on_the_path(
    program: Path, tmp_path: Path, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH is the same afterward, and the plugin has it."""
    other, ran = tmp_path / "other", tmp_path / "ran"
    program_in(other).write_text(f"#!/bin/sh\ntouch {ran}\n")
    path = f"{other}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    parse_recipients([demo.recipient(recipient)], plugins=plugins(program)[0])
    assert not ran.exists()
    assert os.environ["PATH"] == path


@pytest.mark.parametrize("name", ["../demo", "demo/../demo", "/demo", ".", "demo "])
def test_a_name_in_a_recipient_is_not_a_path(name: str, program: Path, recipient: str) -> None:
    """Bech32 allows a slash in the name, and pyrage does not."""
    fault = str(refused(program, demo.recipient(recipient, name=name)))
    assert "does not allow" in fault or "is not a recipient" in fault


def mode(bits: int) -> Callable[[Path], object]:
    return lambda file: file.chmod(bits)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (mode(0o775), "can be written by other users"),
        (mode(0o757), "can be written by other users"),
        (mode(0o644), "is not a program"),
        (lambda file: file.parent.chmod(0o777), "can be written by other users"),
        (Path.unlink, "there is no file"),
        (lambda file: (file.unlink(), file.mkdir()), "is not a program"),
        (lambda file: (file.unlink(), file.symlink_to(file)), "there is no file"),
    ],
)
def test_a_plugin_that_others_can_change_never_runs(
    change: Callable[[Path], object], why: str, program: Path, recipient: str
) -> None:
    """The program and its folder belong to this user or root, and others cannot write to them."""
    change(program)
    assert why in str(refused(program, demo.recipient(recipient)))


def test_an_allowed_plugin_encrypts_to_post_quantum_keys(tmp_path: Path, recipient: str) -> None:
    """Age 1.3 has a plugin of this name for programs that do not support the keys themselves."""
    text = demo.recipient(recipient, name="pq")
    assert parse_recipients([text], plugins=plugins(program_in(tmp_path, "age-plugin-pq"))[0])
    assert "which mfa-kit does not support" in str(refused("/usr/bin/age-plugin-demo", text))


def test_the_program_behind_a_symlink_is_checked(program: Path, tmp_path: Path, recipient: str) -> None:
    link = tmp_path / "links" / "age-plugin-demo"
    link.parent.mkdir()
    link.symlink_to(program)
    assert parse_recipients([demo.recipient(recipient)], plugins=plugins(link)[0])
    program.chmod(0o777)
    assert f"{program} can be written by other users" in str(refused(link, demo.recipient(recipient)))


@pytest.mark.parametrize("path", ["age-plugin-demo", "./age-plugin-demo", "/tmp:/usr/age-plugin-demo"])
def test_an_allowed_path_is_absolute(path: str, recipient: str) -> None:
    """A colon would separate two folders in PATH."""
    assert "is not the absolute path of a plugin" in str(refused(path, demo.recipient(recipient)))


def test_an_identity_of_a_plugin_as_recipient_is_refused_and_not_printed(identity: pyrage.x25519.Identity) -> None:
    text = demo.identity(str(identity))
    for given in (text, text.lower()):
        fault = refused("/usr/bin/age-plugin-demo", given)
        assert str(fault) == "the recipient is an identity of an age plugin"
        assert given not in fault.hint


@pytest.mark.parametrize("line", ["AGE-PLUGIN-DEMO-1QQQQ", "AGE-PLUGIN-", "AGE-PLUGIN-é-1"])
def test_a_damaged_identity_of_a_plugin_is_an_error(line: str, program: Path, tmp_path: Path) -> None:
    """The error quotes nothing from the file."""
    (tmp_path / "id.txt").write_text(f"{line}\n")
    with pytest.raises(UsageFault, match="contains no usable identity"):
        read_identities([tmp_path / "id.txt"], plugins=plugins(program)[0])


# Commands


@pytest.fixture
def at(desk: MfaKit, program: Path) -> MfaKit:
    """Return a desk whose configuration allows the plugin."""
    desk.home.mkdir(mode=0o700)
    config = desk.home / "config.toml"
    config.write_text(f'age-plugins = ["{program}"]\n')
    config.chmod(0o600)
    return desk


def test_backups_are_verified_rekeyed_and_shown_with_a_plugin(
    at: MfaKit, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    backup = sealed(at, "alice", recipient)
    (tmp_path / "age.txt").write_text(f"{identity}\n")
    (tmp_path / "demo.txt").write_text(f"{demo.identity(str(identity))}\n")

    def run(*words: str | Path) -> None:
        done = at.run("backup", *words)
        assert done.code == 0, done.err

    run("rekey", "--unproven", "-i", tmp_path / "age.txt", "-i", tmp_path / "demo.txt", "-r", demo.recipient(recipient))
    assert at.run("backup", "verify", "--all", "-i", tmp_path / "age.txt").code == 5
    run("verify", "--all", "-i", tmp_path / "demo.txt")
    run("show", local(backup), "-i", tmp_path / "demo.txt", "-o", tmp_path / "shown.png")
    run("rekey", "--unproven", "-i", tmp_path / "age.txt", "-i", tmp_path / "demo.txt", "-r", recipient)
    run("verify", "--all", "-i", tmp_path / "age.txt")


def test_a_backup_is_added_tested_and_restored_with_a_plugin(
    at: MfaKit,
    at_lab: Lab,
    users: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    recipient: str,
    identity: pyrage.x25519.Identity,
) -> None:
    """`backup add` encrypts with the plugin, and `drill` and `restore` decrypt with it; a person types the codes."""
    name = users()
    plain = {"MFA_KIT_HOME": str(tmp_path / "other")}
    (tmp_path / "age.txt").write_text(f"{identity}\n")
    (tmp_path / "demo.txt").write_text(f"{demo.identity(str(identity))}\n")
    with monkeypatch.context() as patch:
        patch.setenv("MFA_KIT_HOME", plain["MFA_KIT_HOME"])
        other = MfaKit(tmp_path / "other")
        assert other.run("enroll", name, "--with", "virtual", "--codes", "generated", "-r", recipient).code == 0
        [made] = other.home.rglob("*.png.age")
        assert other.run("backup", "show", made, "-i", tmp_path / "age.txt", "-o", tmp_path / "qr.png").code == 0
    seed = Seed(at_lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{name}"))

    class Person(Nobody):
        """Types the present code of the phone."""

        def check(self, *parts: object, instead: str) -> None:
            pass

        def say(self, text: str) -> None:
            pass

        def show(self, *parts: object, instead: str) -> None:
            pass

        def ask_code(self, prompt: str, **_: object) -> str:
            now = otp.step(time.time())
            return next(iter(otp.codes(seed, range(now, now + 1))))

    monkeypatch.setattr(terminal, "find_person", lambda **_: Person("nobody types"))
    added = at.run("backup", "add", name, "--image", tmp_path / "qr.png", "-r", demo.recipient(recipient))
    assert added.code == 0, added.err
    [file] = at.home.rglob("*.png.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1\n-> demo\n")
    drilled = at.run("backup", "drill", file, "-i", tmp_path / "demo.txt", "--output", "json")
    assert (drilled.code, json.loads(drilled.out)["rows"][0]["result"]) == (0, "proved"), drilled.err
    restored = at.run("backup", "restore", file, "-i", tmp_path / "demo.txt", "--to", "phone")
    assert restored.code == 0, restored.err
    assert at.run("backup", "restore", file, "-i", tmp_path / "age.txt", "--to", "phone").code == 5


@pytest.mark.usefixtures("at_lab")
def test_a_users_own_copy_is_encrypted_with_a_plugin(
    at: MfaKit, users: Callable[[], str], tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """The roster has the recipient of the plugin. Debian's age opens the copy with it, and the other backup without."""
    (tmp_path / "demo.txt").write_text(f"{demo.identity(str(identity))}\n")
    name, admin = users(), pyrage.x25519.Identity.generate()
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient\n{name},{demo.recipient(recipient)}\n")
    planned = at.run("rollout", "plan", roster, "-o", plan)
    assert planned.code == 0, planned.err
    applied = at.run("rollout", "apply", plan, "-r", str(admin.to_public()))
    assert applied.code == 0, applied.err
    [copy] = (at.home / "backups" / "users").rglob("*.png.age")
    opened = age("-d", "-i", tmp_path / "demo.txt", program=tmp_path / "plugins" / "x", content=copy.read_bytes())
    assert opened.startswith(b"\x89PNG")
    shown = at.run("backup", "show", copy, "-i", tmp_path / "demo.txt", "-o", tmp_path / "own.png")
    assert (shown.code, (tmp_path / "own.png").read_bytes()) == (0, opened)
    [whole] = (path for path in (at.home / "backups").rglob("*.png.age") if path != copy)
    with pytest.raises(subprocess.CalledProcessError):
        age("-d", "-i", tmp_path / "demo.txt", program=tmp_path / "plugins" / "x", content=whole.read_bytes())


def test_a_plugin_that_asks_without_a_terminal_is_declined(
    at: MfaKit, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """The exit code is 8, and the question is in the message."""
    backup = sealed(at, "alice", recipient)
    (tmp_path / "age.txt").write_text(f"{identity}\n")
    at.run("backup", "rekey", "--unproven", "-i", tmp_path / "age.txt", "-r", demo.recipient(recipient))
    (tmp_path / "demo.txt").write_text(f"{demo.identity(str(identity), pin='1')}\n")
    done = at.run("backup", "verify", local(backup), "-i", tmp_path / "demo.txt")
    assert done.code == 8
    assert "PIN of the demo key" in done.err


def test_the_api_answers_a_plugin_with_a_pin(
    at: MfaKit, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """Plugins are for keys with a PIN. `Person.passphrase` would answer with an empty text."""
    backup = sealed(at, "alice", recipient)
    (tmp_path / "age.txt").write_text(f"{identity}\n")
    at.run("backup", "rekey", "--unproven", "-i", tmp_path / "age.txt", "-r", demo.recipient(recipient))
    (tmp_path / "demo.txt").write_text(f"{demo.identity(str(identity), pin='1234')}\n")
    person = Person()
    with api.MfaKit(interaction=person) as kit:
        (checked,) = kit.verify_backup(local(backup), identities=[tmp_path / "demo.txt"])
    assert (checked.opens, len(person.asked)) == (True, 1)


def test_config_validate_checks_the_plugins(at: MfaKit, program: Path) -> None:
    assert "age plugins  1" in at.run("config", "validate").out
    program.chmod(0o777)
    done = at.run("config", "validate")
    assert (done.code, "can be written by other users" in done.err) == (2, True)
