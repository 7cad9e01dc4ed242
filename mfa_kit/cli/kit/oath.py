"""Keys with an OATH applet: found, chosen and opened for the verbs that use them."""

import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mfa_kit import oathcheck
from mfa_kit.cli import flags, stderr, terminal
from mfa_kit.cli import keys as options
from mfa_kit.cli.kit.desk import harden
from mfa_kit.errors import Declined, DeviceFault, InvalidCode, UsageFault
from mfa_kit.models import Caller, Device, Intent, Kind, intent_of
from mfa_kit.oathkey import Plugged
from mfa_kit.otp import Secret, Seed
from mfa_kit.ports import Carrier, Desk, Inventory
from mfa_kit.verification import Proof, Refused

if TYPE_CHECKING:
    from mfa_kit.adapters.oath.card import Keys

# Where the root of a command's contexts keeps what is opened once.
KEYS = "mfa_kit.oath"
KEY = "--key SERIAL|READER"
# As long as AWS's seeds.
SEED_OCTETS = 40


def keys() -> "Keys":
    """Return the keys within reach; a password that was told is told once for all that a command does."""
    meta = click.get_current_context().find_root().meta
    if KEYS not in meta:
        meta[KEYS] = _keys()
    found: Keys = meta[KEYS]
    return found


def _keys() -> "Keys":
    try:
        from mfa_kit.adapters.oath import card
    except ImportError:
        raise UsageFault("OATH keys need more than is installed", "pip install 'mfa-kit[oath]'") from None

    harden()
    return card.Keys(say=stderr.Talk().note, password=_password)


def _password(key: Plugged) -> Secret[str]:
    if options.given("password_stdin"):
        return Secret(sys.stdin.readline().rstrip("\n"))
    person = terminal.person(flags.common())
    return person.ask_secret(f"OATH password of {key.told}", instead="--password-stdin")


def choose(wanted: str | None) -> Plugged:
    """Return the key that is meant; the only one when none is named, never the first of several."""
    found, wrong = keys().look()
    meant = [key for key in found if wanted is None or key.answers_to(wanted)]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        raise _none(wanted, found, wrong)
    told = [_line(key) for key in meant]
    person = terminal.person(flags.common())
    try:
        return meant[person.choose(f"{len(meant)} keys are plugged in; which one", told, instead=KEY)]
    except Declined as declined:
        for line in told:
            declined.add_note(f"plugged in: {line}")
        raise


def _none(wanted: str | None, found: Sequence[Plugged], wrong: Sequence[DeviceFault]) -> DeviceFault:
    if wanted is None and len(wrong) == 1:
        return wrong[0]
    fault = DeviceFault(
        "no key with an OATH applet is plugged in" if wanted is None else f"no key {wanted} is plugged in",
        "plug it in and run the same command again; mfa-kit key list shows what is there",
    )
    for key in found:
        fault.add_note(f"plugged in: {_line(key)}")
    for each in wrong:
        fault.add_note(str(each))
    return fault


def _line(key: Plugged) -> str:
    return f"{key.told}, in {key.where}, identity {key.identity}"


def carrier(own: Mapping[str, Any], inventory: Inventory) -> Carrier:
    """Return the key that `--key` and the person choose."""
    key = choose(own["key"])
    from mfa_kit.adapters.oath import card

    way = card.Way(touch=own["touch"], asset=own["asset"], wait=own["wait"])
    return card.OathCard(keys(), key, way=way, now=inventory.now, sleep=time.sleep)


def carrier_of_dead(inventory: Inventory) -> Carrier:
    """Return what finds the key of a dead run, by what its entry says."""
    reach = keys()
    from mfa_kit.adapters.oath import card

    return card.OathCard(reach, None, way=card.Way(), now=inventory.now, sleep=time.sleep)


def usage(intent: Intent) -> list[str]:
    """Tell how the device is used from now on."""
    return [
        f"a code, when the console asks for one: ykman oath accounts code --single '{intent.label}'",
        "for the AWS command line, in ~/.aws/config:",
        f"  mfa_serial = {intent.serial}",
        f"  mfa_process = ykman oath accounts code --single '{intent.label}'",
    ]


def rows() -> tuple[list[dict[str, Any]], Sequence[DeviceFault]]:
    """Return a row a key for `key list`, and what is wrong with the readers that gave none."""
    found, wrong = keys().look()
    return [_row(key) for key in found], wrong


def _row(key: Plugged) -> dict[str, Any]:
    return {
        "key": key.what,
        "serial": key.serial,
        "firmware": key.firmware,
        "transports": (key.transport,),
        "where": (key.where,),
        "oath_used": key.used,
        "oath_free": key.free,
        "oath_password": key.password,
    }


def state() -> object:
    """Return what changes when a card comes or goes, without touching a card."""
    keys()
    from mfa_kit.adapters.oath import pcsc

    return pcsc.state()


def info(wanted: str | None) -> dict[str, Any]:
    """Return what one key says of itself, and the names that it holds."""
    key = choose(wanted)
    with keys().open(key) as applet:
        names = sorted(name.decode(errors="replace") for name in applet.names())
    return _row(key) | {"oath_used": len(names), "oath_identity": key.identity, "credentials": names}


