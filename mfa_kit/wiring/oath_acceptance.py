"""Keys with an OATH applet, judged: fit to be given to somebody, and whose device one is."""

import secrets
import time
from functools import partial
from pathlib import Path

from mfa_kit.core.checks import Check, Proof, Refused
from mfa_kit.core.errors import DeviceFault, InvalidCode, UsageFault
from mfa_kit.core.models import Caller, Device, DeviceType, Intent, intent_of
from mfa_kit.core.otp import Seed
from mfa_kit.enrollment.ports import Desk
from mfa_kit.oath_keys import acceptance as oathcheck
from mfa_kit.oath_keys.choosing import KEY
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.security_keys.attestation import Examined, Policy
from mfa_kit.wiring import security_keys
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.oath_keys import OathKeys

# As long as AWS's seeds.
SEED_OCTETS = 40


def acceptance(
    keys: OathKeys, wanted: str | None, *, write: bool, account: str | None, maker: bool
) -> tuple[Proof | Refused, OathKey]:
    """Judge a key before it is given to anybody; `maker` has its FIDO applet prove who made it, with two touches."""
    key = keys.choose(wanted)
    made_by = _maker(key) if maker else oathcheck.UNPROVEN
    seed = Seed(secrets.token_bytes(SEED_OCTETS)) if write else None
    unlocked = False
    try:
        with keys.open(key) as applet:
            unlocked = True
            return oathcheck.acceptance(key, applet, account=account, seed=seed, at=time.time(), made_by=made_by), key
    except BaseException as error:
        if write and unlocked:
            _take_away(keys, key, error)
        raise


def _take_away(keys: OathKeys, key: OathKey, error: BaseException) -> None:
    """Delete what a round trip that was cut short may have written; note on its error what may be left."""
    try:
        with keys.open(key) as applet:
            if oathcheck.TEST.encode() in applet.names():
                applet.delete(oathcheck.TEST)
    except (DeviceFault, KeyboardInterrupt) as left:
        again = "verify oath takes it away when it runs again"
        error.add_note(f"{oathcheck.TEST} may be left on {key.told}: {str(left) or 'interrupted'}; {again}")


def _maker(key: OathKey) -> Check:
    from mfa_kit.adapters.fido.same_device import find_same_device

    place = find_same_device(key.reader)
    if place is None:
        return oathcheck.NOT_BESIDE
    with security_keys.metadata() as opened:
        examined = security_keys.Bench(opened, Policy()).examine(place)
    assert isinstance(examined, Examined)  # noqa: S101 - a bench that has seen one key knows no other
    model = examined.evidence.model
    return oathcheck.maker(examined.answer, model.name if model else None)


def belongs(
    keys: OathKeys,
    device: Device,
    wanted: str | None,
    *,
    caller: Caller,
    desk: Desk,
    resync: bool,
    backup: Path | None,
    identities: Identities,
) -> Proof | Refused:
    """Judge whether a plugged-in key is a user's device. The caller's own device is judged by AWS."""
    from mfa_kit.adapters.oath import card
    from mfa_kit.wiring import backup as backups

    if device.type is not DeviceType.VIRTUAL:
        raise UsageFault(f"{device.serial} is no device whose seed could be on a key", "name another with --mfa-device")
    seed = backups.open_created(backup, identities).seed if backup else None
    intent = intent_of(device.serial, user=device.user or "", account=caller.account, partition=caller.partition)
    claim = oathcheck.Claim(serial=device.serial, label=intent.label, seed=seed)
    key = _holder(keys, intent, wanted)
    if key is None:
        return oathcheck.belongs(claim, None, None, now=desk.inventory.now, accepts=None)
    with keys.open(key) as applet:

        def by_resync(_code: str) -> bool:
            touch = applet.held().get(intent.label.encode(), False)
            pair = partial(card.compute_pair, applet, intent.label, touch=touch, now=desk.inventory.now)
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
        level = "resync" if resync else "aws"
        return oathcheck.belongs(claim, key, applet, now=desk.inventory.now, accepts=accepts, level=level)


def code_of(keys: OathKeys, intent: Intent, wanted: str | None, *, at: float) -> str | None:
    """Return the code of a Unix time of a device's credential on a key; None when none that is meant holds it."""
    key = _holder(keys, intent, wanted)
    if key is None:
        return None
    with keys.open(key) as applet:
        touch = applet.held().get(intent.label.encode())
        return None if touch is None else applet.code(intent.label, at, touch=touch)


def _holder(keys: OathKeys, intent: Intent, wanted: str | None) -> OathKey | None:
    """Return the key that holds a device's credential: the named one, or the only one that does.

    A key with a password is somebody else's where one without holds it, and then nobody is asked for that.
    """
    if wanted is not None:
        return keys.choose(wanted)
    found, wrong = keys.look()
    holding = [key for key in found if intent.label in key.labels]
    for key in [] if holding else [each for each in found if each.password]:
        with keys.open(key) as applet:
            if intent.label.encode() in applet.names():
                holding.append(key)
    if len(holding) > 1:
        raise UsageFault(f"{len(holding)} keys hold {intent.label}", f"say which with {KEY}")
    if not holding and not found and wrong:
        raise wrong[0]
    return holding[0] if holding else None
