"""An IAM that answers with impossible values: each command ends with one sentence, never with an internal error."""

import http.client
import http.server
import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from mfa_kit.adapters.aws import answers
from mfa_kit.enrollment import settling
from mfa_kit.lab.aws.server import Lab
from tests.adapters.test_hostile_server import send, serve
from tests.conftest import MfaKit, Result
from tests.sizes import size

LOCKED_OUT, INTERNAL = 6, 70
ELEMENT = re.compile(rb"(?<=<)(\w+)>([^<>]+)(?=</\1>)")
VALUES = [
    "",
    "0",
    "-1",
    "1970-01-01T00:00:00Z",
    "2050-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "inf",
    "1e999",
    "nan",
    "arn:",
    "arn:aws:iam::000000000000:mfa/",
    "arn:aws:iam:::::::",
    "%ED%A0%80%00",
    "%7B%22Version%22%3A 1e999%7D",
    "\u202e\u2028\x85&#13;&#10;&#9;",
    "\N{MATHEMATICAL BOLD DIGIT ONE}",
    "A" * 70_000,
    "=cmd|'/c'!A0",
    "../../../../etc/passwd",
    "iVBORw0KGgo=",
    "[[[[[[",
]
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
COMMANDS: dict[str, list[str]] = {
    "enroll": ["enroll", "new", "--with", "virtual", "--codes", "generated", "-r", "RECIPIENT"],
    "status": ["status"],
    "status of one": ["status", "used"],
    "orphans": ["orphans", "list"],
    "replace": ["replace", "used", "--yes", "--with", "virtual", "--codes", "generated", "-r", "RECIPIENT"],
    "revoke": ["revoke", "used", "--leave-without-mfa", "--yes"],
    "audit": ["audit"],
    "lockout": ["policy", "lockout", "--policy", "POLICY"],
    "plan": ["rollout", "plan", "--only", "new", "-o", "PLAN"],
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try as often as usual, without waiting: these answers do not improve."""
    defaults = answers.read.__kwdefaults__
    assert defaults is not None
    assert defaults["pauses"] == answers.READ_PAUSES
    monkeypatch.setitem(defaults, "pauses", tuple(0 for _ in answers.READ_PAUSES))
    monkeypatch.setattr(settling, "PAUSES", tuple(0 for _ in settling.PAUSES))
    monkeypatch.setattr(settling, "UNCLEAR_PAUSES", tuple(0 for _ in settling.UNCLEAR_PAUSES))


class Liar:
    """A server between a command and the lab that replaces one element in all answers."""

    def __init__(self, lab: Lab, lie: tuple[str, str]) -> None:
        self._lab, self._lie = lab, lie
        self.seen: dict[str, None] = {}

    def __call__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Forward a request with its headers, because the signature covers the host."""
        connection = http.client.HTTPConnection(self._lab.url.removeprefix("http://"), timeout=20)
        connection.request("POST", handler.path, handler.body, dict(handler.headers.items()))  # type: ignore[attr-defined]
        answer = connection.getresponse()
        content = ELEMENT.sub(self._replace, answer.read())
        connection.close()
        send(handler, answer.status, content, date=answer.headers["Date"])

    def _replace(self, found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        self.seen[name] = None
        return found[1] + b">" + self._lie[1].encode() if self._lie[0] == name else found[0]


@pytest.mark.slow
@pytest.mark.timeout(size(900, 3600))
@pytest.mark.parametrize("command", COMMANDS)
def test_no_answer_ends_in_an_internal_error(
    command: str,
    mfa_kit: MfaKit,
    recipient: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Callable[[str, int], None],
) -> None:
    """An element that the command reads is replaced by each of the values in turn."""
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    numbers = count()

    def run(lie: tuple[str, str]) -> tuple[Result, list[str]]:
        home = tmp_path / str(next(numbers))
        monkeypatch.setenv("MFA_KIT_HOME", str(home))
        words = {"RECIPIENT": recipient, "PLAN": str(home / "plan.json"), "POLICY": str(policy)}
        with Lab() as lab:
            for name, value in lab.env.items():
                monkeypatch.setenv(name, value)
            lab.add_user("new")
            lab.add_user("used")
            assert mfa_kit.run("enroll", "used", "--with", "virtual", "--codes", "generated", "-r", recipient).code == 0
            liar = Liar(lab, lie)
            with serve(liar) as address:
                monkeypatch.setenv("AWS_ENDPOINT_URL", address)
                return mfa_kit.run(*(words.get(word, word) for word in COMMANDS[command])), list(liar.seen)

    done, elements = run(("", ""))
    assert done.code in {0, 1, LOCKED_OUT}, done.err
    every = [(element, value) for element in elements for value in VALUES]
    cases = every[:: max(1, len(every) // size(5, 250))]
    ends = {case: run(case)[0] for case in cases}
    assert [(case, done.err) for case, done in ends.items() if done.code == INTERNAL or "Traceback" in done.err] == []
    tried(f"impossible values in {command}", len(cases))
