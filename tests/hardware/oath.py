"""The contract with OATH keys: what mfa-kit relies on, sent through its own adapter to a simulated or a real key.

Each row writes credentials of its own, whose names share PREFIX, and deletes them. The times and codes are those of RFC
6238, appendix B, with six digits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData, OathSession

from mfa_kit.adapters.oath.applet import Applet, Keys
from mfa_kit.adapters.oath.card import LONGEST_NAME, compute_pair
from mfa_kit.adapters.oath.pcsc import Wire
from mfa_kit.core.errors import DeviceFault, MfaKitError
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.oath_keys.credential import OathKey
from tests.hardware.rows import Person, Row

PREFIX = "mfa-kit-contract:"
# A run that is killed may leave this password on the key. It is no secret, so that its owner can remove it.
PASSWORD = "mfa-kit-contract"
SEED, OTHER, SEED_SHA256 = (
    Seed(b"12345678901234567890"),
    Seed(b"another secret of 20"),
    b"12345678901234567890123456789012",
)
TIMES = (59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000)
SHA1 = "287082 081804 050471 005924 279037 353130"
SHA256 = "119246 084774 062674 819424 698825 737706"
RENAMES = (5, 3, 1)
# No key is known to hold as many (255 is the most that was seen).
MOST = 300
REFUSED = "refused"


@dataclass
class OathBench:
    """An OATH key, and the person at it.

    `blank` says whether the key may be filled and get a password. `typed` is the password that is typed next.
    """

    key: OathKey
    person: Person
    blank: bool = False
    typed: str = PASSWORD

    def lacks(self, needs: str) -> str | None:
        """Return why rows with this need cannot run, or None if they can."""
        match needs:
            case "key" if self.key.password:
                return "the key has a password"
            case "touch" if self.person.touch is None:
                return "nobody is there to touch the key"
            case "blank" if not self.blank or self.key.used:
                return "only for a blank key that may be erased"
            case "rename" if tuple(map(int, (self.key.firmware or "0").split("."))) < RENAMES:
                return "the firmware does not rename"
        return None

    def words(self, error: MfaKitError) -> str:
        """Return the words of an error without the name of the reader."""
        return str(error).replace(self.key.where, "the reader")

    @contextmanager
    def open(self) -> Iterator[Applet]:
        """Open and unlock the applet, as a new program does."""
        keys = Keys(say=self.person.say, password=lambda _: Secret(self.typed))
        with keys.open(self.key) as applet:
            yield applet

    @contextmanager
    def selected(self) -> Iterator[Applet]:
        """Open the applet without its password."""
        wire = Wire(self.key.reader)
        try:
            yield Applet(wire, say=self.person.say)
        finally:
            wire.close()

    @contextmanager
    def session(self) -> Iterator[OathSession]:
        """Open yubikit's session on mfa-kit's wire, for what mfa-kit itself does not send."""
        wire = Wire(self.key.reader)
        try:
            yield OathSession(wire)
        finally:
            wire.close()

    @contextmanager
    def stored(self, name: str, seed: Seed = SEED, *, touch: bool = False) -> Iterator[tuple[Applet, str]]:
        """Store a credential, and remove it afterwards."""
        label = PREFIX + name
        with self.open() as applet:
            try:
                applet.put(label, seed, touch=touch)
                yield applet, label
            finally:
                remove(applet, label)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Set a password, and remove it afterwards, also if the key took it and its answer was lost."""
        try:
            with self.open() as applet:
                applet.set_key(applet.derive_key(Secret(PASSWORD)))
            yield
        finally:
            self.typed = PASSWORD
            with self.open() as applet:
                applet.set_key(None)

    def clear(self) -> str:
        """Delete the credentials of a contract, also those of an earlier run that was killed."""
        with self.open() as applet:
            for name in applet.names():
                if name.startswith(PREFIX.encode()):
                    remove(applet, name.decode())
            left = [name for name in applet.names() if name.startswith(PREFIX.encode())]
        return f"{len(left)} credentials named {PREFIX}..." if left else "nothing is left"


