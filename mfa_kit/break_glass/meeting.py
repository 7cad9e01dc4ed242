"""A meeting: custodians present their private keys one after the other, until they can open a break-glass identity."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Manifest
from mfa_kit.core.errors import Declined, DeviceFault, IntegrityFault, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.text import count_of

# The type of the private keys that a custodian presents.
K = TypeVar("K")
# The type of the break-glass identity.
V = TypeVar("V")

INSTEAD = "-i FILE for each custodian"


@dataclass(slots=True, kw_only=True)
class Meeting(Generic[K, V]):
    """A meeting of custodians about one break-glass identity.

    `sets` has the sets of custodians who can open the identity. `owners` takes private keys, and returns the current
    and former custodians to whom they belong. `open_set` takes a set and the private keys of its custodians, by
    name. It decrypts the file of the set and returns the identity, or raises IntegrityFault if the keys cannot decrypt
    the file. `here` has the private keys of each custodian who is present.
    """

    manifest: Manifest
    sets: Sequence[CustodianSet]
    owners: Callable[[K], Sequence[Custodian]]
    open_set: Callable[[CustodianSet, Mapping[str, K]], V]
    here: dict[str, K] = field(default_factory=dict)
    _tried: list[CustodianSet] = field(default_factory=list)

    def admit(self, keys: K) -> list[str]:
        """Admit the custodians who own these private keys, and return their names.

        Raise UsageFault if the keys belong to no custodian, to a former custodian, or to a custodian who is already
        here.
        """
        owners = self.owners(keys)
        if not owners:
            raise UsageFault(
                f"this identity belongs to none of the custodians {', '.join(self.manifest.group.names)}",
                "present the identity of a custodian",
            )
        names = [owner.name for owner in owners if owner in self.manifest.group.custodians]
        if not names:
            raise UsageFault(
                f"this identity belongs to {owners[0].name}, who was removed from the custodians",
                "present the identity of a current custodian",
            )
        new = [name for name in names if name not in self.here]
        if not new:
            raise UsageFault(
                f"{names[0]} has already presented an identity", "present the identity of another custodian"
            )
        self.here |= dict.fromkeys(new, keys)
        return new

    def identity(self) -> tuple[V, tuple[str, ...]] | None:
        """Return the identity and the names of the custodians who opened it, or None if more custodians are needed.

        The file of each set is tried only once. If none of the files can be decrypted, raise the error of the last one.
        """
        for custodian_set in self.sets:
            if custodian_set not in self._tried and self._missing(custodian_set) == 0:
                self._tried.append(custodian_set)
                try:
                    return self.open_set(
                        custodian_set, {name: self.here[name] for name in custodian_set.names}
                    ), custodian_set.names
                except IntegrityFault:  # another set may have a good file
                    if len(self._tried) == len(self.sets):
                        raise
        return None

    @property
    def missing(self) -> int:
        """The smallest number of custodians who must still come."""
        return min(
            (self._missing(custodian_set) for custodian_set in self.sets if custodian_set not in self._tried), default=0
        )

    def _missing(self, custodian_set: CustodianSet) -> int:
        return len(set(custodian_set.names) - self.here.keys())


def hold(
    meeting: Meeting[K, V], files: Iterable[Path], *, read: Callable[[Path], K], person: Interaction
) -> tuple[V, tuple[str, ...]]:
    """Hold a meeting. Return the break-glass identity, and the names of the custodians who opened it.

    `files` are the identity files of some custodians. Other custodians enter the path of their file at the terminal.
    `read` returns the private keys in a file, or raises UsageFault or DeviceFault if the file cannot be used. If this
    happens with a path from the terminal, print the error and ask for another path. Raise Declined if too few
    custodians came, and IntegrityFault if the identity cannot be decrypted.
    """
    if opened := meeting.identity():  # the custodians who are here already are enough
        return opened
    for file in files:
        meeting.admit(read(file))
        if opened := meeting.identity():
            return opened
    while True:
        present_names = ", ".join(meeting.here) or "nobody"
        person.say(f"present: {present_names}; needed: {meeting.missing} more; to stop, press Enter")
        typed = person.ask_code("identity file of the next custodian", instead=INSTEAD)
        if not typed:
            raise Declined(
                f"the identity needs {count_of(meeting.missing, 'more custodian')}",
                "repeat the command when enough custodians are present",
            )
        try:
            meeting.admit(read(_file_of(typed)))
        except (UsageFault, DeviceFault) as fault:  # the custodian can try again with the right PIN or key
            person.say(f"{fault}: {fault.hint}")
        if opened := meeting.identity():
            return opened


def _file_of(typed: str) -> Path:
    """Return the path that a custodian typed. Expand `~` and `~NAME` if that user exists."""
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # reading the file then raises UsageFault, and the meeting continues
        return Path(typed)
