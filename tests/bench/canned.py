"""An IAM with canned answers. It does almost no work, so a bench shows the cost of the client apart from the network.

It lists users without devices, accepts every create and enable request, and then lists those devices. Each answer takes
the same time, regardless of how many requests arrive at once. AssumeRole returns credentials of any account, and all
accounts have the same users. With `rate`, the calls of each account are throttled as IAM throttles them.
"""

import asyncio
import base64
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from email.utils import formatdate
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote

from mfa_kit.core.otp import Seed
from mfa_kit.qr_codes import key_uri, symbol

ACCOUNT = "000000000000"
PAGE = 1000
DATE = "2026-01-01T00:00:00Z"
# Credentials of AssumeRole have the account in the access key ID.
MEMBER = re.compile(rb"Credential=ASIA(\d{12})")
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BURST = 40
# The answers that are the same for all requests.
EMPTY = {"DeleteVirtualMFADevice": "", "ListMFADevices": "<MFADevices/><IsTruncated>false</IsTruncated>"}
THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
    b"<RequestId>0</RequestId></ErrorResponse>"
)


def _envelope(operation: str, result: str) -> bytes:
    return (
        f"<{operation}Response><{operation}Result>{result}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata></{operation}Response>"
    ).encode()


class Canned:
    """The server: `with Canned(users, latency=0.2) as iam: ... iam.env`.

    `calls` counts the answered requests, and `times` has the account, the operation and the time of each request.
    """

    def __init__(self, users: list[str], *, latency: float = 0.0, rate: float = 0.0) -> None:
        self.users, self.latency, self.rate, self.calls = users, latency, rate, 0
        self.times: list[tuple[str, str, float]] = []
        self._tokens: defaultdict[str, tuple[float, float]] = defaultdict(lambda: (BURST, time.monotonic()))
        seed = secrets.token_bytes(40)
        picture = symbol.png(key_uri.otpauth(Seed(seed), label=f"tin@{ACCOUNT}"))
        secret, png = base64.b32encode(seed), base64.b64encode(picture.reveal())
        self._made = (
            f"<Base32StringSeed>{base64.b64encode(secret).decode()}</Base32StringSeed>"
            f"<QRCodePNG>{png.decode()}</QRCodePNG>"
        )
        self._tags: dict[str, dict[str, str]] = {}
        self._enabled: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
                }
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                arrived, member = time.monotonic(), MEMBER.search(head)
                await asyncio.sleep(self.latency)
                asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                action, account = asked["Action"], member[1].decode() if member else ACCOUNT
                self.times.append((account, action, arrived))
                if self._is_throttled(account):
                    status, answer = "400 Bad Request", THROTTLED
                else:
                    status, answer = "200 OK", _envelope(action, self._answer(action, asked, account))
                    self.calls += 1
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(answer)}\r\n"
                    f"Date: {formatdate(usegmt=True)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _is_throttled(self, account: str) -> bool:
        if not self.rate:
            return False
        tokens, filled = self._tokens[account]
        now = time.monotonic()
        tokens = min(BURST, tokens + (now - filled) * self.rate)
        self._tokens[account] = (tokens - (tokens >= 1), now)
        return tokens < 1

    def _answer(self, operation: str, asked: Mapping[str, str], account: str) -> str:
        match operation:
            case "GetCallerIdentity" | "AssumeRole":
                return _identity(asked, account)
            case "ListUsers":
                return _page(
                    "Users",
                    [
                        f"<member><UserName>{user}</UserName><Path>/</Path><UserId>AIDA</UserId>"
                        f"<Arn>arn:aws:iam::{account}:user/{user}</Arn><CreateDate>{DATE}</CreateDate></member>"
                        for user in self.users
                    ],
                    asked,
                )
            case "ListMFADeviceTags":
                tags = self._tags.get(asked["SerialNumber"], {}).items()
                return _page(
                    "Tags", [f"<member><Key>{key}</Key><Value>{value}</Value></member>" for key, value in tags]
                )
            case "ListVirtualMFADevices":
                return _page(
                    "VirtualMFADevices",
                    [
                        f"<member><SerialNumber>{serial}</SerialNumber><EnableDate>{DATE}</EnableDate><User>"
                        f"<UserName>{user}</UserName><Path>/</Path><UserId>AIDA</UserId>"
                        f"<Arn>arn:aws:iam::{account}:user/{user}</Arn><CreateDate>{DATE}</CreateDate></User></member>"
                        for serial, user in self._enabled[account].items()
                    ],
                    asked,
                )
            case "CreateVirtualMFADevice":
                serial = f"arn:aws:iam::{account}:mfa/{asked['VirtualMFADeviceName']}"
                self._tags[serial] = {
                    value: asked[name.replace(".Key", ".Value")]
                    for name, value in asked.items()
                    if name.endswith(".Key")
                }
                return f"<VirtualMFADevice><SerialNumber>{serial}</SerialNumber>{self._made}</VirtualMFADevice>"
            case "EnableMFADevice":
                self._enabled[account][unquote(asked["SerialNumber"])] = asked["UserName"]
            case _ if operation not in EMPTY:
                raise LookupError(operation)
            case _:
                pass
        return EMPTY.get(operation, "")


def _identity(asked: Mapping[str, str], account: str) -> str:
    if "RoleArn" not in asked:
        return f"<UserId>AIDA</UserId><Account>{account}</Account><Arn>arn:aws:iam::{account}:user/tin</Arn>"
    member = asked["RoleArn"].split(":")[4]
    return (
        f"<Credentials><AccessKeyId>ASIA{member}AAAA</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        f"<SessionToken>{member}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        f"<AssumedRoleUser><AssumedRoleId>AROA:tin</AssumedRoleId>"
        f"<Arn>arn:aws:sts::{member}:assumed-role/tin/tin</Arn></AssumedRoleUser>"
    )


def _page(name: str, rows: list[str], asked: Mapping[str, str] = MappingProxyType({})) -> str:
    begin = int(asked.get("Marker", "0"))
    end = begin + int(asked.get("MaxItems", PAGE))
    more = f"<IsTruncated>true</IsTruncated><Marker>{end}</Marker>" if end < len(rows) else ""
    return f"<{name}>{''.join(rows[begin:end])}</{name}>{more or '<IsTruncated>false</IsTruncated>'}"
