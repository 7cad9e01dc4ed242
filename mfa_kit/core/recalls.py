"""Which recorded keys an advisory names. What a key only claims can show that it is affected, never that it is not."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from mfa_kit.core.firmware import NOT_OATH, Advisory, DeviceRecall, Verdict, Version
from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts, RecordedKey


class KeyRecall(NamedTuple):
    """The verdict on a key, and the advisories by which it is affected, at least probably."""

    verdict: Verdict
    advisories: Sequence[Advisory]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the advisories."""
        return tuple(dict.fromkeys(advisory.name for advisory in self.advisories))


class RecalledKey(NamedTuple):
    """A recorded key, the device on it or None, and the verdict on the key."""

    key: RecordedKey
    device: KeyDevice | None
    recall: KeyRecall


def find_recalls(keys: Iterable[RecordedKey], advisories: Sequence[Advisory]) -> list[RecalledKey]:
    """Return a RecalledKey for each device that is on a key, or one for a key without devices.

    The worst ones are first, and unknown ones last.
    """
    verdicts: dict[tuple[object, ...], KeyRecall] = {}

    def judge(facts: KeyFacts) -> KeyRecall:
        # Many keys are of one model, so each combination of facts that count is judged once.
        counting = (facts.model, facts.firmware, facts.aaguid, facts.certifications, facts.attested)
        if counting not in verdicts:
            verdicts[counting] = judge_key(facts, advisories)
        return verdicts[counting]

    recalls = [
        RecalledKey(key, device, recall)
        for key in keys
        for recall in [judge(key.facts)]
        for device in _devices_on(key) or (None,)
    ]
    return sorted(
        recalls, key=lambda recalled: (recalled.recall.verdict is Verdict.UNKNOWN, recalled.recall.verdict.rank)
    )


def judge_devices(
    keys: Iterable[RecordedKey], advisories: Sequence[Advisory], account: str
) -> tuple[DeviceRecall, ...]:
    """Return the verdict on each device of an account that is on a recorded key.

    If the secret of a device is in OATH, only the advisories that affect OATH count.
    """
    of_oath = [advisory for advisory in advisories if advisory.oath != NOT_OATH]
    return tuple(
        DeviceRecall(
            serial=device.serial,
            user=device.user,
            since=device.since,
            key=f"{key.facts.model or 'unknown model'} with firmware {key.facts.firmware or 'unknown'}",
            verdict=recall.verdict,
            advisories=recall.names,
        )
        for key in keys
        for device in _devices_on(key)
        if device.account == account
        for recall in [judge_key(key.facts, of_oath if device.card else advisories)]
    )


def _devices_on(key: RecordedKey) -> tuple[KeyDevice, ...]:
    return tuple(device for device in key.devices if device.is_in_use)


def judge_key(facts: KeyFacts, advisories: Iterable[Advisory]) -> KeyRecall:
    """Return the verdict on a key with these facts."""
    verdicts = [(advisory, _judge(facts, advisory)) for advisory in advisories]
    # Without an attested model, it is unknown which advisories there are on the key.
    least = Verdict.NOT_LISTED if {"model", "aaguid"} & facts.attested else Verdict.UNKNOWN
    worst = min([least, *(verdict for _, verdict in verdicts)], key=lambda verdict: verdict.rank)
    return KeyRecall(worst, [advisory for advisory, verdict in verdicts if verdict.is_affected])


def _judge(facts: KeyFacts, advisory: Advisory) -> Verdict:
    matches, attested = _matches(facts, advisory), facts.attested
    verdicts = [
        _judge_condition({fact: matches[fact] for fact in alternatives}, attested)
        for alternatives in advisory.conditions
    ]
    # A key is affected if it meets all conditions, so the best verdict counts.
    return max(verdicts, key=lambda verdict: verdict.rank)


def _judge_condition(matches: dict[str, bool | None], attested: frozenset[str]) -> Verdict:
    """Return the verdict on a key by a condition that it meets if one of these facts matches."""
    if any(match and fact in attested for fact, match in matches.items()):
        return Verdict.AFFECTED
    if any(matches.values()):
        return Verdict.PROBABLY
    is_other = all(match is False and fact in attested for fact, match in matches.items())
    return Verdict.NOT_LISTED if is_other else Verdict.UNKNOWN


def _matches(facts: KeyFacts, advisory: Advisory) -> dict[str, bool | None]:
    """Return whether each fact of a key is one that the advisory names, or None if the fact is unknown."""
    levels, version = [level.lower() for level in facts.certifications], Version.parse(facts.firmware)
    is_certified = any(fnmatchcase(level, pattern) for level in levels for pattern in advisory.certifications)
    return {
        "model": advisory.about(facts.model) if facts.model else None,
        "aaguid": facts.aaguid.lower() in advisory.aaguids if facts.aaguid else None,
        "certifications": is_certified if levels or "certifications" in facts.attested else None,
        "firmware": advisory.covers(version) if version else None,
    }
