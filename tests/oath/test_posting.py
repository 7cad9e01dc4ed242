"""Generated OATH passwords: each is encrypted before its key has it, and it opens the key after any interruption."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyrage
import pytest
from pyrage.x25519 import Identity

from mfa_kit.adapters.files.identities import seal_text
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.errors import DeviceFault, IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.oath_keys.applet import LockableKeys
from mfa_kit.oath_keys.choosing import seal_password
from mfa_kit.wiring.oath_keys import random_password
from tests import pcsc
from tests.oath.conftest import Person, only

Seal = Callable[[Secret[str]], None]


def give(keys: Keys, seal: Seal) -> None:
    seal_password(cast("LockableKeys", keys), only(keys), generate=random_password, seal=seal)


def sealer(identity: Identity, path: Path) -> Seal:
    return lambda password: seal_text(path, password, [str(identity.to_public())], ())


def opens(file: Path, identity: Identity, card: YkoathCard) -> bool:
    """Return whether the password in the file opens the key, for a process that does not know it."""
    typed = Person(passwords=[pyrage.decrypt(file.read_bytes(), [identity]).decode()])
    fresh = Keys(say=typed.said.append, password=typed.password)
    assert card.password
    with fresh.open(only(fresh)) as applet:
        applet.names()
    return typed.passwords == []


def test_the_encrypted_password_opens_the_key(keys: Keys, card: YkoathCard, tmp_path: Path) -> None:
    """The file exists before the key gets the password. This process needs no password afterwards."""
    identity, file = Identity.generate(), tmp_path / "password.age"
    seal = sealer(identity, file)

    def watched(password: Secret[str]) -> None:
        assert card.password is None
        seal(password)

    give(keys, watched)
    assert opens(file, identity, card)
    with keys.open(only(keys)) as applet:
        assert applet.guarded


def test_a_password_that_cannot_be_encrypted_is_not_set(keys: Keys, card: YkoathCard) -> None:
    """The error of the file is raised."""

    def refuse(_: Secret[str]) -> None:
        raise IntegrityFault("the disk is full", "free some space")

    with pytest.raises(IntegrityFault, match="the disk is full"):
        give(keys, refuse)
    assert card.password is None


def test_an_old_password_is_asked_for_and_replaced(
    keys: Keys, card: YkoathCard, person: Person, tmp_path: Path
) -> None:
    """The key then opens with the new password only."""
    with keys.open(only(keys)) as applet:
        applet.set_key(applet.derive_key(Secret("old")))
    identity, file = Identity.generate(), tmp_path / "password.age"
    person.passwords = ["old"]
    give(keys, sealer(identity, file))
    assert person.passwords == []
    assert opens(file, identity, card)


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("moment", ["pulled_before", "pulled_after"])
def test_a_key_pulled_at_any_apdu_is_open_or_opens_with_the_file(
    keys: Keys, card: YkoathCard, tmp_path: Path, moment: str, number: int
) -> None:
    """The password is never only on the key."""
    identity, file = Identity.generate(), tmp_path / "password.age"
    key = only(keys)
    card.log.clear()
    setattr(card.quirks, moment, number)
    with pytest.raises(DeviceFault):
        seal_password(cast("LockableKeys", keys), key, generate=random_password, seal=sealer(identity, file))
    assert len(card.log) == number
    setattr(card.quirks, moment, 0)
    pcsc.plug(card)
    assert card.password is None or opens(file, identity, card)
