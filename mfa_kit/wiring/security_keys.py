"""FIDO security keys and what is published of them, for the verbs that look at keys."""

import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mfa_kit.cli import keys, messages
from mfa_kit.cli import options as flags
from mfa_kit.core.errors import Declined, DeviceFault, MfaKitError, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.rollout.key_slot import InsertedKey
from mfa_kit.security_keys import attestation
from mfa_kit.security_keys import pin as keypin
from mfa_kit.security_keys.attestation import Examined, Policy, SeenBefore
from mfa_kit.security_keys.authenticator import KeyInfo, Pin, PluggedKey
from mfa_kit.wiring import config
from mfa_kit.wiring.files import read_secret_line
from mfa_kit.wiring.this_computer import harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.metadata.index import MetadataIndex

# How often a desk with a box of keys is looked at, in seconds.
LOOK = 0.3
# Where the root of a command's contexts keeps which keys it has given away.
GIVEN_AWAY = "mfa_kit.fido"
# COSE algorithms (IANA) that keys sign with.
ALGORITHMS = {-7: "ES256", -8: "EdDSA", -35: "ES384", -36: "ES512", -37: "PS256", -257: "RS256", -9: "ESP256"}


def _pin(typed: Secret[str]) -> Pin:
    return Pin(unicodedata.normalize("NFC", typed.reveal()))


class Person:
    """Asks for a PIN at the terminal."""

    def pin(self, left: int | None) -> Pin:
        """Ask with what is left in the prompt."""
        tries = "" if left is None else f", {left} tries left"
        typed = flags.common().interaction.ask_secret(f"PIN of the key{tries}", instead="--pin-stdin")
        return _pin(typed)

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN, twice."""
        prompt = f"new PIN of the key, {shortest} characters or more"
        typed = flags.common().interaction.ask_new_secret(prompt, instead="--pin-stdin or --generate")
        return _pin(typed)

    def risk(self, left: int) -> None:
        """Have `LAST` typed: a locked key can only be erased."""
        told = "1 try" if left == 1 else f"{left} tries"
        flags.common().interaction.confirm(
            f"{told} left: after too many wrong PINs this key can only be erased", typed="LAST", instead="another key"
        )


class Piped:
    """Reads a PIN from standard input, one line; it never takes the risk of the last tries."""

    def pin(self, left: int | None) -> Pin:
        return _pin(read_secret_line())

    def new(self, shortest: int) -> Pin:
        """Read the next line."""
        return self.pin(None)

    def risk(self, left: int) -> None:
        raise Declined(
            f"this key has {left} PIN {'try' if left == 1 else 'tries'} left, and a person has to decide",
            "run it at a terminal without --pin-stdin, or enter the right PIN elsewhere first",
        )


def piped() -> bool:
    """Whether the PIN comes from standard input."""
    return bool(keys.given("pin_stdin"))


def entry() -> Person | Piped:
    harden()
    return Piped() if piped() else Person()


def state() -> object:
    """Return what changes when a key comes or goes, without touching a card."""
    from mfa_kit.adapters.fido import links

    return links.attached_names()


def rows() -> tuple[list[dict[str, Any]], Sequence[MfaKitError]]:
    """Return a row a key for `key list`, and what is wrong with those that gave none."""
    from mfa_kit.adapters.fido import key, links

    said: list[dict[str, Any]] = []
    found, wrong = links.find_keys()
    for each in found:
        try:
            with key.open_key(each.where, tell=messages.Talk().note) as opened:
                said.append(_row(opened.info()))
        except DeviceFault as fault:
            wrong.append(DeviceFault(f"{each.where}: {fault}", fault.hint))
    return said, wrong


def _row(said: KeyInfo) -> dict[str, Any]:
    return {
        "key": said.plugged.product or "security key",
        "serial": said.plugged.serial,
        "firmware": said.firmware and str(said.firmware),
        "transports": said.transports or (said.plugged.link.value,),
        "where": (said.plugged.where,),
        "fido_versions": said.versions,
        "fido_aaguid": said.aaguid,
        "fido_pin": said.pin_set,
    }


def described(wanted: str | None) -> dict[str, Any]:
    """Return what one key says of itself; with its PIN, also how many credentials are on it."""
    from mfa_kit.adapters.fido import key

    with key.open_key(wanted, tell=messages.Talk().note) as opened:
        said = opened.info()
        if keys.given("count") or piped():
            used, free = opened.residents(keypin.ask_pin(said, entry()))
            said = replace(said, resident_used=used, resident_free=free)
    claimed = None
    if said.aaguid:
        with metadata() as published_models:
            claimed = published_models.model(said.aaguid) if published_models else None
    options = said.options
    return _row(said) | {
        "fido_claims_to_be": claimed.name if claimed else None,
        "fido_extensions": said.extensions,
        "fido_algorithms": [ALGORITHMS.get(each, str(each)) for each in said.algorithms],
        "fido_options": [name if on else f"no {name}" for name, on in options.items()],
        "fido_certifications": [f"{name} {level}" for name, level in said.certifications.items()],
        "fido_pin_tries_left": said.pin_retries,
        "fido_min_pin_length": said.min_pin_length if said.ctap2 else None,
        "fido_force_pin_change": said.force_pin_change if said.ctap2 else None,
        "fido_user_verification": options.get("uv"),
        "fido_always_uv": options.get("alwaysUv"),
        "fido_enterprise_attestation": options.get("ep"),
        "fido_resident_used": said.resident_used,
        "fido_resident_free": said.resident_free,
    }


@contextmanager
def metadata() -> Iterator["MetadataIndex | None"]:
    """Open the metadata that was asked for, else the packaged copy, else none."""
    from mfa_kit.adapters.metadata.blob import read_certificate
    from mfa_kit.adapters.metadata.index import open_packaged, open_signed

    said = config.load()
    blob = keys.given("mds") or (said.mds and Path(said.mds).expanduser())
    # The root of the configured metadata is no word on another file.
    root = keys.given("mds_root") or (not keys.given("mds") and said.mds_root and Path(said.mds_root).expanduser())
    if root and not blob:
        raise UsageFault("--mds-root is the root of a BLOB, and there is none", "name the BLOB with --mds")
    cache, tell = home() / "cache", messages.Talk().note
    anchor = read_certificate(root) if root else None
    opened = (
        open_signed(blob, cache=cache, at=time.time(), tell=tell, root=anchor)
        if blob
        else open_packaged(cache=cache, tell=tell)
    )
    try:
        yield opened
    finally:
        if opened:
            opened.close()


def published(named: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return where the metadata comes from, and the models of that name, AAGUID or key identifier."""
    with metadata() as opened:
        if opened is None:
            raise UsageFault("there is no metadata", attestation.WHERE_METADATA_IS)
        source = opened.source()
        models = opened.named(named) if named else []
    return {
        "source": source.name,
        "number": source.number,
        "next_update": source.next_update.isoformat(),
        "current": source.next_update >= datetime.now(UTC).date(),
        "signed": source.root is not None,
        "root_sha256": source.root,
        "models": source.models,
        "passed_over": source.passed_over,
    }, [
        {
            "name": each.name,
            "aaguid": each.aaguid or ", ".join(each.identifiers),
            "version": each.version,
            "status": [status.status for status in each.statuses],
            "attestation": each.attestation,
            "roots": len(each.roots),
        }
        for each in models
    ]


