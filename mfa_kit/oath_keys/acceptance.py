"""Checks whether an OATH key is ready for a user. The key's own reports do not prove its manufacturer."""

from collections.abc import Callable, Iterable, Iterator

from mfa_kit.core import otp
from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.firmware import Advisory, Version, advisories_on
from mfa_kit.core.notes import Note
from mfa_kit.core.otp import Seed
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.oath_keys.applet import OathApplet, PluggedOathKeys
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.oath_keys.sharing import is_of_account

# The reserved name of the test credential. If a verification is killed, the credential stays on the key until the next.
TEST = "mfa-kit:test"
UNPROVEN = Check(
    "maker",
    Value.NOT_APPLICABLE,
    "not proven: OATH has no attestation; use --maker to check the FIDO attestation of the same key",
)


def maker_check(attested: tuple[Passed | Failed, str | None] | None) -> Check:
    """Return the check of a key's manufacturer, based on the FIDO attestation of the same key.

    `attested` has the verdict on that attestation, and the model that it proves, or None; it is None if the same card
    or USB device has no FIDO applet.
    """
    if attested is None:
        return Check("maker", Value.FAIL, "not proven: no FIDO applet found on the same card or USB device")
    answer, model = attested
    failed = [check.detail for check in answer.checks if check.value is Value.FAIL]
    if model is None or failed:
        why = "; ".join(failed) or "the FIDO attestation does not prove a model"
        return Check("maker", Value.FAIL, f"not proven: {why}")
    return Check("maker", Value.PASS, f"{model}, by the FIDO attestation of the same key")


def verify_key(
    keys: PluggedOathKeys,
    key_name: str | None,
    *,
    account: str | None,
    new_seed: Callable[[], Seed | None],
    now: Callable[[], float],
    made_by: Callable[[OathKey], Check],
    advisories: Iterable[Advisory],
) -> tuple[Passed | Failed, OathKey]:
    """Check a key before it is given to a user. Return the verdict and the key.

    `key_name` is the key's serial, reader or identity; None means the only key, or the one that the user chooses.
    `account` is the AWS account whose credentials are looked for on the key. `new_seed` returns the secret of a test
    credential, or None to write nothing to the key. `made_by` checks the manufacturer. `advisories` are the known ones.
    """
    key = keys.choose(key_name)
    maker, seed = made_by(key), new_seed()
    unlocked = False
    try:
        with keys.open(key) as applet:
            unlocked = True
            answer = judge_fitness(
                key, applet, account=account, seed=seed, time=now(), made_by=maker, advisories=advisories
            )
            return answer, key
    except BaseException as error:
        if seed and unlocked:
            _take_away(keys, key, error)
        raise


def _take_away(keys: PluggedOathKeys, key: OathKey, error: BaseException) -> None:
    """Delete the test credential that an interrupted check may have written.

    If this fails, add a note to the error: the test credential may still be on the key.
    """
    try:
        with INTERRUPTS.settling(), keys.open(key) as applet:
            if TEST.encode() in applet.names():
                applet.delete(TEST)
    except (DeviceFault, KeyboardInterrupt) as left:
        again = "the next mfa-kit verify oath removes it"
        error.add_note(
            Note(f"the credential {TEST} may still be on {key.description}: {str(left) or 'interrupted'}; {again}")
        )


def judge_fitness(
    key: OathKey,
    applet: OathApplet,
    *,
    account: str | None,
    seed: Seed | None,
    time: float,
    made_by: Check = UNPROVEN,
    advisories: Iterable[Advisory],
) -> Passed | Failed:
    """Check a key before it is given to a user, and return the verdict.

    `account` is the AWS account whose credentials are looked for on the key. `seed` is the secret of a test credential;
    without it, nothing is written. `time` is the Unix time for which the test credential's code is computed. `made_by`
    is the check of the manufacturer. `advisories` are the known ones.
    """
    names = applet.names()
    checks = [
        Check("applet", Value.PASS, f"it answers; the key claims to be {key.description}, identity {key.identity}"),
        *_firmware(key, advisories, proven=made_by.value is Value.PASS),
        _room(key, len(names)),
        Check(
            "password",
            Value.PASS,
            "set, and correct" if key.password else "none: anyone who has the key can read its codes",
        ),
    ]
    if account is not None:
        present = ", ".join(name.decode(errors="replace") for name in names if is_of_account(name, account))
        value = Value.WARN if present else Value.PASS
        checks.append(Check("credentials of the account", value, present or f"none of account {account}"))
    skipped = Check("round trip", Value.NOT_APPLICABLE, "skipped: --no-write")
    return judged([*checks, _round_trip(applet, seed, time) if seed else skipped, made_by])


def _firmware(key: OathKey, advisories: Iterable[Advisory], *, proven: bool) -> Iterator[Check]:
    """Yield the checks of the firmware version and of known advisories.

    An advisory is only a warning. The version passes only if the manufacturer is proven.
    """
    if key.firmware is None or not key.yubikey:
        reported = key.firmware or "not reported"
        yield Check("firmware", Value.NOT_APPLICABLE, f"{reported}; advisories are known only for YubiKeys")
        return
    known_advisories = advisories_on(key.what, Version(*map(int, key.firmware.split("."))), advisories)
    passed = Value.PASS if proven else Value.NOT_APPLICABLE
    remark = "" if known_advisories else "; no advisory"
    yield Check("firmware", passed, f"{key.firmware}, as the key reports{remark}")
    for advisory in known_advisories:
        yield Check(f"advisory {advisory.name}", Value.WARN, f"{advisory.what}; {advisory.oath}", advisory.source)


def _room(key: OathKey, used: int) -> Check:
    free_count = key.left(used)
    if free_count is None:
        most = "the key's capacity is unknown" if key.room is None else f"YubiKeys with this firmware hold {key.room}"
        return Check("room", Value.WARN, f"{used} used; {most}")
    return Check("room", Value.PASS, f"{used} used, {free_count} free")


def _round_trip(applet: OathApplet, seed: Seed, time: float) -> Check:
    """Write a test credential, compare its code, delete it, and check that nothing else on the key changed."""
    if TEST.encode() in applet.names():
        applet.delete(TEST)
    before = applet.held()
    try:
        applet.put(TEST, seed, touch=False)
        code = applet.code(TEST, time, touch=applet.held().get(TEST.encode(), False))
        applet.delete(TEST)
    except DeviceFault as fault:
        if TEST.encode() in applet.names():
            applet.delete(TEST)
        return Check("round trip", Value.FAIL, str(fault))
    if applet.held() != before:
        return Check("round trip", Value.FAIL, "the key no longer has the same credentials as before")
    if code != otp.code_at(seed, time):
        return Check("round trip", Value.FAIL, "the key computes codes that do not match the secret")
    return Check(
        "round trip", Value.PASS, "a test credential gave the right code and was deleted; nothing else changed"
    )
