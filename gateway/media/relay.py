"""Relay: stands between libav's RTSP client and the camera, so that libav connects to nothing but this.

libav follows redirects by itself and connects wherever they point; here they end its connection, and their target is
checked before it is dialled. The credential stays here as well: requests are answered for when the camera asks for it,
and libav sees neither name nor password. TLS ends here too.

RTSP is a line protocol with binary frames in between: `$`, channel, u16 length, data (RFC 7826 section 14).
"""

from __future__ import annotations

import re
import secrets
import select
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

from gateway.media.challenge import Credential
from gateway.media.dial import MOST_BEFORE, Line
from gateway.media.errors import Code, Redirected, SourceError, for_status
from gateway.media.sources import Source

CHUNK = 2**16
MOST_HEADER = 2**16
MOST_BODY = 2**20  # of one RTSP message; a session description is a few hundred bytes
MOST_PROOFS = 2  # of one request; a camera that calls every nonce stale would have them for ever
OPENING = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY")

_RTSP = re.compile(rb"RTSP/[0-9.]+ [0-9]{3}\b|[A-Z_]+ \S+ RTSP/")
# What libav reads as we do: it drops a CR anywhere, ends a line at any LF, cuts it at 4 KiB, and takes a `$` at its
# beginning for a frame.
_HEAD = re.compile(rb"(?:[^$\x00-\x08\x0a-\x1f][^\x00-\x08\x0a-\x1f]{0,4000}\r\n)+\r\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([^\r\n]*)")
_CSEQ = re.compile(rb"(?im)^(cseq:[ \t]*)(\d+)")
_TRANSPORT = re.compile(rb"(?im)^transport:[^\r\n]*")
_ELSEWHERE = re.compile(rb"(?i);(source|destination)=[^;\r\n]*")


@dataclass(slots=True)
class _Asked:
    """A request that libav waits for: what it was, and under which number it asked."""

    method: str
    uri: str
    text: bytes
    number: bytes
    proofs: int = 0  # how often it was sent with a credential


