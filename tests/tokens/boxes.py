"""Boxes of tokens for the tests: seed files as vendors write them, and the codes that a display shows."""

import base64
import hashlib
import hmac
import io
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyotp
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pskc import PSKC

from mfa_kit.adapters.seedfiles import files
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import Encoding, SeededToken, SeedFile

PASSPHRASE = "correct horse"
PRESHARED = bytes(range(16))
MAC_KEY = bytes(range(20, 40))
HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}
URN = "urn:ietf:params:xml:ns:keyprov:pskc:"


@dataclass(frozen=True)
class Made:
    """One token with its parameters and its seed.

    A missing seed is derived from the serial, so every run has the same codes.
    """

    serial: str
    octets: bytes = b""
    factor: str = "totp"
    digest: str = "sha1"
    digits: int = 6
    period: int = 30
    counter: int = 0

    def __post_init__(self) -> None:
        if not self.octets:
            object.__setattr__(self, "octets", random.Random(self.serial).randbytes(20))

    @property
    def hex(self) -> str:
        return self.octets.hex()

    @property
    def base32(self) -> str:
        return base64.b32encode(self.octets).decode().rstrip("=")

    def shows(self, at: float, *, ahead: int = 0) -> str:
        """Return the code on its display, computed by pyotp. `ahead` is the error of its clock in seconds."""
        secret = base64.b32encode(self.octets).decode()
        if self.factor == "hotp":
            return pyotp.HOTP(secret, digits=self.digits, digest=HASHES[self.digest]).at(self.counter + ahead)
        return pyotp.TOTP(secret, digits=self.digits, digest=HASHES[self.digest], interval=self.period).at(
            int(at) + ahead
        )


def pskc(made: Iterable[Made], *, how: str = "plain", suite: bool = True, **setup: object) -> bytes:
    """Write a container with python-pskc: plain, with a passphrase or with a pre-shared key."""
    container = PSKC()
    for one in made:
        container.add_key(
            id=one.serial,
            serial=one.serial,
            manufacturer="Acme",
            model="Display 1",
            algorithm=URN + one.factor,
            algorithm_suite=f"HMAC-{one.digest.upper()}" if suite and one.factor == "totp" else None,
            secret=one.octets,
            response_length=one.digits,
            response_encoding="DECIMAL",
            time_interval=one.period if one.factor == "totp" else None,
            counter=one.counter if one.factor == "hotp" else None,
        )
    if how == "passphrase":
        container.encryption.setup_pbkdf2(PASSPHRASE, iterations=1000, **setup)  # type: ignore[arg-type]
    elif how == "pre-shared key":
        container.encryption.setup_preshared_key(key=PRESHARED, key_name="K1", **setup)  # type: ignore[arg-type]
    out = io.BytesIO()
    container.write(out)
    return out.getvalue()


def _encrypted(octets: bytes) -> str:
    """Encrypt with AES-128-CBC as XML Encryption does: the IV first, and PKCS#7 padding."""
    iv, size = bytes(range(100, 116)), 16 - len(octets) % 16
    cipher = Cipher(algorithms.AES(PRESHARED), modes.CBC(iv)).encryptor()
    return base64.b64encode(iv + cipher.update(octets + bytes([size]) * size) + cipher.finalize()).decode()


def privacyidea(made: Iterable[Made], *, drift: str = "None", mac: bool = True) -> bytes:
    """Write PSKC as privacyIDEA exports it (`export_pskc` in lib/importotp.py).

    It prints the container with an HTML parser: all names are in lower case. The hash is an attribute. The drift is in
    seconds, or None. Older versions wrote no MAC.
    """
    method = 'algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"'
    text = (
        '<keycontainer version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc" '
        'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">\n'
        "<encryptionkey><ds:keyname>Pre-shared-key</ds:keyname></encryptionkey>\n"
        '<macmethod algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"><mackey>'
        f"<xenc:encryptionmethod {method}></xenc:encryptionmethod><xenc:cipherdata><xenc:ciphervalue>"
        f"{_encrypted(MAC_KEY)}</xenc:ciphervalue></xenc:cipherdata></mackey></macmethod>\n"
    )
    for m in made:
        seed, timed = _encrypted(m.octets), m.factor == "totp"
        digest = base64.b64encode(hmac.digest(MAC_KEY, base64.b64decode(seed), "sha1")).decode()
        text += (
            f"<keypackage><deviceinfo><manufacturer>Acme</manufacturer><serialno>{m.serial}</serialno></deviceinfo>\n"
            f'<key algorithm="{URN}{m.factor}" id="{m.serial}"><issuer>privacyIDEA</issuer><algorithmparameters>\n'
            f'<responseformat encoding="DECIMAL" length="{m.digits}"></responseformat>\n'
            f'<suite hashalgo="{m.digest}"></suite></algorithmparameters><data><secret><encryptedvalue>\n'
            f"<xenc:encryptionmethod {method}></xenc:encryptionmethod><xenc:cipherdata><xenc:ciphervalue>{seed}"
            "</xenc:ciphervalue></xenc:cipherdata></encryptedvalue>\n"
            f"{f'<valuemac>{digest}</valuemac>' if mac else ''}</secret>\n"
            f"{'' if mac else '<valuemac>TODOmissing</valuemac>'}<time><plainvalue>0</plainvalue></time>\n"
            f"<timeinterval><plainvalue>\n{m.period if timed else 0}</plainvalue></timeinterval>\n"
            f"<counter><plainvalue>{m.counter}</plainvalue></counter>\n"
            f"<timedrift><plainvalue>\n{drift if timed else 0}\n</plainvalue></timedrift></data></key></keypackage>\n"
        )
    return f"{text}</keycontainer>".encode()


