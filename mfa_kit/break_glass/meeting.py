"""Custodians open a recovery key with their private keys: together in a meeting, or one layer after the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Manifest, RecoveryKey, set_of_file
from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
from mfa_kit.core.errors import Declined, DeviceFault, IntegrityFault, UsageFault
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.core.text import count_of

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


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecoveryKey(Generic[K, V]):
    """An open identity, and the custodians who opened it.

    `names` has the names of these custodians in the order of their CustodianSet. `keys` has the private keys of all
    custodians who were present, by name.
    """

    identity: V
    names: tuple[str, ...]
    keys: Mapping[str, K]


def meet(
    recovery_key: RecoveryKey,
    files: Iterable[Path],
    ports: BreakGlassPorts[K, V],
    *,
    only: Path | None = None,
    present: Mapping[str, K] | None = None,
) -> OpenRecoveryKey[K, V]:
    """Hold a meeting of custodians, and return the open identity.

    `files` are identity files of custodians. If they are not enough, other custodians enter the paths of their files at
    the terminal; if such a file cannot be used, print the error and ask for another path. `only` is the only
    break-glass file to open; some custodians may already have removed their layers from it. `present` has the private
    keys of custodians who are present from an earlier meeting, by name. Raise Declined if too few custodians came, and
    IntegrityFault if the identity cannot be decrypted. Raise UsageFault for an identity in `files` that belongs to no
    current custodian, or to a custodian who is already present.
    """
    manifest = recovery_key.manifest

    def open_set(custodian_set: CustodianSet, keys: Mapping[str, K]) -> V:
        return ports.open_set(only or recovery_key.folder / custodian_set.file, custodian_set, keys, manifest.recipient)

    meeting = Meeting(
        manifest=manifest,
        sets=manifest.group.sets() if only is None else _rest_of(_set_of(only, manifest)),
        owners=ports.owner_test((*manifest.group.custodians, *manifest.former)),
        open_set=open_set,
        here=dict(present or {}),
    )
    identity, names = _hold(meeting, files, ports)
    return OpenRecoveryKey(identity=identity, names=names, keys=meeting.here)


def _rest_of(custodian_set: CustodianSet) -> list[CustodianSet]:
    """Return a set of custodians, then the set without its first custodian, without its first two, and so on.

    The custodians of a set remove their layers from its file one after the other, the first custodian first. So each
    row of the result names the custodians whose layers may still be on the file.
    """
    return [CustodianSet(custodian_set.file, custodian_set.names[index:]) for index in range(len(custodian_set.names))]


def _set_of(file: Path, manifest: Manifest) -> CustodianSet:
    custodian_set = set_of_file(file.name, manifest.group.sets())
    if custodian_set is None:
        raise UsageFault(
            f"the name of {file} does not say which set of custodians the file is for",
            "restore the start of its name, such as set-01, and name the folder with the manifest: --dir DIR",
        )
    return custodian_set


def _hold(meeting: Meeting[K, V], files: Iterable[Path], ports: BreakGlassPorts[K, V]) -> tuple[V, tuple[str, ...]]:
    person = ports.person
    if opened := meeting.identity():  # the custodians who are here already are enough
        return opened
    for file in files:
        meeting.admit(ports.read_keys(file))
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
            meeting.admit(ports.read_keys(_file_of(typed)))
        except (UsageFault, DeviceFault) as fault:  # the custodian can try again with the right PIN or key
            person.say(Message(f"{fault}: ", fault.hint))
        if opened := meeting.identity():
            return opened


def _file_of(typed: str) -> Path:
    """Return the path that a custodian typed. Expand `~` and `~NAME` if that user exists."""
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # reading the file then raises UsageFault, and the meeting continues
        return Path(typed)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLayer:
    """A layer of the file of a set, and the name of the custodian who can remove it.

    `after` has the names of the custodians whose layers are inside this layer.
    """

    name: str
    after: tuple[str, ...]


def pass_on(
    recovery_key: RecoveryKey,
    file: Path,
    read_keys: Callable[[], K],
    out: Path,
    ports: BreakGlassPorts[K, V],
) -> OwnLayer:
    """Use a custodian's private keys to remove the outermost layer of a file, and write the rest to the new file `out`.

    Return the layer that was removed. A dry run writes nothing. Raise UsageFault if the name of `file` or `out` does
    not name the set, or if the identity belongs to no custodian of the set. Also raise UsageFault if the identity
    belongs to the set's last custodian, because without the last layer, the file would be the break-glass identity
    itself. Raise WrongIdentityError if the outermost layer belongs to another custodian.
    """
    manifest = recovery_key.manifest
    custodian_set = _set_of(file, manifest)
    if set_of_file(out.name, [custodian_set]) is None:
        start = "-".join(custodian_set.file.split("-")[:2])
        raise UsageFault(
            f"the name {out.name} does not say that the file is for {start}", f"begin the name with {start}"
        )
    ports.check_new_file(out)
    keys = read_keys()
    owners = {custodian.name for custodian in ports.owner_test(manifest.group.custodians)(keys)}
    own_names = [name for name in custodian_set.names if name in owners]
    if not own_names:
        raise UsageFault(
            f"this identity belongs to none of the custodians {', '.join(custodian_set.names)} of {file.name}",
            "give the identity of one of them: -i FILE",
        )
    after = custodian_set.names[custodian_set.names.index(own_names[0]) + 1 :]
    layer = OwnLayer(name=own_names[0], after=after)
    if not layer.after:
        raise UsageFault(
            f"{layer.name} is the last custodian of {file.name}; without the last layer, the file would be the "
            "identity itself",
            suggest("open the backup", "break-glass open --backup BACKUP --from {}", str(file)),
        )
    ports.progress.alert(
        f"{layer.after[-1]} is the last custodian of this set: when the file reaches them, they can open the "
        f"break-glass identity alone, and with the identity every backup for {manifest.recipient}"
    )
    inner_file = ports.remove_layer(file, keys)
    if not ports.dry_run:
        ports.record(manifest, RecoveryKeyAction.PASSED, [layer.name])
        ports.write_new_file(out, inner_file)
    return layer
