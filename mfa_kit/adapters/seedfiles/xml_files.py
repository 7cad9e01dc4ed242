"""Reads PSKC (RFC 6030) and its drafts with python-pskc, and SafeNet's XML for eToken PASS.

defusedxml parses the XML. Document types are rejected, and the size and depth are limited.

python-pskc itself would parse with lxml if lxml is installed. It also ignores a MAC that is declared but missing,
letters outside the base64 alphabet, the rest of a value after an embedded element, and all but the first of repeated
elements. This module checks for each of these.
"""

import binascii
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException
from pskc import PSKC
from pskc.encryption import algorithm_key_lengths
from pskc.exceptions import PSKCError
from pskc.key import EncryptedValue
from pskc.key import Key as PskcKey
from pskc.parser import PSKCParser

from mfa_kit.adapters.seedfiles import encoding
from mfa_kit.adapters.seedfiles.encoding import (
    Contents,
    SeedRow,
    Unlock,
    decode_hex,
    decode_rows,
    digest_named,
    gather_reading,
    number,
)
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeededToken, SeedFile, Token

# The maximum number of the characters < and = in a file. They are counted before parsing, to limit the memory for
# elements (about 200 octets each) and attributes (about 100). A container of 50,000 tokens has about two million.
MARKS = 2_000_000
DEPTH = 24


def parse_xml(content: bytes) -> Element:
    """Parse XML and return the root. Raise IntegrityFault if it is malformed, has a DOCTYPE or exceeds a limit."""
    if content.count(b"<") + content.count(b"=") > MARKS:
        raise IntegrityFault("this XML has too many elements", "ask the vendor to split the tokens into several files")
    try:
        root: Element = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise IntegrityFault(
            f"this XML file has a declaration that is not allowed ({type(error).__name__})",
            "check where this file comes from",
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        place = f", line {error.position[0]}" if isinstance(error, ParseError) else ""
        raise IntegrityFault(f"this is not well-formed XML{place}", "ask the vendor for the file again") from None
    level = [root]
    for _ in range(DEPTH):
        level = [child for element in level for child in element]
    if level:
        raise IntegrityFault(f"this XML is nested more than {DEPTH} levels deep", "check where this file comes from")
    return root


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: Element | None) -> str:
    """Return the text directly in an element, without surrounding blanks, or an empty string if there is none."""
    return (element.text or "").strip() if element is not None else ""


