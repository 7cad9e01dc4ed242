"""Boots the guest once for all its tests, and prints how long it took at the end."""

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, judge, without
from tests.guest import rig

GROUP = 877
# The guest has only two users, a group whose ID is unlikely to be in use, Debian's udevd, and one interpreter.
JOB = f"""#!/bin/bash
set -e
{rig.reachable()}
echo 'mfa-kit:x:{GROUP}:alice' >>/etc/group
printf '%s:x:%s:100::/run/%s:/bin/sh\\n' alice 1501 alice bob 1502 bob >>/etc/passwd
modprobe -a uhid hid_generic
/lib/systemd/systemd-udevd --daemon
PYTHONPATH={ROOT} exec {sys.executable} -m tests.guest.inside
"""
RAN = pytest.StashKey[rig.Ran]()


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> rig.Ran:
    """Boot once. Every test checks the results of this boot."""
    for program in ("fido2-token", "fido2-cred", "fido2-assert", "udevadm"):
        judge(program)
    if not Path("/lib/systemd/systemd-udevd").exists():
        without("udev is not installed")
    ran = rig.boot(tmp_path_factory.mktemp("guest"), JOB)
    pytestconfig.stash[RAN] = ran
    assert ran.status == 0, ran.log
    return ran


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seconds of each step by the guest's own clock."""
    if ran := config.stash.get(RAN, None):
        terminalreporter.section(f"the guest ran {ran.seconds:.1f} s")
        terminalreporter.write_line(ran.log)
