"""One boot for all tests of the guest, and how long it took, told at the end."""

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, judge, without
from tests.guest import rig

GROUP = 877
# Nothing but users and a group that nobody has by chance, udevd as it stands, and one interpreter.
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
    """Boot once; every test looks at what came out."""
    for program in ("fido2-token", "fido2-cred", "fido2-assert", "udevadm"):
        judge(program)
    if not Path("/lib/systemd/systemd-udevd").exists():
        without("udev is not installed")
    ran = rig.boot(tmp_path_factory.mktemp("guest"), JOB)
    pytestconfig.stash[RAN] = ran
    assert ran.status == 0, ran.log
    return ran


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell the seconds, step by step, by the guest's own clock."""
    if ran := config.stash.get(RAN, None):
        terminalreporter.section(f"the guest ran {ran.seconds:.1f} s")
        terminalreporter.write_line(ran.log)
