"""Runs in the guest as root: the lab's keys on uhid, the lab's IAM, and two users, one of them with access to keys.

Imports take ten seconds there, so there is one interpreter. The users are processes that are forked before anything
else runs. They have no privileges, and each runs the command line as `main` would. This process registers a key in the
console or pulls one out when it sees that mfa-kit waits for that.
"""

import contextlib
import io
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from mfa_kit.adapters.aws import iam
from mfa_kit.adapters.fido import key as fido_key
from mfa_kit.adapters.ledger import sqlite_database
from mfa_kit.adapters.metadata import index as mds
from mfa_kit.cli.main import run
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices import ctaphid
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.ctaphid import KEEPALIVE, CtapHid
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.wiring import doctor

ROOT = Path(__file__).parents[2]
OUT = Path("/out")
HIDRAW = Path("/sys/class/hidraw")
FIDO = ctaphid.REPORTS
# A vendor's own usage page, 0xFF00, in place of FIDO's. Many keyboards and mice have one beside their keys.
NOT_FIDO = FIDO.replace(bytes.fromhex("06d0f1"), bytes.fromhex("0600ff"))
PUBLIC = Path("/run/mds")
PIN, NEW_PIN = "pin-5839-canary", "new-7712-canary"
LOOKS = 2
ENROLL = ("--asset", "BOX-7", "--output", "json")
# Stands in for a browser: records the file mode of the page, and follows its link to the console.
BROWSER = """#!/bin/bash
file=${1#file://}
stat -c %a "$file" >"$HOME/page"
address=$(sed -n 's/.*url=\\([^"]*\\)".*/\\1/p' "$file" | sed 's/&amp;/\\&/g')
busybox wget -q -O - "$address" >>"$HOME/page"
"""
# These modules are loaded before the users are forked.
LOADED = (iam, sqlite_database, mds, fido_key)
FOUND: dict[str, Any] = {}


class Person:
    """A user of the guest: a process with the user's ID that takes one request per line."""

    def __init__(self, name: str) -> None:
        self.name = name
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            try:
                _be(name)
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._talk = ours.makefile("rw", encoding="utf-8")

    def begin(self, **what: Any) -> None:
        self._talk.write(json.dumps(what) + "\n")
        self._talk.flush()

    def end(self) -> Any:
        return json.loads(self._talk.readline())

    def do(self, **what: Any) -> Any:
        self.begin(**what)
        return self.end()

    def mfa_kit(self, *args: str, stdin: str = "", env: dict[str, str] | None = None) -> Any:
        return self.do(args=args, stdin=stdin, env=env or {})

    def may_open(self, node: str) -> bool:
        return bool(self.do(open=node))

    def doctor(self) -> Any:
        """Return the checks of `doctor` on access to keys for this user. The other checks of `doctor` are about AWS."""
        return self.do(doctor=True)

    def program(self, *args: str, stdin: str = "") -> dict[str, Any]:
        """Run a program of Debian's as this user."""
        who = pwd.getpwnam(self.name)
        began = time.monotonic()
        done = subprocess.run(
            args,
            input=stdin,
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=os.getgrouplist(self.name, who.pw_gid),
            cwd=who.pw_dir,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        _tell(f"{self.name}: {args[0]} {args[1]} ended with {done.returncode}", began)
        return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def _be(name: str) -> None:
    who = pwd.getpwnam(name)
    Path(who.pw_dir).mkdir()
    os.chown(who.pw_dir, who.pw_uid, who.pw_gid)
    os.initgroups(name, who.pw_gid)
    os.setgid(who.pw_gid)
    os.setuid(who.pw_uid)
    os.chdir(who.pw_dir)
    os.environ |= {"HOME": who.pw_dir, "MFA_KIT_HOME": f"{who.pw_dir}/desk"}


def _serve(talk: socket.socket) -> None:
    file = talk.makefile("rw", encoding="utf-8")
    for line in file:
        asked = json.loads(line)
        if node := asked.get("open"):
            answer: Any = _opens(node)
        elif asked.get("doctor"):
            answer = {check.what: [check.health, check.found, check.hint] for check in doctor.diagnose_device_access()}
        else:
            os.environ.update(asked["env"])
            answer = _run(asked["args"], asked["stdin"])
        file.write(json.dumps(answer) + "\n")
        file.flush()


def _opens(node: str) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR))
    except PermissionError:
        return False
    return True


def _run(args: list[str], stdin: str) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(args)
    _tell(f"mfa-kit {' '.join(args[:3])} ended with {code}", began)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


class Wire(ctaphid.Uhid):
    """A wire that knows whether the key waits for a touch."""

    waits = False

    def send(self, packet: bytes) -> None:
        self.waits = packet[4] == 0x80 | KEEPALIVE
        super().send(packet)


