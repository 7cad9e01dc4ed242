"""Changed files of a break-glass identity: they never open, and no change crashes a command."""

import random
from pathlib import Path

from mfa_kit.break_glass.custodians import parse_manifest
from tests.break_glass.conftest import Desk
from tests.sizes import size

PARTS = (b"", b"\0", b"-> X25519 a\nb\n", b"-> scrypt a 60\nb\n", b"---", b"age-encryption.org/v1\n", b"\n" * 99)


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """Return a text with a change: bits, a cut, a part twice, or other octets in it."""
    at, end = sorted((rng.randrange(len(whole)), rng.randrange(1, len(whole) + 1)))
    match rng.randrange(5):
        case 0:
            return whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        case 1:
            return whole[:at]
        case 2:
            return whole[:end] + whole[at:]
        case 3:
            return whole[:at] + rng.choice(PARTS) + whole[end:]
        case _:
            return whole[:at] + rng.randbytes(end - at) + whole[end:]


def test_a_changed_file_of_a_set_never_opens(desk: Desk) -> None:
    """A meeting ends with exit code 5, because no other file is left, and without a traceback."""
    row = desk.create(3, ["alice", "bob", "ssh"])
    desk.sealed("root", row["recipient"])
    [file] = Path(row["folder"]).glob("set-*")
    whole, rng = file.read_bytes(), random.Random(21)
    words = ("break-glass", "drill", *desk.here("ssh", "alice", "bob"))
    for number in range(size(100, 1000)):
        changed = mutated(whole, rng)
        if changed == whole:
            continue
        file.write_bytes(changed)
        done = desk.run(*words)
        assert (done.code, "internal error" in done.err) == (5, False), (number, done)
    file.write_bytes(whole)
    assert desk.run(*words).code == 0


def test_a_changed_manifest_is_refused(desk: Desk) -> None:
    """It is damaged, or it differs from the ledger. It is used if its custodians and its recipient are the same."""
    row = desk.create(2, ["alice", "ssh"])
    desk.sealed("root", row["recipient"])
    file = Path(row["folder"], "manifest.json")
    whole, rng = file.read_bytes(), random.Random(22)
    manifest = parse_manifest(whole, where="")
    words = ("break-glass", "drill", *desk.here("alice", "ssh"))
    for number in range(size(100, 1000)):
        changed = mutated(whole, rng)
        file.write_bytes(changed)
        done = desk.run(*words)
        assert "internal error" not in done.err, (number, done)
        if done.code == 0:
            used = parse_manifest(changed, where="")
            assert (used.recipient, used.group) == (manifest.recipient, manifest.group), number
        else:
            assert done.code in {2, 5}, (number, done)
