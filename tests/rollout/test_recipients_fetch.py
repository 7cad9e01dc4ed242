"""Public keys from a forge or a file in a roster: which keys count, and that none is picked silently."""

import csv
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.adapters.forge import public_keys
from mfa_kit.adapters.forge.public_keys import sort_keys
from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.recipient_choice import FetchState, FoundKeys, choose_recipient
from tests.conftest import MfaKit, Result
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


@dataclass
class Forge:
    """A site that serves `/LOGIN.keys`. `answers` has the status and the text by path; `asked` the requests."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def forge() -> Iterator[Forge]:
    site = Forge()

    class Handler(BaseHTTPRequestHandler):
        """Answers from the table, and 404 otherwise."""

        def do_GET(self) -> None:
            site.asked.append((self.path, dict(self.headers)))
            status, text = site.answers.get(self.path, (404, "Not Found"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{site.url}/elsewhere.keys")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield site
        server.shutdown()


def make_key(folder: Path, name: str, *kind: str) -> str:
    """Make a key with OpenSSH, and return its public part without the comment."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", *(kind or ("ed25519",)), "-N", "", "-C", f"{name} key", "-f", folder / name],
        check=True,
    )
    return " ".join((folder / f"{name}.pub").read_text().split()[:2])


def fingerprint(folder: Path, name: str) -> str:
    """Return the fingerprint that OpenSSH prints."""
    done = subprocess.run(["ssh-keygen", "-lf", folder / f"{name}.pub"], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def weak_key() -> str:
    """Return an RSA key that is too short, which OpenSSH no longer makes."""
    numbers = rsa.generate_private_key(65537, 1024).public_key()
    return numbers.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


SECURITY_KEY = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA== touch"


def fetch(kit: MfaKit, roster: Path, *more: str | Path) -> tuple[Result, list[dict[str, str]]]:
    """Fetch into `new.csv` beside the roster, and return the result and the rows of the new roster."""
    new = roster.with_name("new.csv")
    new.unlink(missing_ok=True)
    done = kit.run("recipients", "fetch", roster, "-o", new, *more)
    if not new.exists():
        return done, []
    with new.open() as file:
        return done, list(csv.DictReader(file))


def test_a_roster_gets_the_keys_of_a_forge(mfa_kit: MfaKit, forge: Forge, tmp_path: Path) -> None:
    """Ed25519 and RSA keys are used, others are skipped by name. The fingerprint is OpenSSH's. No credentials leave."""
    first = make_key(tmp_path, "alice")
    second = make_key(tmp_path, "bob", "rsa", "-b", "2048")
    ecdsa = make_key(tmp_path, "carol", "ecdsa")
    forge.answers = {
        "/alice-hub.keys": (200, f"{first}\n{ecdsa}\n{SECURITY_KEY}\n"),
        "/b.ob.keys": (200, f"{second}\n"),
        "/carol.keys": (200, f"{ecdsa}\n{weak_key()}\nssh-rsa AAAA\n"),
    }
    roster = tmp_path / "roster.csv"
    roster.write_text(
        "user,Hub,email,password\nalice,alice-hub,a@example.com,pw\nbob,b.ob,,pw\ncarol,carol,,\ndave,,,\n"
    )
    done, rows = fetch(mfa_kit, roster, "--github", "Hub", "--base-url", forge.url)
    assert done.code == 1
    assert [row["recipient"] for row in rows] == [first, second, "", ""]
    assert [row["recipient_fingerprint"] for row in rows[:2]] == [
        fingerprint(tmp_path, "alice"),
        fingerprint(tmp_path, "bob"),
    ]
    assert rows[0]["recipient_source"] == f"{forge.url}/alice-hub.keys"
    assert rows[0]["recipient_fetched"].endswith("Z")
    assert (rows[0]["email"], rows[0]["hub"]) == ("a@example.com", "alice-hub")
    assert "password" not in rows[0]
    assert "alice: skipped ecdsa-sha2-nistp256, sk-ssh-ed25519@openssh.com" in done.err
    assert "carol: there is no key that can be used" in done.err
    assert "carol: skipped ecdsa-sha2-nistp256, ssh-rsa with 1024 bits, a damaged ssh-rsa key" in done.err
    assert {path for path, _ in forge.asked} == {"/alice-hub.keys", "/b.ob.keys", "/carol.keys"}
    assert not any({"Authorization", "Cookie"} & headers.keys() for _, headers in forge.asked)
    assert roster.with_name("new.csv").stat().st_mode & 0o077 == 0


def test_several_keys_are_never_picked_silently(mfa_kit: MfaKit, forge: Forge, tmp_path: Path) -> None:
    """The fingerprint in the roster decides. The key in the roster is kept, and this is said."""
    one, two = make_key(tmp_path, "one"), make_key(tmp_path, "two")
    forge.answers["/alice.keys"] = (200, f"{one}\n{two}\n{one}\n")
    roster = tmp_path / "roster.csv"
    options = ("--github", "user", "--base-url", forge.url)
    roster.write_text("user\nalice\n")
    done, [row] = fetch(mfa_kit, roster, *options)
    assert (done.code, row["recipient"]) == (1, "")
    assert "there are 2 keys, and none is chosen automatically: SHA256:" in done.err
    assert fingerprint(tmp_path, "one") in done.err
    roster.write_text(f"user,recipient_fingerprint\nalice,{fingerprint(tmp_path, 'two')}\n")
    done, [row] = fetch(mfa_kit, roster, *options)
    assert (done.code, row["recipient"]) == (0, two)
    roster.write_text(f"user,recipient\nalice,{one} comment\n")
    done, [row] = fetch(mfa_kit, roster, *options)
    assert (done.code, row["recipient"], "which was used last" in done.err) == (0, one, True)
    roster.write_text("user,recipient_fingerprint\nalice,SHA256:other\n")
    done, [row] = fetch(mfa_kit, roster, *options)
    assert (done.code, row["recipient"], row["recipient_fingerprint"]) == (1, "", "SHA256:other")


def test_a_key_that_differs_from_the_last_one_is_pointed_out(
    rollout: Rollout, people: People, forge: Forge, tmp_path: Path
) -> None:
    """The ledger knows to which key the last backup was encrypted. The new roster makes a plan that says it too."""
    old, new = make_key(tmp_path, "old"), make_key(tmp_path, "new")
    (user,) = people(1)
    rollout.plan(f"{user},{old}")
    assert rollout.apply().code == 0
    forge.answers[f"/{user}.keys"] = (200, new)
    roster = tmp_path / "roster.csv"
    forge.answers[f"/{user.upper()}.keys"] = (200, new)
    options = ("--github", "user", "--base-url", forge.url)
    roster.write_text(f"user\n{user.upper()}\n")  # IAM ignores case
    done, [row] = fetch(rollout.desk, roster, *options)
    assert f"{user.upper()}: the key differs from the one used last" in done.err
    roster.write_text(f"user\n{user}\n")
    done, [row] = fetch(rollout.desk, roster, *options)
    assert (done.code, row["recipient"]) == (0, new)
    assert f"{user}: the key differs from the one used last: {fingerprint(tmp_path, 'new')} instead of" in done.err
    assert fingerprint(tmp_path, "old") in done.err
    forge.answers[f"/{user}.keys"] = (200, old)
    assert fetch(rollout.desk, roster, *options)[0].err == ""
    planned = rollout.desk.run("rollout", "plan", roster.with_name("new.csv"), "-o", rollout.file)
    assert planned.code == 0, planned.err


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (404, "", "answers that there is no such account"),
        (429, "", "too many requests (try again later)"),
        (500, "", "answers HTTP 500"),
        (302, "", "with a redirect, which is not followed"),
        (200, "<!DOCTYPE html><title>Sign in</title>", "is a web page, not a list of keys"),
        (200, "", "there is no key that can be used"),
        pytest.param(200, "x" * 300_000, "the response is too long", id="long"),
    ],
)
def test_an_answer_without_keys_is_explained(
    mfa_kit: MfaKit, forge: Forge, tmp_path: Path, status: int, text: str, said: str
) -> None:
    """The other users get their keys."""
    key = make_key(tmp_path, "bob")
    forge.answers = {"/alice.keys": (status, text), "/bob.keys": (200, key), "/elsewhere.keys": (200, key)}
    roster = tmp_path / "roster.csv"
    roster.write_text("user\nalice\nbob\n")
    done, rows = fetch(mfa_kit, roster, "--github", "user", "--base-url", forge.url)
    assert (done.code, [row["recipient"] for row in rows]) == (1, ["", key])
    assert said in done.err
    assert "/elsewhere.keys" not in [path for path, _ in forge.asked]


