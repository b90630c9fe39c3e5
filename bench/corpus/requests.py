"""HTTP that is none, or that two readers could read in two ways: request lines, headers, lengths, chunks, upgrades."""

from __future__ import annotations

from random import Random

from bench.corpus.message import HOST, STREAM, Message, cut, flipped, noise, pick, request

ROUTES = (
    b"/",
    b"/stream",
    b"/stream/" + STREAM,
    b"/stream/" + STREAM + b"/snapshot.jpg",
    b"/stream/request",
    b"/stream/" + STREAM + b"/frame",
    b"/ws/stream/" + STREAM,
    b"/api/status",
    b"/api/health",
    b"/metrics",
    b"/openapi.json",
    b"/client/framegate.js",
)
PATHS = (
    b"*",
    b"//evil/..",
    b"/../../etc/passwd",
    b"/client/..%2f..%2fetc%2fpasswd",
    b"/client/%2e%2e/%2e%2e/pyproject.toml",
    b"/client//etc/passwd",
    b"/%00",
    b"/stream/%ff%fe",
    b"/stream/" + b"x" * 5_000,
    b"/" + b"%41" * 30_000,
    b"/stream/\xc3\xbc",
    b"/?" + b"a=b&" * 5_000,
    b"http://other/api/health",
    b"other:80",
    b"/stream/ /frame",
    b"",
    b"/stream/%0d%0aX:%20y",
)
QUERIES = (
    b"?draw=\0",
    b"?draw=boxes&draw=none",
    b"?width=1e9",
    b"?width=-1",
    b"?width=320",
    b"?quality=NaN",
    b"?max_age=inf",
    b"?max_age=" + b"9" * 500,
    b"?ts=%ff",
    b"?wait=maybe",
    b"?frames=all",
    b"?%",
    b"?[]=&;",
)
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get")
CHUNKED = b"Transfer-Encoding: chunked"
LENGTHS = (b"-1", b"+3", b"0x3", b"3, 3", b"3 3", b"", b"1" * 40, b"\xb3", b"3\0", b"3.0")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n"
BAD_LINES = (
    b"X",
    b": x",
    b"X : y",
    b" X: y",
    b"X\0: y",
    b"X: \0",
    b"X: \x01\x7f",
    b"X: y\rZ: w",
    b"X: y\nZ: w",
    b"X:\r\n folded",
    b"\xff\xfe: \xff",
    b"Content-Type: \xff",
    b"Cookie: " + b"a=b; " * 3_000,
    b"Origin: null",
    b"Origin: http://evil.example",
    b"Origin: \x00",
    b"Expect: 200-maybe",
    b"Range: bytes=5-1,-,a",
    b"If-None-Match: " + b'"x",' * 1_000,
    b"Authorization: Basic ****",
    b"Authorization: Bearer " + b"x" * 5_000,
    b"X-Forwarded-For: " + b"1.1.1.1, " * 500,
    b"X-Forwarded-Host: evil",
    b'Forwarded: for="_x";host=evil;proto=//',
    b"Accept-Encoding: gzip;q=NaN",
    b"X-Request-Id: \x1b[31mred",
)


def _method(chance: Random) -> bytes:
    method = chance.choice((*METHODS, noise(chance, 20), b"X" * 10_000, b"GE T", b""))
    return request(method, chance.choice(ROUTES))


def _path(chance: Random) -> bytes:
    return request(chance.choice((b"GET", b"POST")), chance.choice(PATHS))


def _query(chance: Random) -> bytes:
    return request(chance.choice((b"GET", b"POST")), chance.choice(ROUTES[1:6]) + chance.choice(QUERIES), b"x")


def _version(chance: Random) -> bytes:
    versions = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1", b"HTTP/1.1 x", b"ICY", b"")
    return request(b"GET", chance.choice(ROUTES), version=chance.choice(versions))


def _no_host(chance: Random) -> bytes:
    host = chance.choice((b"", b"Host: a\r\nHost: b\r\n", b"Host: \xff\r\n", b"Host: a b:99999\r\n", b"Host:\r\n"))
    return b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (chance.choice(ROUTES), host)


def _header(chance: Random) -> bytes:
    lines = [chance.choice(BAD_LINES) for _ in range(chance.randint(1, 3))]
    return request(chance.choice((b"GET", b"POST")), chance.choice(ROUTES), headers=lines)


def _many_headers(chance: Random) -> bytes:
    return request(b"GET", b"/api/health", headers=[b"X-%d: y" % each for each in range(chance.randint(150, 5_000))])


def _long_header(chance: Random) -> bytes:
    return request(b"GET", b"/api/health", headers=[b"X: " + b"y" * chance.choice((8_000, 65_000, 200_000))])