def entra(made: Iterable[Made], *, encoding: str = "base32") -> bytes:
    lines = [f"u@example.com,{m.serial},{getattr(m, encoding)},{m.period},Acme,Display 1" for m in made]
    return "\n".join(["upn,serial number,secret key,time interval,manufacturer,model", *lines, ""]).encode()


def linotp(made: Iterable[Made]) -> bytes:
    lines = [
        f"{m.serial},{m.hex},{m.factor},{m.digits},{m.period if m.factor == 'totp' else m.counter},{m.digest}"
        for m in made
    ]
    return "\n".join(["# version: 1", *lines, ""]).encode()


def yubico(made: Iterable[Made]) -> bytes:
    """Write the traditional layout of Yubico's personalization tool. The serial has the slot after a colon."""
    lines = [
        f"OATH-HOTP,11.12.13 18:55,{slot},{name},,{m.hex},,,0,0,0,{m.digits},{m.counter},0,0,0,0,0"
        for m in made
        for name, _, slot in (m.serial.partition(":"),)
    ]
    return "\n".join(["LOGGING START,11.12.13 18:54", *lines, ""]).encode()


def yubico_short(made: Iterable[Made]) -> bytes:
    return "".join(f"{m.serial},,{m.counter},{m.hex},,2013-12-12T08:41:07,\n" for m in made).encode()


def safenet(made: Iterable[Made]) -> bytes:
    tokens = "".join(
        f'<Token serial="{m.serial}"><CaseModel>5</CaseModel><ProductName>eToken PASS</ProductName><Applications>'
        f"<Application><Seed>{m.hex}</Seed><MovingFactor>{m.counter}</MovingFactor></Application></Applications></Token>"
        for m in made
    )
    return f'<?xml version="1.0" encoding="utf-8"?><Tokens>{tokens}</Tokens>'.encode()


def uris(made: Iterable[Made]) -> bytes:
    """Write key URIs with pyotp."""
    lines = []
    for m in made:
        if m.factor == "totp":
            totp = pyotp.TOTP(
                m.base32, digits=m.digits, digest=HASHES[m.digest], name=m.serial, issuer="Acme", interval=m.period
            )
            lines.append(totp.provisioning_uri())
        else:
            hotp = pyotp.HOTP(m.base32, digits=m.digits, name=m.serial, issuer="Acme", initial_count=m.counter)
            lines.append(hotp.provisioning_uri())
    return "\n".join([*lines, ""]).encode()


def unlock(what: str) -> Secret[str]:
    return Secret(PASSPHRASE if what == "passphrase" else PRESHARED.hex())


def read(content: bytes, *, wanted: Encoding | None = None, now: float | None = None) -> SeedFile:
    return files.read_seed_file(content, unlock, now=time.time() if now is None else now, encoding=wanted)


def keys(content: bytes, *, wanted: Encoding | None = None) -> tuple[SeededToken, ...]:
    """Return the keys of a file that has only one reading."""
    (reading,) = read(content, wanted=wanted).readings
    return reading.keys


def matches(key: SeededToken, made: Made) -> bool:
    """Return whether a key equals the token as it was made: its seed and each parameter that its format has."""
    token = key.token
    moving = (token.period == made.period) if made.factor == "totp" else (token.counter == made.counter)
    return (
        key.seed == Seed(made.octets)
        and (token.serial, str(token.factor), token.digits) == (made.serial, made.factor, made.digits)
        and (made.factor == "hotp" or token.digest == made.digest)
        and moving
    )
