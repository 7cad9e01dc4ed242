"""The checks of `mfa-kit doctor` for this computer: its files, variables, terminal, security keys and card readers."""

from collections.abc import Callable, Iterator, Mapping
from shlex import quote

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.message import Message, ShellText, command
from mfa_kit.core.text import without_controls
from mfa_kit.doctor.diagnosis import Diagnosis, FileFacts, Health, bad, good, noted

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# The environment variable with the name of a file to which programs write the keys of their TLS connections. With these
# keys, recorded traffic can be decrypted.
KEY_LOG = "SSLKEYLOGFILE"
# The smallest window, in columns and lines, that has room for a QR code and the prompts beside it. The QR code of a
# device with a longer name may need a larger window.
WINDOW = (71, 24)
# sudo does not search ~/.local/bin, where pipx and uv install programs.
INSTALL = command("sudo {} udev install", ShellText('"$(command -v mfa-kit)"'))
READ_WRITE_OF_GROUP = 0o060


def diagnose_extras(installed: Mapping[str, bool], command: Callable[[str], str]) -> Iterator[Diagnosis]:
    """Yield a line for each extra, by its name. `command` returns the command that installs an extra."""
    for extra, is_installed in installed.items():
        yield good(f"extra {extra}", "installed") if is_installed else noted(f"extra {extra}", "absent", command(extra))


def diagnose_folder(subject: str, folder: FileFacts, *, user: int) -> Diagnosis:
    """Return the line for a folder that only the user with the ID `user` should have access to."""
    if folder.fault:
        return bad(subject, f"{folder.path}: {folder.fault}", "check its permissions")
    if folder.mode is None:
        return noted(subject, f"{folder.path}, does not exist yet")
    finding = f"{folder.path}, mode {folder.mode:o}"
    if folder.owner != user:
        return bad(subject, f"{finding}, belongs to another user", f"chown {quote(str(user))} {quote(folder.path)}")
    if folder.mode & 0o077:
        return bad(subject, f"{finding}: other users can read it", f"chmod 700 {quote(folder.path)}")
    return good(subject, finding)


def diagnose_backup_folder(folder: FileFacts, *, user: int, shared_ledger: bool) -> Diagnosis:
    """Return the line for the folder of backups.

    With a shared ledger, it is NOTED, because other computers that use the ledger cannot read backups in the folder.
    """
    diagnosis = diagnose_folder("backup folder", folder, user=user)
    if not shared_ledger or diagnosis.health is Health.BAD:
        return diagnosis
    return noted(
        diagnosis.what,
        f"{diagnosis.found}; other computers that use the ledger could not read it",
        "set backup-dir to s3://BUCKET/PREFIX, or accept this: --local-backups",
    )


def diagnose_environment(
    env: Mapping[str, str], *, host_of: Callable[[str], str], is_file: Callable[[str], bool]
) -> Iterator[Diagnosis]:
    """Yield a line for each environment variable that affects where requests are sent or who could read them.

    Only the host of a proxy's URL is shown, because the URL may contain a password.
    """
    for name in PROXIES:
        if value := env.get(name) or env.get(name.lower()):
            yield noted("proxy", f"{name} {value if name == 'NO_PROXY' else host_of(value)}")
    for name in BUNDLES:
        if value := env.get(name):
            yield _bundle(f"{name} {value}", f"unset {name}, or set it to a file that exists", exists=is_file(value))
    if value := env.get(KEY_LOG):
        finding = f"{KEY_LOG} {value}: programs write the keys of TLS connections to this file"
        yield bad("TLS key log", finding, f"unset {KEY_LOG}")


def diagnose_profile_bundle(bundle: str, *, exists: bool) -> Diagnosis:
    """Return the line for a CA bundle in the AWS configuration. The owner of such a CA could intercept requests."""
    return _bundle(f"ca_bundle {bundle} in the AWS profile", "correct ca_bundle in the AWS profile", exists=exists)


def _bundle(finding: str, hint: str, *, exists: bool) -> Diagnosis:
    return noted("CA bundle", finding) if exists else bad("CA bundle", finding, hint)


def diagnose_terminal(size: tuple[int, int] | None) -> Diagnosis:
    """Return the line for a terminal of `size`, in columns and lines, or None if there is no terminal."""
    if size is None:
        return noted("terminal", "none, so mfa-kit cannot ask questions")
    columns, lines = size
    if columns < WINDOW[0] or lines < WINDOW[1]:
        hint = f"enlarge it to {WINDOW[0]} by {WINDOW[1]} or more, so that a QR code fits"
        return bad("terminal", f"{columns} by {lines}", hint)
    return good("terminal", f"{columns} by {lines}")


def diagnose_rule(name: str, rule: str | None, *, current: bool) -> Diagnosis:
    """Return the line for the udev rule with this file name, which is installed at `rule`, or not at all.

    A missing rule is not reported as a fault, because desktop systems have their own rules.
    """
    if rule is None:
        return noted("udev rule", f"{name} is not installed", INSTALL)
    if not current:
        return noted("udev rule", f"{rule} differs from the rule of this mfa-kit version", INSTALL)
    return good("udev rule", rule)


def diagnose_node(node: FileFacts, *, opens: bool, rule: bool, group: str, user: str, in_group: bool) -> Diagnosis:
    """Return the line for the device node of a key on USB. `opens` says whether this user can open it.

    `rule` says whether the udev rule is installed, `group` is the name of the node's group, and `in_group` says
    whether the user named `user` is in this group.
    """
    subject = "key on USB"
    if opens:
        return good(subject, f"{node.path} can be opened")
    if node.mode is None:
        finding = f"a key is connected, but its device node {node.path} does not exist here"
        return bad(subject, finding, f"pass the device to the container: --device {node.path}")
    finding = f"{node.path} is a key that you cannot open: group {group}, mode {node.mode:o}"
    if node.group == 0 or node.mode & READ_WRITE_OF_GROUP != READ_WRITE_OF_GROUP:
        hint = "unplug the key and plug it in again, so that the udev rule applies to it" if rule else INSTALL
    elif in_group:
        hint = f"sign in again, because you joined the group {group} after you signed in"
    else:
        hint = Message(command("sudo usermod --append --groups {} {}", group, user), "then sign in again")
    return bad(subject, finding, hint)


def diagnose_readers(read_names: Callable[[], list[str]], *, listens: Callable[[], bool]) -> Diagnosis:
    """Check the smart card service by asking it for its readers, as each command for OATH keys does.

    `listens` returns whether the service runs. It is not a fault if the service is stopped, because a computer without
    readers does not need it. It is a fault if the service runs, but refuses or does not answer.
    """
    try:
        names = [without_controls(name) for name in read_names()]
    except DeviceFault as fault:
        return Diagnosis("smart cards", Health.BAD if listens() else Health.NOTED, str(fault), fault.hint)
    return good("smart cards", ", ".join(names) or "the service works; no reader is plugged in")
