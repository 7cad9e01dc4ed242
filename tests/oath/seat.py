"""A desk with one OATH key in a reader, for the tests that interrupt its work."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyrage
from pyrage.x25519 import Identity

from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.identities import seal_text
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.adapters.oath.card import CredentialOptions, OathCard
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.models import Caller, DeviceSpec, JournalEntry, Method, run_id
from mfa_kit.core.otp import Created, Secret, Seed
from mfa_kit.enrollment.enroll import enroll
from mfa_kit.enrollment.making import prepare_device
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.ports import EnrollmentPorts, EnrollmentProcedure
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.oath_keys import verifying
from mfa_kit.oath_keys.applet import LockableKeys
from mfa_kit.oath_keys.choosing import seal_password
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.qr_codes import key_uri, symbol
from mfa_kit.wiring.oath_keys import random_password
from tests.conftest import ACCOUNT
from tests.faults.conftest import Judge
from tests.faults.worker import Cut, Notes, Shared, act, at_desk

# The number of devices that each verb expects to find, and that it leaves.
BEFORE = {"enroll": 0, "replace": 1, "revoke": 1, "verify": 1, "restore": 1}
AFTER = {"enroll": 1, "replace": 1, "revoke": 0, "verify": 1, "restore": 1}
# These verbs use only the key and make no call to AWS.
KEY_ALONE = ("verify", "restore")


def passwords_in(home: Path, identity: Identity) -> list[Secret[str]]:
    """Return the encrypted passwords in the folder of a desk, oldest first."""
    files = sorted((home / "secrets").glob("*.age"), key=lambda file: int(file.stem))
    return [Secret(pyrage.decrypt(file.read_bytes(), [identity]).decode()) for file in files]


def keys_of(notes: Notes, cut: Cut | None, passwords: Iterable[Secret[str]] = ()) -> Keys:
    """Return the keys that are plugged in. If a cut is given, it counts each command to an applet.

    `passwords` are what the person types.
    """
    to_type = iter(passwords)
    keys = Keys(say=notes.note, password=lambda _: next(to_type))
    real = keys.open

    @contextmanager
    def opened(key: OathKey) -> Iterator[Any]:
        with real(key) as applet:
            yield cut.wrap(applet, "applet") if cut else applet

    keys.open = opened  # type: ignore[method-assign]
    return keys


def only(keys: Keys) -> OathKey:
    """Return the one key that is plugged in. A key that is pulled during the look is not found."""
    found, wrong = keys.look()
    if not found:
        raise wrong[0] if wrong else DeviceFault("no key is plugged in", "plug it in and try again")
    (key,) = found
    return key


@contextmanager
def at_key(
    home: Path, shared: Shared, *, identity: Identity, touch: bool = False, cut: Cut | None = None
) -> Iterator[tuple[EnrollmentPorts, Caller, Callable[[OathKey], OathCard], Keys, Notes]]:
    """Open a desk like at_desk with a key as carrier.

    Interrupted runs search for their keys among the keys of the desk.
    """
    with at_desk(home, shared, recipient=str(identity.to_public()), cut=cut) as (desk, caller, _, notes):
        keys = keys_of(notes, cut, reversed(passwords_in(home, identity)))

        def seat(key: OathKey | None) -> OathCard:
            return OathCard(
                keys, key, options=CredentialOptions(touch=touch), now=desk.iam_reader.now, sleep=lambda _: None
            )

        yield replace(desk, backend=lambda _: seat(None)), caller, seat, keys, notes


def do(
    verb: str, user: str, home: Path, shared: Shared, *, identity: Identity, touch: bool = False, cut: Cut | None = None
) -> tuple[object, list[str]]:
    """Run one verb with the key. Return its result and its messages."""
    with at_key(home, shared, identity=identity, touch=touch, cut=cut) as (desk, caller, seat, keys, notes):
        if verb == "verify":
            return verify(keys), notes.said
        if verb == "restore":
            (file,) = (home / "backups").rglob("*.age")
            return restore(user, file, identity, seat(only(keys))), notes.said
        if verb == "prepare":
            return prepare(
                user, home, desk, caller, seat(only(keys)), keys=keys, identity=identity, cut=cut
            ), notes.said
        # `revoke` and `orphans clean` find their key themselves.
        backend: Any = seat(only(keys)) if verb in {"enroll", "replace"} else None
        return act(verb, user, desk=desk, caller=caller, backend=backend, method=Method("oath")), notes.said


def prepare(
    user: str,
    home: Path,
    desk: EnrollmentPorts,
    caller: Caller,
    backend: OathCard,
    *,
    keys: Keys,
    identity: Identity,
    cut: Cut | None,
) -> object:
    """Prepare the key to be sent by post: its password is encrypted in a file of the desk."""
    folder = home / "secrets"
    folder.mkdir(exist_ok=True)

    def seal(password: Secret[str]) -> None:
        file = folder / f"{len([*folder.iterdir()])}.age"
        in_step("seal", lambda: seal_text(file, password, [str(identity.to_public())], ()))

    def in_step(name: str, call: Callable[[], None]) -> None:
        if cut:
            cut.step(name, call)
        else:
            call()

    def lock(entry: JournalEntry) -> None:
        assert entry.spec.card
        key = keys.seen[entry.spec.card]
        seal_password(cast("LockableKeys", keys), key, generate=random_password, seal=seal)

    procedure = EnrollmentProcedure(
        partial(prepare_device, lock=lock, record=lambda _: in_step("record", lambda: None)), lambda *_: []
    )
    request = EnrollRequest(user=user, method=Method("oath"), staged=True)
    run = run_id(desk.iam_reader.now(), os.urandom(4))
    return enroll(request, backend, caller=caller, ports=desk, run=run, procedure=procedure)


def verify(keys: Keys) -> object:
    key = only(keys)
    with keys.open(key) as applet:
        return verifying.judge_fitness(
            key, applet, account=ACCOUNT, seed=Seed(bytes(range(40))), time=time.time(), advisories=()
        )


def restore(user: str, file: Path, identity: Identity, backend: OathCard) -> bool:
    uri = symbol.read(open_backup(file, Secret([identity])))
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user, method=Method("oath"))
    return backend.restore(spec, Created(key_uri.seed_of(uri), uri))


@dataclass(frozen=True)
class KeyJudge:
    """A judge that checks the key too.

    The key must have the credentials of the user's devices, with IAM's secrets, and no others.
    """

    lab: Lab
    judge: Judge

    def works(self, user: str, home: Path, card: YkoathCard) -> list[str]:
        serials = self.judge.works(user, home)
        expected = {f"AWS:{serial.rpartition('/')[2]}@{ACCOUNT}".encode(): self.lab.seed(serial) for serial in serials}
        assert {name: held.key for name, held in card.credentials.items()} == expected
        return serials