def test_keys_are_read_from_a_file(mfa_kit: MfaKit, recipient: str, tmp_path: Path) -> None:
    """Names and keys, of SSH and age, as `ssh-keygen` and `age-keygen -y` write them. JSON lists the result."""
    key = make_key(tmp_path, "alice")
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# keys\nalice {key} alice@laptop\nbob {recipient}\nbob ssh-dss AAAA\n\ncarol age1nonsense\n")
    roster = tmp_path / "roster.csv"
    roster.write_text("user\nalice\narn:aws:iam::123456789012:user/bob\ncarol\ndave\n")
    done, rows = fetch(mfa_kit, roster, "--from", keys, "--output", "json")
    assert (done.code, [row["recipient"] for row in rows]) == (1, [key, recipient, "", ""])
    assert rows[0]["recipient_source"] == str(keys)
    found = json.loads(done.out)
    assert (found["fetched"], found["unchanged"], found["no_key"]) == (2, 0, 2)
    assert "has no key of 'dave'" in done.err
    assert "carol: skipped an age key to which nothing can be encrypted" in done.err
    assert "not in the roster" not in done.err
    keys.write_text(f"alice\t{key}\nbob,{recipient} x\n")
    done, rows = fetch(mfa_kit, roster, "--from", keys)
    assert rows[0]["recipient"] == key
    assert f"{keys} has keys of 1 name not in the roster: 'bob,{recipient}'" in done.err
    keys.write_text("alice\n")
    assert "line 1 of" in fetch(mfa_kit, roster, "--from", keys)[0].err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "give --github COLUMN, or --from FILE"),
        (("--github", "login"), "has no column 'login'"),
        (("--github", "user", "--base-url", "http://forge.example.com"), "is not the address of a forge"),
        (("--github", "user", "--base-url", "https://user:pw@forge.example.com"), "is not the address of a forge"),
        (("--github", "user", "--base-url", "https://:pw@forge.example.com"), "is not the address of a forge"),
        (("--github", "user", "--base-url", "https://[forge"), "is not the address of a forge"),
        (("--github", "user", "-o", "roster.csv"), "would overwrite the roster"),
    ],
)
def test_wrong_options_are_explained(mfa_kit: MfaKit, tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    """Nothing is fetched and nothing is written."""
    roster = tmp_path / "roster.csv"
    roster.write_text("user\nalice\n")
    words = [str(roster) if word == "roster.csv" else word for word in more]
    done, rows = fetch(mfa_kit, roster, *words)
    assert (done.code, rows, said in done.err) == (2, [], True), done.err


def test_a_site_that_does_not_answer_is_named(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """No connection, and a login that cannot be one. CSV has a row per user."""
    roster = tmp_path / "roster.csv"
    roster.write_text("user,login\nalice,alice\nbob,../bob\n")
    options = ("--github", "login", "--base-url", "http://127.0.0.1:9", "--output", "csv")
    done, _ = fetch(mfa_kit, roster, *options)
    assert done.code == 1
    assert "alice: http://127.0.0.1:9/alice.keys cannot be read: ConnectionRefusedError" in done.err
    assert "bob: '../bob' is not the name of an account" in done.err
    assert [row["state"] for row in csv.DictReader(done.out.splitlines())] == ["no key", "no key"]


def test_a_certificate_that_is_not_trusted_is_explained(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """A forge of a company may have a certificate of the company's own CA. With that CA, its keys are read."""
    pem = tmp_path / "site.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    ca = tmp_path / "ca.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(pem), "-out", str(ca)]
    subprocess.run([*make, *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, pem)
    (tmp_path / "alice.keys").write_text(make_key(tmp_path, "alice"))
    (tmp_path / "roster.csv").write_text("user\nalice\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = f"https://localhost:{server.server_port}"
        words = ("recipients", "fetch", tmp_path / "roster.csv", "-o", tmp_path / "new.csv", "--github", "user")
        refused = mfa_kit.process(*words, "--base-url", site)
        trusted = mfa_kit.process(*words, "--base-url", site, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        server.shutdown()
    assert (refused.code, trusted.code) == (1, 0), trusted.err
    assert "is not trusted (self-signed certificate)" in refused.err
    assert "SSL_CERT_FILE" in refused.err


def test_a_broken_roster_is_named_by_line(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """Nothing is written."""
    roster = tmp_path / "roster.csv"
    roster.write_text("user,login\nalice,alice,surplus\n")
    done, rows = fetch(mfa_kit, roster, "--github", "login")
    assert (done.code, rows, "line 2: the row has 3 cells" in done.err) == (2, [], True)


@given(st.text(min_size=1))
def test_a_login_cannot_leave_its_path(login: str) -> None:
    """Fuzzed: the address has the forge's host, and one part of a path."""
    try:
        address = public_keys.keys_address("https://forge.example.com", login)
    except public_keys.FetchError:
        return
    rest = address.removeprefix("https://forge.example.com/")
    assert (address.startswith("https://forge.example.com/"), "/" in rest, "?" in rest) == (True, False, False)
    assert not rest.startswith("..")


@given(st.lists(st.text()))
def test_any_lines_are_sorted(lines: list[str]) -> None:
    """Fuzzed: skipped keys have printable names."""
    _, skipped = sort_keys(lines)
    assert all(name.isprintable() and len(name) < 100 for name in skipped)


def test_a_dry_run_writes_nothing(mfa_kit: MfaKit, recipient: str, tmp_path: Path) -> None:
    """It reads and reports."""
    roster, keys = tmp_path / "roster.csv", tmp_path / "keys.txt"
    roster.write_text("user\nalice\n")
    keys.write_text(f"alice {recipient}\n")
    done, rows = fetch(mfa_kit, roster, "--from", keys, "--dry-run")
    assert (done.code, rows, "fetched    1" in done.out) == (0, [], True), done.out


def test_the_choice_is_made_for_a_reason() -> None:
    """No key, one key, the wanted key, the key of before; and otherwise none."""
    ages = [f"age1{name}" for name in "abc"]
    found = FoundKeys(source="s", usable=ages)
    assert choose_recipient(found, fingerprint="", before=()).state is FetchState.NONE
    assert choose_recipient(found, fingerprint="", before=ages[:2]).state is FetchState.NONE
    assert choose_recipient(found, fingerprint="", before=["age1b", "age1x"]).recipient == "age1b"
    assert choose_recipient(found, fingerprint="age1c", before=["age1b"]).recipient == "age1c"
    with pytest.raises(UsageFault):
        public_keys.check_base("ftp://example.com")
