"""Checks whether a security key is genuine and suitable, with one registration, one assertion and a policy.

Each rule is a function that takes the evidence and the policy, and returns the verdict for one line of a table. What a
key reports about itself never proves its model. A key without attestation, with self-attestation, or with a certificate
that does not chain to a listed root certificate does not count as genuine.

A single key is examined, or many keys one after the other, such as a box of new ones.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.firmware import Advisory, Version, advisories_on
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.recorded_keys import KeyFacts, vendor_of
from mfa_kit.core.text import count_of
from mfa_kit.security_keys.authenticator import (
    RESET_COST,
    Assertion,
    KeyInfo,
    MetadataSource,
    Model,
    PluggedKey,
    Registration,
    StatementKind,
    Trusted,
    Untrusted,
)
from mfa_kit.security_keys.key_policy import FIPS, LEVELS, KeyPolicy
from mfa_kit.security_keys.pin import SET_PIN, ask_pin
from mfa_kit.security_keys.ports import LOOK, Authenticator, Metadata, PinEntry, PluggedKeys, SeenKeys

WHERE_METADATA_IS = (
    "download blob.jwt from https://mds3.fidoalliance.org/ and pass it with --mds, or install 'mfa-kit[mds]'"
)

METADATA_SERVICE = "https://mds3.fidoalliance.org/"
# Matches the characters that have a meaning in a pattern for names.
_MAGIC = re.compile(r"([*?[])")
COMPROMISED = "ATTESTATION_KEY_COMPROMISE"
# A key with a FATAL status fails. A DOUBTFUL status causes a warning (FIDO Metadata Service 3, 3.1.4,
# AuthenticatorStatus).
FATAL = {
    "REVOKED",
    COMPROMISED,
    "USER_KEY_REMOTE_COMPROMISE",
    "USER_KEY_PHYSICAL_COMPROMISE",
    "USER_VERIFICATION_BYPASS",
}
DOUBTFUL = {"UPDATE_AVAILABLE", "RETIRED"}
# A report with this status ends the FIDO certifications (LEVELS) in earlier reports.
NOT_CERTIFIED = "NOT_FIDO_CERTIFIED"
# The results of a check, from the best to the worst.
SEVERITY = (Value.NOT_APPLICABLE, Value.PASS, Value.WARN, Value.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the rules take into account.

    `before` and `after` are what the key reported about itself before the registration and after the assertion.
    `source` is the source of the metadata, or None without metadata. `at` is the Unix time of the examination. `verify`
    says whether the key had to verify its user for both the registration and the assertion. `advisories` are those
    that are known.
    """

    before: KeyInfo
    after: KeyInfo
    registration: Registration
    assertion: Assertion
    trust: Trusted | Untrusted
    source: MetadataSource | None
    at: float
    verify: bool
    advisories: Sequence[Advisory]

    @property
    def model(self) -> Model | None:
        """The proven model, or None. It is never a model that the key only claims."""
        return self.trust.model if isinstance(self.trust, Trusted) else None

    @property
    def firmware(self) -> Version | None:
        """The firmware version from the manufacturer's certificate, or else as the key reports it. None if unknown."""
        return self.registration.firmware or self.before.firmware

    @property
    def statuses(self) -> list[frozenset[str]]:
        """The statuses in effect of each entry in the metadata that may describe the key. Empty if none is proven."""
        entries = [self.model, *self.trust.others] if self.model else []
        return [frozenset(_in_effect(entry, self.at)) for entry in entries]

    @property
    def attested(self) -> frozenset[str]:
        """The names of the fields of KeyFacts that the attestation proves."""
        statuses = self.statuses
        # Whoever has the attestation's private key can attest anything (FIDO Metadata Service 3, 3.1.4).
        if not statuses or any(COMPROMISED in in_effect for in_effect in statuses):
            return frozenset()
        in_certificate = {"aaguid": self.registration.aaguid, "firmware": self.registration.firmware}
        present = (name for name, fact in in_certificate.items() if fact)
        return frozenset({"model", "certifications", "certificate", *present})

    @property
    def certifications(self) -> tuple[str, ...]:
        """The certifications of the proven model, or those that the key claims if the attestation proves nothing."""
        if not self.attested:
            return tuple(f"{name} {level}" for name, level in self.before.certifications.items())
        # It is unknown which of several entries describes the key, so only what all of them say is proven.
        common = frozenset.intersection(*self.statuses)
        return tuple(level for level in (*LEVELS, *FIPS) if level in common)

    @property
    def facts(self) -> KeyFacts:
        """What is known about the key, and which of these facts its attestation proves."""
        registration, plugged = self.registration, self.before.plugged
        return KeyFacts(
            serial=plugged.serial,
            model=self.trust.model.name if self.trust.model else plugged.product,
            firmware=str(self.firmware) if self.firmware else None,
            aaguid=registration.aaguid or self.before.aaguid,
            certifications=self.certifications,
            certificate=hashlib.sha256(registration.chain[0]).hexdigest() if registration.chain else None,
            vendor=vendor_of(plugged.product),
            attested=self.attested,
        )

    @property
    def firmware_at_least(self) -> Version | None:
        """The firmware version, or else the oldest version that the model's metadata covers. None if unknown."""
        return self.firmware or (_published(self.model.version) if self.model and self.model.version else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The verdict on a key, and the evidence for the verdict."""

    answer: Passed | Failed
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class SeenBefore:
    """The result for a key that was examined before. The key is recognized by the credential that it made then."""

    info: KeyInfo


# The result of a rule, what it says, and the publication that states it, if there is one.
Verdict = tuple[Value, str] | tuple[Value, str, str]
Rule = Callable[[Evidence, KeyPolicy], Verdict]


def examine(
    key: Authenticator,
    metadata: Metadata | None,
    policy: KeyPolicy,
    *,
    pins: PinEntry,
    now: float,
    advisories: Sequence[Advisory],
    known: Sequence[bytes] = (),
) -> Examined | SeenBefore:
    """Register a credential, let the key sign with it, and return the verdict on the key with its evidence.

    The user touches the key twice. The credential is non-resident, so the key does not store it. `now` is the Unix
    time, and `advisories` are those that are known. `known` has the credentials of keys that were examined before; for
    such a key, return SeenBefore. If the key's PIN must first be set or changed, raise DeviceFault instead of giving a
    verdict on the key.
    """
    before = key.info()
    always = policy.user_verification or before.always_uv
    verify = (policy.user_verification or before.wants_uv) and _can_verify(before)
    pin = ask_pin(before, pins) if verify and not before.options.get("uv") else None
    registration = key.register(verify=verify, pin=pin, known=known)
    if registration is None:
        return SeenBefore(before)
    again = verify and always
    assertion, after = key.assertion(verify=again, pin=pin if again else None), key.info()
    trust, source = _published_of(registration, metadata, time=now)
    evidence = Evidence(
        before=before,
        registration=registration,
        assertion=assertion,
        after=after,
        trust=trust,
        source=source,
        at=now,
        verify=always,
        advisories=advisories,
    )
    checks = [_check(name, rule, evidence, policy) for name, rule in RULES.items()]
    return Examined(answer=judged(checks), evidence=evidence)


def _check(name: str, rule: Rule, evidence: Evidence, policy: KeyPolicy) -> Check:
    """Apply a rule once for each metadata entry that matches the key, and return the worst result."""
    trust = evidence.trust
    entries = [trust, *(replace(trust, model=other) for other in trust.others)]
    verdicts = [rule(replace(evidence, trust=entry), policy) for entry in entries]
    return Check(name, *max(verdicts, key=lambda verdict: SEVERITY.index(verdict[0])))


def _published_of(
    registration: Registration, metadata: Metadata | None, *, time: float
) -> tuple[Trusted | Untrusted, MetadataSource | None]:
    if metadata is None:
        return Untrusted(reason=WHERE_METADATA_IS), None
    return metadata.trust(registration, time=time), metadata.source()


def _can_verify(info: KeyInfo) -> bool:
    """Return whether the key can verify its user.

    Raise DeviceFault if the key supports user verification, but has neither a PIN nor a fingerprint yet.
    """
    if info.verifies:
        return True
    if info.pin_set is False or info.options.get("uv") is False:
        raise DeviceFault("the key requires a PIN, but has none", SET_PIN)
    return False


NOT_REQUIRED = (Value.NOT_APPLICABLE, "not required")


def _attestation(evidence: Evidence, _: KeyPolicy) -> Verdict:
    registration = evidence.registration
    match registration.statement:
        case StatementKind.CHAIN:
            if registration.remark:
                return Value.WARN, f"{registration.format}: {registration.remark}"
            return Value.PASS, f"{registration.format}, {registration.statement}"
        case StatementKind.SELF | StatementKind.NONE:
            return Value.WARN, f"{registration.statement}: proves nothing about the manufacturer"
        case StatementKind.PLATFORM:
            detail = f"{registration.format} is an attestation of computers and phones, not of security keys"
            return Value.NOT_APPLICABLE, detail
        case StatementKind.BROKEN:
            return Value.FAIL, f"{registration.format}: {registration.flaw}"
        case _:
            assert_never(registration.statement)


def _genuine(evidence: Evidence, _: KeyPolicy) -> Verdict:
    match evidence.trust:
        case Trusted(model=model):
            return Value.PASS, model.name
        case Untrusted(reason=reason):
            return Value.FAIL, reason
        case _:
            assert_never(evidence.trust)


def _metadata(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    source = evidence.source
    if source is None:
        return Value.NOT_APPLICABLE, "there is no metadata"
    stale = source.next_update < datetime.fromtimestamp(evidence.at, UTC).date()
    faults = [
        *(["unsigned"] if source.root is None else []),
        *([f"a newer version was due on {source.next_update}"] if stale else []),
    ]
    bad = Value.FAIL if policy.signed_metadata else Value.WARN
    skipped = f", {source.passed_over} unreadable entries skipped" if source.passed_over else ""
    detail = f"{source.name} no. {source.number}: {', '.join(faults) or 'signed and current'}{skipped}"
    return (bad if faults else Value.PASS, detail)


def _status(evidence: Evidence, _: KeyPolicy) -> Verdict:
    # The published status of a model counts even for a key whose claim to be that model is not proven.
    model = evidence.trust.model
    if model is None:
        return Value.NOT_APPLICABLE, "there is no metadata about this key's model"
    statuses = set(_in_effect(model, evidence.at))
    for names, value in ((FATAL, Value.FAIL), (DOUBTFUL, Value.WARN)):
        if statuses & names:
            return value, f"{model.name}: {', '.join(sorted(statuses & names))}"
    if evidence.model is None:
        return Value.NOT_APPLICABLE, f"the model is not proven; no security problem is published for {model.name}"
    later = [f"{report.status} from {report.since}" for report in model.statuses if report.status in FATAL - statuses]
    return Value.PASS, ", ".join(later) or "no security problem is published for this model"


def _in_effect(model: Model, time: float) -> list[str]:
    """Return the statuses that apply at a Unix time, the oldest first.

    A report without a date applies as long as it is published (FIDO Metadata Service 3, 3.1.3).
    """
    today = datetime.fromtimestamp(time, UTC).date().isoformat()
    reports = sorted(model.statuses, key=lambda report: report.since or "")
    statuses = [report.status for report in reports if (report.since or "") <= today]
    ended = max((number for number, status in enumerate(statuses) if status == NOT_CERTIFIED), default=0)
    return [status for number, status in enumerate(statuses) if number >= ended or status not in LEVELS]


def revoked_models(models: Iterable[Model], time: float) -> list[Advisory]:
    """Return the models that have a FATAL status at a Unix time, as advisories."""
    return [
        Advisory(
            name=status,
            source=METADATA_SERVICE,
            what=f"the FIDO metadata of {model.name} has the status {status}",
            # Several models with different AAGUIDs may have the same name. Models of U2F have no AAGUID.
            models=() if model.aaguid else (_MAGIC.sub(r"[\1]", model.name.lower()),),
            aaguids=(model.aaguid,) if model.aaguid else (),
        )
        for model in models
        for status in sorted(FATAL.intersection(_in_effect(model, time)))
    ]


def _model(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    if not policy.models:
        return NOT_REQUIRED
    model = evidence.model
    if model is None:
        return Value.FAIL, "the model is not proven, so it cannot be on the policy's list"
    listed = {model.aaguid, *model.identifiers} & set(policy.models)
    return (Value.PASS if listed else Value.FAIL, f"{model.name} is {'' if listed else 'not '}on the policy's list")


def _certification(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    return _ranked(evidence, required=policy.certification, ranks=LEVELS)


def _fips(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    return _ranked(evidence, required=FIPS[policy.fips - 1] if policy.fips else None, ranks=FIPS)


def _ranked(evidence: Evidence, *, required: str | None, ranks: Sequence[str]) -> Verdict:
    """Compare the model's best certification in the metadata with the required one, and return the result.

    `ranks` has the certifications from low to high.
    """
    model = evidence.model
    statuses = _in_effect(model, evidence.at) if model else []
    has = max((ranks.index(status) for status in statuses if status in ranks), default=-1)
    best = ranks[has] if has >= 0 else "none in the metadata"
    if required is None:
        return Value.NOT_APPLICABLE, f"{best}; not required"
    passed = has >= ranks.index(required)
    return (Value.PASS if passed else Value.FAIL, f"{best}; required: {required}")


def _firmware(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    has, required = evidence.firmware_at_least, policy.firmware
    later = "" if evidence.firmware else " or later"
    whose = "" if evidence.registration.firmware or not evidence.firmware else ", as the key reports"
    description = f"{has}{later}{whose}"
    if required is None:
        return Value.NOT_APPLICABLE, f"{description if has else 'unknown'}; not required"
    if has is None:
        return Value.FAIL, f"unknown; required: {required}"
    return (Value.PASS if has >= required else Value.FAIL, f"{description}; required: {required}")


def _advisories(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    model = evidence.model
    if model is None:
        return Value.NOT_APPLICABLE, "the model is not proven"
    has = evidence.firmware_at_least
    first = next((advisory for advisory in evidence.advisories if advisory.about(model.name)), None)
    if not has and first:
        value = Value.FAIL if policy.no_advisories else Value.WARN
        return value, f"the firmware is unknown, so {first.name} may apply", first.source
    for advisory in advisories_on(model.name, has, evidence.advisories) if has else ():
        value = Value.FAIL if policy.no_advisories or advisory.unfit else Value.WARN
        return value, f"{advisory.name}: firmware {has}: {advisory.what}", advisory.source
    return Value.PASS, "no known advisory applies"


def _pin(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    info = evidence.before
    if info.pin_locked:
        return (Value.FAIL if policy.pin else Value.WARN, suggest(f"locked; {RESET_COST}", "key reset"))
    if info.pin_set:
        tries = "" if info.pin_retries is None else f"; {count_of(info.pin_retries, 'try', 'tries')} left"
        return (Value.PASS if policy.pin else Value.NOT_APPLICABLE, f"set{tries}")
    detail = "not set: set a PIN first" if info.pin_set is False else "this key does not support a PIN"
    return Value.FAIL if policy.pin else Value.NOT_APPLICABLE, detail


def _presence(evidence: Evidence, _: KeyPolicy) -> Verdict:
    present = evidence.registration.present and evidence.assertion.present
    return _flag(present, "in both responses", "missing in a response")


def _verification(evidence: Evidence, _: KeyPolicy) -> Verdict:
    if not evidence.verify:
        return NOT_REQUIRED
    verified = evidence.registration.verified and evidence.assertion.verified
    return _flag(verified, "in both responses", "the key did not verify its user")


def _assertion(evidence: Evidence, _: KeyPolicy) -> Verdict:
    flaw = evidence.assertion.flaw
    return _flag(not flaw, "signed with the registered key", str(flaw))


def _counter(evidence: Evidence, _: KeyPolicy) -> Verdict:
    first, then = evidence.registration.counter, evidence.assertion.counter
    if not first and not then:
        return Value.NOT_APPLICABLE, "this key does not count its signatures"
    return _flag(then > first, f"{first}, then {then}", f"{first}, then {then}: it must increase")


def _transports(evidence: Evidence, policy: KeyPolicy) -> Verdict:
    has = evidence.before.transports or (evidence.model.transports if evidence.model else ())
    description = ", ".join(has) or "unknown"
    if not policy.transports:
        return Value.NOT_APPLICABLE, f"{description}; not required"
    missing = [transport for transport in policy.transports if transport not in has]
    return _flag(not missing, description, f"{description}; required: {', '.join(missing)}")


def _nothing_left(evidence: Evidence, _: KeyPolicy) -> Verdict:
    before, after = evidence.before.resident_free, evidence.after.resident_free
    if before is None or after is None:
        return Value.NOT_APPLICABLE, "the key does not report its free space"
    return _flag(after >= before, "as much free space as before", "the key kept a credential")


def _flag(passed: bool, good: str, bad: str) -> Verdict:
    return (Value.PASS, good) if passed else (Value.FAIL, bad)


RULES: Mapping[str, Rule] = {
    "attestation": _attestation,
    "genuine": _genuine,
    "metadata": _metadata,
    "status": _status,
    "model": _model,
    "certification": _certification,
    "fips": _fips,
    "firmware": _firmware,
    "advisories": _advisories,
    "pin": _pin,
    "user presence": _presence,
    "user verification": _verification,
    "assertion": _assertion,
    "counter": _counter,
    "transports": _transports,
    "leaves nothing": _nothing_left,
}


def _published(number: int) -> Version | None:
    """Parse the metadata's authenticatorVersion: three octets, or five decimal digits in older entries."""
    if 10_000 <= number < 1 << 16:  # noqa: PLR2004 - 50100 is 5.1.0
        return Version(number // 10_000, number // 100 % 100, number % 100)
    return Version.of(number)


class KeyExaminer:
    """Examines keys, and recognizes a key that it has examined before.

    All keys register with the same relying party, so a key can report that it created one of the earlier credentials.
    `seen_keys` has the keys that were examined earlier, and the examiner adds each key that it examines. `now` returns
    the Unix time, and `sleep` waits a number of seconds.
    """

    def __init__(
        self,
        keys: PluggedKeys,
        metadata: Metadata | None,
        policy: KeyPolicy,
        *,
        pins: PinEntry,
        progress: Progress,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        advisories: Sequence[Advisory],
        seen_keys: SeenKeys | None = None,
    ) -> None:
        self._keys, self._metadata, self._policy, self._pins = keys, metadata, policy, pins
        self._progress, self._now, self._sleep = progress, now, sleep
        self._seen, self._advisories = seen_keys or SeenKeys(), advisories

    def examine(self, key_name: str | None) -> Examined | SeenBefore:
        """Examine the key whose path or serial is `key_name`, or, for None, the only key.

        Return SeenBefore if the key was examined earlier. Raise DeviceFault if it cannot be examined.
        """
        with self._keys.open(key_name, relying_party=self._seen.relying_party) as opened:
            self._seen.relying_party = opened.relying_party
            answer = examine(
                opened,
                self._metadata,
                self._policy,
                pins=self._pins,
                now=self._now(),
                advisories=self._advisories,
                known=self._seen.credentials,
            )
            if opened.credential:
                self._seen.credentials += (opened.credential,)
            return answer

    def examine_one(self, key_name: str | None) -> Examined:
        """Examine a key as `examine` does. Call this only on an examiner that has not seen any key.

        The result is therefore never SeenBefore.
        """
        answer = self.examine(key_name)
        assert isinstance(answer, Examined)  # noqa: S101 - an examiner that saw no key recognizes none
        return answer

    def next(self, gone: PluggedKey | None) -> PluggedKey:
        """Wait until a single key is plugged in, and return it. If `gone` is given, that key must be removed first."""
        before: object = None
        while True:
            if (state := self._keys.state()) != before:
                before = state
                keys, wrong = self._keys.look()
                for fault in wrong:
                    self._progress.alert(clauses([str(fault), fault.hint]))
                match keys:
                    case []:
                        gone = None
                        self._progress.alert("insert a key, or press Ctrl-C to end")
                    case [only] if only == gone:
                        self._progress.alert("remove this key, then insert the next one")
                    case [only]:
                        return only
                    case _:
                        self._progress.alert("several keys are plugged in: insert one at a time")
            self._sleep(LOOK)


def read_infos(
    keys: Sequence[PluggedKey],
    open_key: Callable[[str], AbstractContextManager[Authenticator]],
    *,
    is_removed: Callable[[PluggedKey], bool],
) -> tuple[list[KeyInfo], list[DeviceFault]]:
    """Return what each key reports about itself, and an error for each key that cannot be read.

    `open_key` opens the key at a device node or reader. A key that is removed meanwhile is left out.
    """
    infos, wrong = [], []
    for key in keys:
        try:
            with open_key(key.where) as opened:
                infos.append(opened.info())
        except DeviceFault as fault:
            if not is_removed(key):
                wrong.append(DeviceFault(f"{key.where}: {fault}", fault.hint))
    return infos, wrong