# The maximum number of PBKDF2 iterations. A slow computer needs a few seconds for so many.
ROUNDS = 5_000_000
# The maximum length of the derived key, in octets.
DERIVED = 64
NUMBER = re.compile(r"-?[0-9]+", re.ASCII)
BASE64 = {"CipherValue", "IV", "PlainValue", "Specified", "Value", "ValueDigest", "ValueMAC", "PBESalt"}
# Elements that are read as text, so they may not contain another element.
TEXTS = BASE64 | {
    *("SerialNo", "Manufacturer", "Model", "Suite", "MACAlgorithm", "StartDate", "ExpiryDate", "Expiry", "KeyUsage"),
    *("IterationCount", "KeyLength", "PBEIterationCount"),
}
# Elements that may occur at most once in their parent. Each row of ALIASES has the names of one element in RFC 6030 and
# its drafts.
ALIASES = (
    *(("PlainValue", "EncryptedValue", "Value"), ("ValueMAC", "ValueDigest"), ("DeviceInfo", "DeviceId")),
    *(("ExpiryDate", "Expiry"), ("EncryptionKey", "EncryptionMethod"), ("MACMethod", "DigestMethod", "MACAlgorithm")),
)
ALONE = (
    *("Counter", "Time", "TimeInterval", "TimeDrift", "ResponseFormat", "Suite", "Policy", "StartDate", "SerialNo"),
    *("Manufacturer", "Model", "CipherData", "CipherValue", "EncryptionScheme", "IV", "MACKey", "DerivedKey"),
    *("KeyDerivationMethod", "PBKDF2-params", "Salt", "Specified", "IterationCount", "KeyLength", "PRF"),
    *("PBESalt", "PBEIterationCount"),
)
ONCE = {**{name: name for name in ALONE}, **{name: names[0] for names in ALIASES for name in names}}
# PARTS are children of a key. OF_A_KEY are the children of PARTS that this module reads. Each may occur only once in a
# key. Drafts have <Data Name="secret"> where RFC 6030 has <Data><Secret>.
PARTS = {"Data", "AlgorithmParameters", "Usage"}
OF_A_KEY = {"Secret", "Counter", "Time", "TimeInterval", "TimeDrift", "ResponseFormat", "Suite"}
DRAFT = {"secret": "Secret", "counter": "Counter", "time": "Time", "time_interval": "TimeInterval"}
PARAMETERS = {"Counter", "Time", "TimeInterval", "TimeDrift"}
VALUES = ("secret", "counter", "time_offset", "time_interval", "time_drift")
# The element names that this module and python-pskc know, and the attributes, by their names in lower case. privacyIDEA
# writes its export with an HTML parser, which lowers the case of all names.
LOWER = "keycontainer"
KNOWN = TEXTS | PARTS | OF_A_KEY | ONCE.keys() | {"KeyContainer", "KeyPackage", "Key", "KeyName", "Issuer"}
CASED = {name.lower(): name for name in KNOWN | {"Id", "Algorithm", "Encoding", "Length"}}
# A drift in privacyIDEA's export, and its time steps in seconds.
SECONDS = re.compile(r"None|(-?\d{1,9})(?:\.\d*)?", re.ASCII)
PERIODS = {"30": 30, "60": 60}
ALGORITHM = re.compile(r"(?:.*[:#/])?(hotp|totp)")
MAC_FAILS = "MAC value does not match"
# Exceptions that python-pskc raises or does not catch when a file is damaged.
DAMAGED = (PSKCError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, AssertionError)


def is_pskc(contents: Contents) -> bool:
    """Return whether a file is XML with the root element of PSKC or of one of its drafts."""
    return contents.root is not None and local_name(contents.root) in {"KeyContainer", "SecretContainer", LOWER}


def read_pskc(contents: Contents) -> SeedFile:
    """Return the tokens in a container. Ask for its passphrase or pre-shared key only if a value is encrypted.

    Raise IntegrityFault if the container is damaged or a MAC is wrong, and UsageFault if it cannot be decrypted.
    """
    root = contents.root
    assert root is not None  # noqa: S101 - is_pskc was called first
    _unambiguous(root)
    container = PSKC()
    try:
        PSKCParser.parse_document(container, root)
        keys = container.keys
    except DAMAGED as error:
        raise IntegrityFault(
            f"this PSKC container cannot be read: {_said(error)}", "ask the vendor for the file again"
        ) from None
    encrypted = any(isinstance(_kept(key, value), EncryptedValue) for key in keys for value in VALUES)
    _authentic(container, keys)
    opened = _open(container, contents.unlock) if encrypted else ""
    try:
        with warnings.catch_warnings():
            # cryptography warns that it will drop old ciphers. The vendor chose the cipher, so the user cannot act on
            # the warning.
            warnings.simplefilter("ignore")
            rows = list(_found(keys, contents.now))
    except PSKCError as error:
        if str(error) == MAC_FAILS:
            raise IntegrityFault(
                "a MAC of this container is wrong: the container was changed, or the passphrase or key is wrong",
                "ask the vendor for the file again",
            ) from None
        raise UsageFault(
            f"this container cannot be decrypted: {_said(error)}",
            f"check the {opened}; if it is right, ask the vendor for the file again",
        ) from None
    except DAMAGED as error:
        raise IntegrityFault(
            f"this PSKC container cannot be read: {_said(error)}", "ask the vendor for the file again"
        ) from None
    return SeedFile(
        layout=f"PSKC, encrypted with a {opened}" if opened else "PSKC, not encrypted",
        readings=(gather_reading(Encoding.BASE64, rows),),
        notes=tuple(_notes(container, encrypted=encrypted)),
    )


