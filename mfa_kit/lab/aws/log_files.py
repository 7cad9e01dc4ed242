"""Makes the log files of a trail from events: gzipped JSON under the keys that CloudTrail gives them in a bucket.

Source: CloudTrail user guide, "CloudTrail log file name format", "Get your CloudTrail log files" and "CloudTrail digest
file structure". The digests have no signature, which AWS stores in the metadata of the object.
"""

import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from mfa_kit.lab.aws.history import Event, event_time, unix_time
from mfa_kit.lab.aws.mfa_devices import BASE32

# How often log files are delivered, and how much later a late event is, in seconds.
DELIVERY, LATE, HOUR = 300, 600, 3600
# An account, a Region and the Unix time of a delivery.
Batch = tuple[str, str, int]


def log_files(
    events: Iterable[Event],
    *,
    prefix: str = "",
    organization: str = "",
    trail: str = "lab",
    late: int = 0,
    duplicate: int = 0,
    seed: int = 0,
) -> Iterator[tuple[str, bytes]]:
    """Yield the log files and then the digest files for events, each as its key in the bucket and its bytes.

    An event is delivered up to five minutes after its time. Each file has its events in random order. Of each `late`
    events, one comes ten minutes later. Of each `duplicate` events, one is in the next file too. `organization` is the
    ID of the organization of an organization trail. Equal arguments give equal files.
    """
    chance = random.Random(seed)  # noqa: S311 - the order of the events, not a secret
    batches = _batches(events, late=late, duplicate=duplicate)
    start = "/".join(part for part in (prefix.strip("/"), "AWSLogs", organization) if part)
    digests: dict[Batch, list[dict[str, object]]] = {}
    for (account, region, at), records in sorted(batches.items()):
        chance.shuffle(records)
        moment = datetime.fromtimestamp(at, UTC)
        letters = "".join(chance.choice(BASE32) for _ in range(16))
        folder = f"{start}/{account}/CloudTrail/{region}/{moment:%Y/%m/%d}"
        key = f"{folder}/{account}_CloudTrail_{region}_{moment:%Y%m%dT%H%MZ}_{letters}.json.gz"
        content = json.dumps({"Records": records}).encode()
        times = sorted(record["eventTime"] for record in records)
        row = {
            "s3Object": key,
            "hashValue": hashlib.sha256(content).hexdigest(),
            "hashAlgorithm": "SHA-256",
            "newestEventTime": times[-1],
            "oldestEventTime": times[0],
        }
        digests.setdefault((account, region, at // HOUR * HOUR + HOUR), []).append(row)
        yield key, gzip.compress(content, mtime=0)
    for (account, region, at), rows in digests.items():
        moment = datetime.fromtimestamp(at, UTC)
        folder = f"{start}/{account}/CloudTrail-Digest/{region}/{moment:%Y/%m/%d}"
        key = f"{folder}/{account}_CloudTrail-Digest_{region}_{trail}_{region}_{moment:%Y%m%dT%H%M%SZ}.json.gz"
        digest = {
            "awsAccountId": account,
            "digestStartTime": event_time(at - HOUR),
            "digestEndTime": event_time(at),
            "digestS3Object": key,
            "digestSignatureAlgorithm": "SHA256withRSA",
            "previousDigestS3Object": None,
            "logFiles": rows,
        }
        yield key, gzip.compress(json.dumps(digest).encode(), mtime=0)


def _batches(events: Iterable[Event], *, late: int, duplicate: int) -> dict[Batch, list[Event]]:
    """Return the events of each file, by account, Region and the time of the delivery."""
    batches: dict[Batch, list[Event]] = {}
    for number, event in enumerate(events, 1):
        at = int(unix_time(event)) // DELIVERY * DELIVERY + DELIVERY
        if late and number % late == 0:
            at += LATE
        times = [at, at + DELIVERY] if duplicate and number % duplicate == 0 else [at]
        for delivered in times:
            batches.setdefault((event["recipientAccountId"], event["awsRegion"], delivered), []).append(event)
    return batches


def write_log_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files under a folder that stands for the bucket, and return their paths."""
    paths = []
    for key, content in files:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return paths
