"""Checks whether an OATH key has the secret of a user's MFA device."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from mfa_kit.core import otp
from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import InvalidCode, UsageFault
from mfa_kit.core.models import Caller, Device, DeviceType, intent_of
from mfa_kit.core.otp import Pair, Seed
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.oath_keys.applet import OathApplet, PluggedOathKeys
from mfa_kit.oath_keys.choosing import find_holder
from mfa_kit.oath_keys.credential import OathKey

# A function that returns whether AWS accepts a code.
Accepts = Callable[[str], bool]


class ConsecutiveCodes(Protocol):
    """Computes two consecutive codes with an applet. The user touches the key if the credential requires it."""

    def __call__(self, applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
        """Return the codes of the previous and the current step. `now` is called after the last touch."""
        ...


def check_virtual(device: Device) -> None:
    """Raise UsageFault if a device is not virtual, because an OATH key can only have the secret of a virtual device."""
    if device.type is not DeviceType.VIRTUAL:
        raise UsageFault(
            f"{device.serial} is not a virtual device, so its secret cannot be on a key",
            "select another device with --mfa-device",
        )


def verify_device(
    device: Device,
    key_name: str | None,
    *,
    keys: PluggedOathKeys,
    caller: Caller,
    ports: EnrollmentPorts,
    resync: bool,
    seed: Seed | None,
    consecutive: ConsecutiveCodes,
) -> tuple[Passed | Failed, OathKey | None]:
    """Check whether a plugged-in key has the secret of a user's device. Return the verdict, and the key if it is found.

    `key_name` is the key's serial, reader or identity; None means the key with the device's credential. `seed` is the
    secret from the device's backup, or None. If the device belongs to the caller, AWS checks a code too. With
    `resync`, AWS checks two codes instead, for a device of any user, and stores the clock offset. `consecutive`
    computes these two codes.
    """
    spec = intent_of(device.serial, user=device.user or "", account=caller.account, partition=caller.partition)
    label, now = spec.label, ports.iam_reader.now
    listed = Check("listed by IAM", Value.PASS, device.serial)
    key = find_holder(keys, [label], key_name)
    if key is None:
        missing = Check("credential", Value.FAIL, f"no plugged-in key has the credential {label}")
        return judged([listed, missing]), None
    with keys.open(key) as applet:

        def accepts_pair(_code: str) -> bool:
            """Resync the device with two consecutive codes of the key, and return whether IAM accepts them."""
            touch = applet.held().get(label.encode(), False)
            pair = partial(consecutive, applet, label, touch=touch, now=now)
            try:
                ports.device_writer.resync(spec.user, device.serial, pair)
            except InvalidCode:
                return False
            return True

        accepts: Accepts | None = None
        if resync:
            accepts = accepts_pair
        elif caller.user == device.user:
            accepts = partial(ports.iam_reader.accepts, device.serial)
        credential = Check("credential", Value.PASS, f"{label} is on {key.description}")
        level = "resync" if resync else "aws"
        return judged([listed, credential, *_codes(applet, label, seed, now=now, accepts=accepts, level=level)]), key


def _codes(
    applet: OathApplet,
    label: str,
    seed: Seed | None,
    *,
    now: Callable[[], float],
    accepts: Accepts | None,
    level: str,
) -> Iterator[Check]:
    """Compute a code on the key, and yield the checks of it.

    If there is a `seed`, the code is compared with it. `accepts` asks AWS whether it accepts this code, or two other
    codes of the key; None means that AWS is not asked. `level` is the name of the check by AWS.
    """
    time = now()
    code = applet.code(label, time, touch=applet.held().get(label.encode(), False))
    right = None if seed is None else code == otp.code_at(seed, time)
    if right is not None:
        yield Check(
            "backup", _passed(right), f"the code {'matches' if right else 'does not match'} the secret in the backup"
        )
    yield _by_aws(level, taken=accepts(code)) if accepts else _by_seed(right)


def _passed(passed: bool) -> Value:
    return Value.PASS if passed else Value.FAIL


def _by_seed(right: bool | None) -> Check:
    if right is None:
        return Check(
            "level: local", Value.WARN, "the key computed a code, but the code was not checked: only AWS has the secret"
        )
    return Check("level: local", _passed(right), "the key's code was checked with the secret in the backup")


def _by_aws(level: str, *, taken: bool) -> Check:
    late = "AWS rejected the code, perhaps because it already accepted this code or a newer one; try again in a minute"
    return Check(f"level: {level}", _passed(taken), "AWS accepted the code" if taken else late)