class Relay:
    """One RTSP connection. `url` is for libav; `verdict` says afterwards why it ended, if this knows better.

    It takes one connection from this machine and only for a path that nobody can guess.
    """

    def __init__(self, source: Source, line: Line, *, patience_s: float) -> None:
        self._source = source
        self._line = line
        self._credential = Credential(source.user, source.password)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(patience_s)
        host = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._alias = f"{host}/{secrets.token_hex(16)}"
        self._bare = re.compile(re.escape(self._alias).encode() + rb"/?")
        self.url = self._alias + source.path
        self.verdict: SourceError | Redirected | None = None
        self._near: socket.socket | None = None
        self._asked: dict[bytes, _Asked] = {}
        self._last = 0
        self._plays = False
        self._since = 0
        self._from_near = bytearray()
        self._from_far = bytearray()
        self._thread = Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End both connections and wait for the thread."""
        self.cut()
        self._thread.join()

    def seen(self) -> None:
        """What has come so far was of use. From any thread."""
        self._since = 0

    def cut(self) -> None:
        """End both connections, from any thread."""
        self._line.cut()
        for own in (self._listener, self._near):
            if own is not None:
                with suppress(OSError):
                    own.shutdown(socket.SHUT_RDWR)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._near, _ = self._listener.accept()
            self._near.settimeout(self._line.socket.gettimeout())
            self._pump(self._near, self._line.socket)
        except (SourceError, Redirected) as error:
            self.verdict = error
        except OSError:  # either side has gone; libav or the reader's deadline says so in better words
            pass
        finally:
            for connection in (self._near, self._listener, self._line.socket):
                if connection is not None:
                    connection.close()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        poll = select.poll()  # unlike select it takes any number
        poll.register(near, select.POLLIN)
        poll.register(far, select.POLLIN)
        while True:
            pending = getattr(far, "pending", int)()  # what TLS has decrypted already wakes no poll
            ready = [far.fileno()] if pending else [number for number, _ in poll.poll()]
            if near.fileno() in ready:
                if not (chunk := near.recv(CHUNK)):
                    self._miss("timeout", "did not answer")
                    return
                self._from_near += chunk
                self._hear_libav(far)
            if far.fileno() in ready and (heard := _received(far)) is not None:
                if not heard:
                    self._miss("ended", "closed the connection instead of an answer")
                    return
                self._from_far += heard
                self._hear_camera(near, far)

    def _miss(self, code: Code, what: str) -> None:
        """One side has gone: libav, when its patience was over, or the camera. Was there a question?"""
        asked = [asked.method for asked in self._asked.values() if asked.method in OPENING]
        if self.verdict is None and asked:
            self.verdict = SourceError(code, f"the source {what} to {asked[-1]}")
        elif self.verdict is None and code == "ended":
            self.verdict = SourceError("ended", "the source closed the connection")

    def _hear_libav(self, far: socket.socket) -> None:
        while message := _message(self._from_near):
            far.sendall(message if message[:1] == b"$" else self._request(message))

    def _hear_camera(self, near: socket.socket, far: socket.socket) -> None:
        """Media goes through as it came, all that is complete at once."""
        while self._from_far:
            if end := _frames_end(self._from_far):
                near.sendall(memoryview(bytes(self._from_far[:end])))
                del self._from_far[:end]
                self._since += end
                if self._since > MOST_BEFORE:
                    raise SourceError("answer", f"no picture comes of {MOST_BEFORE >> 20} MiB")
            elif self._from_far[0] == 0x24 or not (message := _message(self._from_far)):
                return
            else:
                self._answer(message, near, far)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(self, message: bytes) -> bytes:
        """As the camera is to see it: with its own address, our numbers, and the credential once it was asked for."""
        if message.startswith(b"RTSP/"):  # libav answers a request of the camera
            return message
        if not self._last and self._bare.search(message) is None:
            raise SourceError("internal", "somebody else connected to the relay")
        text = self._bare.sub(self._source.base.encode() + b"/", message)
        method, _, rest = text.partition(b" ")
        number = found.group(2) if (found := _CSEQ.search(text)) else b"0"
        asked = _Asked(method.decode("latin-1"), rest.partition(b" ")[0].decode("latin-1"), text, number)
        return self._numbered(asked)

    def _numbered(self, asked: _Asked) -> bytes:
        self._last += 1
        number = str(self._last).encode()
        self._asked = {**dict(list(self._asked.items())[-16:]), number: asked}
        text = _CSEQ.sub(rb"\g<1>" + number, asked.text, count=1)
        if answer := self._credential.answer(asked.method, asked.uri):
            asked.proofs += 1
            first, _, rest = text.partition(b"\r\n")
            text = first + b"\r\nAuthorization: " + answer.encode() + b"\r\n" + rest
        return text

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, message: bytes, near: socket.socket, far: socket.socket) -> None:
        if not _RTSP.match(message):
            raise SourceError("protocol", "the source does not speak RTSP")
        head, end, body = message.partition(b"\r\n\r\n")
        near_head = _TRANSPORT.sub(self._transport, head)  # libav looks for it in whatever comes
        if not head.startswith(b"RTSP/"):  # a request of the camera's own
            near.sendall(near_head + end + body)
            return
        if (asked := self._question(head)) is None:  # an answer to nothing
            return
        status = int(head.split(None, 2)[1])
        again = asked.proofs > 0
        if status == 401 and self._credential.challenged(_challenges(head), again=again) and asked.proofs < MOST_PROOFS:
            far.sendall(self._numbered(asked))
            return
        self._judge(asked, status, head)
        near.sendall(_CSEQ.sub(rb"\g<1>" + asked.number, near_head, count=1) + end + body)

    def _question(self, head: bytes) -> _Asked | None:
        """What is answered here; where the number is of no use, the oldest question."""
        found = _CSEQ.search(head)
        number = found.group(2) if found else b""
        return self._asked.pop(number if number in self._asked else next(iter(self._asked), b""), None)

    def _judge(self, asked: _Asked, status: int, head: bytes) -> None:
        """Raises `Redirected` and `SourceError` where libav must not go on."""
        if asked.method not in OPENING or self._plays:  # then a question only keeps the session
            return
        if 300 <= status < 400:
            raise Redirected(_header(head, b"location").decode("latin-1"))
        if status == 401:
            word = "its user or password is wrong" if self._source.user else "it wants a user and password"
            raise SourceError("auth", f"the source answered 401 to {asked.method}: {word}")
        self.verdict = for_status(status, asked.method) if status >= 400 else None
        self._plays = asked.method == "PLAY" and status == 200

    def _transport(self, header: re.Match[bytes]) -> bytes:
        """libav sends RTCP to whatever a `source` here says: it shall say where we are connected."""
        text = _ELSEWHERE.sub(b"", header.group())
        if b"multicast" in text.lower():
            raise SourceError("protocol", "the source answers with multicast, which is not taken")
        return text + b";source=" + self._line.address.encode() if b"server_port" in text.lower() else text


def _received(far: socket.socket) -> bytes | None:
    """What is there now; None if TLS had only words of its own, as the session tickets after a handshake (RFC 8446
    section 4.6.1): waiting for more would leave libav's question unread.
    """
    patience_s = far.gettimeout()
    far.setblocking(False)
    try:
        return far.recv(CHUNK)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        far.settimeout(patience_s)


def _message(data: bytearray) -> bytes:
    """Take the first whole message or frame out of what was received; empty if none is whole. Raises `SourceError`."""
    if data[:1] == b"$":
        length = 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else CHUNK * 2
    else:
        header = data.find(b"\r\n\r\n") + 4
        if header < 4:
            if len(data) > MOST_HEADER:
                raise SourceError("protocol", "the source does not speak RTSP")
            return b""
        length = header + _body_length(bytes(data[:header]))
    if len(data) < length:
        return b""
    message = bytes(data[:length])
    del data[:length]
    return message


def _body_length(head: bytes) -> int:
    """Of a message that libav would read in the same way. Raises `SourceError`."""
    said = [value.strip() for value in _LENGTH.findall(head)] or [b"0"]
    if not _HEAD.fullmatch(head) or len(said) > 1 or not said[0].isdigit():
        raise SourceError("protocol", "the source does not speak RTSP")
    if len(said[0]) > 9 or int(said[0]) > MOST_BODY:
        raise SourceError("protocol", "the source's answer is too long")
    return int(said[0])


def _frames_end(data: bytearray) -> int:
    """Where the last whole binary frame of those at the beginning ends."""
    at, most = 0, len(data)
    while at + 4 <= most and data[at] == 0x24:
        end = at + 4 + (data[at + 2] << 8 | data[at + 3])
        if end > most:
            break
        at = end
    return at


def _header(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty if it is not there."""
    found = re.search(rb"(?im)^" + name + rb":[ \t]*([^\r\n]*)", head)
    return found.group(1).strip() if found else b""


def _challenges(head: bytes) -> list[str]:
    return [item.decode("latin-1").strip() for item in re.findall(rb"(?im)^www-authenticate:([^\r\n]*)", head)]
