"""Keys with an OATH applet: found, chosen and opened for the verbs that use them."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mfa_kit.cli import keys as options
from mfa_kit.cli import messages
from mfa_kit.cli import options as flags
from mfa_kit.core.errors import Declined, DeviceFault, MfaKitError, NoApplet, UsageFault
from mfa_kit.core.models import Intent, check_label
from mfa_kit.core.otp import Secret
from mfa_kit.enrollment.ports import Carrier, Inventory
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.rollout.station import Thing
from mfa_kit.wiring.files import secret_line
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.this_computer import harden

if TYPE_CHECKING:
    from mfa_kit.adapters.oath.keys import Keys

# Where the root of a command's contexts keeps what is opened once.
KEYS = "mfa_kit.oath"
KEY = "--key SERIAL|READER"


def keys() -> "Keys":
    """Return the keys within reach; a password that was told is told once for all that a command does."""
    meta = click.get_current_context().find_root().meta
    if KEYS not in meta:
        meta[KEYS] = _keys()
    found: Keys = meta[KEYS]
    return found


def _keys() -> "Keys":
    try:
        from mfa_kit.adapters.oath.keys import Keys
    except ImportError:
        raise UsageFault("OATH keys need more than is installed", "pip install 'mfa-kit[oath]'") from None

    harden()
    return Keys(say=messages.Talk().note, password=_password)


def _password(key: OathKey) -> Secret[str]:
    if options.given("password_stdin"):
        password = secret_line()
    else:
        person = flags.common().interaction
        password = person.ask_secret(f"OATH password of {key.told}", instead="--password-stdin")
    if password == Secret(""):  # no key has such a one, and some count tries
        raise UsageFault(f"no OATH password of {key.told} was given, so nothing was tried", "give the one that it has")
    return password


def choose(wanted: str | None) -> OathKey:
    """Return the key that is meant; the only one when none is named, never the first of several."""
    found, wrong = keys().look()
    meant = [key for key in found if wanted is None or key.answers_to(wanted)]
    if len(meant) == 1:
        if wanted is None:
            for fault in (each for each in wrong if not isinstance(each, NoApplet)):
                messages.Talk().note(f"{fault}; {meant[0].told} is used")
        return meant[0]
    if not meant:
        raise _none(wanted, found, wrong)
    told = [_line(key) for key in meant]
    person = flags.common().interaction
    try:
        return meant[person.choose(f"{len(meant)} keys are plugged in; which one", told, instead=KEY)]
    except Declined as declined:
        for line in told:
            declined.add_note(f"plugged in: {line}")
        raise


def _none(wanted: str | None, found: Sequence[OathKey], wrong: Sequence[DeviceFault]) -> DeviceFault:
    if wanted is None and len(wrong) == 1:
        return wrong[0]
    fault = DeviceFault(
        "no key with an OATH applet is plugged in" if wanted is None else f"no key {wanted} is plugged in",
        "plug it in and try again; mfa-kit key list shows what is there",
    )
    for key in found:
        fault.add_note(f"plugged in: {_line(key)}")
    for each in wrong:
        fault.add_note(str(each))
    return fault


def _line(key: OathKey) -> str:
    return f"{key.told}, in {key.where}, identity {key.identity}"


def carrier(inventory: Inventory, *, key: str | None, asset: str | None, touch: bool, wait: bool) -> Carrier:
    """Return the key that `--key` and the person choose."""
    if asset is not None:
        check_label(asset)
    chosen = choose(key)
    from mfa_kit.adapters.oath import card

    def pause(seconds: float) -> None:
        messages.Talk().note(f"waiting {seconds:.0f} s for the next code")
        time.sleep(seconds)

    way = card.Way(touch=touch, asset=asset, wait=wait)
    return card.OathCard(keys(), chosen, way=way, now=inventory.now, sleep=pause)


def carrier_of_dead(inventory: Inventory) -> Carrier:
    """Return what finds the key of a dead run, by what its entry says."""
    reach = keys()
    from mfa_kit.adapters.oath import card

    return card.OathCard(reach, None, way=card.Way(), now=inventory.now, sleep=time.sleep)


def usage(intent: Intent) -> list[str]:
    """Tell how the device is used from now on: by ykman where it finds the key, which it does by the reader's name."""
    key = keys().seen.get(intent.card or "")
    code = f"ykman oath accounts code --single {shlex.quote(intent.label)}"
    ykman = key is None or key.ykman
    return [
        "a code, when the console asks for one: "
        + (code if ykman else f"with the program of the key's maker, under the name {intent.label}"),
        "for command lines, in ~/.aws/config; aws asks for the code, and aws-vault runs mfa_process:",
        f"  mfa_serial = {intent.serial}",
        f"  mfa_process = {code if ykman else 'the command of that program'}",
    ]


def rows() -> tuple[list[dict[str, Any]], Sequence[DeviceFault]]:
    """Return a row a key for `key list`, and what is wrong with the readers that gave none."""
    found, wrong = keys().look()
    return [_row(key) for key in found], wrong


def _row(key: OathKey) -> dict[str, Any]:
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


class Slot:
    """Where keys with an OATH applet are put in."""

    def state(self) -> object:
        return state()

    def look(self) -> tuple[list[Thing], Sequence[MfaKitError]]:
        found, wrong = keys().look()
        return [
            Thing(identity=key.identity, serial=key.serial, told=key.told, where=key.where, labels=key.labels)
            for key in found
        ], wrong


def info(wanted: str | None) -> dict[str, Any]:
    """Return what one key says of itself, and the names that it holds."""
    key = choose(wanted)
    with keys().open(key) as applet:
        names = sorted(name.decode(errors="replace") for name in applet.names())
    return _row(key) | {"oath_used": len(names), "oath_identity": key.identity, "credentials": names}


def restore(file: Path, identities: Identities, wanted: str | None, *, touch: bool, path: str | None) -> dict[str, Any]:
    """Put the seed of a sealed backup on a key, proved by its codes."""
    from mfa_kit.adapters.oath import card
    from mfa_kit.wiring import backup

    key = choose(wanted)
    intent, opened = backup.open_restorable(file, identities)
    intent = intent if path is None else replace(intent, path=path)
    oath_card = card.OathCard(keys(), key, way=card.Way(touch=touch), now=time.time, sleep=time.sleep)
    written = oath_card.restore(intent, opened.created)
    return {
        "backup": str(file),
        "outcome": "restored" if written else "was there",
        "label": intent.label,
        "key": key.what,
        "serial": key.serial,
        "where": key.where,
    }
