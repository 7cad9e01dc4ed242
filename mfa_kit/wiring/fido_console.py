"""The console for `--with fido2`: the key that is checked first, the page that is opened, the wait for IAM's list."""

import time
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from mfa_kit.cli import messages, options
from mfa_kit.core.checks import Proof, Value
from mfa_kit.core.errors import DeviceFault, MfaKitError, UsageFault
from mfa_kit.core.models import Caller, Enrolled, Entry, Intent, Registered, Skipped
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment import fido_console
from mfa_kit.enrollment.fido_console import Hosts
from mfa_kit.enrollment.ports import Carrier, Desk, Inventory
from mfa_kit.security_keys import attestation
from mfa_kit.security_keys.attestation import Examined
from mfa_kit.wiring import desk as kit
from mfa_kit.wiring import security_keys


class AtConsole:
    """The Carrier of a security key that a person registers: it checks the key, and holds nothing of ours."""

    def __init__(self, own: Mapping[str, Any], inventory: Inventory) -> None:
        self.own, self.inventory = own, inventory
        self.policy = security_keys.policy(own["require"])
        self._seen = security_keys.given_away()

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Verify the key that is plugged in, and name it. Raise DeviceFault when it is refused."""
        asset = self.own["asset"]
        if self.own["skip_key_check"] or options.common().dry_run:
            return intent.on(hardware=asset) if asset else intent
        self._seen = replace(given := security_keys.given_away(), credentials=[*given.credentials])
        with security_keys.metadata() as opened:
            examined = security_keys.Bench(opened, self.policy, self._seen).examine(self.own["key"])
        if not isinstance(examined, Examined):
            raise DeviceFault("this very key was given to another user before", "take another key")
        evidence = examined.evidence
        if not isinstance(examined.answer, Proof):
            why = "; ".join(f"{c.name}: {c.detail}" for c in examined.answer.checks if c.value is Value.FAIL)
            raise DeviceFault(
                f"the key is refused: {why}",
                "take another key; `mfa-kit verify fido2` tells more, and --skip-key-check leaves this out",
            )
        messages.Talk().note(f"the key is genuine: {evidence.model.name if evidence.model else 'of an unknown model'}")
        label = asset or evidence.before.plugged.serial or evidence.registration.aaguid
        return intent.on(hardware=label) if label else intent

    def install(self, intent: Intent, created: Created) -> None:
        raise AssertionError("AWS gives nobody the seed of a security key")

    def codes(self, intent: Intent) -> Pair:
        raise AssertionError("a security key gives no codes")

    def remove(self, entry: Entry) -> None:
        pass

    def give_away(self) -> None:
        """Know the key that was checked from now on: it is somebody's."""
        security_keys.given_away().credentials[:] = self._seen.credentials


def register(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Be the Maker of a security key."""
    assert isinstance(carrier, AtConsole)  # noqa: S101 - deeds/kinds.py puts the two in one row
    watch = fido_console.Watch(
        page=partial(_page, carrier),
        lacking=partial(attestation.lacking, carrier.policy),
        seconds=carrier.own["timeout"],
        clock=time.monotonic,
    )
    made = watch(intent, carrier, desk=desk, run=run)
    carrier.give_away()
    return made


def slot(own: Mapping[str, Any]) -> security_keys.Slot | None:
    """Return where the key is put in, unless it need not be here."""
    return None if own["skip_key_check"] else security_keys.Slot()


def receipt(found: Registered) -> dict[str, Any]:
    """Return what a receipt says of a security key beside what it says of every device."""
    return {
        "since": options.written(found.since),
        "certifications": found.levels,
        "policy_lacks": found.missing,
        "joined_by": fido_console.JOINED,
        "warnings": found.warnings,
    }


@contextmanager
def _page(carrier: AtConsole, intent: Intent) -> Iterator[None]:
    """Say what to click; open the page when that was asked for."""
    hosts = _hosts(carrier.inventory, intent.partition)
    address = hosts and f"{hosts.console}/iam/home#/users/details/{quote(intent.user)}?section=security_credentials"
    talk = messages.Talk()
    for line in fido_console.to_click(intent, address=address):
        talk.note(line)
    with ExitStack() as stack:
        if carrier.own["open"]:
            try:
                stack.enter_context(_opened(carrier, intent, hosts=hosts, destination=address))
            except MfaKitError as error:
                talk.note(f"the page is not opened: {error}; {error.hint}")
        yield


def _hosts(inventory: Inventory, partition: str) -> Hosts | None:
    """Return the addresses of sign-in and console, None where nobody knows them; an IAM on this machine has its own."""
    from mfa_kit.adapters.aws.iam import Iam, loopback

    assert isinstance(inventory, Iam)  # noqa: S101 - the desk's inventory is made by the kit
    if loopback(urlsplit(inventory.endpoint_url).hostname):
        return Hosts(f"{inventory.endpoint_url}/federation", f"{inventory.endpoint_url}/console")
    hosts = fido_console.HOSTS.get(partition)
    return hosts and Hosts(f"https://{hosts.signin}/federation", f"https://{hosts.console}")


@contextmanager
def _opened(carrier: AtConsole, intent: Intent, *, hosts: Hosts | None, destination: str | None) -> Iterator[None]:
    """Open the page signed in, for one user's MFA and a quarter of an hour; the file that leads there goes again."""
    from mfa_kit.adapters.aws import signin
    from mfa_kit.adapters.aws.iam import Iam

    assert isinstance(carrier.inventory, Iam)  # noqa: S101 - the desk's inventory is made by the kit
    if hosts is None or destination is None:
        raise UsageFault(f"it is not known where partition {intent.partition} signs in", "sign in by yourself")
    policy = fido_console.session_policy(account=intent.account, partition=intent.partition, user=intent.user)
    session = carrier.inventory.console_session(user=intent.user, policy=policy, role=carrier.own["open_role"])
    with signin.page(kit.home(), signin.address(hosts.signin, session, destination=destination)) as page:
        if not webbrowser.open(page.as_uri()):
            raise UsageFault("there is no browser here", "sign in by yourself, or set BROWSER")
        yield


def root(own: Mapping[str, Any], *, name: str, add: bool, caller: Caller, desk: Desk) -> dict[str, Any] | Skipped:
    """Say what to click as root, and wait; return the receipt."""
    hosts = _hosts(desk.inventory, caller.partition)
    outcome = fido_console.root(
        name,
        address=hosts and f"{hosts.console}/iam/home#/security_credentials",
        add=add,
        seconds=own["timeout"],
        clock=time.monotonic,
        caller=caller,
        desk=desk,
    )
    if isinstance(outcome, Skipped):
        return outcome
    return {
        "outcome": "enrolled",
        "user": "root",
        "device": outcome.device.serial if outcome.device else None,
        "kind": "fido2" if outcome.device else None,
        "hardware": own["asset"],
        "joined_by": fido_console.JOINED if outcome.device else "AWS tells that root has MFA, and not which",
    }
