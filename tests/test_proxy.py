"""The fault proxy does to a line what it is told, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.proxy import BUFFERED, Line, Proxy, ProxyThread

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE_S = 10.0


@asynccontextmanager
async def line(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Proxy]:
    """A server behind a proxy."""

    served: list[asyncio.Task[None] | None] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with asyncio.timeout(PATIENCE_S), server:
        async with Proxy(server.sockets[0].getsockname()[:2]) as proxy:
            yield proxy
        await asyncio.gather(*filter(None, served))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


async def connect(proxy: Proxy) -> Peer:
    return await asyncio.open_connection(*proxy.address)


async def round_trip(peer: Peer, data: bytes) -> float:
    """How long it took, in s."""
    began = asyncio.get_running_loop().time()
    peer[1].write(data)
    assert await peer[0].readexactly(len(data)) == data
    return asyncio.get_running_loop().time() - began


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("still not so after 4 s")


def leave(*peers: Peer) -> None:
    for _, writer in peers:
        writer.close()


async def test_a_good_line_delivers_every_byte_both_ways() -> None:
    data = bytes(range(256)) * 4096
    async with line(echo) as proxy:
        peer = await connect(proxy)
        await round_trip(peer, data)
        assert proxy.delivered == {"up": len(data), "down": len(data)}
        leave(peer)


async def test_each_direction_has_its_own_delay_and_jitter_keeps_the_order() -> None:
    async with line(echo) as proxy:
        peer = await connect(proxy)
        proxy.up = Line(delay_s=0.15)
        assert 0.15 <= await round_trip(peer, b"a") < 2
        proxy.down = Line(delay_s=0.15)
        assert 0.3 <= await round_trip(peer, b"b") < 2
        proxy.up, proxy.down = Line(jitter_s=0.05), Line()
        for n in range(10):
            peer[1].write(bytes([n]) * 100)
            await asyncio.sleep(0)
        assert await peer[0].readexactly(1000) == b"".join(bytes([n]) * 100 for n in range(10))
        leave(peer)


async def test_a_throttled_line_takes_the_time_its_bytes_need() -> None:
    async with line(echo) as proxy:
        peer = await connect(proxy)
        proxy.up = Line(bytes_per_s=500_000)
        assert await round_trip(peer, bytes(200_000)) > 0.3
        leave(peer)


async def test_a_stalled_line_holds_back_what_it_took_and_no_more_than_its_buffer() -> None:
    taken = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        while chunk := await reader.read(65536):
            taken += len(chunk)
        writer.write(b"all")

    async with line(count) as proxy:
        reader, writer = await connect(proxy)
        proxy.vanish()
        size = 4 * BUFFERED + 8 * 2**20  # more than the kernel's buffers of both sockets hold besides
        writer.write(bytes(size))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await writer.drain()
        assert taken == 0
        proxy.heal()
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"all"
        assert taken == size
        writer.close()


async def test_a_corrupt_line_changes_about_its_share_of_bytes_and_keeps_their_number() -> None:
    async with line(echo) as proxy:
        reader, writer = await connect(proxy)
        proxy.up = Line(corrupt=0.1)
        writer.write(bytes(100_000))
        came = await reader.readexactly(100_000)
        assert 8_000 < sum(byte != 0 for byte in came) < 12_000
        leave((reader, writer))


async def test_a_cut_resets_everybody_and_lets_nobody_in_until_it_heals() -> None:
    async with line(echo) as proxy:
        peer = await connect(proxy)
        await round_trip(peer, b"a")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await peer[0].read(1)
        late = await connect(proxy)
        with pytest.raises(ConnectionResetError):
            await late[0].read(1)
        proxy.heal()
        again = await connect(proxy)
        await round_trip(again, b"b")
        assert (proxy.accepted, proxy.connections) == (2, 1)
        leave(peer, late, again)


async def test_a_half_close_ends_one_direction_and_the_other_goes_on() -> None:
    async def after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"request"
        writer.write(b"answer")

    async with line(after_the_end) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"request")
        await eventually(lambda: proxy.delivered["up"] == len(b"request"))
        proxy.half_close("up")
        assert await reader.read() == b"answer"
        writer.close()


async def test_an_end_is_passed_on_both_ways() -> None:
    async with line(echo) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"last")
        writer.write_eof()
        assert await reader.read() == b"last"
        writer.close()
        await eventually(lambda: proxy.connections == 0)


async def test_a_server_that_is_away_is_a_reset() -> None:
    async with line(echo) as proxy:
        proxy.target = ("127.0.0.1", 1)
        reader, writer = await connect(proxy)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


def test_the_proxy_of_a_thread_is_told_from_outside() -> None:
    with ProxyThread(("127.0.0.1", 1)) as thread:
        assert thread.url.startswith("http://127.0.0.1:")
        thread.do(Proxy.vanish)
        assert thread.do(lambda proxy: proxy.up.stalled)
        thread.do(Proxy.heal)
        assert not thread.do(lambda proxy: proxy.up.stalled)
