"""Chooses a user's recipient among the keys that a forge or a file has for them.

A forge is a site with accounts and repositories, such as GitHub or GitLab. If the roster has a fingerprint for the
user, only the key with this fingerprint is chosen. Otherwise a key is chosen if it is the only usable key, or the only
usable key that was used before.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.roster import key_fingerprint

# The columns that are added to a roster with fetched recipients.
SOURCE, FETCHED, FINGERPRINT = "recipient_source", "recipient_fetched", "recipient_fingerprint"


class FetchState(StrEnum):
    """What happened to the recipient of a row.

    FETCHED: a key was chosen. UNCHANGED: the row does not say under which name to look for keys, so it keeps its
    recipient. NONE: no key was chosen, so the row now has no recipient.
    """

    FETCHED = "fetched"
    UNCHANGED = "unchanged"
    NONE = "no key"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKeys:
    """The keys that a source has for one user.

    `usable` are recipients without comments. `skipped` describes the keys that are not used, by their type or in words,
    such as `a damaged ssh-rsa key`. `fault` is not empty if the source could not be read.
    """

    source: str
    usable: Sequence[str] = ()
    skipped: Sequence[str] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The result for a row. `recipient` is "" if no key was chosen.

    `notes` are for the person who reviews the roster.
    """

    state: FetchState
    recipient: str = ""
    notes: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the recipient, or ""."""
        return key_fingerprint(self.recipient) if self.recipient else ""


def choose_recipient(keys: FoundKeys, *, fingerprint: str, before: Collection[str]) -> Chosen:
    """Choose one of the keys that a source has for a user.

    `fingerprint` is the row's `recipient_fingerprint`, or "". `before` are the recipients that were used for this
    user before: the one in the row, and those of their last backups.
    """
    if keys.fault:
        return Chosen(state=FetchState.NONE, notes=[keys.fault])
    skipped = [f"skipped {', '.join(keys.skipped)}"] if keys.skipped else []
    recipient, reason = _pick(keys.usable, fingerprint, before)
    if not recipient:
        return Chosen(state=FetchState.NONE, notes=[reason, *skipped])
    notes = [reason] if reason else []
    if before and recipient not in before:
        old = ", ".join(sorted(map(key_fingerprint, before)))
        notes.append(
            f"the key differs from the one used last: {key_fingerprint(recipient)} instead of {old}; ask the user "
            "whether they changed it"
        )
    return Chosen(state=FetchState.FETCHED, recipient=recipient, notes=[*notes, *skipped])


def _pick(usable: Sequence[str], fingerprint: str, before: Collection[str]) -> tuple[str, str]:
    """Return a key and why it was picked, or "" and why none was picked.

    The reason is "" for the only usable key, and for the key that `fingerprint` names.
    """
    by_fingerprint = {key_fingerprint(key): key for key in usable}
    listed = ", ".join(by_fingerprint)
    if not usable:
        return "", "there is no key that can be used; needed is ssh-ed25519, or ssh-rsa with 2048 bits or more"
    if fingerprint:
        other = f"the roster names the key {fingerprint}, but the user has only {listed}"
        return (by_fingerprint[fingerprint], "") if fingerprint in by_fingerprint else ("", other)
    if len(by_fingerprint) == 1:
        return usable[0], ""
    known = [key for key in by_fingerprint.values() if key in before]
    if len(known) == 1:
        return known[0], f"there are {len(by_fingerprint)} keys; kept {key_fingerprint(known[0])}, which was used last"
    return "", (
        f"there are {len(by_fingerprint)} keys, and none is chosen automatically: {listed}; put the right "
        f"fingerprint into the column {FINGERPRINT} of the roster"
    )


def parse_keys(text: str, *, source: str) -> dict[str, list[str]]:
    """Return the public keys in a text by name. Each line has a name, then a key in OpenSSH's or age's format.

    Raise UsageFault if a line has no key. `source` is the name of the file, for the message.
    """
    lines: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, key = [*line.split(maxsplit=1), "", ""][:2]
        if not name or name.startswith("#"):
            continue
        if not key.strip():
            raise UsageFault(
                f"line {number} of {source} has no key", "write a name and a public key: alice ssh-ed25519 AAAA…"
            )
        lines.setdefault(name, []).append(key.strip())
    return lines


def check_keys(
    source: str, usable: Sequence[str], skipped: Sequence[str], *, parse_key: Callable[[str], str]
) -> FoundKeys:
    """Return the keys that a source has for one user, without keys to which nothing can be encrypted.

    `parse_key` raises UsageFault for such a key, for example because it has a small order, or the age recipient has a
    typo.
    """
    refused: list[str] = []
    accepted_keys: list[str] = []
    for key in usable:
        try:
            accepted_keys.append(parse_key(key))
        except UsageFault:
            kind = "age" if key.startswith("age1") else key.split(maxsplit=1)[0]
            refused.append(f"an {kind} key to which nothing can be encrypted")
    return FoundKeys(source=source, usable=accepted_keys, skipped=[*skipped, *dict.fromkeys(refused)])


def by_lower_name(recipients: Iterable[tuple[str, Mapping[str, str]]]) -> Mapping[str, Mapping[str, str]]:
    """Return each user's recipients by account. IAM ignores case, and a roster may spell a name in another case."""
    by_name: dict[str, dict[str, str]] = {}
    for user, by_account in recipients:
        by_name.setdefault(user.lower(), {}).update(by_account)
    return by_name
