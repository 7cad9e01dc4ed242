"""Tests of a box of keys, one after another: insert, result, "remove this key", and a tally."""

import csv
import io
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from tests.conftest import ROOT
from tests.fido.conftest import SITE, Desk, Port, Published


class Watched:
    """`verify fido2 --watch` in a process, with one port."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path) -> None:
        self.process, self.path, self.said = process, path, ""

    def until(self, text: str) -> None:
        """Read the output up to a line with this text."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.said += line
            if text in line:
                return
        raise AssertionError(self.said)

    def examine(self, key: SimulatedKey, *, until: str = "remove this key") -> None:
        """Plug in a key, wait until mfa-kit has judged it, and unplug it."""
        port = Port(self.path, key)
        self.until(until)
        port.close()
        self.until("insert a key")

    def end(self) -> tuple[int, str]:
        """Press Ctrl-C. Return the exit code and the output."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=120)
        self.said += err
        return self.process.returncode, out


pytestmark = pytest.mark.slow
Watch = Callable[..., Watched]


@pytest.fixture
def watch(tmp_path: Path, published: Published) -> Iterator[Watch]:
    """Start a watch."""
    running: list[Watched] = []

    def begin(*args: str) -> Watched:
        path = tmp_path / "port"
        ports = f"/dev/hidraw0={path}:/dev/hidraw1={tmp_path / 'second'}"
        env = {"TEST_HID_PORTS": ports, "PYTHONPATH": f"{SITE}:{ROOT}"}
        desk = Desk(tmp_path / "desk", env)
        watched = Watched(desk.start("verify", "fido2", "--watch", *published.options, *args), path)
        running.append(watched)
        watched.until("insert a key")
        return watched

    yield begin
    for each in running:
        with each.process:
            each.process.kill()


def test_a_box_of_keys_has_a_line_for_each_and_a_count(watch: Watch, maker: AttestationCa) -> None:
    """A refused key makes the exit code 1, and a repeated key is reported but not counted."""
    good, bad = lab_key(maker), lab_key(maker, behavior=KeyBehavior(attestation="self"))
    watched = watch("--output", "jsonl", "--asset", "BOX")
    watched.examine(good)
    watched.examine(bad)
    watched.examine(good)
    code, out = watched.end()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["verdict"], row["asset"]) for row in rows] == [("proof", "BOX-1"), ("refused", "BOX-2")]
    assert code == 1
    assert "this key was already checked" in watched.said
    assert "1 proof, 1 refused" in watched.said
    assert good.registered == 1


def test_a_spreadsheet_has_one_header(watch: Watch, maker: AttestationCa) -> None:
    """The output is CSV. The exit code is 0 when all keys pass."""
    watched = watch("--output", "csv")
    for _ in range(2):
        watched.examine(lab_key(maker))
    code, out = watched.end()
    assert code == 0
    assert [row["verdict"] for row in csv.DictReader(io.StringIO(out))] == ["proof", "proof"]


def test_a_key_that_needs_a_pin_first_is_skipped(watch: Watch, maker: AttestationCa) -> None:
    """A message says what to do, and the key is counted separately."""
    watched = watch()
    watched.examine(lab_key(maker, behavior=KeyBehavior(always_uv=True)))
    watched.examine(lab_key(maker))
    code, out = watched.end()
    assert code == 1
    assert "set a PIN first" in watched.said
    assert "1 not judged, 1 proof" in watched.said
    assert out == "proof  mfa-kit lab key\n"


def test_two_keys_at_once_are_not_judged(watch: Watch, maker: AttestationCa, tmp_path: Path) -> None:
    """The program waits until one of the keys is unplugged."""
    watched = watch()
    both = Port(tmp_path / "port", lab_key(maker)), Port(tmp_path / "second", lab_key(maker))
    watched.until("one at a time")
    both[1].close()
    watched.until("remove this key")
    both[0].close()
    assert watched.end()[0] == 0


def test_a_table_says_why_a_key_is_refused(watch: Watch, maker: AttestationCa) -> None:
    """The reason is in the key's line."""
    watched = watch()
    watched.examine(lab_key(maker, behavior=KeyBehavior(attestation="none")))
    _, out = watched.end()
    assert out == "refused  genuine: no attestation by the manufacturer, so the manufacturer is not proven\n"


def test_a_line_of_the_table_is_one_line(watch: Watch, maker: AttestationCa) -> None:
    """With a line break, text of a key could look like the result of another key."""
    watched = watch("--asset", "desk\nproof  another")
    watched.examine(lab_key(maker))
    assert watched.end() == (0, "proof  mfa-kit lab key  desk\\nproof  another-1\n")


def test_a_watch_refuses_the_options_of_a_single_key(desk: Desk, published: Published) -> None:
    """The usage error comes before any key is searched for."""
    assert desk.run("verify", "fido2", "--watch", "--key", "/dev/hidraw0", *published.options).code == 2
    assert desk.run("verify", "fido2", "--watch", "--pin-stdin", *published.options).code == 2
