"""Another enrollment method takes one file and one row: the tests add one to a copy of the package and use it."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, ROOT, MfaKit, Result

METHOD = '''"""The seed on a slip of paper; the codes are computed here, from it."""

from dataclasses import dataclass, field

from mfa_kit.core.models import Method
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.rollout.roster import RosterMethod
from mfa_kit.wiring.methods.method import OPTION, Context, EnrollmentMethod, Option, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipOptions(Options):
    """The options of `--with slip`."""

    color: str | None = field(default=None, metadata={OPTION: Option(help="The color of the paper.", metavar="COLOR")})

    def backend(self, context: Context) -> DeviceBackend:
        """Say of which color the slip is."""
        context.settings.progress.note(f"a {self.color} slip")
        return BackupAlone(context.iam_reader.now)


SLIP = Method("slip")
METHOD = EnrollmentMethod(
    method=SLIP,
    help="a slip of paper",
    options=SlipOptions,
    roster_method=RosterMethod(method=SLIP),
    call="hand {user} a slip, and {enter}",
    usage=lambda spec, _: [f"{spec.user} types the seed off the slip"],
)
'''
ROW = '        "slip": "mfa_kit.wiring.methods.slip:METHOD",\n'
BEFORE = '        "programmable": "mfa_kit.wiring.methods.tokens:PROGRAMMED",\n'


@pytest.fixture
def run(mfa_kit: MfaKit, tmp_path: Path) -> Callable[..., Result]:
    """Add the file and the row to a copy of the package, and return a function that runs its commands as processes."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "mfa_kit", copy / "mfa_kit", ignore=shutil.ignore_patterns("__pycache__"))
    methods = copy / "mfa_kit" / "wiring" / "methods"
    (methods / "slip.py").write_text(METHOD)
    rows = (methods / "registry.py").read_text()
    assert rows.count(BEFORE) == 1
    (methods / "registry.py").write_text(rows.replace(BEFORE, BEFORE + ROW))
    env = {"PYTHONPATH": str(copy), "COLUMNS": "80"}
    return partial(mfa_kit.process, cwd=copy, env=env)


def test_help_lists_the_method_and_its_options(run: Callable[..., Result]) -> None:
    """The method is in the list of methods and has its own help. The station has its options."""
    listed = run("enroll", "--help").out
    assert "slip          a slip of paper" in listed
    assert "programmable|slip" in listed
    assert "--color COLOR" in run("enroll", "--with", "slip", "--help").out
    assert "slip" in run("rollout", "station", "--help").out


def test_a_user_is_enrolled_with_the_new_method(
    run: Callable[..., Result], user: str, recipient: str, at_lab: Lab
) -> None:
    """The method's option takes effect. The method's name is in the result, in the tags and in the ledger."""
    words = ("enroll", user, "--with", "slip", "--color", "blue", "-r", recipient, "--output", "json")
    done = run(*words)
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert (row["outcome"], row["kind"]) == ("enrolled", "slip")
    assert "a blue slip" in done.err
    assert f"{user} types the seed off the slip" in done.err
    tags = at_lab.account.backend.device(row["device"]).tags
    assert tags["mfa-kit:kind"] == "slip"
    assert run("revoke", user, "--yes", "--leave-without-mfa").code == 0


def test_other_methods_refuse_its_options(run: Callable[..., Result], user: str) -> None:
    """The error names the option and its method."""
    done = run("enroll", user, "--with", "virtual", "--color", "blue")
    assert (done.code, "--color belongs to --with slip" in done.err) == (2, True)


def test_a_roster_and_a_plan_can_name_the_new_method(run: Callable[..., Result], user: str, tmp_path: Path) -> None:
    """An unknown word is refused, with a list of the methods. A row with the new method is left for the station."""
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind\n{user},stone\n")
    refused = run("rollout", "plan", roster, "-o", plan)
    assert "use one of virtual, oath, programmable, slip, hardware-totp, fido2, pair, self" in refused.err
    roster.write_text(f"user,kind\n{user},slip\n")
    done = run("rollout", "plan", roster, "-o", plan)
    assert done.code == 0, done.err
    (row,) = json.loads(plan.read_text())["rows"]
    assert (row["user"], row["kind"], row["action"]) == (user, "slip", "bench")
    status = json.loads(run("rollout", "status", plan, "--output", "json").out)
    assert [each["user"] for each in status["rows"]] == [user]
    assert ACCOUNT in plan.read_text()
