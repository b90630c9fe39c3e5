"""Requests and sockets to one gateway: its address, the credential, certificates, and how patient to be.

The credential goes in a header, never in an address, and a redirect is never followed: it might take it elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from framegate_client.address import Address
from framegate_client.errors import Answer, Busy, FramegateError, GatewayFailed, Unreachable, error_of_answer
from framegate_client.reconnect import Backoff
from framegate_client.version import __version__

AGENT = f"framegate-client/{__version__}"
CALL_S = 10.0  # connecting, and an ordinary request
MESSAGE_BYTES = 32 * 2**20  # largest message taken; a gateway's pictures are far smaller
UNSENT_BYTES = 128 * 2**10  # what the kernel may hold beyond what is under way: the rest could only be old pictures

Verify = bool | str | Path | ssl.SSLContext
T = TypeVar("T")


def certificates(verify: Verify) -> ssl.SSLContext:
    """True: the system's authorities; a file or folder of them; False: none, and anybody may listen in."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if isinstance(verify, bool):
        return httpx2.create_ssl_context(verify)
    path = Path(verify)
    return ssl.create_default_context(capath=path) if path.is_dir() else ssl.create_default_context(cafile=path)


class Transport:
    """`patience_s`: how long a call waits for a gateway that is full, starting or away."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        verify: Verify = True,
        headers: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
        trust_env: bool = True,
    ) -> None:
        credential = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.address = address
        self.patience_s = patience_s
        self.random: Callable[[], float] = random.random
        self._headers = {**credential, **(headers or {})}
        self._ssl = certificates(verify) if address.secure else None
        self._trust_env = trust_env
        self._http = httpx2.AsyncClient(
            base_url=address.base,
            headers={"User-Agent": AGENT, **self._headers},
            verify=self._ssl or False,
            timeout=CALL_S,
            trust_env=trust_env,
        )

    async def close(self) -> None:
        await self._http.aclose()

    # --- requests ----------------------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, read: Callable[[Any], T], *, once: bool = False, **how: Any) -> T:
        """What `read` makes of the JSON that answers it. Raises `FramegateError`."""
        answer = await (self.fetch_once if once else self.fetch)(method, path, **how)
        try:
            return read(answer.json())
        except (KeyError, TypeError, ValueError, AttributeError):
            raise GatewayFailed(
                f"{self.address.base} answers, but not as a Framegate gateway does: is it one?",
                code="not_framegate",
                status=answer.status_code,
            ) from None

    async def fetch(self, method: str, path: str, **how: Any) -> httpx2.Response:
        """The answer, asked for again while waiting can help and patience lasts. Raises `FramegateError`."""
        backoff, clock = Backoff(self.random), asyncio.get_running_loop().time
        until = clock() + self.patience_s
        while True:
            try:
                return await self.fetch_once(method, path, **how)
            except FramegateError as error:
                pause = backoff.next(error.retry_after_s or 0.0)
                if not curable(error, method) or clock() + pause > until:
                    raise
            await asyncio.sleep(pause)

    async def fetch_once(self, method: str, path: str, **how: Any) -> httpx2.Response:
        try:
            answer = await self._http.request(method, path, **how)
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.address.base} does not answer in time", code="timeout") from error
        except httpx2.RequestError as error:
            raise unreachable(self.address.base, error, refused=isinstance(error, httpx2.ConnectError)) from error
        if answer.is_success:
            return answer
        raise error_of_answer(answer_of(answer.status_code, answer.headers.items(), answer.content))

    # --- sockets -----------------------------------------------------------------------------------------------------

    async def connect(self, path: str, protocols: tuple[str, ...] = ()) -> ClientConnection:
        """A stream socket. Raises `Refused`, or `Unreachable`, whose code "certificate" no waiting cures."""
        url = self.address.socket_url(path)
        if urlsplit(url).netloc != urlsplit(self.address.base).netloc:  # the credential would go with it
            raise GatewayFailed("the gateway names a socket somewhere else", code="moved")
        how: dict[str, Any] = {} if self._ssl is None else {"ssl": self._ssl}
        try:
            opened = await _Connect(
                url,
                subprotocols=[Subprotocol(name) for name in protocols] or None,
                additional_headers=self._headers,
                user_agent_header=AGENT,
                compression=None,  # JPEG does not get smaller
                proxy=True if self._trust_env else None,
                open_timeout=CALL_S,
                close_timeout=2.0,
                ping_interval=None,  # a connection asks by itself, see connection.py
                max_size=MESSAGE_BYTES,
                write_limit=0,  # sent means: the kernel has it
                **how,
            )
        except InvalidStatus as error:
            response = error.response
            raise Refused(answer_of(response.status_code, response.headers.raw_items(), bytes(response.body))) from None
        except (OSError, WebSocketException, EOFError) as error:  # TimeoutError is an OSError
            raise unreachable(self.address.base, error) from error
        _keep_short(opened)
        return opened


class Refused(Exception):
    """The gateway does not open this socket."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _keep_short(connection: ClientConnection) -> None:
    """Let the kernel take no picture that it cannot send soon: a newer one should go instead."""
    raw = connection.transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if raw is not None and option is not None:
        with suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def answer_of(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    """The words of a problem document (RFC 9457), or what there is instead."""
    said = {name.lower(): value for name, value in headers}
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    if 300 <= status < 400 and (where := said.get("location")):
        problem = {"detail": f"the gateway is somewhere else: {where}", "code": "moved"}
    return Answer.of(status, problem, said.get("retry-after"))


def unreachable(base: str, error: BaseException, *, refused: bool = True) -> Unreachable:
    """`refused`: no connection came about, so nothing of the request can have had an effect."""
    if (distrust := _distrust(error)) is not None:
        return Unreachable(f"the certificate of {base} is not trusted: {distrust.verify_message}", code="certificate")
    return Unreachable(
        f"{base} is not reached: {error or type(error).__name__}", code="connect" if refused else "broken"
    )


def _distrust(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def curable(error: FramegateError, method: str) -> bool:
    """Whether the same request may fare better later, and does no harm if the first one did arrive."""
    harmless = method in ("GET", "PATCH")
    match error:
        case Busy():
            return True
        case Unreachable(code="connect"):
            return True
        case Unreachable(code="certificate"):
            return False
        case Unreachable():
            return harmless
        case GatewayFailed():
            return harmless and error.status in (502, 504)  # a proxy before a gateway that restarts
    return False
