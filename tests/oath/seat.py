"""A desk whose carrier is the one key in a reader, for the suites that cut its work off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mfa_kit.adapters.oath.card import Keys, OathCard, Way
from mfa_kit.lab.oathcard import Card
from mfa_kit.lab.server import Lab
from mfa_kit.models import Caller, Kind
from mfa_kit.oathkey import Plugged
from mfa_kit.otp import Secret
from mfa_kit.ports import Carrier, Desk
from tests.conftest import ACCOUNT
from tests.faults.conftest import Judge
from tests.faults.worker import Cut, Notes, Shared, act, at_desk

# What a verb finds, and what it leaves.
BEFORE = {"enroll": 0, "replace": 1, "revoke": 1}
AFTER = {"enroll": 1, "replace": 1, "revoke": 0}


def refuse(_key: Plugged) -> Secret[str]:
    raise AssertionError("no key here has a password")


@contextmanager
def at_key(
    home: Path, shared: Shared, *, recipient: str, touch: bool = False, cut: Cut | None = None
) -> Iterator[tuple[Desk, Caller, Callable[[], Carrier], Notes]]:
    """As at_desk: the carrier, when it is asked for, is the only key that is plugged in; dead runs find theirs."""
    with at_desk(home, shared, recipient=recipient, cut=cut) as (desk, caller, _, notes):
        keys = Keys(say=notes.note, password=refuse)

        def seat(key: Plugged | None) -> Carrier:
            real = OathCard(keys, key, way=Way(touch=touch), now=desk.inventory.now, sleep=lambda _: None)
            carrier: Carrier = cut.wrap(real, "carrier") if cut else real
            return carrier

        def chosen() -> Carrier:
            found, wrong = keys.look()
            if wrong:
                raise wrong[0]
            (key,) = found
            return seat(key)

        yield replace(desk, carrier=lambda _: seat(None)), caller, chosen, notes


def do(
    verb: str, user: str, home: Path, shared: Shared, *, recipient: str, touch: bool = False, cut: Cut | None = None
) -> tuple[object, list[str]]:
    """Run one verb with the key; return what came of it and what was said."""
    with at_key(home, shared, recipient=recipient, touch=touch, cut=cut) as (desk, caller, chosen, notes):
        carrier = chosen() if verb in {"enroll", "replace"} else desk.carrier  # a revoke finds its key by itself
        done = act(verb, user, desk=desk, caller=caller, carrier=carrier, kind=Kind.OATH)  # type: ignore[arg-type]
        return done, notes.said


@dataclass(frozen=True)
class KeyJudge:
    """Looks at the key too: its credentials are those of the user's devices, with IAM's seeds, and no others."""

    lab: Lab
    judge: Judge

    def works(self, user: str, home: Path, card: Card) -> list[str]:
        serials = self.judge.works(user, home)
        expected = {f"AWS:{serial.rpartition('/')[2]}@{ACCOUNT}".encode(): self.lab.seed(serial) for serial in serials}
        assert {name: held.key for name, held in card.credentials.items()} == expected
        return serials
