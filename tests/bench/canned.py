"""An IAM with canned answers. It does almost no work, so a bench shows the cost of the client apart from the network.

It lists users without devices, accepts every create and enable request, and then lists those devices. Each answer takes
the same time, regardless of how many requests arrive at once.
"""

import asyncio
import base64
import secrets
import threading
from collections.abc import Mapping
from email.utils import formatdate
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote

from mfa_kit.core.otp import Seed
from mfa_kit.qr_codes import key_uri, symbol

ACCOUNT = "000000000000"
PAGE = 1000
DATE = "2026-01-01T00:00:00Z"


def _envelope(operation: str, result: str) -> bytes:
    return (
        f"<{operation}Response><{operation}Result>{result}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata></{operation}Response>"
    ).encode()


class Canned:
    """The server: `with Canned(users, latency=0.2) as iam: ... iam.env`. `calls` counts the answered requests."""

    def __init__(self, users: list[str], *, latency: float = 0.0) -> None:
        self.users, self.latency, self.calls = users, latency, 0
        seed = secrets.token_bytes(40)
        picture = symbol.png(key_uri.otpauth(Seed(seed), label=f"tin@{ACCOUNT}"))
        secret, png = base64.b32encode(seed), base64.b64encode(picture.reveal())
        self._made = (
            f"<Base32StringSeed>{base64.b64encode(secret).decode()}</Base32StringSeed>"
            f"<QRCodePNG>{png.decode()}</QRCodePNG>"
        )
        self._enabled: dict[str, str] = {}
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
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
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
                await asyncio.sleep(self.latency)
                asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                answer = _envelope(asked["Action"], self._answer(asked["Action"], asked))
                self.calls += 1
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(answer)}\r\n"
                    f"Date: {formatdate(usegmt=True)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, operation: str, asked: Mapping[str, str]) -> str:
        match operation:
            case "GetCallerIdentity":
                return f"<UserId>AIDA</UserId><Account>{ACCOUNT}</Account><Arn>arn:aws:iam::{ACCOUNT}:user/tin</Arn>"
            case "ListUsers":
                return _page(
                    "Users",
                    [
                        f"<member><UserName>{user}</UserName><Path>/</Path><UserId>AIDA</UserId>"
                        f"<Arn>arn:aws:iam::{ACCOUNT}:user/{user}</Arn><CreateDate>{DATE}</CreateDate></member>"
                        for user in self.users
                    ],
                    asked,
                )
            case "ListVirtualMFADevices":
                return _page(
                    "VirtualMFADevices",
                    [
                        f"<member><SerialNumber>{serial}</SerialNumber><EnableDate>{DATE}</EnableDate><User>"
                        f"<UserName>{user}</UserName><Path>/</Path><UserId>AIDA</UserId>"
                        f"<Arn>arn:aws:iam::{ACCOUNT}:user/{user}</Arn><CreateDate>{DATE}</CreateDate></User></member>"
                        for serial, user in self._enabled.items()
                    ],
                    asked,
                )
            case "ListMFADevices":
                return "<MFADevices/><IsTruncated>false</IsTruncated>"
            case "CreateVirtualMFADevice":
                serial = f"arn:aws:iam::{ACCOUNT}:mfa/{asked['VirtualMFADeviceName']}"
                return f"<VirtualMFADevice><SerialNumber>{serial}</SerialNumber>{self._made}</VirtualMFADevice>"
            case "EnableMFADevice":
                self._enabled[unquote(asked["SerialNumber"])] = asked["UserName"]
                return ""
            case _:
                raise LookupError(operation)


def _page(name: str, rows: list[str], asked: Mapping[str, str]) -> str:
    begin = int(asked.get("Marker", "0"))
    end = begin + int(asked.get("MaxItems", PAGE))
    more = f"<IsTruncated>true</IsTruncated><Marker>{end}</Marker>" if end < len(rows) else ""
    return f"<{name}>{''.join(rows[begin:end])}</{name}>{more or '<IsTruncated>false</IsTruncated>'}"
