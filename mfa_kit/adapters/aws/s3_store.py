"""Stores backups in a bucket of Amazon S3, under `s3://BUCKET/PREFIX/ACCOUNT/USER/FILE`.

Every object is written with `If-None-Match: *`, so nothing is ever overwritten. After each write, the object is read
back. A removal deletes all versions of an object, because the old versions contain the secret too.

S3 cannot rename an object. So an object is replaced in these steps: write the new content as a copy beside the object
(`FILE.rekey-XXXXXXXX`), read the copy back, delete the object, write the object again, and delete the copy. At each
moment, the object or a complete copy exists. If a process is killed in between, the next process that replaces the
object finishes the earlier replacement first.

Before backups are written to a bucket, its properties are read and checked. A server other than AWS's is tested with an
object, because some ignore the condition, or cannot list or remove versions.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC
from functools import cache
from typing import Any

from mfa_kit.adapters.aws.answers import our_errors
from mfa_kit.adapters.aws.s3_calls import AbsentError, DamagedError, Found, NoBucket, ObjectVersion, S3Calls, TakenError
from mfa_kit.core.errors import (
    AccessDenied,
    BackupDenied,
    Expired,
    IntegrityFault,
    MfaKitError,
    StoreExpired,
    StoreThrottled,
    Throttled,
    UsageFault,
)
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation, S3Url
from mfa_kit.core.notes import Note
from mfa_kit.doctor.diagnosis import COMPLIANCE, BucketState

COPY = ".rekey-"
# The number of parts of ACCOUNT/USER/FILE.
DEPTH = 3


class S3Folder:
    """A folder of backups in a bucket: the objects whose keys begin with a prefix.

    `check` takes the URL of the folder, and raises UsageFault if the bucket is unsuitable for backups.
    """

    def __init__(self, url: S3Url, calls: S3Calls, check: Callable[[S3Url], None]) -> None:
        self._url, self._calls, self._check = url, calls, check

    def check(self) -> None:
        """Raise UsageFault for a bucket that does not exist, is public, or locks new objects in compliance mode.

        Also raise it if the server overwrites objects or cannot remove versions.
        """
        self._check(self._url)

    def is_there(self) -> bool:
        """Return True, because a prefix needs no creation.

        `check` and `files` raise UsageFault if the bucket does not exist.
        """
        return True

    def files(self) -> Iterator[S3Url]:
        """Yield the URLs of the objects `ACCOUNT/USER/FILE` below this prefix, sorted by account, user and file.

        If an interrupted replacement left only a copy of an object, the URL of the object is yielded too.
        Raise UsageFault if the bucket does not exist.
        """
        above = len(self._url.parts)
        below = S3Url(self._url.bucket, f"{self._url.key}/" if self._url.key else "")
        try:
            urls = {_original(url) for url in self._calls.keys(below)}
        except NoBucket as absent:
            raise UsageFault(f"there is no bucket {self._url.bucket}", absent.hint) from None
        for url in sorted(urls, key=lambda url: url.parts):
            if len(url.parts) == above + DEPTH and all(url.parts):
                yield url

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Check the bucket, and then run the `with` block without a lock, because S3 has no locks for folders.

        Instead, S3 refuses to write an object that exists, and S3File.replace raises IntegrityFault if another process
        has changed the object.
        """
        self.check()
        yield


