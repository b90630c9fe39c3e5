"""A gateway of its own in a child process: started, waited for, ended by its id."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

START_S = 60.0  # a cold start on a small machine compiles bytecode first
END_S = 15.0  # the gateway promises 10

HOST = "127.0.0.1"


class GatewayFailed(Exception):
    """The child did not come up or went away; one line, with the last of its log."""


@asynccontextmanager
async def gateway_process(port: int, log: Path, *arguments: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A running gateway on loopback, ready for clients; `arguments` are more of `serve`. Raises `GatewayFailed`.

    It has a process group of its own, so that Ctrl-C in the terminal reaches us alone and we end it when we are done.
    """
    child = _start(port, log, arguments)
    try:
        await _ready(child, f"http://{HOST}:{port}/ready", log)
        yield child
    finally:
        await asyncio.shield(asyncio.to_thread(end, child))


def _start(port: int, log: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "serve", "--host", HOST, "--port", str(port), *arguments]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            env={**os.environ, "FRAMEGATE_TLS": "false", "FRAMEGATE_CERT": "", "FRAMEGATE_KEY": ""},
        )


async def _ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(START_S), httpx2.AsyncClient(timeout=5.0) as http:
            while not await _answers(http, url):
                if child.poll() is not None:
                    raise GatewayFailed(f"the gateway did not start (exit code {child.returncode}): {last_line(log)}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise GatewayFailed(f"the gateway was not ready after {START_S:.0f} s; its log is {log}") from None


async def _answers(http: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx2.RequestError:
        return False


def last_line(log: Path) -> str:
    text = log.read_text(errors="replace").strip()
    return text.rpartition("\n")[2] or "it logged nothing"


def end(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL only if it does not listen."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
