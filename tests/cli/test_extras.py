"""Each command with only the base dependencies: a command that needs an extra names it, and none ends in a bug."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from shlex import join, split

import pexpect
import pytest
from packaging.requirements import Requirement

from mfa_kit.cli.main import COMMANDS
from mfa_kit.cli.options import Rows
from mfa_kit.core.errors import InternalError
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.settings import command_for_extra
from tests.conftest import ROOT, bare
from tests.fork_server import ForkServer, fork_server
from tests.sizes import FULL

# The arguments that lead each command to its work; FILES are those of the folder that `ports` prepares.
WORDS = {
    "enroll": "enroll ann --with virtual --codes generated -r {recipient}",
    "replace": "replace bob --with virtual --codes generated -r {recipient} --yes",
    "revoke": "revoke cleo --leave-without-mfa --yes",
    "recipients fetch": "recipients fetch roster.csv -o fetched.csv --from keys.txt",
    "orphans clean": "orphans clean --yes",
    "orphans list": "orphans list",
    "accounts export": "accounts export -o accounts.json",
    "audit": "audit",
    "evidence export": "evidence export -o evidence.zip --sign keys.txt",
    "policy explain": "policy explain",
    "policy lint": "policy lint policy.json",
    "policy lockout": "policy lockout",
    "policy offboard": "policy offboard alice",
    "policy onboard": "policy onboard",
    "policy org-role": "policy org-role",
    "policy show": "policy show",
    "rollout activate": "rollout activate -i {identity}",
    "rollout apply": "rollout apply plan.json -r {recipient}",
    "rollout bench": "rollout bench oath.json -r {recipient}",
    "rollout finish": "rollout finish plan.json",
    "rollout handover": "rollout handover plan.json -o letters",
    "rollout plan": "rollout plan roster.csv -o new.json",
    "rollout post": "rollout post plan.json",
    "rollout remind": "rollout remind plan.json",
    "rollout station": "rollout station oath.json -r {recipient}",
    "rollout status": "rollout status plan.json --output html",
    "rollout undo": "rollout undo {run} --yes",
    "rollout work": "rollout work plan.json -r {recipient}",
    "session": "session --profile desk",
    "status": "status",
    "usage update": "usage update --cloudtrail .",
    "resync": "resync dan -i {identity}",
    "verify fido2": "verify fido2",
    "verify oath": "verify oath",
    "verify token": "verify token 10001001 --seeds seeds.csv --codes-stdin",
    "verify user": "verify user dan",
    "key info": "key info",
    "key list": "key list",
    "key metadata": "key metadata yubikey",
    "key password change": "key password change --password-stdin",
    "key password clear": "key password clear --password-stdin --yes",
    "key password set": "key password set --password-stdin",
    "key pin change": "key pin change",
    "key pin policy": "key pin policy --min-length 6",
    "key pin set": "key pin set",
    "key recall": "key recall",
    "key reset": "key reset --yes",
    "token accept": "token accept seeds.csv --no-input",
    "token import": "token import seeds.csv",
    "token list": "token list",
    "backup add": "backup add dan --image code.png -r {recipient}",
    "backup drill": "backup drill {backup} -i {identity} --from oath",
    "backup exposed": "backup exposed -r {recipient}",
    "backup list": "backup list",
    "backup passphrase": "backup passphrase {identity}",
    "backup prune": "backup prune --yes",
    "backup recipients": "backup recipients",
    "backup rekey": "backup rekey -i {identity} -r {recipient}",
    "backup restore": "backup restore {backup} -i {identity} --to oath",
    "backup show": "backup show {backup} -i {identity} -o shown.png",
    "backup verify": "backup verify {backup} -i {identity}",
    "break-glass create": "break-glass create --threshold 1 --custodian ann={recipient} --dir second",
    "break-glass custodians": "break-glass custodians --threshold 1 --custodian ann={recipient} -i {identity}",
    "break-glass drill": "break-glass drill -i {identity}",
    "break-glass open": "break-glass open --backup {backup} -i {identity}",
    "break-glass pass": "break-glass pass {set} -i {identity} -o next.age",
    "break-glass rotate": "break-glass rotate -i {identity}",
    "break-glass status": "break-glass status",
    "ledger copy": "ledger copy --ledger host=127.0.0.1",
    "ledger export": "ledger export",
    "ledger grants": "ledger grants",
    "ledger init": "ledger init --ledger host=127.0.0.1",
    "ledger migrate": "ledger migrate --ledger host=127.0.0.1",
    "ledger reconcile": "ledger reconcile",
    "ledger show": "ledger show",
    "ledger status": "ledger status --ledger host=127.0.0.1",
    "doctor": "doctor",
    "config path": "config path",
    "config show": "config show",
    "config validate": "config validate",
    "completion": "completion bash",
    "help": "help",
    "man": "man --dir man",
    # Not for real: the tests may run as root.
    "udev install": "udev install --dry-run",
    "udev remove": "udev remove --dry-run",
    "udev status": "udev status",
    "lab card": "lab card -- true",
    "lab fido-register": "lab fido-register ann key",
    "lab key": "lab key -- true",
    "lab run": "lab run -- true",
    "lab serve": "lab serve",
    "lab tour": "lab tour",
}
# Commands that do nothing without an extra.
NEEDS = {
    "oath": [
        *("rollout bench", "rollout station", "verify oath", "verify user", "backup drill", "backup restore"),
        *("key info", "key list", "key password change", "key password clear", "key password set"),
    ],
    "tokens": ["verify token", "token accept", "token import"],
    "lab": ["lab run", "lab serve", "lab tour"],
    "postgres": ["ledger copy", "ledger init", "ledger migrate", "ledger status"],
}
# Commands that ask before they look at a key.
AT_TERMINAL = {"rollout bench", "rollout station"}


def verbs(rows: Rows, *before: str) -> Iterator[str]:
    """Yield the words of each command in a table."""
    for name, row in rows.items():
        if isinstance(row.held, str):
            yield " ".join([*before, name])
        else:
            yield from verbs(row.held, *before, name)


def base() -> dict[str, Distribution]:
    """Return the distributions that `pip install mfa-kit` installs, by name."""
    found: dict[str, Distribution] = {}
    asked, seen = [("mfa-kit", "")], set()
    while asked:
        if (each := asked.pop()) in seen:
            continue
        seen.add(each)
        name, extra = each
        found[name] = distribution(name)
        for line in found[name].requires or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                asked += [(one.name, wanted) for wanted in ("", *one.extras)]
    del found["mfa-kit"]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package and its base dependencies. With `-S`, Python finds nothing else."""
    folder = tmp_path_factory.mktemp("site")
    for one in base().values():
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(one.locate_file(top)))
    (folder / "mfa_kit").symlink_to(ROOT / "mfa_kit")
    return folder