def _length(chance: Random) -> bytes:
    return request(b"POST", b"/stream/request", headers=[b"Content-Length: " + chance.choice(LENGTHS)]) + b"{}\n"


def _two_framings(chance: Random) -> bytes:
    """What two readers could cut in two places: the second request must not be answered as one of its own."""
    framing = chance.choice(
        (
            (b"Content-Length: 5", CHUNKED),
            (CHUNKED, b"Content-Length: 5"),
            (b"Content-Length: 5", b"Content-Length: 50"),
            (b"Content-Length: 5", b"Transfer-Encoding: xchunked"),
            (b"Content-Length: 5", b"Transfer-Encoding : chunked"),
            (b"Content-Length: 5", b"Transfer-Encoding:\tchunked"),
            (b"Content-Length: 5", b"Transfer-Encoding: chunked, identity"),
        )
    )
    head = b"POST /stream/request HTTP/1.1\r\nHost: " + HOST + b"\r\n" + b"\r\n".join(framing) + b"\r\n\r\n"
    return head + b"0\r\n\r\n" + SMUGGLED


def _chunks(chance: Random) -> bytes:
    chunk = chance.choice(
        (
            b"-1\r\n{}\r\n",
            b"zz\r\n{}\r\n",
            b"2\n{}\n",
            b"2 \r\n{}\r\n",
            b"2;" + b"x" * 20_000 + b"\r\n{}\r\n",
            b"F" * 17 + b"\r\n{}\r\n",
            b"2\r\n{}xx",
            b"0\r\n" + b"X: y\r\n" * 500,
            b"\r\n",
            b"2\r\n{}\r\n" + b"1\r\n \r\n" * 3_000,
        )
    )
    return request(b"POST", b"/stream/request", headers=[CHUNKED]) + chunk + b"0\r\n\r\n"


def _coding(chance: Random) -> bytes:
    coding = chance.choice(
        (b"chunked, chunked", b"gzip, chunked", b"identity", b"gzip", b"\x0bchunked", b"chunked;x=1")
    )
    return request(b"POST", b"/stream/request", headers=[b"Transfer-Encoding: " + coding]) + b"2\r\n{}\r\n0\r\n\r\n"


def _upgrade(chance: Random) -> bytes:
    key = chance.choice((b"AAAAAAAAAAAAAAAAAAAAAA==", b"short", b"", b"!" * 24, b"A" * 5_000))
    version = chance.choice((b"13", b"8", b"", b"13, 8", b"x"))
    more = (
        b"Sec-WebSocket-Extensions: " + b"permessage-deflate; x=y, " * 500,
        b"Sec-WebSocket-Extensions: ;;=",
        b"Sec-WebSocket-Protocol: " + b"a, " * 2_000,
        b"Sec-WebSocket-Protocol: \xff",
        b"Origin: http://evil.example",
        b"Upgrade: h2c",
        b"X: y",
    )
    lines = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: " + key]
    lines += [b"Sec-WebSocket-Version: " + version, chance.choice(more)]
    path = chance.choice((b"/ws/stream/" + STREAM, b"/ws/stream/none", b"/ws", b"/stream", b"/ws/stream/%00"))
    return request(chance.choice((b"GET", b"GET", b"POST")), path, headers=lines)


def _many_at_once(chance: Random) -> bytes:
    one = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (chance.choice((b"/api/health", b"/none")), HOST)
    return one * chance.randint(2, 60) + request(b"GET", b"/api/health")


def _not_http(chance: Random) -> bytes:
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(chance)
    other = (
        tls,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\0" * 500,
        b"\r\n" * 500,
        noise(chance, 2_000),
    )
    return chance.choice(other) + b"\r\n\r\n"


def _flipped(chance: Random) -> bytes:
    return flipped(chance, request(b"POST", chance.choice(ROUTES), b"{}", [b"Content-Type: application/json"]), 6)


WHOLE = (_no_host, _header, _many_headers, _many_at_once, _query)
OPEN_ENDED = (
    _method,
    _path,
    _version,
    _long_header,
    _length,
    _two_framings,
    _chunks,
    _coding,
    _upgrade,
    _not_http,
    _flipped,
)
CUT = 0.1


def make(chance: Random) -> Message:
    """Where it is open how much would have to follow, the sender ends his half after a moment."""
    kind, data = pick(chance, WHOLE + OPEN_ENDED)
    whole = kind not in {each.__name__.strip("_") for each in OPEN_ENDED}
    if chance.random() < CUT:
        kind, data, whole = f"{kind}, cut", cut(chance, data), False
    return Message("http", kind, data, on_socket=False, whole=whole)
