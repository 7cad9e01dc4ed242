"""`mfa-kit udev` without a guest: what it says where it cannot work. tests/guest runs it with a real udevd."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mfa_kit.adapters.udev import rule
from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.core.errors import DeviceFault
from tests.conftest import MfaKit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "udev" / udev_rule.NAME).read_bytes()
# Writes the rule of the installation in the first argument to the folder in the second one.
WRITE_RULE = """
import site
import sys
from pathlib import Path
site.addsitedir(sys.argv[1])
from mfa_kit.adapters.udev import rule
rule.FOLDERS = (Path(sys.argv[2]),)
rule.write_rule()
print(rule.__file__)
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a missing folder in place of the system's udev rules."""
    folder = tmp_path / "rules.d"
    monkeypatch.setattr(udev_rule, "FOLDERS", (folder,))
    return folder


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("verb", ["install", "remove"])
def test_only_root_changes_rules(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """The hint is the whole command, because sudo does not search the folder of pipx."""
    monkeypatch.setattr(os, "geteuid", lambda: 1501)
    done = mfa_kit.run("udev", verb)
    assert (done.code, done.out) == (2, "")
    assert f'sudo "$(command -v mfa-kit)" udev {verb}' in done.err


def test_a_dry_run_changes_nothing(mfa_kit: MfaKit, rules: Path) -> None:
    """It shows the present state, and needs no root."""
    done = mfa_kit.run("udev", "install", "--dry-run", "--output", "json")
    assert (done.code, json.loads(done.out)["rule"], rules.exists()) == (0, None, False)


def test_the_rule_is_written_whole_and_replaces_an_older_one(rules: Path) -> None:
    """The file has mode 644, because udev's tools of other users read it too."""
    rules.mkdir()
    (rules / udev_rule.NAME).write_text("# old\n")
    assert not udev_rule.has_current_text(rules / udev_rule.NAME)
    written = udev_rule.write_rule()
    assert (written.read_bytes(), written.stat().st_mode & 0o777) == (TEXT, 0o644)
    assert [each.name for each in rules.iterdir()] == [udev_rule.NAME]
    assert udev_rule.find_rule() == written
    assert udev_rule.remove_rule()
    assert not udev_rule.remove_rule()


def test_a_folder_that_is_a_file_is_an_error(rules: Path) -> None:
    """The error names the file and the reason."""
    rules.write_text("")
    with pytest.raises(DeviceFault, match=r"70-mfa-kit\.rules cannot be written: (Not a directory|File exists)"):
        udev_rule.write_rule()
    with pytest.raises(DeviceFault, match=r"70-mfa-kit\.rules cannot be removed: Not a directory"):
        udev_rule.remove_rule()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "udevadm is not installed"),
        ("echo 'no\nudev' >&2; exit 1", "udevadm control failed: no udev"),
        ("exit 7", "udevadm control failed: exit code 7"),
    ],
    ids=["missing", "fails", "fails-silently"],
)
def test_a_udev_that_does_not_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    """A container has no udev, or one that nothing answers."""
    monkeypatch.setattr(rule, "PROGRAMS", str(tmp_path))
    if script is not None:
        (tmp_path / "udevadm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "udevadm").chmod(0o755)
    with pytest.raises(DeviceFault, match=said) as caught:
        rule.reload_rules()
    assert "host" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_each_installation_has_the_rule(tmp_path: Path, form: str) -> None:
    """The sources have the rule once, in the folder udev/. Only an editable installation reads it there."""
    sources, installed = tmp_path / "sources", tmp_path / "installed"
    # A build runs mfa_kit/__init__.py in a folder that is gone when coverage makes its report.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    names = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "mfa_kit",
            "udev",
            "hatch_build.py",
            "pyproject.toml",
            "*.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, sources / name)
    package = sources
    if form != "editable":
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", f"--{form}", "-o", tmp_path, sources],
            check=True,
            stdout=subprocess.DEVNULL,
            env=unmeasured,
        )
        [package] = tmp_path.glob("mfa_kit-*")
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    editable = ["-e"] if form == "editable" else []
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *flags, "--target", installed, *editable, package],
        check=True,
        env=unmeasured,
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WRITE_RULE, installed, tmp_path / "rules.d"],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured,
    )
    assert Path(done.stdout.strip()).is_relative_to(sources if editable else installed)
    assert (tmp_path / "rules.d" / udev_rule.NAME).read_bytes() == TEXT
    # It also has the package's texts, such as templates.
    texts = {name for name in names if name.startswith("mfa_kit/") and not name.endswith(".py")}
    assert {"mfa_kit/cli/html/page.html", "mfa_kit/letters/pin.md", "mfa_kit/policy/org_role.yaml"} <= texts
    place = Path(done.stdout.strip()).parents[3]
    assert [name for name in texts if (place / name).read_bytes() != (ROOT / name).read_bytes()] == []
