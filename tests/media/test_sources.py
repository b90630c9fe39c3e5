"""What may be pulled and from where: by spelling, by address, and with listeners that no connection reaches."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.errors import BadSource
from gateway.media.dial import dial, looked_up
from gateway.media.errors import SourceError
from gateway.media.messages import Setup
from gateway.media.sources import Rules, Source, parse, redirected

CAMERAS = Rules(("192.168.1.0/24", "fd12::/16"), ("127.0.0.1:8554",), 8000, lambda: {"192.168.1.5", "fe80::5"})

SCHEMES: tuple[object, ...] = (
    *("exec:ls", "exec:/bin/sh -c id", "EXEC:ls", "Exec:ls", " exec:ls", "exec :ls", "exec:%6cs", "%65xec:ls"),
    *(
        "exec://ls",
        "exec://127.0.0.1/ls",
        "echo:hi",
        "ffmpeg:rtsp://192.168.1.9/",
        "ffmpeg:http://192.168.1.9#video=copy",
    ),
    *("file:/etc/passwd", "file:etc/passwd", "FILE:///etc/passwd", "fIle:///etc/passwd", "file://localhost/etc/passwd"),
    *(
        "file://192.168.1.9/share",
        "file:\\\\etc",
        "file:%2fetc%2fpasswd",
        "\tfile:///etc/passwd",
        "\nfile:///etc/passwd",
    ),
    *(
        "concat:/etc/passwd|/etc/hosts",
        "concat:http://192.168.1.9/a|file:///etc/passwd",
        "CONCAT:a|b",
        "concatf:/tmp/x",
    ),
    *("subfile:,,start,0,end,9,,:/etc/passwd", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0", "pipe:", "PIPE:1"),
    *(
        "data:video/mp4;base64,AAAA",
        "data:,x",
        "Data:text/plain,x",
        "data://x",
        "fd:0",
        "fd:",
        "cache:http://192.168.1.9/",
    ),
    *("crypto:/etc/passwd", "crypto+file:///etc/passwd", "async:/etc/passwd", "tee:/tmp/a|/tmp/b", "unix:/run/x.sock"),
    *(
        "tcp://192.168.1.9:80",
        "udp://239.0.0.1:5004",
        "udplite://192.168.1.9",
        "rtp://192.168.1.9:5004",
        "srtp://192.168.1.9",
    ),
    *(
        "rtmp://192.168.1.9/live",
        "rtmps://192.168.1.9/live",
        "srt://192.168.1.9:9000",
        "sctp://192.168.1.9",
        "ftp://192.168.1.9/a",
    ),
    *(
        "sftp://192.168.1.9/a",
        "smb://192.168.1.9/a",
        "gopher://192.168.1.9",
        "mmsh://192.168.1.9",
        "hls+http://192.168.1.9/a",
    ),
    *(
        "hls:http://192.168.1.9/a.m3u8",
        "rtsp+http://192.168.1.9",
        "rtspt://192.168.1.9",
        "rtspu://192.168.1.9",
        "satip://192.168.1.9",
    ),
    *(
        "ipfs://x",
        "ipns://x",
        "ldap://192.168.1.9",
        "dict://192.168.1.9:11211/stats",
        "jar:http://192.168.1.9!/",
        "javascript:1",
    ),
    *(
        "lavfi:testsrc",
        "dshow:video=x",
        "avfoundation:0",
        "x11grab::0",
        "v4l2:/dev/video0",
        "/etc/passwd",
        "../../etc/passwd",
    ),
    *(
        "etc/passwd",
        "C:\\x",
        "/dev/sda",
        "/dev/video",
        "/dev/video0/../sda",
        "/dev/videoX",
        "/proc/self/environ",
        "-1",
        "1e3",
    ),
    *(
        "",
        " ",
        "rtsp",
        "rtsp:",
        "rtsp:/192.168.1.9",
        "rtsp:192.168.1.9",
        "rtsp//192.168.1.9",
        "//192.168.1.9/",
        "://192.168.1.9",
    ),
    *(
        "ʀtsp://192.168.1.9",
        "ｈttp://192.168.1.9",
        "ht\ttp://192.168.1.9",
        "ht tp://192.168.1.9",
        "http\x00://192.168.1.9",
    ),
    *(
        "http%3a//192.168.1.9",
        "http:\\\\192.168.1.9",
        "demo",
        "DEMO:",
        "0x1",
        "٣",
        "1000",
        "file:///a\0b",
    ),
    *(
        {"url": "rtsp://192.168.1.9"},
        ["rtsp://192.168.1.9"],
        None,
        True,
        False,
        1.5,
        {"exec": "ls"},
        [["exec:ls"]],
        [0],
        {},
    ),
)
SPELLINGS = (
    *(
        "http://",
        "http:///x",
        "http://:80/",
        "http://@/",
        "http://user@/x",
        "rtsp://[",
        "rtsp://[::1",
        "rtsp://]/",
        "http://[x]/",
    ),
    *(
        "http://192.168.1.9:0/",
        "http://192.168.1.9:65536/",
        "http://192.168.1.9:-1/",
        "http://192.168.1.9:x/",
        "http://192.168.1.9:٨٠/",
    ),
    *(
        "http://192.168.1.9\\@127.0.0.1/",
        "http://192.168.1.9/#x",
        "http://192.168.1.9/ x",
        "http://192.168.1.9/\r\nHost: x",
    ),
    *(
        "http://192.168.1.9/\x00",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://ⓛocalhost/",
        "http://exa mple/",
    ),
    *("rtsp://u%0d%0aX:p@192.168.1.9/", "http://u:p%00@192.168.1.9/"),
    *("http://%31%32%37.0.0.1/", "http://localhost%00.x/", "http://[fe80::1%25eth0]/"),
    *(
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
    ),
    *(
        "http://017700000001/",
        "http://127.0.0.01/",
        "http://0x7F.1/",
        "http://0/",
        "http://00000000/",
        "http://127.0.0.1.2/",
    ),
    *(
        "http://1.2.3/",
        "http://256.1.1.1/",
        "http://192.168.1.0x9/",
        "http://-x/",
        "http://a..b/",
        "http://.x/",
        "http://a_b,c/",
    ),
    *(
        "http://" + "a" * 64 + "/",
        "http://x/" + "a" * 2048,
        "http://a;b/",
        "http://a'b/",
        "http://$(id)/",
        "http://`id`/",
        "http://a|b/",
    ),
)
REFUSED = (
    *(
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "0.0.0.0",
        "::",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fe80::5",
    ),
    *(
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "239.255.255.250",
        "ff02::1",
        "255.255.255.255",
    ),
    *(
        "240.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.2.1",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "fc00::1",
        "fd13::1",
    ),
    *(
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ),
    *("2002:a00:1::1", "::127.0.0.1", "2001:0:7f00:1::", "2001:db8::1", "192.168.1.5", "::ffff:192.168.1.5"),
    *("64:ff9b:1::7f00:1", "64:ff9b:1:7f00:0:100::", "fec0::1", "::ffff:0:7f00:1"),
)
ALLOWED = ("192.168.1.9", "fd12::9", "8.8.8.8", "2606:4700::1111", "::ffff:192.168.1.9", "64:ff9b::808:808")


@pytest.mark.parametrize("value", SCHEMES, ids=repr)
def test_what_is_not_on_the_list_of_schemes_is_refused_however_it_is_spelled(value: object) -> None:
    with pytest.raises(BadSource) as refused:
        parse(value)
    assert (refused.value.status, refused.value.code) == (422, "source_scheme")


@pytest.mark.parametrize("text", SPELLINGS, ids=repr)
def test_an_address_that_programs_would_read_differently_is_none(text: str) -> None:
    with pytest.raises(BadSource) as refused:
        parse(text)
    assert refused.value.code in ("source_url", "source_address")


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_no_camera_has_are_refused_whatever_networks_are_open(address: str) -> None:
    with pytest.raises(SourceError) as refused:
        CAMERAS.check(address, 554)
    assert refused.value.code == "address"


@pytest.mark.parametrize("address", ALLOWED)
def test_networks_of_cameras_and_public_addresses_are_open(address: str) -> None:
    CAMERAS.check(address, 554)


def test_this_machine_is_open_at_the_endpoints_the_operator_named_and_never_at_the_gateways_own_port() -> None:
    CAMERAS.check("127.0.0.1", 8554)
    CAMERAS.check("::ffff:127.0.0.1", 8554)
    for rules, port in ((CAMERAS, 8555), (Rules((), ("127.0.0.1:8000",), 8000), 8000)):
        with pytest.raises(SourceError):
            rules.check("127.0.0.1", port)


def test_a_name_that_stands_for_a_refused_address_too_is_refused() -> None:
    with pytest.raises(SourceError):
        CAMERAS.check_all(["192.168.1.9", "127.0.0.1"], 80)


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    """Servers on this machine at every address it has to itself."""
    places = [("127.0.0.1", socket.AF_INET), ("127.8.9.1", socket.AF_INET), ("::1", socket.AF_INET6)]
    servers = [socket.create_server((host, 0), family=family) for host, family in places]
    yield servers
    for server in servers:
        server.close()


def test_no_connection_reaches_a_refused_address_by_whatever_name(listeners: list[socket.socket]) -> None:
    for server in listeners:
        host, port = server.getsockname()[:2]
        for name in (host, "localhost", "camera.example"):
            source = Source("http", name, port, path="/")
            with pytest.raises(SourceError) as refused:
                dial(source, Setup(networks=("0.0.0.0/0", "::/0")), lookup=lambda *_, at=host: [at])
            assert refused.value.code == "address"
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_name_is_looked_up_once_and_the_connection_goes_to_the_address_that_was_checked() -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as good, socket.create_server(("127.8.9.1", 0)) as bad:
        port = good.getsockname()[1]

        def rebinding(host: str, _port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else [bad.getsockname()[0]]

        line = dial(Source("rtsp", "camera.example", port), Setup(endpoints=(f"127.0.0.1:{port}",)), lookup=rebinding)
        assert (asked, line.address, line.socket.getpeername()) == (
            ["camera.example"],
            "127.0.0.1",
            ("127.0.0.1", port),
        )
        line.socket.close()


def test_a_name_that_nobody_knows_is_an_error_of_its_own() -> None:
    with pytest.raises(SourceError) as unknown:
        looked_up("no-such-host.invalid", 80)
    assert unknown.value.code == "resolve"


def test_a_source_is_parsed_into_its_parts() -> None:
    source = parse("RTSPS://admin:p%40ss@Camera.Local/live?channel=1")
    assert source == Source("rtsp", "camera.local", 322, True, "/live?channel=1", "admin", "p@ss")
    assert parse("http://[FD12::0009]:8080").base == "http://[fd12::9]:8080"
    assert parse(3) == parse("3") == parse("/dev/video3") == Source("device", path="/dev/video3")
    assert parse("file:///srv/a.mp4") == Source("file", path="/srv/a.mp4")
    assert parse("demo:") == Source("plugin", connector="demo")


def test_what_is_shown_of_a_source_holds_no_secret() -> None:
    shown = [
        parse(text).shown()
        for text in ("rtsp://u:canary@h1/canary?k=canary", "http://h1:81/", "file:///a/canary/b.mp4")
    ]
    assert shown == ["rtsp://***@h1/***", "http://h1:81/", "file:b.mp4"]
    assert "canary" not in repr(parse("rtsp://canary:canary@h1/canary?canary"))


def test_a_redirect_takes_the_credential_to_the_same_host_only() -> None:
    source = parse("http://u:p@192.168.1.9/a/b")
    same, other = redirected(source, "c?d"), redirected(source, "http://192.168.1.10/")
    assert (same.path, same.user, same.password) == ("/a/c?d", "u", "p")
    assert (other.host, other.user, other.password) == ("192.168.1.10", "", "")
    lower = redirected(parse("https://u:p@h1/"), "http://h1/")
    assert (lower.tls, lower.user) == (False, "")


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "exec:ls", "rtsp://192.168.1.9/", "http://127.1/", "http://["]
)
def test_a_redirect_to_what_is_no_source_is_refused(location: str) -> None:
    with pytest.raises(SourceError) as refused:
        redirected(parse("http://192.168.1.9/"), location)
    assert refused.value.code == "redirect"
