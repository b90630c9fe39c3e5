"""Fetch: HTTP for sources. Redirects are followed by hand, three at most, each to an address that is checked anew."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Protocol

from gateway.media.challenge import Credential
from gateway.media.dial import MOST_BEFORE, Line, dial
from gateway.media.errors import SourceError, for_status
from gateway.media.messages import Setup
from gateway.media.sources import Source, redirected
from gateway.version import __version__

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_HOPS = 3
MOST_TRIES = 3  # a challenge, and one more for a stale nonce
ELSEWHERE = (301, 302, 303, 307, 308)


class Answer(io.RawIOBase):
    """The body of a 200, to be read to its end or not. `source` is where it came from in the end."""

    def __init__(self, source: Source, line: Line, response: http.client.HTTPResponse) -> None:
        self.source = source
        self.kind = (response.headers.get_content_type() or "").lower()
        self._line = line
        self._response = response
        self._left = response.length  # bytes to come, if it said so
        self._ahead = b""
        self._since = 0
        self.error: SourceError | None = None  # what ended it, where libav has no word for that

    def cut(self) -> None:
        """Wake up who reads, from any thread."""
        self._line.cut()

    def close(self) -> None:
        super().close()
        self._response.close()
        self._line.socket.close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """What has come so far, at least one byte; 0 at the end. Raises `SourceError`."""
        view = memoryview(buffer)
        if self._ahead:
            data, self._ahead = self._ahead[: len(view)], self._ahead[len(view) :]
        else:
            data = self._received(len(view))
        view[: len(data)] = data
        return len(data)

    def _received(self, most: int) -> bytes:
        try:
            data = self._response.read1(most)
        except TimeoutError:
            self.error = SourceError("timeout", "the source sends nothing any more")
            raise self.error from None
        except (OSError, http.client.HTTPException, ValueError):
            self.error = SourceError("ended", "the source closed the connection")
            raise self.error from None
        if self._left is not None:
            self._left -= len(data)
        self._since += len(data)
        if self._since > MOST_BEFORE:
            self.error = SourceError("answer", f"no picture comes of {MOST_BEFORE >> 20} MiB")
        elif not data and most and self._left:
            self.error = SourceError("ended", "the source closed the connection within its answer")
        if self.error:
            raise self.error
        return data

    def seen(self) -> None:
        """What has come so far was of use."""
        self._since = 0

    def begins_with(self, word: bytes) -> bool:
        """Whether its first bytes are these; they are still to be read. Raises `SourceError`."""
        while word.startswith(self._ahead) and len(self._ahead) < len(word):
            if not (data := self._received(len(word) - len(self._ahead))):
                break
            self._ahead += data
        return self._ahead == word

    def whole(self, most: int) -> bytes:
        """All of it. Raises `SourceError` if that is more than `most` bytes."""
        data = bytearray()
        while chunk := self.read(2**16):
            data += chunk
            if len(data) > most:
                raise SourceError("answer", f"the source's answer is longer than {most} bytes")
        return bytes(data)


class Hold(Protocol):
    """Where connections are kept, to be cut. Both raise `SourceError` once they are to be."""

    def add(self, item: Line) -> None: ...
    def check(self) -> None: ...


class Web:
    """The HTTP side of one source: remembers its credential and where it moved to.

    `hold` is told of every connection before anything is awaited of it.
    """

    def __init__(self, source: Source, setup: Setup, hold: Hold) -> None:
        self._setup = setup
        self._hold = hold
        self._credentials: dict[tuple[str, str], Credential] = {}
        self.source = source

    def get(self, source: Source | None = None, *, within: str | None = None) -> Answer:
        """The answer to a GET. `within`: the only host that it may come from. Raises `SourceError`."""
        source = source or self.source
        for _ in range(MOST_HOPS + 1):
            if within is not None and source.host != within:
                raise SourceError("redirect", "the playlist points to another host")
            answer = self._asked(source)
            if isinstance(answer, Answer):
                return answer
            source = redirected(source, answer)
        raise SourceError("redirect", f"the source sends elsewhere more than {MOST_HOPS} times")

    def _asked(self, source: Source) -> Answer | str:
        """The body, or where it is instead."""
        credential = self._credentials.setdefault((source.user, source.host), Credential(source.user, source.password))
        for attempt in range(MOST_TRIES):
            self._hold.check()
            line = dial(source, self._setup)
            try:
                self._hold.add(line)
                response, sent = self._response(source, line, credential)
            except SourceError:
                line.socket.close()
                raise
            if response.status in (200, 206):
                return Answer(source, line, response)
            response.close()
            line.socket.close()
            if response.status in ELSEWHERE:
                return response.headers.get("Location", "")
            offers = response.headers.get_all("WWW-Authenticate") or []
            if response.status != 401 or not credential.challenged(offers, again=sent and attempt > 0):
                raise for_status(response.status, "GET")
        raise for_status(401, "GET")

    def _response(self, source: Source, line: Line, credential: Credential) -> tuple[http.client.HTTPResponse, bool]:
        """The head of the answer, and whether the question had a credential."""
        connection = http.client.HTTPConnection(source.host, source.port)
        connection.sock = line.socket
        headers = {"Host": source.authority, "User-Agent": f"framegate/{__version__}", "Accept": "*/*"}
        if authorization := credential.answer("GET", source.path):
            headers["Authorization"] = authorization
        try:
            connection.request("GET", source.path, headers={**headers, "Connection": "close"})
            return connection.getresponse(), authorization is not None
        except TimeoutError:
            raise SourceError("timeout", f"no answer within {self._setup.read_s:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as failed:
            raise SourceError("protocol", f"no answer that is HTTP: {type(failed).__name__}") from None