def password(wanted: str | None, *, had: bool) -> dict[str, Any]:
    """Give a key a new password, and see that it is the one that opens it."""
    key = choose(wanted)
    if key.password is not had:
        raise UsageFault(
            f"{key.told} has {'a' if key.password else 'no'} password", f"mfa-kit key password {_verb(key.password)}"
        )
    with keys().open(key) as applet:
        access = applet.key_of(_new_password(key))
        applet.set_key(access)
    keys().knows(key, access)
    with keys().open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.told} took a password, and asks for none", "do not use this key")
    return {"serial": key.serial, "where": key.where}


def _verb(has: bool) -> str:
    return "change" if has else "set"


def clear(wanted: str | None) -> dict[str, Any]:
    """Take a key's password away, and see that it asks for none."""
    key = choose(wanted)
    if not key.password:
        raise UsageFault(f"{key.told} has no password", "leave it as it is, or set one: mfa-kit key password set")
    with keys().open(key) as applet:
        applet.set_key(None)
    with keys().open(key) as applet:
        if applet.guarded:
            raise DeviceFault(f"{key.told} still asks for its password", "do not use this key")
    return {"serial": key.serial, "where": key.where}


def _new_password(key: Plugged) -> Secret[str]:
    new = (
        Secret(sys.stdin.readline().rstrip("\n"))
        if options.given("password_stdin")
        else terminal.person(flags.common()).ask_new_secret(
            f"new OATH password of {key.told}", instead="--password-stdin"
        )
    )
    if new == Secret(""):
        raise UsageFault("the new password is empty", "type one, or take the old one away: mfa-kit key password clear")
    return new


def acceptance(wanted: str | None, *, write: bool, account: str | None) -> tuple[Proof | Refused, Plugged]:
    """Judge a key before it is given to anybody."""
    key = choose(wanted)
    seed = Seed(secrets.token_bytes(SEED_OCTETS)) if write else None
    with keys().open(key) as applet:
        return oathcheck.acceptance(key, applet, account=account, seed=seed, at=time.time()), key


def belongs(
    device: Device,
    wanted: str | None,
    *,
    caller: Caller,
    desk: Desk,
    resync: bool,
    backup: Path | None,
    identities: Sequence[Path],
) -> Proof | Refused:
    """Judge whether a plugged-in key is a user's device. The caller's own device is judged by AWS."""
    from mfa_kit.adapters.oath import card
    from mfa_kit.cli.kit import backup as backups

    if device.kind is not Kind.VIRTUAL:
        raise UsageFault(f"{device.serial} is no device whose seed could be on a key", "name another with --mfa-device")
    seed = backups.open_created(backup, identities).seed if backup else None
    intent = intent_of(device.serial, user=device.user or "", account=caller.account, partition=caller.partition)
    claim = oathcheck.Claim(serial=device.serial, label=intent.label, seed=seed)
    key = _holder(intent, wanted)
    if key is None:
        return oathcheck.belongs(claim, None, None, now=desk.inventory.now, accepts=None)
    with keys().open(key) as applet:

        def by_resync(_code: str) -> bool:
            touch = applet.held().get(intent.label.encode(), False)
            pair = partial(card.consecutive, applet, intent.label, touch=touch, now=desk.inventory.now)
            try:
                desk.registrar.resync(intent.user, device.serial, pair)
            except InvalidCode:
                return False
            return True

        accepts = None
        if resync:
            accepts = by_resync
        elif caller.user == device.user:
            accepts = partial(desk.inventory.accepts, device.serial)
        return oathcheck.belongs(claim, key, applet, now=desk.inventory.now, accepts=accepts)


def _holder(intent: Intent, wanted: str | None) -> Plugged | None:
    """Return the key that holds a device's credential: the named one, or the only one that does."""
    if wanted is not None:
        return choose(wanted)
    found, wrong = keys().look()
    holding = []
    for key in found:
        with keys().open(key) as applet:
            if intent.label.encode() in applet.names():
                holding.append(key)
    if len(holding) > 1:
        raise UsageFault(f"{len(holding)} keys hold {intent.label}", f"say which with {KEY}")
    if not holding and not found and wrong:
        raise wrong[0]
    return holding[0] if holding else None


def restore(file: Path, identities: Sequence[Path], wanted: str | None, *, touch: bool, path: str) -> dict[str, Any]:
    """Put the seed of a sealed backup on a key, proved by its codes."""
    from mfa_kit.adapters.oath import card
    from mfa_kit.cli.kit import backup

    key = choose(wanted)
    created = backup.open_created(file, identities)
    intent = replace(backup.intent_in(file, created), path=path)
    oath_card = card.OathCard(keys(), key, way=card.Way(touch=touch), now=time.time, sleep=time.sleep)
    written = oath_card.restore(intent, created)
    return {
        "backup": str(file),
        "outcome": "restored" if written else "was there",
        "label": intent.label,
        "key": key.what,
        "serial": key.serial,
        "where": key.where,
    }