def policy(file: Path | None) -> Policy:
    """Read a policy file; without one, a key has to be genuine."""
    if file is None:
        return Policy()
    try:
        return attestation.policy_of(file.read_text("utf-8"))
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError:
        why = "it is not in UTF-8"
    raise UsageFault(f"{file} cannot be read: {why}", "write a policy as docs/policy-file.md shows")


@dataclass(frozen=True, slots=True)
class Seen:
    """The keys that were examined, by what each made for one relying party: nothing else tells one from another."""

    party: str
    credentials: list[bytes]

    @classmethod
    def none(cls) -> "Seen":
        from mfa_kit.adapters.fido import key

        return cls(key.throw_away_party(), [])


def given_away() -> Seen:
    """Return the keys that this command has given to somebody."""
    found: Seen = click.get_current_context().find_root().meta.setdefault(GIVEN_AWAY, Seen.none())
    return found


class Slot:
    """Where security keys are put in."""

    def state(self) -> object:
        return state()

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        from mfa_kit.adapters.fido import links

        found, wrong = links.find_keys()
        return [
            InsertedKey(
                identity=each.where,
                serial=each.serial,
                description=" ".join(filter(None, [each.product or "security key", each.serial])),
                where=each.where,
            )
            for each in found
        ], wrong


class Bench:
    """Where keys are examined, one or a box of them: for one relying party, so that a key is recognized."""

    def __init__(self, opened: "MetadataIndex | None", policy: Policy, seen: Seen | None = None) -> None:
        self._metadata, self._policy, self._pins = opened, policy, entry()
        self._seen = seen or Seen.none()

    def examine(self, wanted: str | None) -> Examined | SeenBefore:
        """Examine the key that is meant, or the only one."""
        from mfa_kit.adapters.fido import key

        with key.open_key(wanted, tell=messages.Talk().note, relying_party=self._seen.party) as opened:
            answer = attestation.examine(
                opened, self._metadata, self._policy, pins=self._pins, at=time.time(), known=self._seen.credentials
            )
            if opened.credential:
                self._seen.credentials.append(opened.credential)
            return answer

    def next(self, gone: PluggedKey | None) -> PluggedKey:
        """Wait until the last key is out and another is in."""
        from mfa_kit.adapters.fido import links

        talk = messages.Talk()
        before: object = None
        while True:
            if (now := links.attached_names()) != before:
                before = now
                found, wrong = links.find_keys()
                for fault in wrong:
                    talk.note(f"{fault}; {fault.hint}")
                match found:
                    case []:
                        gone = None
                        talk.note("insert a key, or end with Ctrl-C")
                    case [only] if only == gone:
                        talk.note("remove it; next")
                    case [only]:
                        return only
                    case _:
                        talk.note("there are several keys: one at a time")
            time.sleep(LOOK)
