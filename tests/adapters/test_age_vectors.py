"""The age test vectors of C2SP CCTV, which Debian packages: https://c2sp.org/CCTV/age (0BSD).

Each file has a header with the expected result, then an age file. TAKEN_ANYWAY and docs/formats.md say where mfa-kit
differs.
"""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.files.identities import read_identities
from mfa_kit.adapters.files.plugins import Identity, decrypt_file, without_armor
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.otp import Secret

VECTORS = Path("/usr/share/gocode/src/c2sp.org/CCTV/age/testdata")
# age refuses these. The library of mfa-kit, like rage, opens them, because earlier versions of rage wrote such stanzas.
TAKEN_ANYWAY = {"stanza_missing_body", "stanza_missing_final_line"}


@dataclass(frozen=True)
class Vector:
    """A test vector: its name, the fields of its header, and the age file."""

    name: str
    fields: dict[str, str]
    content: bytes

    @property
    def opens(self) -> bool:
        """Whether age opens the file."""
        return self.fields["expect"] == "success"


def read(file: Path) -> Vector:
    """Return the vector in a file."""
    header, _, content = file.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines())
    return Vector(file.name, fields, zlib.decompress(content) if "compressed" in fields else content)


ALL = [read(file) for file in sorted(VECTORS.iterdir())]
KEYS = [vector for vector in ALL if "identity" in vector.fields]
PASSPHRASES = [vector for vector in ALL if "passphrase" in vector.fields]


def test_the_vectors_are_complete() -> None:
    """A newer package with other vectors is looked at."""
    assert (len(ALL), sum(vector.opens for vector in ALL)) == (120, 20)


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector.name)
def test_a_vector_for_a_key_opens_as_age_opens_it(vector: Vector) -> None:
    """Either the whole content, with the right hash, or an error of ours."""
    keys = Secret[list[Identity]]([pyrage.x25519.Identity.from_str(vector.fields["identity"])])
    sealed = without_armor(Secret(vector.content))
    try:
        opened = decrypt_file(sealed, keys, where="the file", hint="use another identity")
    except MfaKitError:
        assert not vector.opens
        assert vector.name not in TAKEN_ANYWAY
    else:
        assert vector.opens or vector.name in TAKEN_ANYWAY
        if vector.opens:
            assert hashlib.sha256(opened.reveal()).hexdigest() == vector.fields["payload"]


@pytest.mark.parametrize("vector", PASSPHRASES, ids=lambda vector: vector.name)
def test_a_vector_with_a_passphrase_opens_as_age_opens_it(vector: Vector, tmp_path: Path) -> None:
    """mfa-kit opens only identities with a passphrase. The content is none, which shows that it was read."""
    file = tmp_path / "identity"
    file.write_bytes(vector.content)
    with pytest.raises(MfaKitError) as caught:
        read_identities([file], ask=lambda _: Secret(vector.fields["passphrase"]))
    assert ("contains no usable identity" in str(caught.value)) is vector.opens
