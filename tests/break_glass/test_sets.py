"""Tests of the files of a break-glass identity: exactly the custodians of a set open its file, with age alone."""

import json
import subprocess
from dataclasses import replace
from itertools import combinations, permutations
from math import comb
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.files.layers import RecoveryIdentity, open_layers
from mfa_kit.break_glass.custodians import FILE, MOST_SETS, Custodian, Group, Manifest, parse_manifest
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.otp import Secret
from tests.break_glass.conftest import Desk, peel, seed_in
from tests.conftest import judge
from tests.sizes import sample

SIZES = [(needed, many) for many in range(1, 10) for needed in range(1, min(many, 5) + 1)]
SCRIPT = """
set -euo pipefail
cd "$1"
for file in set-*.age; do
    names=${file%.age}
    IFS=- read -r first second third <<<"${names#set-??-}"
    age -d -i "$2/$first.key" "$file" | age -d -i "$2/$second.key" | age -d -i "$2/$third.key" | age-keygen -y
done
"""


def people(number: int) -> tuple[list[pyrage.x25519.Identity], tuple[Custodian, ...]]:
    keys = [pyrage.x25519.Identity.generate() for _ in range(number)]
    return keys, tuple(Custodian(f"c{at}", str(key.to_public())) for at, key in enumerate(keys))


@pytest.mark.parametrize(("needed", "many"), sample(SIZES, 8))
def test_m_custodians_open_each_file_and_m_minus_1_open_none(needed: int, many: int) -> None:
    """Each set of m custodians has one file, which no other order and no smaller set opens."""
    keys, custodians = people(many)
    identity = RecoveryIdentity.new()
    manifest = Manifest(recipient=identity.recipient, made=1.0, group=Group(needed, custodians))
    files = identity.files(manifest)
    sets = manifest.group.sets()
    assert len(files) == len(sets) + 1 == comb(many, needed) + 1
    assert {each.names for each in sets} == set(combinations(manifest.group.names, needed))
    for each in sets:
        own = [Secret([keys[int(name[1:])]]) for name in each.names]

        def opened(given: list[Secret[list[pyrage.x25519.Identity]]], file: bytes = files[each.file]) -> str:
            return open_layers(file, given, recipient=identity.recipient, where="x").recipient  # type: ignore[arg-type]

        assert opened(own) == identity.recipient
        for at in range(needed):
            with pytest.raises(IntegrityFault):
                opened(own[:at] + own[at + 1 :])
        strangers = [Secret([key]) for key in keys if all(key not in one.reveal() for one in own)]
        for stranger in strangers[:2]:
            with pytest.raises(WrongIdentityError):
                opened([*own[:-1], stranger])
        if needed > 1:
            with pytest.raises(WrongIdentityError):
                opened(own[::-1])


