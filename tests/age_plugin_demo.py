"""A small age plugin for the tests: recipient-v1 and identity-v1 of C2SP's age-plugin.md.

Its recipients (`age1demo1...`) and identities (`AGE-PLUGIN-DEMO-1...`) are JSON in Bech32. The member `key` is a
recipient or an identity of age itself, with which pyrage encrypts the file key. The other members say what the plugin
asks or reports first: `message`, `confirm` (the two answers), `public` and `pin` (the expected answers), `wait` (for so
many seconds), `tell` (the beginning of environment variables whose names are reported), `fail` (an error), and `break`
(lines to print, after which the plugin ends).
"""

import base64
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyrage

NAME = "demo"
CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
COLUMNS = 64


def _polymod(values: Iterable[int]) -> int:
    """Return the checksum of BIP-173."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def _expanded(prefix: str) -> list[int]:
    return [*(ord(char) >> 5 for char in prefix), 0, *(ord(char) & 31 for char in prefix)]


def bech32(prefix: str, content: bytes) -> str:
    """Encode octets as BIP-173 does, without its limit of 90 characters."""
    bits = "".join(f"{octet:08b}" for octet in content)
    bits += "0" * (-len(bits) % 5)
    data = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    check = _polymod([*_expanded(prefix), *data, 0, 0, 0, 0, 0, 0]) ^ 1
    data += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return f"{prefix}1{''.join(CHARACTERS[value] for value in data)}"


def content_of(text: str) -> dict[str, Any]:
    """Return the JSON in a recipient or an identity. Its checksum was checked by the program that runs the plugin."""
    data = [CHARACTERS.index(char) for char in text.lower().rpartition("1")[2][:-6]]
    bits = "".join(f"{value:05b}" for value in data)
    octets = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    found: dict[str, Any] = json.loads(octets)
    return found


def recipient(key: str, *, name: str = NAME, **more: Any) -> str:
    """Return a recipient of the plugin for a recipient of age."""
    return bech32(f"age1{name}", json.dumps({"key": key, **more}).encode())


def identity(key: str, *, name: str = NAME, **more: Any) -> str:
    """Return an identity of the plugin for an identity of age."""
    return bech32(f"age-plugin-{name}-", json.dumps({"key": key, **more}).encode()).upper()


class Stanza(NamedTuple):
    """A message of the protocol: its type and arguments, and its body."""

    words: list[str]
    body: bytes


def _read() -> Stanza:
    words = sys.stdin.readline().split()[1:]
    body = ""
    while True:
        line = sys.stdin.readline().strip()
        body += line
        if len(line) < COLUMNS:
            return Stanza(words, base64.b64decode(body + "=" * (-len(body) % 4)))


def _send(*words: str, body: bytes = b"") -> None:
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at : at + COLUMNS] for at in range(0, len(text), COLUMNS)]
    if not lines or len(lines[-1]) == COLUMNS:
        lines.append("")
    sys.stdout.write("\n".join([f"-> {' '.join(words)}", *lines, ""]))
    sys.stdout.flush()


def _ask(*words: str, body: bytes = b"") -> Stanza:
    _send(*words, body=body)
    return _read()


def _fault(content: dict[str, Any]) -> str | None:
    """Ask and say what a recipient or an identity wants. Return why it cannot be used, or None."""
    if "break" in content:
        sys.stdout.write(content["break"])
        sys.stdout.flush()
        raise SystemExit(1)
    if "message" in content:
        _ask("msg", body=content["message"].encode())
    if "confirm" in content:
        answers = [base64.b64encode(answer.encode()).decode().rstrip("=") for answer in content["confirm"]]
        if _ask("confirm", *answers, body=b"May the demo key be used?").words != ["ok", "yes"]:
            return "not confirmed"
    if "public" in content and _ask("request-public", body=b"name of the demo key").body.decode() != content["public"]:
        return "wrong name"
    if "pin" in content:
        answer = _ask("request-secret", body=b"PIN of the demo key")
        if answer.words != ["ok"]:
            return "no PIN"
        if answer.body.decode() != content["pin"]:
            return "wrong PIN"
    time.sleep(content.get("wait", 0))
    if "tell" in content:
        _ask("msg", body=" ".join(sorted(name for name in os.environ if name.startswith(content["tell"]))).encode())
    fault: str | None = content.get("fail")
    return fault


def _received() -> list[Stanza]:
    stanzas = []
    while (stanza := _read()).words != ["done"]:
        stanzas.append(stanza)
    return stanzas


def _wrap() -> None:
    """Encrypt each file key to each recipient."""
    got = _received()
    recipients = [content_of(one.words[1]) for one in got if one.words[0] == "add-recipient"]
    keys = [one.body for one in got if one.words[0] == "wrap-file-key"]
    for number, content in enumerate(recipients):
        if (fault := _fault(content)) is not None:
            _ask("error", "recipient", str(number), body=fault.encode())
            continue
        for file, key in enumerate(keys):
            sealed = pyrage.encrypt(key, [pyrage.x25519.Recipient.from_str(content["key"])])
            _ask("recipient-stanza", str(file), NAME, body=sealed)


def _opened(content: dict[str, Any], body: bytes) -> bytes | None:
    try:
        return pyrage.decrypt(body, [pyrage.x25519.Identity.from_str(content["key"])])
    except pyrage.DecryptError:
        return None


def _unwrap() -> None:
    """Decrypt the file key of each file with the identities. Ask only if an identity can decrypt it."""
    got = _received()
    identities = [content_of(one.words[1]) for one in got if one.words[0] == "add-identity"]
    stanzas = [one for one in got if one.words[:1] == ["recipient-stanza"] and one.words[2] == NAME]
    done = set()
    for number, content in enumerate(identities):
        for stanza in stanzas:
            key = _opened(content, stanza.body)
            if key is None or stanza.words[1] in done:
                continue
            if (fault := _fault(content)) is not None:
                _ask("error", "identity", str(number), body=fault.encode())
                break
            _ask("file-key", stanza.words[1], body=key)
            done.add(stanza.words[1])


if __name__ == "__main__":
    {"--age-plugin=recipient-v1": _wrap, "--age-plugin=identity-v1": _unwrap}[sys.argv[1]]()
    _send("done")