class S3File:
    """One backup, which is an object of a bucket. The object need not exist."""

    def __init__(self, url: S3Url, calls: S3Calls) -> None:
        self._url, self._calls = url, calls

    def is_taken(self) -> bool:
        """Whether the object or a copy of it exists.

        If the bucket does not exist, return False, because `S3Folder.check` reports a missing bucket.
        """
        with self._faults("read"):
            try:
                return self._is_listed()
            except NoBucket:
                return False

    def is_there(self) -> bool:
        """Whether the object exists, or an interrupted replacement left a copy of it."""
        with self._faults("read"):
            return self._is_listed()

    def _is_listed(self) -> bool:
        return any(_original(url) == self._url for url in self._calls.keys(self._url))

    def read(self, most: int) -> bytes:
        """Return at most `most` octets of the content. If a killed process left only a copy, read that copy."""
        with self._faults("read"):
            try:
                return self._calls.get(self._url, most=most).content
            except AbsentError:
                for copy in self._copies():
                    with suppress(AbsentError):
                        return self._calls.get(copy, most=most).content
            return self._calls.get(self._url, most=most).content  # another process may have restored the object

    def create(self, sealed: bytes) -> None:
        """Write a new object and read it back. Raise IntegrityFault if an object with other content exists.

        An object with exactly this content is not an error, because an earlier attempt that got no response may have
        written it.
        """
        with self._faults("written"):
            self._create(self._url, sealed)

    def replace(self, change: Callable[[bytes], bytes], check: Callable[[bytes], bool], *, most: int) -> bool:
        """Replace the content by `change(content)`, in the steps that the module's docstring describes.

        At most `most` octets of the old content are read. Call `check` with the new content as it was read back, and
        return its result. The old content remains if `check` raises IntegrityFault, if another process has changed the
        object, or if AWS denies its deletion.
        """
        with self._faults("replaced"):
            stale = self._finish_earlier(most)
            old = self._calls.get(self._url, most=most)
            new = change(old.content)
            copy = S3Url(self._url.bucket, f"{self._url.key}{COPY}{secrets.token_hex(4)}")
            written = self._create(copy, new)
            try:
                opens = check(written.content)
                self._delete_old(old)
            except (IntegrityFault, AccessDenied):  # the object was not deleted
                self._delete_all(copy)
                raise
            self._create(self._url, new)
            for url in (copy, *stale):
                self._delete_all(url)
        return opens

    def discard(self) -> None:
        """Remove all versions of the object and of its copies. Raise IntegrityFault if there are none."""
        with self._faults("removed"):
            if not self._delete_all(self._url):
                raise AbsentError("there is no such object", suggest("list the backups", "backup list"))

    def remove(self, *, sealed: bool) -> None:
        """Remove all versions of the object and of its copies, if they exist.

        `sealed` is true if the object was written completely before. Only in this case, raise IntegrityFault if the
        bucket does not exist.
        """
        with self._faults("removed"):
            try:
                self._delete_all(self._url)
            except NoBucket:
                if sealed:
                    raise

    def _create(self, url: S3Url, sealed: bytes) -> Found:
        """Write a new object, read it back and return it.

        Raise IntegrityFault if the object existed with other content, or if the content that was read back differs.
        """
        most = len(sealed) + 1
        try:
            version = self._calls.put(url, sealed)
        except TakenError:
            stored_object = self._calls.get(url, most=most)
            if stored_object.content == sealed:
                return stored_object
            raise IntegrityFault(
                f"{url} already exists", "choose another name, because backups are never overwritten"
            ) from None
        with suppress(DamagedError):
            stored_object = self._calls.get(url, most=most, version=version)
            if stored_object.content == sealed:
                return stored_object
        self._delete_each([object_version for object_version in self._calls.versions(url) if object_version.url == url])
        raise IntegrityFault(f"{url} does not contain what was written to it", "repeat the command")

    def _copies(self) -> list[S3Url]:
        return list(self._calls.keys(S3Url(self._url.bucket, f"{self._url.key}{COPY}")))

    def _finish_earlier(self, most: int) -> list[S3Url]:
        """Finish the replacements that killed processes began. Return the copies that differ from the object.

        The caller deletes these copies after it has replaced the object. Deleting a copy is safe even if the process
        that wrote it is still running: that process will find that the object has changed, and will not delete it.
        """
        copies = self._copies()
        if not copies:
            return []
        try:
            now = self._calls.get(self._url, most=most)
        except AbsentError:
            now = self._create(self._url, self._calls.get(copies[0], most=most).content)
        stale = []
        for copy in copies:
            with suppress(AbsentError):
                if self._calls.get(copy, most=most).content == now.content:
                    self._delete_all(copy)
                else:
                    stale.append(copy)
        return stale

    def _delete_old(self, old: Found) -> None:
        """Delete all versions of the object. Raise IntegrityFault if its newest version is not `old`.

        If this raises IntegrityFault or AccessDenied, the object still exists.
        """
        changed = IntegrityFault(f"another process changed {self._url}", "repeat the command")
        if old.version is None:
            try:
                self._calls.delete_unversioned(self._url, etag=old.etag)
            except TakenError:
                raise changed from None
            return
        versions = [version for version in self._calls.versions(self._url) if version.url == self._url]
        if not any(version.latest and version.id == old.version for version in versions):
            raise changed
        self._delete_each(versions)

    def _delete_all(self, url: S3Url) -> bool:
        """Delete all versions and delete markers of an object and of its copies.

        Return whether at least one of them was a version and not a delete marker.
        """
        versions = [version for version in self._calls.versions(url) if url in {version.url, _original(version.url)}]
        self._delete_each(versions)
        return any(not version.marker for version in versions)

    def _delete_each(self, versions: list[ObjectVersion]) -> None:
        """Delete versions. The current version is deleted last, so that no older version becomes current."""
        for version in sorted(versions, key=lambda version: version.latest):
            self._delete_version(version)

    def _delete_version(self, version: ObjectVersion) -> None:
        """Delete a version. If it is locked in governance mode, override the lock.

        Raise BackupDenied if the lock is in compliance mode, or if the caller has no permission to override it.
        """
        try:
            self._calls.delete(version.url, version=version.id)
        except AccessDenied as denied:
            mode, until = self._lock(version)
            if mode is None:
                raise
            if mode == COMPLIANCE:
                raise BackupDenied(
                    f"{version.url} is locked in compliance mode until {until}, so it cannot be removed before then",
                    "repeat the command after the lock ends; docs/backups-in-s3.md says which backups to lock",
                ) from None
            try:
                self._calls.delete(version.url, version=version.id, unlock=True)
            except AccessDenied:
                raise BackupDenied(
                    f"{version.url} is locked in governance mode until {until}: {denied}",
                    "ask for the permission s3:BypassGovernanceRetention, or repeat the command after the lock ends",
                ) from None

    def _lock(self, version: ObjectVersion) -> tuple[str | None, str]:
        """Return the mode and the end of a version's lock, or None and "" if there is no lock or it cannot be read."""
        where = {"Bucket": version.url.bucket, "Key": version.url.key, "VersionId": version.id}
        with suppress(MfaKitError), our_errors():
            response = self._calls.ask("head_object", **where)
            if mode := response.get("ObjectLockMode"):
                return mode, f"{response['ObjectLockRetainUntilDate'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return None, ""

    @contextmanager
    def _faults(self, participle: str) -> Iterator[None]:
        """Convert the errors of mfa-kit in the `with` block to IntegrityFault, as for local backups.

        AccessDenied becomes BackupDenied, Throttled becomes StoreThrottled, and Expired becomes StoreExpired. The
        message says that the object cannot be `participle`, such as "read".
        """
        try:
            yield
        except IntegrityFault:
            raise
        except MfaKitError as error:
            classes = {AccessDenied: BackupDenied, Throttled: StoreThrottled, Expired: StoreExpired}
            kind: type[MfaKitError] = classes.get(type(error), IntegrityFault)
            raise kind(f"{self._url} cannot be {participle}: {error}", error.hint) from None


