"""Names the S3 operation of each request, so that fault rules can select it, and makes S3's error responses.

moto answers the requests. It checks neither signatures nor policies, and the lab itself checks only whether the access
key exists. Buckets are lost when the lab ends.
"""

from http import HTTPStatus
from urllib.parse import parse_qs
from wsgiref.types import WSGIEnvironment
from xml.sax.saxutils import escape

from mfa_kit.lab.aws.wire import HttpResponse, new_request_id

SERVICE = "s3"
# S3's own code and HTTP status for each error code of the lab's faults (Amazon S3 API reference, "Error responses").
CODES = {
    "ConcurrentModification": ("ConditionalRequestConflict", HTTPStatus.CONFLICT),
    "ServiceFailure": ("InternalError", HTTPStatus.INTERNAL_SERVER_ERROR),
    "Throttling": ("SlowDown", HTTPStatus.SERVICE_UNAVAILABLE),
}
VERBS = {"DELETE": "Delete", "GET": "Get", "HEAD": "Head", "PUT": "Put"}
# The query parameters that select a subresource of a bucket or object, and the words that follow the verb in the name
# of the operation.
SUBJECTS = {
    "acl": "BucketAcl",
    "object-lock": "ObjectLockConfiguration",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "PublicAccessBlock",
    "retention": "ObjectRetention",
    "versioning": "BucketVersioning",
}


def speaks_s3(environ: WSGIEnvironment) -> bool:
    """Return whether a request is signed for S3."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    scope = header.partition("Credential=")[2].partition(",")[0]
    return scope.split("/")[3:4] == [SERVICE]


def s3_operation(environ: WSGIEnvironment) -> str:
    """Return the name of the S3 operation that a request calls, such as GetObject."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    method: str = environ["REQUEST_METHOD"]
    verb = VERBS.get(method, method.title())
    if subject := next((name for part, name in SUBJECTS.items() if part in query), None):
        return verb + subject
    if "/" in environ.get("PATH_INFO", "").strip("/"):
        return f"{verb}Object"
    if method == "GET":
        return "ListObjectVersions" if "versions" in query else "ListObjectsV2"
    return {"PUT": "CreateBucket"}.get(method, f"{verb}Bucket")


def refuse_unknown_key(_: WSGIEnvironment) -> HttpResponse:
    """Return the error for an access key that no account of the lab has."""
    return s3_error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")


def s3_error(code: str, message: str) -> HttpResponse:
    """Return an error response of S3.

    A code in CODES is replaced with S3's own code and HTTP status. Any other code has the status 403.
    """
    code, status = CODES.get(code, (code, HTTPStatus.FORBIDDEN))
    request = new_request_id()
    body = (
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{request}</RequestId></Error>"
    ).encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("x-amz-request-id", request)]
    return HttpResponse(f"{status.value} {status.phrase}", headers, body)
