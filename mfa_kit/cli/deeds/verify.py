"""What `mfa-kit verify oath` and `mfa-kit verify user` do."""

from pathlib import Path
from typing import Any

from mfa_kit.cli import keys, options
from mfa_kit.cli import output as report
from mfa_kit.core.checks import Proof, Refused
from mfa_kit.enrollment.devices import choose_device
from mfa_kit.enrollment.user_names import resolve_user
from mfa_kit.wiring import desk as kit
from mfa_kit.wiring import oath_acceptance
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.oath_keys import OathKeys


def _oath_keys() -> OathKeys:
    return OathKeys(options.common(), password_stdin=bool(keys.given("password_stdin")))


def oath(wanted: str | None, *, write: bool, maker: bool) -> int:
    """Check a key before it is given to somebody, and print the answer; return 1 where it is no."""
    answer, key = oath_acceptance.acceptance(
        _oath_keys(), wanted, write=write, account=options.common().account, maker=maker
    )
    return _tell("verify-oath", answer, key=key.what, serial=key.serial, where=key.where)


def user(
    user: str,
    wanted: str | None,
    wanted_key: str | None,
    *,
    resync: bool,
    backup: Path | None,
    identities: Identities,
) -> int:
    """Check that a key is a user's device, and print the answer; return 1 where it is no."""
    with kit.open_desk(options.common()) as (desk, caller):
        name = resolve_user(user, caller=caller, inventory=desk.inventory)
        device = choose_device(name, wanted, devices=desk.inventory.devices(name))
        answer = oath_acceptance.belongs(
            _oath_keys(),
            device,
            wanted_key,
            caller=caller,
            desk=desk,
            resync=resync,
            backup=backup,
            identities=identities,
        )
        return _tell("verify-user", answer, user=name, device=device.serial)


def _tell(schema: str, answer: Proof | Refused, **row: Any) -> int:
    """Print the checks, and return the exit code."""
    output = options.form()
    checks = [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in answer.checks
    ]
    if output == "json":
        row |= {"answer": "proof" if isinstance(answer, Proof) else "refused", "checks": checks}
        report.one(schema, row, output=output)
    else:
        report.many(schema, checks, output=output, empty="nothing was checked")
    return 0 if isinstance(answer, Proof) else 1