class S3FileStore:
    """Returns folders of backups, and backups, in buckets.

    `check` takes the URL of a folder, and raises UsageFault if the bucket is unsuitable for backups. A folder that
    passed the check is not checked again.
    """

    def __init__(self, calls: S3Calls, check: Callable[[S3Url], None]) -> None:
        self._calls, self._check = calls, cache(check)

    def folder(self, place: BackupLocation) -> S3Folder:
        """Return the folder at a URL. Nothing is read yet. Raise UsageFault if `place` is a path and not a URL."""
        return S3Folder(_url(place), self._calls, self._check)

    def file(self, place: BackupLocation, folder: BackupLocation | None = None) -> S3File:
        """Return the object at a URL. Nothing is read yet. Raise UsageFault if `place` is a path and not a URL."""
        return S3File(_url(place), self._calls)


def _url(place: BackupLocation) -> S3Url:
    if isinstance(place, S3Url):
        return place
    raise UsageFault(f"{place} is not in a bucket", "write s3://BUCKET/PREFIX")


def _original(url: S3Url) -> S3Url:
    """Return the URL of the object of which this is a copy, or `url` itself if it is not the URL of a copy."""
    name, copy, _ = url.name.partition(COPY)
    return S3Url(url.bucket, url.key.removesuffix(url.name) + name) if copy else url


BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# The groups in an access control list (ACL) that stand for everyone, and for everyone with an AWS account.
PUBLIC = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
BLOCK = "turn on Block Public Access for the bucket; see docs/backups-in-s3.md"


def read_bucket(bucket: str, calls: S3Calls) -> BucketState:
    """Read the properties of a bucket. Raise NoBucket if it does not exist."""
    blocked = _blocked(bucket, calls)
    answer = _ask(calls, "get_bucket_versioning", bucket)
    return BucketState(
        blocked=blocked,
        public=False if blocked else _public(bucket, calls),
        versioning=None if answer is None else answer.get("Status") == "Enabled",
        lock=_lock(bucket, calls),
    )