def _unambiguous(root: Element) -> None:
    """Raise IntegrityFault if another program could find different values in the container than python-pskc does.

    Remove the namespaces of the elements first, as python-pskc does, because drafts and vendors use their own.
    """
    for element in root.iter():
        element.tag = local_name(element)
    if root.tag == LOWER:
        _restore_names(root)
    for suite in root.iter("Suite"):
        # Two different hashes become a text that names no hash.
        digests = {digest_named(name) for name in (text_of(suite), suite.get("hashalgo", "")) if name}
        suite.text = " ".join(sorted(digests))
    number = 0
    for element in root.iter():
        number += element.tag == "Key"
        if wrong := _wrong(element):
            where = f"key {number}" if number else "the header"
            raise IntegrityFault(f"{where} of this PSKC container {wrong}", "ask the vendor for the file again")


def _restore_names(root: Element) -> None:
    """Give the elements and attributes of privacyIDEA's export their names, and its drifts the unit of RFC 6030.

    privacyIDEA counts a drift in seconds instead of steps, and writes `None` if it does not know the drift.
    """
    for element in root.iter():
        element.tag = CASED.get(element.tag, element.tag)
        element.attrib = {CASED.get(name, name): text for name, text in element.items()}
    for key in root.iter("Data"):
        drift, interval = key.find("TimeDrift/PlainValue"), key.findtext("TimeInterval/PlainValue", "").strip()
        if drift is not None and (seconds := SECONDS.fullmatch(text_of(drift))):
            drift.text = str(round(int(seconds[1] or 0) / PERIODS.get(interval, 30)))


def _wrong(element: Element) -> str:
    """Return what makes an element ambiguous, or an empty string if nothing does."""
    name = element.tag
    if name in TEXTS:
        return _wrong_text(element)
    if len(element) > 1 and (twice := _twice([*_alone(element), *_parts(element)])):
        return f"has more than one {twice}"
    slot = DRAFT.get(element.get("Name", "").lower(), name) if name == "Data" else name
    return f"has a {slot} without a value" if slot in PARAMETERS and not _has_value(element) else ""


def _wrong_text(element: Element) -> str:
    if len(element):
        return f"has an element inside its {element.tag}"
    if element.tag in BASE64 and not _is_base64(element.text or ""):
        return f"has a {element.tag} that is not base64"
    return ""


def _has_value(parameter: Element) -> bool:
    return any(ONCE.get(child.tag) == "PlainValue" and _filled(child) for child in parameter)


def _filled(value: Element) -> bool:
    return len(value) > 0 or bool(text_of(value))


def _alone(element: Element) -> Iterator[str]:
    return (ONCE[child.tag] for child in element if child.tag in ONCE)


def _parts(key: Element) -> Iterator[str]:
    """Yield the names of the elements in PARTS and OF_A_KEY that a key element contains."""
    for part in key:
        if part.tag in PARTS:
            yield DRAFT.get(part.get("Name", "").lower(), part.tag)
            yield from (child.tag for child in part if child.tag in OF_A_KEY)


def _twice(names: Sequence[str]) -> str:
    return next((name for name in names if names.count(name) > 1), "")


def _is_base64(value: str) -> bool:
    """Return whether a value is base64 (RFC 4648) or a number. PSKC allows both. Blanks are ignored."""
    joined = "".join(value.split())
    try:
        binascii.a2b_base64(joined, strict_mode=True)
    except ValueError:
        return NUMBER.fullmatch(joined) is not None
    return True


def _said(error: Exception) -> str:
    """Return python-pskc's message up to the first quoted value, because this value may be a misplaced seed.

    For an error that is not from python-pskc, return only the name of its type.
    """
    return re.split(r"[:']", str(error))[0].strip() if isinstance(error, PSKCError) else type(error).__name__


def _kept(key: PskcKey, value: str) -> object:
    """Return a value of a key as python-pskc stores it: in plain form, as an EncryptedValue, or None."""
    return getattr(key, f"_{value}", None)


