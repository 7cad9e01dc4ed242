"""Tests of the program as a separate process, with a key behind a socket in place of /dev/hidraw."""

import json
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from mfa_kit.lab.devices.securitykey import SimulatedKey
from tests.fido.conftest import Desk, Port, Published


@pytest.fixture
def plain_key(key_at_process: SimulatedKey) -> SimulatedKey:
    """Make the other process's key one that requires no PIN."""
    key_at_process.behavior = replace(key_at_process.behavior, uv_not_required=True)
    return key_at_process


def test_a_process_exits_with_0_for_a_genuine_key(
    plain_key: SimulatedKey, process_desk: Desk, published: Published
) -> None:
    """The receipt is on stdout, and the messages are on stderr."""
    done = process_desk.process("verify", "fido2", "--output", "json", *published.options)
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "proof")
    assert done.err.splitlines() == ["reading blob.jwt …", "touch your key now (30 s)", "touch your key now (30 s)"]
    assert plain_key.resident == []


def until_it_waits(port: Port, process: "subprocess.Popen[str]") -> None:
    """Wait until the key reports that it waits for a touch."""
    while not any(wire.waits for wire in port.wires):
        assert process.poll() is None
        time.sleep(0.02)


def test_ctrl_c_sends_a_cancel_to_the_key(
    plain_key: SimulatedKey, process_desk: Desk, published: Published, port: Port
) -> None:
    """The key stops blinking, and the program exits with 130."""
    plain_key.behavior = replace(plain_key.behavior, touch=None)
    process = process_desk.start("verify", "fido2", *published.options)
    until_it_waits(port, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert any(wire.canceled for wire in port.wires)


def test_an_unplugged_key_ends_the_process(
    plain_key: SimulatedKey, process_desk: Desk, published: Published, port: Port
) -> None:
    """The key is unplugged while it waits for a touch. The exit code is 3."""
    plain_key.behavior = replace(plain_key.behavior, touch=None)
    process = process_desk.start("verify", "fido2", *published.options)
    until_it_waits(port, process)
    port.wires[-1].close()
    _, err = process.communicate(timeout=50)
    assert process.returncode == 3
    assert "the key was removed" in err