def check_bucket(bucket: str, calls: S3Calls) -> None:
    """Raise UsageFault for a bucket that does not exist, is public, or locks new objects in compliance mode.

    A property that could not be read is not checked.
    """
    try:
        public = False if _blocked(bucket, calls) else _public(bucket, calls)
    except NoBucket as absent:
        raise UsageFault(f"there is no bucket {bucket}", absent.hint) from None
    if public:
        raise UsageFault(f"the bucket {bucket} is public", BLOCK)
    if _lock(bucket, calls) == COMPLIANCE:
        raise UsageFault(
            f"the bucket {bucket} locks new objects in compliance mode, so mfa-kit could not remove the secret of a "
            "device that was not enabled",
            "use governance mode, or no default retention, and lock backups after they are confirmed; "
            "see docs/backups-in-s3.md",
        )


def check_server(folder: S3Url, calls: S3Calls) -> None:
    """Write an object twice below a folder, and remove it, as backups are.

    Raise UsageFault if the second write is not refused, or if the object is not removed with all its versions. Raise
    the error of a call that failed for another reason. A note of the error names the object if it may still exist.
    """
    url = folder / f"mfa-kit-test-{secrets.token_hex(8)}"
    server = f"the S3 server of the bucket {url.bucket}"
    needs = "use a server with conditional writes and ListObjectVersions; see docs/backups-in-s3.md"
    try:
        if not _refuses_second_write(url, calls):
            raise UsageFault(f"{server} overwrites objects, because it ignores If-None-Match", needs)
        try:
            S3File(url, calls).remove(sealed=True)
            left = S3File(url, calls).is_there() or any(version.url == url for version in calls.versions(url))
            fault = f"{url} is still there" if left else ""
        except (BackupDenied, Expired, Throttled):
            raise
        except MfaKitError as error:
            fault = str(error)
        if fault:
            raise UsageFault(f"{server} removes no versions: {fault}", needs)
    except (MfaKitError, KeyboardInterrupt) as error:
        if not _is_removed_somehow(url, calls):
            error.add_note(Note(f"remove {url} if it exists"))
        raise


def _is_removed_somehow(url: S3Url, calls: S3Calls) -> bool:
    """Remove an object as backups are, or as servers without versions do. Return whether it is known to be gone."""
    file = S3File(url, calls)
    with suppress(MfaKitError):
        file.remove(sealed=True)
        return not file.is_there()
    with suppress(MfaKitError):
        calls.delete(url, version="null")
        return not file.is_there()
    return False


def _refuses_second_write(url: S3Url, calls: S3Calls) -> bool:
    """Write two objects with the same key, and return whether the server refused one of them."""
    try:
        for content in (b"1", b"2"):
            calls.put(url, content)
    except TakenError:
        return True
    return False


def _ask(calls: S3Calls, operation: str, bucket: str, *, otherwise: str = "") -> Mapping[str, Any] | None:
    """Make a read call about a bucket and return its response. Raise NoBucket if the bucket does not exist.

    Return {} if the call fails with the error code `otherwise`, and None if it fails with any other error. Raise
    Throttled if S3 keeps throttling the call.
    """
    try:
        response: Mapping[str, Any] = calls.ask(operation, Bucket=bucket)
    except (NoBucket, Throttled):
        raise
    except MfaKitError as error:
        return {} if otherwise and otherwise in str(error) else None
    return response


def _blocked(bucket: str, calls: S3Calls) -> bool | None:
    answer = _ask(calls, "get_public_access_block", bucket, otherwise="NoSuchPublicAccessBlockConfiguration")
    if answer is None:
        return None
    settings = answer.get("PublicAccessBlockConfiguration", {})
    return all(settings.get(setting) for setting in BLOCKS)


def _public(bucket: str, calls: S3Calls) -> bool | None:
    """Return whether the policy or the ACL of a bucket gives everyone access, or None if neither can be read."""
    policy = _ask(calls, "get_bucket_policy_status", bucket, otherwise="NoSuchBucketPolicy")
    acl = _ask(calls, "get_bucket_acl", bucket)
    by_policy = None if policy is None else bool(policy.get("PolicyStatus", {}).get("IsPublic"))
    by_acl = (
        None if acl is None else any(grant.get("Grantee", {}).get("URI") in PUBLIC for grant in acl.get("Grants", ()))
    )
    if by_policy or by_acl:
        return True
    return None if by_policy is None and by_acl is None else False


def _lock(bucket: str, calls: S3Calls) -> str | None:
    """Return the mode of a bucket's default retention, "" if it has none, or None if the setting cannot be read."""
    answer = _ask(calls, "get_object_lock_configuration", bucket, otherwise="ObjectLockConfigurationNotFound")
    if answer is None:
        return None
    rule = answer.get("ObjectLockConfiguration", {}).get("Rule", {})
    return str(rule.get("DefaultRetention", {}).get("Mode", ""))