@contextlib.contextmanager
def plugged(key: SimulatedKey | None, *, product: str = "mfa-kit lab key") -> Iterator[tuple[str, Wire]]:
    """Plug in a key, or a device that is not a key. Yield its node after udev has handled it."""
    before = set(HIDRAW.iterdir())
    ctaphid.REPORTS = FIDO if key else NOT_FIDO
    with Wire(ctaphid.open_uhid(), product=product, serial="LAB-7") as wire:
        thread = threading.Thread(target=CtapHid(key, wire).serve) if key else None
        if thread:
            thread.start()
        node = str(_wait(lambda: next(filter(Path.exists, _nodes(set(HIDRAW.iterdir()) - before)), None)))
        number = Path(node).stat().st_rdev
        known = Path(f"/run/udev/data/c{os.major(number)}:{os.minor(number)}")
        # `settle` alone may look before the daemon has heard of the device.
        _wait(known.exists)
        subprocess.run(["udevadm", "settle"], check=True)
        try:
            yield node, wire
        finally:
            wire.stop()
            if thread:
                thread.join()
    ctaphid.REPORTS = FIDO
    # The next device may get the same number, and would look as if the daemon knew it already.
    _wait(lambda: not Path(node).exists() and not known.exists())


def _nodes(devices: set[Path]) -> list[Path]:
    """Return the nodes of devices. The kernel lists a device a moment before it makes its node."""
    return [Path("/dev", each.name) for each in devices]