def remove(applet: Applet, label: str) -> None:
    """Delete a credential if it is there. A key that cannot delete is reported by the row `delete`."""
    with suppress(DeviceFault):
        if label.encode() in applet.names():
            applet.delete(label)


def refused(call: Callable[[], object]) -> str:
    """Return whether the key refuses a command. With which status word is not relied on."""
    try:
        call()
    except DeviceFault:
        return REFUSED
    return "accepted"


def listed(applet: Applet, label: str) -> str:
    """Return whether a credential is on the key, and whether it requires a touch."""
    touch_by_name = applet.held()
    if label.encode() not in touch_by_name:
        return "absent"
    touch = touch_by_name[label.encode()]
    return "listed, touch unknown" if touch is None else f"listed, {'touch required' if touch else 'no touch'}"


def codes(applet: Applet, label: str) -> str:
    touch = applet.held().get(label.encode())
    return " ".join(applet.code(label, time, touch=touch) for time in TIMES)


def identity(bench: OathBench) -> str:
    """Open the key again after a write: nothing but a reset changes its identity."""
    with bench.stored("identity"):
        pass
    with bench.selected() as applet:
        return "the same again" if applet.identity == bench.key.identity else "another"


def put(bench: OathBench) -> str:
    with bench.stored("put") as (applet, label):
        return listed(applet, label)


def totp(bench: OathBench) -> str:
    with bench.stored("codes") as (applet, label):
        return codes(applet, label)


def sha256(bench: OathBench) -> str:
    name = "codes-sha256"
    try:
        with bench.session() as session:
            data = CredentialData(name, OATH_TYPE.TOTP, HASH_ALGORITHM.SHA256, SEED_SHA256, issuer=PREFIX[:-1])
            held = session.put_credential(data)
            return " ".join(session.calculate_code(held, time).value for time in TIMES)
    finally:
        with bench.open() as applet:
            remove(applet, PREFIX + name)


def pair(bench: OathBench) -> str:
    with bench.stored("pair") as (applet, label):
        found = compute_pair(applet, label, touch=False, now=lambda: 1111111111.0)
        return f"{found.first} {found.second}"


def name_of(length: int) -> Callable[[OathBench], str]:
    def ask(bench: OathBench) -> str:
        name = "n" * (length - len(PREFIX))
        if length > LONGEST_NAME:
            with bench.open() as applet:
                before = applet.names()
                did = refused(lambda: applet.put(PREFIX + name, SEED, touch=False))
                stored = set(applet.names()) - set(before)
                for added in stored:
                    remove(applet, added.decode())
            return f"{did}, {'something' if stored else 'nothing'} stored"
        with bench.stored(name) as (applet, label):
            return f"{listed(applet, label)}, {applet.code(label, TIMES[0], touch=False)}"

    return ask


def put_again(bench: OathBench) -> str:
    with bench.stored("put-again", OTHER) as (applet, label):
        applet.put(label, SEED, touch=False)
        count = applet.names().count(label.encode())
        return f"{count} credential, {applet.code(label, TIMES[0], touch=False)}"


def others(bench: OathBench) -> str:
    with bench.stored("others-1") as (applet, _):
        before = applet.names()
        try:
            applet.put(PREFIX + "others-2", SEED, touch=False)
            lost = set(before) - set(applet.names())
        finally:
            remove(applet, PREFIX + "others-2")
    return "all are kept" if not lost else f"{len(lost)} lost"


def touch_listed(bench: OathBench) -> str:
    with bench.stored("touch-listed", touch=True) as (applet, label):
        return listed(applet, label)


def touch(bench: OathBench) -> str:
    with bench.stored("touch", touch=True) as (applet, label):
        return applet.code(label, TIMES[0], touch=True)


def no_touch(bench: OathBench) -> str:
    with bench.stored("no-touch", touch=True) as (applet, label), bench.person.away():
        return applet.code(label, TIMES[0], touch=True)


def code_unknown(bench: OathBench) -> str:
    with bench.open() as applet:
        return refused(lambda: applet.code(PREFIX + "unknown", TIMES[0], touch=False))


