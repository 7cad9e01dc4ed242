"""The program as a process of its own, with a key behind a socket in place of /dev/hidraw."""

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
    """Make the key of the other process one that asks for nothing."""
    key_at_process.behavior = replace(key_at_process.behavior, uv_not_required=True)
    return key_at_process


def test_a_process_verifies_and_says_so_by_its_status(
    plain_key: SimulatedKey, process_desk: Desk, published: Published
) -> None:
    """Stdout is the receipt and nothing else; stderr is the talk."""
    done = process_desk.process("verify", "fido2", "--output", "json", *published.options)
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "proof")
    assert done.err.splitlines() == ["reading blob.jwt …", "touch your key now (30 s)", "touch your key now (30 s)"]
    assert plain_key.resident == []


def until_it_waits(port: Port, process: "subprocess.Popen[str]") -> None:
    """Wait until the key says that it waits for a finger."""
    while not any(wire.waits for wire in port.wires):
        assert process.poll() is None
        time.sleep(0.02)


def test_ctrl_c_sends_a_cancel_to_the_key(
    plain_key: SimulatedKey, process_desk: Desk, published: Published, port: Port
) -> None:
    """It stops blinking, and the program ends with 130."""
    plain_key.behavior = replace(plain_key.behavior, touch=None)
    process = process_desk.start("verify", "fido2", *published.options)
    until_it_waits(port, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert any(wire.canceled for wire in port.wires)


def test_a_key_that_is_pulled_out_ends_the_process(
    plain_key: SimulatedKey, process_desk: Desk, published: Published, port: Port
) -> None:
    """With exit 3, while it waits for a finger."""
    plain_key.behavior = replace(plain_key.behavior, touch=None)
    process = process_desk.start("verify", "fido2", *published.options)
    until_it_waits(port, process)
    port.wires[-1].close()
    _, err = process.communicate(timeout=50)
    assert process.returncode == 3
    assert "the key was removed" in err
