"""`framegate watch`: a stream's events as they come, and one line on what its analyzers see."""

from __future__ import annotations

import asyncio
import json as jsonlib
import shutil
import sys
from datetime import datetime
from typing import Any

from gateway.commands.describe import describe_event, describe_results
from gateway.commands.stream_client import Refused, StreamClient, Target, get_stream

ENDS_WELL = {"ended", "deleted", "last_client_left", "never_joined", "lease_expired", "session_ended"}


def watch(stream: str, *, url: str, json: bool, token: str | None = None) -> int:
    """The exit code: 0 when the stream ended, 1 when it was lost."""
    try:
        return asyncio.run(_watch(_target(stream, url, token), json=json))
    except Refused as error:
        raise SystemExit(f"watch: {error}") from None


def _target(stream: str, url: str, token: str | None) -> Target:
    target = Target.parse(stream if "://" in stream else f"{url.rstrip('/')}/stream/{stream}", token)
    if target.stream_id is None:
        raise Refused(f"{stream} names no stream; expected an ID or http://HOST:PORT/stream/ID")
    return target


async def _watch(target: Target, *, json: bool) -> int:
    await get_stream(target)
    screen = _Json() if json else _Screen(live=sys.stdout.isatty())
    client = StreamClient(target, f"/ws/stream/{target.stream_id}", screen.tell, publish=False)
    reason = await client.run()
    screen.done(reason)
    return 0 if reason in ENDS_WELL else 1


class _Json:
    """Every message as one line."""

    def tell(self, message: dict[str, Any]) -> None:
        print(jsonlib.dumps(message, ensure_ascii=False), flush=True)

    def done(self, reason: str) -> None:
        pass


class _Screen:
    """Events as lines; below them, on a terminal, one line on the newest results that is written over."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._latest: dict[str, dict[str, Any]] = {}

    def tell(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "event":
                self._line(f"{datetime.now():%H:%M:%S}  {describe_event(message)}")
            case "error":
                self._line(f"the gateway says: {message.get('code')}: {message.get('detail')}")
            case "bye":
                self._line(f"the gateway says goodbye: {message.get('reason')}")
            case "result":
                self._latest.update(message.get("analyzers", {}))
                self._summary(message.get("seq"))

    def done(self, reason: str) -> None:
        self._line(f"the stream is over: {reason}")

    def _line(self, text: str) -> None:
        print(f"\r\x1b[K{text}" if self._live else text, flush=True)

    def _summary(self, seq: object) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\x1b[K" + f"frame {seq}  {describe_results(self._latest)}"[:width], end="", flush=True)