def delete(bench: OathBench) -> str:
    with bench.stored("delete") as (applet, label):
        applet.delete(label)
        return listed(applet, label)


def delete_unknown(bench: OathBench) -> str:
    with bench.open() as applet:
        return refused(lambda: applet.delete(PREFIX + "unknown"))


def rename(bench: OathBench) -> str:
    with bench.open() as applet:
        applet.put(PREFIX + "rename", SEED, touch=False)
    with bench.session() as session:
        session.rename_credential((PREFIX + "rename").encode(), "renamed", PREFIX[:-1])
    with bench.open() as applet:
        try:
            old, new = listed(applet, PREFIX + "rename"), listed(applet, PREFIX + "renamed")
            return f"old {old}, new {new}, {applet.code(PREFIX + 'renamed', TIMES[0], touch=False)}"
        finally:
            remove(applet, PREFIX + "rename")
            remove(applet, PREFIX + "renamed")


def full(bench: OathBench) -> str:
    """Store credentials until the key refuses one."""
    labels: list[str] = []
    with bench.open() as applet:
        try:
            for number in range(MOST):
                label = f"{PREFIX}full-{number}"
                try:
                    applet.put(label, SEED, touch=False)
                except DeviceFault as fault:
                    lost = {stored.encode() for stored in labels} - set(applet.names())
                    return f"{bench.words(fault)}; {len(lost)} lost"
                labels.append(label)
            return f"it took {MOST}"
        finally:
            for label in labels:
                remove(applet, label)


def password_locks(bench: OathBench) -> str:
    with bench.locked(), bench.selected() as applet:
        return f"{'locked' if applet.locked else 'open'}, list {refused(applet.names)}"


def password_right(bench: OathBench) -> str:
    with bench.locked(), bench.open() as applet:
        applet.names()
        return f"unlocked, {'the same identity' if applet.identity == bench.key.identity else 'another identity'}"


def password_wrong(bench: OathBench) -> str:
    with bench.locked():
        bench.typed = "not " + PASSWORD
        with bench.open():
            return "unlocked"


def password_after_wrong(bench: OathBench) -> str:
    with bench.locked():
        bench.typed = "not " + PASSWORD
        with suppress(DeviceFault), bench.open():
            pass
        bench.typed = PASSWORD
        with bench.open() as applet:
            applet.names()
            return "unlocked"


def password_removed(bench: OathBench) -> str:
    with bench.locked():
        pass
    with bench.selected() as applet:
        return "locked" if applet.locked or applet.guarded else "open, no password"


ROWS: tuple[Row[OathBench], ...] = (
    Row("identity", "the same again", identity),
    Row("put", "listed, no touch", put),
    Row("codes", SHA1, totp),
    Row("codes-sha256", SHA256, sha256),
    Row("pair", "081804 050471", pair),
    Row("name-64", "listed, no touch, 287082", name_of(LONGEST_NAME)),
    Row("name-65", "refused, nothing stored", name_of(LONGEST_NAME + 1)),
    Row("put-again", "1 credential, 287082", put_again),
    Row("others-kept", "all are kept", others),
    Row("touch-listed", "listed, touch required", touch_listed),
    Row("touch", "287082", touch, ("touch",)),
    Row("no-touch", "the key was not touched within 30 s", no_touch, ("touch",)),
    Row("code-unknown", REFUSED, code_unknown),
    Row("delete", "absent", delete),
    Row("delete-unknown", REFUSED, delete_unknown),
    Row("rename", "old absent, new listed, no touch, 287082", rename, ("rename",)),
    Row("full", "the key in the reader is full; 0 lost", full, ("blank",)),
    Row("password-locks", "locked, list refused", password_locks, ("blank",)),
    Row("password-right", "unlocked, the same identity", password_right, ("blank",)),
    Row("password-wrong", "wrong OATH password for the key in the reader", password_wrong, ("blank",)),
    Row("password-after-wrong", "unlocked", password_after_wrong, ("blank",)),
    Row("password-removed", "open, no password", password_removed, ("blank",)),
)
