"""Makes single calls to Amazon S3, with retries.

Error responses that callers handle specially, such as for a missing object, are raised as this module's own error
classes.

All calls are retried. Unlike writes to IAM, a PutObject is retried too. It is conditional, and a retry sends the same
octets, so a retry is harmless whether or not an earlier attempt took effect. Retrying a deletion is harmless too: it
deletes only one version, or only an object that still has the expected entity tag.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError, FlexibleChecksumError, IncompleteReadError
from urllib3.exceptions import SSLError

from mfa_kit.adapters.aws.answers import NOT_SENT, READ_PAUSES, REGION, Retry, ServiceHint, coded, our_errors, read
from mfa_kit.adapters.aws.clients import is_aws
from mfa_kit.core.errors import (
    AccessDenied,
    AwsFault,
    BusyError,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    Throttled,
)
from mfa_kit.core.message import Message, clauses, suggest
from mfa_kit.core.models import S3Url

T = TypeVar("T")

# Seconds between the attempts after a server that has answered before stops answering: three minutes in total.
OUTAGE_PAUSES = (*READ_PAUSES, 15, 30, 60, 60)
ABSENT = {"NoSuchKey", "NoSuchVersion", "404"}
TAKEN = {"PreconditionFailed", "412"}
# The error codes of a request that was not carried out and may be repeated (Amazon S3 API reference, "Error
# responses").
CONFLICTS = {"ConditionalRequestConflict", "OperationAborted"}
SLOW = {"SlowDown", "ServiceUnavailable", "RequestLimitExceeded"}
SLOW_STATUSES = {429, 503}
NO_BUCKET = suggest(
    "name a bucket that exists: s3://BUCKET/PREFIX; if the bucket of backups is gone, see", "help operations"
)
# The maximum number of pages of a list. A page has up to 1,000 objects.
MOST_PAGES = 10_000


class AbsentError(NoSuchEntity):
    """The object does not exist."""


class TakenError(AwsFault):
    """S3 refused a write or a deletion: an object with this key exists, or has other content than expected."""


class NoBucket(AwsFault):
    """The bucket does not exist."""


class DamagedError(OutcomeUnknownError):
    """The received content does not have the checksum or the length that S3 sent with it."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """A version of an object, or a delete marker. A version that was written without versioning has the ID `null`.

    `latest` is true for the current version, and `marker` is true for a delete marker.
    """

    url: S3Url
    id: str
    latest: bool
    marker: bool


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was read: its content, its version and its entity tag.

    The version is None if the bucket never had versioning.
    """

    content: bytes
    version: str | None
    etag: str


