"""Keys at the station: opens them for the rows, and prepares them as their profiles say, before and after enrollment.

A key belongs to a user if the ledger has a device on one of its halves. Such a key is never reset. An identity
of the OATH half that the ledger lacks says nothing about the FIDO half. So a FIDO half without a serial is reset only
if a person says so, or if this computer reset it and recorded nothing about it since. A file with the suffix
`.unfinished` beside the encrypted PIN says that the last step of a key is missing, because IAM cannot say that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit import wiring
from mfa_kit.cli.key.sources import OathHalf, devices_on, find_oath_half
from mfa_kit.core.errors import DeviceFault, ResetTooLate, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.core.stopping import sleep
from mfa_kit.letters.sheet import confirm_secret
from mfa_kit.rollout.key_slot import InsertedKey
from mfa_kit.rollout.roster import half_names
from mfa_kit.security_keys.authenticator import KeyInfo, Link, Pin, PluggedKey
from mfa_kit.security_keys.ports import SeenKeys
from mfa_kit.security_keys.preparing import KeyPreparation, PreparedKey
from mfa_kit.security_keys.profile import Half, KeyProfile

if TYPE_CHECKING:
    from mfa_kit.letters.sheet import Paper
    from mfa_kit.rollout.key_slot import InsertedKey, KeyHolders
    from mfa_kit.rollout.plan import Plan, PlanStep
    from mfa_kit.rollout.roster import RosterRow
    from mfa_kit.wiring.security_keys import SealedPinFile, SecurityKeys
    from mfa_kit.wiring.settings import Settings

# The enrollment methods whose keys can have a profile.
KINDS = {"fido2", "oath"}
# How many seconds the card interface of an inserted key may need until PC/SC lists it.
CARD_WAIT, CARD_LOOK = 3.0, 0.2
# The parts of a file name are separated by a character that names in IAM do not have.
APART, SEALED, UNFINISHED = "~", ".pin.age", ".unfinished"
# The most characters of a device's name and of a serial in a file name.
LONGEST_NAME = 60
ANOTHER = "remove it, and insert another key"


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known about an inserted key: its FIDO half, its OATH half, and the recorded devices on it.

    `reset_here` means that this computer reset it, and that nobody has seen it since.
    """

    info: KeyInfo
    half: OathHalf
    facts: KeyFacts
    devices: tuple[KeyDevice, ...]
    reset_here: bool