def _authentic(container: PSKC, keys: Sequence[PskcKey]) -> None:
    """Raise IntegrityFault if a value needs a MAC but has none, because a change to the value would go unnoticed.

    RFC 6030, 6.1.1 requires a MAC for values that are encrypted with a cipher without authentication. Raise UsageFault
    if a value is encrypted with an unsupported cipher.
    """
    for position, key in enumerate(keys, 1):
        for value in VALUES:
            if _lacks_mac(container, _kept(key, value), secret=value == "secret"):
                raise IntegrityFault(
                    f"the {value} of key {position} has no MAC, so it may have been changed unnoticed",
                    "ask the vendor for a container with a MAC (RFC 6030, 6.1.1)",
                )


def _lacks_mac(container: PSKC, content: object, *, secret: bool) -> bool:
    """Return whether the value `content` of a key needs a MAC but has none. `secret` says whether it is the seed.

    Raise UsageFault if the value is encrypted with an unsupported cipher.
    """
    declared = bool(container.mac.algorithm)
    if not isinstance(content, EncryptedValue):
        return secret and content is not None and declared
    cipher = content.algorithm or container.encryption.algorithm or ""
    _deciphered(cipher)
    return not content.mac_value and (declared or cipher.endswith("-cbc"))


def _deciphered(cipher: str) -> None:
    """Raise UsageFault if `cipher` is not one of the ciphers that a passphrase or a pre-shared key can decrypt.

    `cipher` is the URI of an encryption algorithm.
    """
    try:
        algorithm_key_lengths(cipher)
    except PSKCError:
        raise UsageFault(
            "this container is encrypted to a certificate, or with an unsupported cipher",
            "ask the vendor for a container that is encrypted with a passphrase or a pre-shared key",
        ) from None


def _open(container: PSKC, unlock: Unlock) -> str:
    """Ask for the passphrase or pre-shared key, and set the container's key. Return which of them was used.

    The return value is "passphrase" or "pre-shared key". Raise UsageFault if the pre-shared key is not hex. Raise
    IntegrityFault if no key can be derived from the passphrase, or if the derivation exceeds a limit.
    """
    derivation = container.encryption.derivation
    if derivation.algorithm:
        _check_limit(derivation.pbkdf2_iterations, ROUNDS, "rounds of PBKDF2")
        _check_limit(derivation.pbkdf2_key_length, DERIVED, "octets from PBKDF2")
        secret = unlock("passphrase")
        try:
            container.encryption.derive_key(secret.reveal())
        except DAMAGED as error:
            raise IntegrityFault(
                f"no key can be derived for this container: {_said(error)}", "ask the vendor for the file again"
            ) from None
        return "passphrase"
    name = container.encryption.key_name
    key = decode_hex(unlock(f"pre-shared key{f' {name}' if name else ''} in hex"))
    if key is None:
        raise UsageFault("the pre-shared key is not hex", "type it as the vendor gave it, two digits per byte")
    container.encryption.key = key.reveal()
    return "pre-shared key"


def _check_limit(required: int | None, limit: int, unit: str) -> None:
    """Raise IntegrityFault if a container requires more than the limit. None means no requirement."""
    if (required or 0) > limit:
        raise IntegrityFault(
            f"this container requires {required} {unit}, but the limit is {limit}", "check where this file comes from"
        )


def _found(keys: Sequence[PskcKey], now: float) -> Iterator[SeededToken | DroppedRow]:
    for position, key in enumerate(keys, 1):
        where = f"key {position}"
        name = ALGORITHM.fullmatch((key.algorithm or "").lower())
        if name is None:
            yield DroppedRow(where, "its algorithm is neither HOTP nor TOTP")
        elif key.response_encoding not in {None, "DECIMAL"} or key.response_check:
            yield DroppedRow(where, "its codes are not plain digits")
        elif reason := _forbidden(key, now):
            yield DroppedRow(where, reason)
        elif not key.secret:
            yield DroppedRow(where, "it has no secret")
        else:
            yield _key(where, key, Factor(name[1]))


