"""`mfa-kit udev` without a guest: what it says where it cannot work. tests/guest runs it with a real udevd."""

import json
import os
from pathlib import Path

import pytest

from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.adapters.udev import system
from mfa_kit.core.errors import DeviceFault
from tests.conftest import MfaKit

TEXT = Path(udev_rule.__file__).with_name(udev_rule.NAME).read_bytes()


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
    monkeypatch.setattr(system, "PROGRAMS", str(tmp_path))
    if script is not None:
        (tmp_path / "udevadm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "udevadm").chmod(0o755)
    with pytest.raises(DeviceFault, match=said) as caught:
        system.reload_rules()
    assert "host" in caught.value.hint