@dataclass(slots=True, kw_only=True)
class KeyProfiles:
    """Prepares the keys of the rows that have a profile. `default` is the profile of rows that name none.

    The encrypted PINs are in `folder`. With `letters`, each PIN is also written to a PDF in that folder, unencrypted.
    `prepared` has the PIN of the key that is being enrolled.
    """

    plan: Plan
    settings: Settings
    keys: SecurityKeys
    default: KeyProfile | None
    folder: Path
    letters: Path | None
    paper: Paper
    prepared: PreparedKey
    _pins: dict[str, Pin] = field(default_factory=dict)
    _holders: KeyHolders | None = None
    # The step and the key that a person agreed to erase, but too late for the key.
    _agreed: tuple[PlanStep, _Found] | None = None

    def of(self, row: RosterRow) -> KeyProfile | None:
        """Return the profile of a row with a key, or None. Raise UsageFault if the configuration file lacks it."""
        if row.kind.name not in KINDS:
            return None
        return wiring.settings.find_key_profile(self.settings.config, row.profile) if row.profile else self.default

    def begin(self, rows: Iterable[RosterRow], holders: KeyHolders) -> None:
        """Check the profiles of the rows, warn, and ask for the consent to erase keys, before a key is inserted.

        Also read the tags of devices, because a key must be erased within seconds. Raise UsageFault if a profile is
        wrong, and Declined without the consent. With --yes, the consent is given.
        """
        self._holders = holders
        profiles = {profile.name: profile for row in rows if (profile := self.of(row))}.values()
        for profile in profiles:
            to = wiring.age_keys.read_recipients(profile.recipients, source=f"in profile {profile.name},")
            wiring.stores.check_not_retired(self.settings, [recipient.text for recipient in to])
            self.keys.read_policy(_path(profile.require))
            for warning in profile.warnings:
                self.settings.progress.alert(warning)
        erasing = ", ".join(profile.name for profile in profiles if profile.reset)
        if erasing and not self.settings.yes:
            self.settings.interaction.confirm(
                f"each key that is inserted for profile {erasing} will be erased at once: its PIN, and its credentials "
                "for every site and account",
                typed="ERASE",
                instead="--yes",
            )
        if erasing:
            holders.prefetch()
        if self.letters and profiles:
            wiring.files.need_letters()
            confirm_secret(f"{self.letters} will contain the PIN of each key", self.settings.interaction)

    def forget_pin(self) -> None:
        """Forget the PIN of the last key, because the next one may have another PIN."""
        self.prepared.known = None

    def prepare(self, step: PlanStep, key: InsertedKey) -> bool:
        """Prepare the inserted key for the enrollment of a step. Return whether it was erased.

        Raise MfaKitError if it must not or cannot be prepared.
        """
        profile = self.of(step.row)
        if profile is None:
            return False
        _check_kind(profile, step.row)
        if not profile.prepares_keys:
            return False
        found, preparation = self._find(key, step), self.keys.preparation(profile, self.prepared)
        has_device = self._check_owner(found, key, step, profile)
        erases = profile.reset and not has_device and self._may_erase(found, key, step)
        known = None
        if erases:
            found = self._erase(found, key, step, preparation)
        elif found.facts.identity:
            known = self._pins.get(self._file(step, found).name)
        if profile.force_pin_change:
            self._mark(step, found).parent.mkdir(mode=0o700, exist_ok=True)
            self._mark(step, found).touch()
        place, file = found.info.plugged.where, self._file(step, found)
        preparation.prepare(place, file, oath=found.half.has_applet, known=known)
        if self.prepared.known:
            self._pins[file.name] = self.prepared.known
        if step.row.kind.is_virtual and not step.row.pair:
            self._examine(place, profile)
        return erases

    def _erase(self, found: _Found, key: InsertedKey, step: PlanStep, preparation: KeyPreparation) -> _Found:
        """Erase a key, record it, and return what is known about it then. On some keys, OATH has a new identity."""
        self._agreed = step, found
        try:
            preparation.reset(
                found.info,
                self._file(step, found),
                oath=found.half.has_applet,
                erased=lambda: self._record_reset(found),
            )
        except ResetTooLate as late:
            again = "remove it, and insert it again"
            raise ResetTooLate(str(late), again + ("; it is not asked again" if found.facts.identity else "")) from None
        self._agreed = None
        after = self._find(key, step)
        if after.facts.identity != found.facts.identity:
            self._record_reset(after)
        return after

    def _examine(self, place: str, profile: KeyProfile) -> None:
        """Check a key of which only the OATH half is used, if its profile demands it. Raise the errors of the check."""
        if profile.attestation:
            policy = self.keys.read_policy(_path(profile.require))
            self.keys.accept(place, policy, SeenKeys())

    def finish(self, step: PlanStep, key: InsertedKey) -> None:
        """Do the last step of an enrolled key. Raise DeviceFault if this is another key, or if the step fails."""
        profile = self.of(step.row)
        if profile is None or profile.pin is None:
            return
        found = self._find(key, step, patience=0.0)
        if profile.force_pin_change and not self._mark(step, found).exists():
            raise DeviceFault(
                f"this is not the key of {step.user} whose last step is missing", "remove it, and insert that key"
            )
        self.prepared.known = self._pins.get(self._file(step, found).name) or self.prepared.known
        self.keys.preparation(profile, self.prepared).finish(found.info.plugged.where)
        # The other files are of keys that were refused.
        for mark in self.folder.glob(f"{stem_of(self.plan, step)}{APART}*{UNFINISHED}"):
            mark.unlink(missing_ok=True)

    def is_unfinished(self, step: PlanStep) -> bool:
        """Return whether the device of a step may exist, but the last step of its key is missing."""
        profile = self.of(step.row)
        if profile is None or not profile.force_pin_change or (step.row.pair and step.row.kind.is_virtual):
            return False
        return any(self.folder.glob(f"{stem_of(self.plan, step)}{APART}*{UNFINISHED}"))

    def overrides(self, row: RosterRow) -> Mapping[str, object]:
        """Return the options of the enrollment method that the profile of a row decides."""
        profile = self.of(row)
        if profile is None:
            return {}
        policy = {"require": _path(profile.require)} if profile.require else {}
        return {**policy, **({} if profile.attestation else {"skip_key_check": True})}

    def _find(self, key: InsertedKey, step: PlanStep, *, patience: float = CARD_WAIT) -> _Found:
        """Read both halves of the key that is inserted for a step, and what the ledger has on it.

        `patience` is how many seconds PC/SC may need to list the card interface. Raise DeviceFault if the key has no
        FIDO half, and the errors of the ledger.
        """
        place = self.keys.find_same_device(key.where) if step.row.kind.is_virtual else key.where
        if place is None:
            raise DeviceFault(f"{key.description} has no FIDO, which the profile needs", ANOTHER)
        with self.keys.open(place) as opened:
            info = opened.info()
        half = self._find_half(info.plugged, patience)
        facts = half.joined(info.facts)
        with wiring.ledger.open_ledger(self.settings) as ledger:
            recorded = wiring.ledger.recorded_keys(ledger)
        devices = [
            device for known in facts.recorded_with(info.facts) for device in devices_on(recorded, known, self.settings)
        ]
        # The OATH identity shows whether anybody reset the key in between.
        reset_here = any(
            same.reset_here and same.facts.card == facts.card
            for same in recorded
            if facts.identity == same.identity or facts.card in same.cards
        )
        return _Found(info, half, facts, tuple(devices), reset_here)

    def _find_half(self, plugged: PluggedKey, patience: float) -> OathHalf:
        """Return the OATH half of a key. PC/SC may list the card interface of an inserted key a moment later."""
        has_card = plugged.link is Link.PCSC or self.keys.is_card(plugged.where)
        half, waited = find_oath_half(plugged, self.keys, self.settings), 0.0
        while has_card and half.has_applet is None and not half.keys and waited < patience:
            sleep(CARD_LOOK)
            waited += CARD_LOOK
            half = find_oath_half(plugged, self.keys, self.settings)
        return half if has_card or half.keys else OathHalf()

    def _check_owner(self, found: _Found, key: InsertedKey, step: PlanStep, profile: KeyProfile) -> bool:
        """Return whether the key already has a device of the step's user, so that it is not reset.

        Raise DeviceFault if one of its halves belongs to another user. The half that the station found was checked in
        the journal and the tags already.
        """
        oath = replace(key, identity=found.facts.card or key.identity, serial=found.facts.serial)
        holders = None if step.row.kind.is_virtual else self._holders
        if holders and (owner := holders.find_owner(oath, self.plan.intent_of(step.row))):
            raise DeviceFault(f"{found.facts.name}: {owner}, so nothing was written to it", ANOTHER)
        for device in found.devices:
            if (device.account, device.user.casefold()) != (self.plan.account, step.user.casefold()):
                raise DeviceFault(
                    f"{found.facts.name} belongs to {device.user} ({device.serial}), so nothing was written to it",
                    ANOTHER,
                )
        if found.devices and profile.reset:
            self.settings.progress.alert(f"{found.facts.name} already has a device of {step.user}, so it is not erased")
        return bool(found.devices)

    def _may_erase(self, found: _Found, key: InsertedKey, step: PlanStep) -> bool:
        """Return whether the key is to be erased, or else kept as an earlier run for this step has prepared it.

        Ask, also with --yes, if only a person can tell whether the key belongs to a user. Raise DeviceFault if a reset
        could erase what a user needs.
        """
        if found.half.at_risk:
            raise DeviceFault(
                f"this key {found.half.state}, which a reset erases on some keys, so nothing was erased",
                suggest("insert another key; to erase this one", "key reset --erase-oath"),
            )
        if found.info.plugged.serial or found.reset_here or self._has_agreed(found, step):
            return True
        if found.info.pin_set and self._file(step, found).exists():
            return False
        # If they need more than the ten seconds, the key refuses the reset.
        self.settings.interaction.confirm(
            "the FIDO half of this key reports no serial, so mfa-kit cannot tell whether it belongs to a user; it will "
            "be erased",
            typed="ERASE",
            instead="a key that reports a serial",
        )
        if self._find(key, step).facts.identity != found.facts.identity:
            raise DeviceFault("another key was inserted meanwhile, so nothing was erased", ANOTHER)
        return True

    def _has_agreed(self, found: _Found, step: PlanStep) -> bool:
        """Return whether a person agreed to erase this key, which has an identity, for this step, but too late."""
        agreed_step, agreed = self._agreed or (None, found)
        return (
            agreed_step is step and found.facts.identity is not None and agreed.facts.identity == found.facts.identity
        )

    def _record_reset(self, found: _Found) -> None:
        for facts in found.facts.recorded_with(found.info.facts):
            if facts.identity:
                wiring.ledger.record_key(self.settings, KeyEvent.RESET, facts)

    def _path(self, step: PlanStep, found: _Found, suffix: str) -> Path:
        serial = re.sub(r"[^\w.-]", "_", found.facts.serial or found.facts.card or "key", flags=re.ASCII)[:LONGEST_NAME]
        return self.folder / f"{stem_of(self.plan, step)}{APART}{serial}{suffix}"

    def _mark(self, step: PlanStep, found: _Found) -> Path:
        return self._path(step, found, UNFINISHED)

    def _file(self, step: PlanStep, found: _Found) -> SealedPinFile:
        """Return the file with the encrypted PIN of the key for a step."""
        path, profile = self._path(step, found, SEALED), self.of(step.row)
        letter = None
        if self.letters:
            name = f"{path.name.removesuffix(SEALED)}.pdf"
            letter = wiring.files.LetterFile(path=self.letters / name, paper=self.paper)
        recipients, help_page = profile.recipients if profile else (), self.settings.config.help_page or ""
        return wiring.security_keys.SealedPinFile(path, recipients, letter, help_page=help_page)


def stem_of(plan: Plan, step: PlanStep) -> str:
    """Return the beginning of the names of the files for a step's key. Both halves of a pair have the same files."""
    name = half_names(step.row)[0] if step.row.pair else plan.intent_of(step.row).name
    return f"{step.user}{APART}{name[:LONGEST_NAME]}"


def find_pin(folder: Path, plan: Plan, step: PlanStep, serial: str | None) -> Path | None:
    """Return the file with the encrypted PIN of a step's key, or None. `serial` is that of the key, if it is known."""
    files = [*folder.glob(f"{stem_of(plan, step)}{APART}*{SEALED}")]
    own = [file for file in files if serial and file.name.endswith(f"{APART}{serial}{SEALED}")]
    return max(own or files, key=lambda file: file.stat().st_mtime, default=None)


def _check_kind(profile: KeyProfile, row: RosterRow) -> None:
    """Raise UsageFault if the profile is for keys of another kind than the row's."""
    half = Half.BOTH if row.pair else Half.OATH if row.kind.is_virtual else Half.FIDO2
    if profile.enroll not in {None, half}:
        raise UsageFault(
            f"profile {profile.name} is for {profile.enroll} and not for {half}", "use another profile for this row"
        )


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None