@dataclass
class Desk:
    """A folder with the files that WORDS names, values for the braces in them, and the environment of a lab."""

    folder: Path
    values: dict[str, str]
    env: dict[str, str]
    site: Path
    without_extras: ForkServer

    def run(self, line: str, *, extras: bool = False, terminal: bool = False) -> tuple[int, str]:
        """Run a command with the base dependencies or with everything; return its exit code and all output."""
        args = split(line.format_map(self.values))
        path = ROOT if extras else self.site
        env = {**bare(), "PYTHONPATH": str(path), "MFA_KIT_HOME": str(self.folder / "home"), **self.env}
        if not terminal and not FULL:
            server = fork_server() if extras else self.without_extras
            code, out, err = server.run(args, env, timeout=150, cwd=self.folder)
            return code, out + err
        words = [sys.executable, *([] if extras else ["-S"]), "-m", "mfa_kit", *args]
        if terminal:
            ran = pexpect.run(join(words), cwd=self.folder, env=env, encoding="utf-8", withexitstatus=True)
            assert isinstance(ran, tuple)
            return int(ran[1]), str(ran[0])
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=env,
            check=False,
            text=True,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def desk(recipient: str, identity_file: Path, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Run a lab with a few users, some of whom have devices."""
    folder = tmp_path_factory.mktemp("desk")
    values = {"recipient": recipient, "identity": str(identity_file)}
    (folder / "policy.json").write_text('{"Version": "2012-10-17", "Statement": []}')
    (folder / "roster.csv").write_text(f"user,kind,recipient\neve,virtual,{recipient}\n")
    (folder / "keys.txt").write_text(f"eve {recipient}\n")
    (folder / "oath.csv").write_text(f"user,kind,recipient\nfay,oath,{recipient}\n")
    (folder / "seeds.csv").write_text(
        "serial number,secret key,time interval\n10001001,JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP,30\n"
    )
    with Lab() as lab, closing(ForkServer([sys.executable, "-S"], PYTHONPATH=str(site))) as without_extras:
        for name in ("ann", "bob", "cleo", "dan", "eve", "fay", "gus"):
            lab.add_user(name)
        desk = Desk(folder, values, dict(lab.env), site, without_extras)
        done = [
            desk.run(f"enroll {name} --with virtual --codes generated -r {{recipient}}", extras=True)
            for name in ("bob", "cleo", "dan")
        ]
        (backup,) = (folder / "home" / "backups").glob("*/dan/*.png.age")
        values |= {"backup": str(backup), "set": "glass/set-01-ann.age"}
        done += [
            desk.run(line, extras=True)
            for line in (
                "backup show {backup} -i {identity} -o code.png",
                "rollout plan roster.csv -o plan.json",
                "rollout plan oath.csv -o oath.json",
                "rollout plan --only gus -o staged.json",
                "token import seeds.csv",
                "break-glass create --threshold 1 --custodian ann={recipient} --dir glass",
                "rollout apply staged.json -r {recipient} --stage",
            )
        ]
        assert all(code == 0 for code, _ in done), done
        (values["run"],) = re.findall(r"^run +(\S+)$", done[-1][1], re.MULTILINE)[-1:]
        yield desk


def test_each_command_has_a_row_here() -> None:
    """A new command needs a new row."""
    assert sorted(WORDS) == sorted(verbs(COMMANDS))


def test_the_folder_has_the_base_dependencies_only(site: Path) -> None:
    """Otherwise the tests below would find nothing missing, or everything."""
    for module, there in [("boto3", True), ("fido2", True), ("ykman", False), ("moto", False), ("pskc", False)]:
        words, env = [sys.executable, "-S", "-c", f"import {module}"], {"PYTHONPATH": str(site)}
        done = subprocess.run(words, env=env, check=False, capture_output=True)
        assert (done.returncode == 0) == there, module


@pytest.mark.slow
@pytest.mark.parametrize("verb", WORDS)
def test_no_command_ends_in_a_bug_without_the_extras(verb: str, desk: Desk) -> None:
    """A command that can do nothing without an extra exits with 2 and prints the command that installs the extra."""
    code, out = desk.run(WORDS[verb], terminal=verb in AT_TERMINAL)
    assert code != InternalError.exit_code, out
    assert "internal error" not in out
    extra = next((extra for extra, needy in NEEDS.items() if verb in needy), None)
    if extra:
        assert (code, f"try: pip install 'mfa-kit[{extra}]'" in out) == (2, True), out
    else:
        assert "see mfa-kit" not in out, "its work was not reached"


def test_the_page_names_its_extra(desk: Desk) -> None:
    """Nothing is created before the error."""
    code, out = desk.run("enroll ann --with virtual --page")
    assert (code, "try: pip install 'mfa-kit[page]'" in out) == (2, True), out


@pytest.mark.parametrize("verb", ["enroll ann", "replace dan"])
def test_a_method_names_its_extra(verb: str, desk: Desk) -> None:
    """Nothing is created or removed before the error."""
    code, out = desk.run(f"{verb} --with oath --yes")
    assert (code, "try: pip install 'mfa-kit[oath]'" in out) == (2, True), out


@pytest.mark.parametrize(
    ("receipt", "command"),
    [
        ("pipx_metadata.json", "pipx runpip 'mfa kit' install 'mfa-kit[lab]'"),
        ("uv-receipt.toml", "uv pip install --python '{place}' 'mfa-kit[lab]'"),
        ("pyvenv.cfg", "pip install 'mfa-kit[lab]'"),
    ],
)
def test_the_command_for_an_extra_is_that_of_the_installer(
    receipt: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Debian 13, pip installs nothing outside a virtual environment, and pipx and uv make theirs without pip.

    `.ci/run` runs both commands.
    """
    place = tmp_path / "mfa kit"
    place.mkdir()
    (place / receipt).touch()
    monkeypatch.setattr(sys, "prefix", str(place))
    assert command_for_extra("lab") == command.format(place=place)