def _wait(look: Callable[[], Any], *, seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError


def _tell(what: str, began: float) -> None:
    up = Path("/proc/uptime").read_text("utf-8").split()[0]
    os.write(2, f"{up:>8} s  {what} in {time.monotonic() - began:.1f} s\n".encode())


def _node(node: str, *people: Person) -> dict[str, Any]:
    status = Path(node).stat()
    return {
        "mode": oct(status.st_mode & 0o777),
        "group": status.st_gid,
        **{person.name: person.may_open(node) for person in people},
    }


def the_rule(alice: Person, bob: Person, key: SimulatedKey) -> None:
    """Try a key without the udev rule, then install the rule and try a device that is not a key."""
    with plugged(key) as (node, _):
        FOUND["without"] = _node(node, alice, bob)
        FOUND["barred doctor"] = alice.doctor()
        FOUND["barred"] = {
            "list": alice.mfa_kit("key", "list"),
            "verify": alice.mfa_kit("verify", "fido2"),
            "pin": alice.mfa_kit("key", "pin", "set", "--pin-stdin", stdin=f"{PIN}\n"),
        }
        FOUND["barred left"] = {"pin": bool(key.client_pin.hash), "registered": key.registered}
        # The key is connected while root installs the rule.
        FOUND["install"] = _run(["udev", "install", "--output", "json"], "")
        FOUND["at once"] = _node(node, alice, bob)
    with plugged(None, product="a mouse") as (node, _):
        FOUND["no key"] = _node(node, alice, bob)


def udev_commands(bob: Person) -> None:
    """Remove the rule as root, once with members in its group and once without, and install it again."""
    FOUND["udev"] = {
        "another's": bob.mfa_kit("udev", "install"),
        "kept": _run(["udev", "remove", "--output", "json"], ""),
        "members": subprocess.run(["gpasswd", "--delete", "alice", "mfa-kit"], check=False).returncode,
        "removed": _run(["udev", "remove", "--output", "json"], ""),
        "status": _run(["udev", "status", "--output", "json"], ""),
        "again": _run(["udev", "install", "--output", "json"], ""),
        "group": Path("/etc/group").read_text("utf-8").splitlines()[-1].split(":")[0],
        "verified": subprocess.run(["udevadm", "verify", "/etc/udev/rules.d/70-mfa-kit.rules"], check=False).returncode,
    }


def judges(alice: Person, node: str) -> None:
    """Run Debian's libfido2 programs as alice."""
    FOUND["fido2-token -L"] = alice.program("fido2-token", "-L")
    FOUND["fido2-token -I"] = alice.program("fido2-token", "-I", node)
    challenge = "Y2hhbGxlbmdlIG9mIDMyIG9jdGV0cywgYW5kIG5vIG1vcmU="
    made = alice.program("fido2-cred", "-M", node, stdin=f"{challenge}\nrelying.party\nuser\ndXNlcg==\n")
    verified = alice.program("fido2-cred", "-V", stdin=made["out"])
    identifier = made["out"].splitlines()[4]
    asked = alice.program("fido2-assert", "-G", node, stdin=f"{challenge}\nrelying.party\n{identifier}\n")
    public = verified["out"].split("\n", 1)[1]
    pem = Path(pwd.getpwnam("alice").pw_dir) / "public.pem"
    pem.write_text(public)
    proved = alice.program("fido2-assert", "-V", str(pem), stdin=asked["out"])
    FOUND["judges"] = {"make": made, "verify": verified, "assert": asked, "prove": proved}


def metadata(maker: AttestationCa) -> list[str]:
    """Publish metadata of the lab's model for all users. Return the options that name it."""
    PUBLIC.mkdir()
    entry = maker.entry("mfa-kit lab key", aaguid="6d66616b-6974-0000-0000-000000000001")
    (PUBLIC / "blob.jwt").write_bytes(maker.blob([entry], next_update=date(2100, 1, 1)))
    (PUBLIC / "root.der").write_bytes(maker.root.der)
    return ["--mds", str(PUBLIC / "blob.jwt"), "--mds-root", str(PUBLIC / "root.der")]


def pins(alice: Person, node: str, mds: list[str]) -> None:
    """Set a PIN, check it with libfido2, use it, and change it as the next user of the security key would do."""
    FOUND["pins"] = {
        "set": alice.mfa_kit("key", "pin", "set", "--pin-stdin", stdin=f"{PIN}\n"),
        "judge": alice.program("fido2-token", "-I", node),
        "verify": alice.mfa_kit("verify", "fido2", *mds, "--require", _policy(), "--pin-stdin", stdin=f"{PIN}\n"),
        "force": alice.mfa_kit("key", "pin", "policy", "--force-change", "--pin-stdin", stdin=f"{PIN}\n"),
        "change": alice.mfa_kit("key", "pin", "change", "--pin-stdin", stdin=f"{PIN}\n{NEW_PIN}\n"),
        "count": alice.mfa_kit("key", "info", "--count", "--pin-stdin", "--output", "json", stdin=f"{NEW_PIN}\n"),
    }


def _policy() -> str:
    policy = PUBLIC / "policy.toml"
    policy.write_text("pin = true\nuser-verification = true\n")
    return str(policy)


def console(alice: Person, key: SimulatedKey, lab: Lab, mds: list[str]) -> None:
    """Enroll at the console: verify the key, open the page with a small script, register the key when IAM is polled."""
    browser = PUBLIC / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    alice.begin(
        args=["enroll", "dave", "--with", "fido2", "--open", "--require", _policy(), "--pin-stdin", *ENROLL, *mds],
        stdin=f"{NEW_PIN}\n",
        env={**lab.env, "BROWSER": f"{browser} %s"},
    )
    # mfa-kit looks once at the start, once before the page, and once more without finding the key.
    signin = lab.application.signin
    _wait(lambda: signin.signed_in and [call.operation for call in lab.calls].count("ListMFADevices") > LOOKS)
    lab.register_fido("dave", "dave")
    FOUND["enroll"] = alice.end()
    FOUND["page"] = (Path(pwd.getpwnam("alice").pw_dir) / "page").read_text()
    FOUND["left"] = [str(each) for each in Path(pwd.getpwnam("alice").pw_dir).rglob("*.html")]
    [(caller, destination)] = signin.signed_in
    FOUND["signed in"] = {"arn": caller.arn, "policy": caller.policy, "destination": destination}
    FOUND["pin tries left"] = key.client_pin.retries


def pulled(alice: Person, key: SimulatedKey, lab: Lab, mds: list[str]) -> None:
    """Pull the key out while it waits for a touch, in both commands that request one."""
    key.behavior = KeyBehavior(touch=None)
    for name, words in (("verify", ("verify", "fido2")), ("enroll", ("enroll", "erin", "--with", "fido2"))):
        with plugged(key) as (_, wire):
            alice.begin(args=[*words, *mds], stdin="", env=lab.env)
            _wait(partial(getattr, wire, "waits"))
        FOUND[f"pulled {name}"] = alice.end()
    FOUND["erin has"] = list(lab.account.backend.get_user("erin").mfa_devices)


def main() -> None:
    """Run all steps and record the results."""
    _tell("imports", time.monotonic())
    alice, bob = Person("alice"), Person("bob")
    maker = AttestationCa(now=time.time())
    key = lab_key(maker)
    mds = metadata(maker)
    with Lab(("dave", "erin")) as lab:
        the_rule(alice, bob, key)
        with plugged(key) as (node, _):
            FOUND["with"] = _node(node, alice, bob)
            FOUND["another's list"] = bob.mfa_kit("key", "list")
            FOUND["another's doctor"], FOUND["doctor"] = bob.doctor(), alice.doctor()
            judges(alice, node)
            FOUND["list"] = alice.mfa_kit("key", "list", "--output", "json")
            FOUND["verify"] = alice.mfa_kit("verify", "fido2", "--output", "json", *mds)
            pins(alice, node, mds)
            console(alice, key, lab, mds)
        pulled(alice, key, lab, mds)
    udev_commands(bob)
    _tell("the end", time.monotonic())


if __name__ == "__main__":
    try:
        main()
    finally:
        (OUT / "found.json").write_text(json.dumps(FOUND))