def test_a_script_with_only_age_opens_all_ten_sets_of_3_of_5(desk: Desk) -> None:
    """The file names show the order of the custodians. One of them has an SSH key."""
    names = ["alice", "bob", "ssh", "dave", "erin"]
    row = desk.create(3, names)
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "sh", row["folder"], desk.folder],
        env={"PATH": str(Path(judge("age")).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [row["recipient"]] * 10


def test_age_opens_no_set_of_3_of_5_with_two_keys(desk: Desk) -> None:
    """Two custodians of a set remove at most two layers, in no order, and what is left is encrypted."""
    names = ["alice", "bob", "ssh", "dave", "erin"]
    row = desk.create(3, names)
    for file in sorted(Path(row["folder"]).glob("set-*.age")):
        chosen = file.stem.split("-")[2:]
        for pair in permutations(chosen, 2):
            keys = [desk.key(name).file for name in pair]
            if list(pair) == chosen[:2]:
                left = peel(file.read_bytes(), keys)
                assert left.startswith(b"age-encryption.org/v1")
                assert b"AGE-SECRET-KEY" not in left
            else:
                with pytest.raises(subprocess.CalledProcessError):
                    peel(file.read_bytes(), keys)


def test_the_identity_in_a_file_opens_the_backups_with_age(desk: Desk) -> None:
    """A backup is encrypted to the recipient like to any other, and no custodian takes part in that."""
    row = desk.create(2, ["alice", "ssh", "carol"])
    backup = desk.sealed("root", row["recipient"])
    identity = desk.identity(row, "alice", "ssh")
    assert seed_in(backup, identity, desk.folder).reveal() == bytes(range(40))
    assert desk.identity(row, "ssh", "carol") == identity


def test_a_group_of_more_than_252_sets_is_refused() -> None:
    """5 of 10 is the largest group of ten."""
    _, custodians = people(11)
    assert len(Group(5, custodians[:10]).sets()) == MOST_SETS
    with pytest.raises(UsageFault, match="11 custodians have 462 sets of 5; the maximum is 252"):
        Group(5, custodians)


@pytest.mark.parametrize("threshold", [0, 4])
def test_an_impossible_threshold_is_refused(threshold: int) -> None:
    with pytest.raises(UsageFault, match=f"{threshold} of 3 custodians cannot be required"):
        Group(threshold, people(3)[1])


def test_names_and_keys_of_a_group_differ() -> None:
    """With one key under two names, one person could act as two. File systems may ignore the case of names."""
    first, second = people(2)[1]
    with pytest.raises(UsageFault, match="c0 and x have the same key"):
        Group(2, (first, Custodian("x", first.key)))
    with pytest.raises(UsageFault, match="the custodian c0 is given twice"):
        Group(2, (first, Custodian("C0", second.key)))
    for name in ("", "a/b", "a b", "a=b", "x" * 65):
        with pytest.raises(UsageFault, match="cannot be the name of a custodian"):
            Group(1, (Custodian(name, first.key),))


def test_file_names_fit_any_file_system() -> None:
    """Long names are cut in the file name; the manifest has the whole names."""
    custodians = tuple(Custodian(f"{at}" * 64, f"key{at}") for at in range(5))
    sets = Group(5, custodians).sets()
    assert [len(each.file) <= 240 for each in sets] == [True]
    assert sets[0].names == tuple(each.name for each in custodians)


def test_a_manifest_is_read_as_it_was_written() -> None:
    custodians = people(4)[1]
    whole = Manifest(
        recipient="age1x", made=1_800_000_000.0, group=Group(2, custodians[:3]), former=custodians[3:], replaces="age1y"
    )
    confirmed = replace(whole, hmac="0a" * 32)
    for manifest, version in ((whole, 1), (confirmed, 2), (replace(whole, replaces=None), 1)):
        assert parse_manifest(manifest.text().encode(), where=FILE) == manifest
        assert json.loads(manifest.text())["version"] == version


def test_a_manifest_is_readable_and_says_what_it_is() -> None:
    """Its HMAC covers the same octets whoever writes it: without spaces, in UTF-8."""
    manifest = Manifest(recipient="age1\u00e9", made=1.0, group=Group(2, people(3)[1]))
    assert manifest.text().startswith('{\n  "schema": "mfa-kit/break-glass",\n  "version": 1,\n  "recipient": "age1')
    assert manifest.text().endswith("]\n}\n")
    assert '"recipient":"age1\u00e9"'.encode() in manifest.canonical()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 2', '"version": 1'),
        ('"version": 2', '"version": 3'),
        ('"replaces": "age1y"', '"replaces": null'),
        ("0a0a", "0A0A"),
        ("0a0a", "0a"),
        ("0a0a", "\\ud800"),
        ("age1x", "\\ud800"),
        ('"hmac"', '"HMAC"'),
    ],
)
def test_a_damaged_manifest_of_a_rotation_is_refused(old: str, new: str) -> None:
    """Its HMAC is 64 hexadecimal digits, and belongs to version 2 and to a rotation."""
    whole = Manifest(recipient="age1x", made=1.0, group=Group(2, people(3)[1]), replaces="age1y", hmac="0a" * 32)
    assert old in whole.text()
    with pytest.raises(IntegrityFault, match="is damaged"):
        parse_manifest(whole.text().replace(old, new, 1).encode(), where=FILE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"threshold": 2', '"threshold": 1'),
        ('"threshold": 2', '"threshold": "2"'),
        ('"threshold": 2', '"threshold": 9'),
        ('"version": 1', '"version": 2'),
        ('"c0",', '"c9",'),
        ("set-01-c0-c1.age", "set-01-c1-c0.age"),
        ('"made": "', '"made": "x'),
        ('"replaces": null', '"replaces": 1'),
        ("{", "["),
    ],
)
def test_a_manifest_that_contradicts_itself_is_damaged(old: str, new: str) -> None:
    text = Manifest(recipient="age1x", made=1.0, group=Group(2, people(3)[1])).text()
    assert old in text
    with pytest.raises(IntegrityFault, match="is damaged"):
        parse_manifest(text.replace(old, new, 1).encode(), where=FILE)


def test_fingerprints_are_those_of_ssh_keygen(desk: Desk) -> None:
    """An age key is short, so it is its own fingerprint."""
    done = subprocess.run(
        [judge("ssh-keygen"), "-l", "-f", desk.key("ssh").file], capture_output=True, text=True, check=True
    )
    assert Custodian("ssh", desk.key("ssh").public).fingerprint == done.stdout.split()[1]
    assert Custodian("alice", desk.key("alice").public).fingerprint == desk.key("alice").public
