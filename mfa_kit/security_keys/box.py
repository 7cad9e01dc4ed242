"""Examines security keys: a single key, or many keys one after the other, such as a box of new ones."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import clauses
from mfa_kit.security_keys.attestation import Examined, SeenBefore, examine
from mfa_kit.security_keys.authenticator import KeyInfo, PluggedKey
from mfa_kit.security_keys.key_policy import KeyPolicy
from mfa_kit.security_keys.ports import LOOK, Authenticator, Metadata, PinEntry, PluggedKeys
from mfa_kit.security_keys.seen_keys import SeenKeys


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
        seen_keys: SeenKeys | None = None,
    ) -> None:
        self._keys, self._metadata, self._policy, self._pins = keys, metadata, policy, pins
        self._progress, self._now, self._sleep = progress, now, sleep
        self._seen = seen_keys or SeenKeys()

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