def _key(where: str, key: PskcKey, factor: Factor) -> SeededToken | DroppedRow:
    token = Token(
        serial=_serial(key),
        factor=factor,
        digest=digest_named(key.algorithm_suite or "sha1"),
        digits=_given(key.response_length, otherwise=6),
        period=_given(key.time_interval, otherwise=30),
        counter=_given(key.counter, otherwise=0),
        drift=_given(key.time_drift, otherwise=0),
        maker=key.manufacturer or "",
        model=key.model or "",
    )
    seed = Seed(key.secret or b"")
    # Some vendors encode the hex digits of a seed as base64. So if the octets are hex digits, these are decoded to a
    # second possible seed, which is tried if the codes of the first seed do not match.
    return encoding.seeded_token(where, token, seed, decode_hex(_latin(seed)))


def _serial(key: PskcKey) -> str:
    """Return the serial of a key's device. If the device has several keys, the key's own ID is appended."""
    if key.serial and key.id and len(key.device.keys) > 1:
        return f"{key.serial}:{key.id}"
    return key.serial or key.id or ""


def _given(value: int | None, *, otherwise: int) -> int:
    return otherwise if value is None else value


def _latin(seed: Seed) -> Secret[str]:
    return Secret(seed.reveal().decode("latin-1"))


def _forbidden(key: PskcKey, now: float) -> str:
    """Return why a key must not be used, by its policy (RFC 6030, 5) or expiry date, or "" if it may be used."""
    policy = key.policy
    if policy.unknown_policy_elements:
        return "its policy has unknown elements, so this key must not be used (RFC 6030, 5)"
    if policy.key_usage and "OTP" not in policy.key_usage:
        return "its policy does not allow one-time passwords"
    for ends in (policy.expiry_date, key.expiry_date):
        if ends and ends.replace(tzinfo=ends.tzinfo or UTC) < datetime.fromtimestamp(now, UTC):
            return f"it expired on {ends:%Y-%m-%d}"
    return ""


def _notes(container: PSKC, *, encrypted: bool) -> Iterator[str]:
    if container.signature.is_signed:
        yield f"signed by {container.signature.issuer or 'an unnamed issuer'}; the signature was not checked"
    if not encrypted:
        yield "the seeds in this file are not encrypted: keep the file as safe as the tokens"


READ = ("Seed", "MovingFactor", "ProductName")


def is_safenet(contents: Contents) -> bool:
    """Return whether a file is XML with SafeNet's root element."""
    return contents.root is not None and local_name(contents.root) == "Tokens"


def read_safenet(contents: Contents) -> SeedFile:
    """Return the tokens in the file. All are HOTP tokens, because the format has no field for the type."""
    rows = _rows(contents.root if contents.root is not None else ())
    return SeedFile(layout="SafeNet XML", readings=decode_rows(rows, None, fixed=Encoding.HEX))


def _rows(root: Iterable[Element]) -> Iterator[SeedRow | DroppedRow]:
    for ordinal, token in enumerate((child for child in root if local_name(child) == "Token"), 1):
        where = f"token {ordinal}"
        read = [part for part in token.iter() if local_name(part) in READ]
        parts = {local_name(part): part for part in read}
        if len(read) > len(parts):
            yield DroppedRow(where, f"it has more than one {' or '.join(READ)}")
        elif any(len(part) for part in read):
            yield DroppedRow(where, "one of its values contains an element")
        elif not (seed := text_of(parts.get("Seed"))):
            yield DroppedRow(where, "the seed is missing")
        else:
            parsed_token = Token(
                serial=token.get("serial", "").strip(),
                factor=Factor.HOTP,
                counter=number(text_of(parts.get("MovingFactor")), otherwise=0),
                maker="SafeNet",
                model=text_of(parts.get("ProductName")),
            )
            yield SeedRow(where, parsed_token, Secret(seed))
