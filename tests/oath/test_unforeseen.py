"""Exceptions that nothing foresees, at the ports of OATH keys: nothing quotes them."""

import io
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from mfa_kit.adapters.oath.applet import Applet
from mfa_kit.cli import terminal
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from tests import pcsc
from tests.conftest import MfaKit, Result
from tests.faults.unforeseen import SECRET, Place, called_places, ending, incomplete, places_of, spread
from tests.rollout.person import AtStation
from tests.sizes import size

# The places at which nothing is raised, by the reason.
NOT_RAISED: dict[str, Sequence[str]] = {}
# AWS's check of a code of one's own device, which a key computes.
ACCEPTS = "IamReader.accepts of Iam"
PASSWORD = "a password"
ADMINISTRATOR = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# The exit code of a rollout in which a user was not enrolled.
NOT_DONE = 1
# The words of each command, those of what is done before, and the lines on stdin.
COMMANDS: dict[str, tuple[str, list[str], str]] = {
    "list": ("key list", [], ""),
    "info": ("key info", [], ""),
    "verify": ("verify oath", [], ""),
    "enroll": ("enroll USER --with oath --no-touch", [], ""),
    "verify a user": ("verify user USER", ["enroll USER --with oath --no-touch"], ""),
    "revoke": ("revoke USER --yes --leave-without-mfa", ["enroll USER --with oath --no-touch"], ""),
    "replace": ("replace USER --with oath --no-touch --yes", ["enroll USER --with oath --no-touch"], ""),
    "orphans": ("orphans list", [], ""),
    "set a password": ("key password set --password-stdin", [], f"{PASSWORD}\n"),
    "verify an own device": ("verify user @me", ["enroll USER --with oath --no-touch"], ""),
    "station": ("rollout station PLAN", [], ""),
}


@pytest.fixture
def commands(
    mfa_kit: MfaKit, at_lab: Lab, users: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Callable[[], Result]]:
    """Return a function that inserts a key and prepares a command, and returns what runs it."""
    numbers = count()

    def make(name: str) -> Callable[[], Result]:
        words, before, lines = COMMANDS[name]
        user = users()
        pcsc.plug(YkoathCard())
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / str(next(numbers))))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", at_lab.admin.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", at_lab.admin.secret_access_key)
        for each in before:
            assert mfa_kit.run(*each.replace("USER", user).split()).code == 0
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        if "@me" in words:
            at_lab.account.backend.get_user(user).policies["all"] = ADMINISTRATOR
            own = at_lab.account.backend.create_access_key(user)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", own.access_key_id)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own.secret_access_key)
        if "PLAN" in words:
            roster, plan = tmp_path / "roster.csv", tmp_path / f"plan-{user}.json"
            roster.write_text(f"user,kind\n{user},oath\n")
            assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
            words = words.replace("PLAN", str(plan))
            monkeypatch.setattr(terminal, "find_person", lambda **_: AtStation("q"))
        return lambda: mfa_kit.run(*words.replace("USER", user).split())

    return make


@pytest.mark.slow
@pytest.mark.timeout(size(180, 900))
def test_any_exception_at_a_port_of_an_oath_key_ends_cleanly(
    commands: Callable[[str], Callable[[], Result]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each method that a command calls, each class of exceptions: 100 in a full run."""
    everywhere = [*places_of("oath"), *(place for place in places_of("faults") if str(place) == ACCEPTS)]
    pairs: list[tuple[str, Place]] = []
    for name in COMMANDS:
        pairs += [(name, place) for place in called_places(everywhere, commands(name))]
    assert incomplete(map(str, everywhere), {str(place) for _, place in pairs}, NOT_RAISED) == []
    # The station shows the fault of a key, and goes on until the admin ends it.
    invalid = {"station": NOT_DONE}
    flaws = [
        (
            name,
            ending(
                place,
                error,
                commands(name),
                tmp_path,
                invalid=invalid.get(name, DeviceFault.exit_code) if place.owner is Applet else None,
            ),
        )
        for name, place, error in spread(size(15, 100), pairs)
    ]
    assert [flaw for flaw in flaws if flaw[1]] == []
    assert SECRET not in "".join(capfd.readouterr())