class S3Calls:
    """Makes the calls to S3 that backups need. Each method raises MfaKitError if it fails.

    `client` creates the client when it is first needed. `turn`, if given, makes each attempt. It may wait before the
    attempt, and it retries attempts that are throttled or that S3 refused because of another write. `encryption` has
    the arguments of PutObject that choose the encryption at rest. `owner` returns the account that must own the bucket,
    or None if it is unknown. S3 denies each request to a bucket of another account. Servers other than AWS do not get
    the owner.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        *,
        sleep: Callable[[float], None],
        encryption: Mapping[str, str],
        turn: Retry | None = None,
        owner: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._create, self._sleep, self._turn, self._encryption, self._owner = client, sleep, turn, encryption, owner
        self._creating, self._has_answered = threading.Lock(), False
        self._client: Any = None

    @property
    def client(self) -> Any:
        """boto3's client for S3, created at its first use."""
        with self._creating:
            if self._client is None:
                self._client = self._create()
                self._client.meta.events.register("before-parameter-build.s3", self._expect_owner)
        return self._client

    def _expect_owner(self, *, params: dict[str, Any], **_: object) -> None:
        if owner := self._expected():
            params["ExpectedBucketOwner"] = owner

    @property
    def other_server(self) -> str | None:
        """The URL of the server, or None if it is AWS's own."""
        url = str(self.client.meta.endpoint_url)
        return None if is_aws(url) else url

    def _expected(self) -> str | None:
        return None if self.other_server else self._owner()

    def _attempt(self, act: Callable[[], T]) -> T:
        """Call `act` as `_attempt` does, and give its errors hints about S3.

        The hint of a denial says if the bucket may have another owner.
        """
        try:
            result = _attempt(act, has_answered=self._has_answered)
        except MfaKitError as error:
            if isinstance(error.hint, ServiceHint):
                error.hint = error.hint.in_s3
            if isinstance(error, AccessDenied) and (owner := self._expected()):
                error.hint = clauses(
                    [
                        f"if the bucket does not belong to account {owner}, set bucket-owner in the configuration file",
                        Message("otherwise ", error.hint),
                    ]
                )
            raise
        self._has_answered = True
        return result

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Make a read call, with retries, and return the response. `operation` is a method of boto3's client."""
        act = partial(self._call, operation, **arguments)
        return read(partial(self._attempt, act), sleep=self._sleep, turn=self._turn)

    def _call(self, operation: str, **arguments: Any) -> Any:
        return getattr(self.client, operation)(**arguments)

    def _repeat(self, act: Callable[[], T]) -> T:
        """Make a call about objects, with the retries of `ask`. During an outage, retry it for minutes."""
        pauses = OUTAGE_PAUSES if self._has_answered else READ_PAUSES
        return read(partial(self._attempt, act), sleep=self._sleep, turn=self._turn, pauses=pauses)

    def get(self, url: S3Url, *, most: int, version: str | None = None) -> Found:
        """Read at most `most` octets of an object, or of one version of it. Raise Absent if it does not exist."""
        arguments = {"VersionId": version} if version else {}

        def attempt() -> Found:
            answer = self.client.get_object(Bucket=url.bucket, Key=url.key, **arguments)
            body = answer["Body"]
            try:
                # botocore compares the checksum only if the whole content is read.
                content = body.read(most) if answer["ContentLength"] > most else body.read()
            finally:
                body.close()
            return Found(content, answer.get("VersionId"), answer["ETag"])

        return self._repeat(attempt)

    def put(self, url: S3Url, content: bytes) -> str | None:
        """Create an object. Return its version ID, or None if the bucket has no versioning.

        Raise Taken if the object exists. Taken can also mean that an earlier attempt of this call created the object
        but got no response.
        """

        def attempt() -> str | None:
            answer = self.client.put_object(
                Bucket=url.bucket, Key=url.key, Body=content, IfNoneMatch="*", **self._encryption
            )
            version: str | None = answer.get("VersionId")
            return version

        return self._repeat(attempt)

    def delete(self, url: S3Url, *, version: str, unlock: bool = False) -> None:
        """Remove a version permanently, if it exists. With `unlock`, override a lock in governance mode."""
        bypass = {"BypassGovernanceRetention": True} if unlock else {}
        self._repeat(
            lambda: self.client.delete_object(Bucket=url.bucket, Key=url.key, VersionId=version, **bypass) and None
        )

    def delete_unversioned(self, url: S3Url, *, etag: str) -> None:
        """Remove an object from a bucket without versioning. Raise Taken if it has another entity tag."""
        self._repeat(lambda: self.client.delete_object(Bucket=url.bucket, Key=url.key, IfMatch=etag) and None)

    def keys(self, url: S3Url) -> Iterator[S3Url]:
        """Yield the URLs of the bucket's objects whose keys begin with `url.key`, sorted by key."""
        for page in self._pages("list_objects_v2", url, {"ContinuationToken": "NextContinuationToken"}):
            with our_errors():
                urls = [S3Url(url.bucket, row["Key"]) for row in page.get("Contents", ())]
            yield from urls

    def versions(self, url: S3Url) -> Iterator[ObjectVersion]:
        """Yield all versions and delete markers of the bucket's objects whose keys begin with `url.key`."""
        tokens = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
        for page in self._pages("list_object_versions", url, tokens):
            with our_errors():
                versions = [
                    ObjectVersion(S3Url(url.bucket, row["Key"]), row["VersionId"], row["IsLatest"], marker=marker)
                    for kind, marker in (("Versions", False), ("DeleteMarkers", True))
                    for row in page.get(kind, ())
                ]
            yield from versions

    def _pages(self, operation: str, url: S3Url, tokens: Mapping[str, str]) -> Iterator[Any]:
        """Yield the pages of a list of the objects whose keys begin with `url.key`.

        `tokens` names the arguments that continue the list, and for each the member of the previous page that has its
        value. Raise AwsFault if a page that is not the last one has no new tokens, or after MOST_PAGES pages.
        """
        used_tokens: list[dict[str, str]] = [{}]
        while True:
            page = self._repeat(partial(self._call, operation, Bucket=url.bucket, Prefix=url.key, **used_tokens[-1]))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {name: page[member] for name, member in tokens.items() if page.get(member)}
            if token in used_tokens or len(used_tokens) == MOST_PAGES:
                raise AwsFault("S3 returned a list that does not end", "check backup-endpoint-url, and try again")
            used_tokens.append(token)


def _attempt(act: Callable[[], T], *, has_answered: bool) -> T:
    """Call `act`, which makes one request, and return its result. Convert its errors to mfa-kit's.

    If the server `has_answered` before, a failed connection is OutcomeUnknownError, because a retry may succeed.
    """
    with our_errors():
        try:
            return act()
        except ClientError as error:
            if fault := _meaning(error):
                raise coded(fault, error) from None
            raise
        except NOT_SENT as error:
            if has_answered:
                raise OutcomeUnknownError(
                    f"S3 cannot be reached ({type(error).__name__})", "check the network"
                ) from None
            raise
        except RecursionError:  # botocore follows redirects to other regions without limit
            raise AwsFault("S3 redirects each request", REGION) from None
        except (FlexibleChecksumError, IncompleteReadError) as error:
            raise DamagedError(f"S3's response is damaged ({type(error).__name__})", "try again") from None
        except SSLError:  # the connection ended early; botocore does not convert this error of urllib3
            raise OutcomeUnknownError(
                "S3's response is incomplete (SSLError)", "check the network and try again"
            ) from None


def _meaning(error: ClientError) -> MfaKitError | None:
    """Return the error for a response that callers handle specially, such as Absent, or None for other responses."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ABSENT:
        return AbsentError("there is no such object", suggest("list the backups", "backup list"))
    if code in TAKEN:
        return TakenError("an object with this key exists", "choose another name")
    if code == "NoSuchBucket":
        return NoBucket("there is no such bucket", NO_BUCKET)
    if code in CONFLICTS:
        return BusyError(f"S3 answers {code}", "try again")
    if code in SLOW or status in SLOW_STATUSES:
        return Throttled(f"S3 answers {code}", "try again later")
    return None
