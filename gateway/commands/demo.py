"""`framegate demo`: a gateway, a drawn scene, and the truth about it. Needs no camera, model, key or network.

The scene goes the way the oldest client goes: POST /stream/request, then JPEG data URLs as text over the WebSocket. So
the demo is an end-to-end check too: it exits 0 only if the events of `motion` agree with the scene's script, which is
on disk before the first frame.
"""

from __future__ import annotations

import asyncio
import base64
import json as jsonlib
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from gateway.commands.child import HOST, GatewayFailed, gateway_process
from gateway.commands.describe import describe_event
from gateway.commands.first_start import own_gateways_token
from gateway.commands.ports import next_free
from gateway.commands.report import TOLERANCE_S, Run, Seen, document, expect, judge, text
from gateway.commands.scene import PERIOD_S, Scene, truth

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings

FPS = 12.0
SECONDS = 20.0  # when nobody can press Ctrl-C
WARM_UP_S = 30.0  # the scene stands still this long at most, until `motion` answers
NEXT = """next: framegate serve, then framegate push FILE; framegate models list (weights for people, bags, smoking);
      framegate doctor (what this machine can do)"""
LAST_WORDS_S = 5.0  # for what is still said after the stream was ended


def demo(settings: Settings, *, seconds: float | None, json: bool, port: int) -> int:
    """The exit code: 0 if what was seen agrees with the scene's script."""
    if seconds is None and (json or not sys.stdout.isatty()):
        seconds = SECONDS
    say = partial(print, file=sys.stderr if json else sys.stdout, flush=True)
    folder = settings.home / "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run = asyncio.run(Demo(settings, folder, seconds, say).run(port))
    except (GatewayFailed, OSError, httpx2.RequestError) as error:
        raise SystemExit(f"demo: {error}") from None
    print(jsonlib.dumps(document(run), indent=2) if json else f"\n{text(run)}\n\n{NEXT}")
    return 0 if run.agrees else 1


class Demo:
    """One run. `seconds` None means until a signal stops it."""

    def __init__(self, settings: Settings, folder: Path, seconds: float | None, say: Any) -> None:
        self._folder, self._seconds, self._say = folder, seconds, say
        token = own_gateways_token(settings)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._stop = asyncio.Event()
        self._warm = asyncio.Event()
        self._began = datetime.now(UTC)
        self._seen: dict[str, Seen] = {}

    async def run(self, first_port: int) -> Run:
        port = next_free(HOST, first_port)
        if port != first_port:
            self._say(f"port {first_port} is taken, using {port}")
        log = self._folder / f"gateway-{self._stamp}.log"
        with _signals(self._stop):
            async with gateway_process(port, log) as child:
                self._say(f"gateway: pid {child.pid}, log {log}")
                base = f"http://{HOST}:{port}"
                async with httpx2.AsyncClient(base_url=base, headers=self._headers, timeout=10.0) as http:
                    return await self._stream(http, base)

    async def _stream(self, http: httpx2.AsyncClient, base: str) -> Run:
        answer = await http.post("/stream/request", json={"name": "demo"})
        if answer.status_code != 200:
            raise GatewayFailed(f"POST /stream/request answered {answer.status_code}: {answer.text[:200]}")
        ticket = answer.json()
        run = Run(ticket["stream_id"], _urls(base, ticket), 0.0, str(self._write_truth()))
        for name, url in run.urls.items():
            self._say(f"{name + ':':9} {url}")
        address = urljoin(base.replace("http", "ws", 1), ticket["websocket_url"])
        try:
            async with connect(address, compression=None, max_size=None, additional_headers=self._headers) as socket:
                await self._drive(http, socket, run)
        except* (WebSocketException, httpx2.RequestError) as errors:
            run.failure = f"the gateway went away: {errors.exceptions[0]}"
        run.rows = judge(expect(truth(run.seconds), run.seconds), list(self._seen.values()))
        return run

    def _write_truth(self) -> Path:
        """What must be seen, on disk before the first frame is sent."""
        planned = self._seconds or PERIOD_S
        path = self._folder / f"truth-{self._stamp}.json"
        content = {
            "about": "Intervals of motion, in seconds since the scene began; it repeats every period_s.",
            "period_s": PERIOD_S,
            "tolerance_s": TOLERANCE_S,
            "seconds": self._seconds,
            "motion": [asdict(interval) for interval in truth(planned)],
        }
        path.write_text(jsonlib.dumps(content, indent=2) + "\n")
        return path

    async def _drive(self, http: httpx2.AsyncClient, socket: ClientConnection, run: Run) -> None:
        """Send and listen, ask for the figures, end the stream and hear its last words."""
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen(socket, run))
            with suppress(WebSocketException):  # the listener knows more about why
                await self._send(socket, run)
            run.status = (await http.get(f"/stream/{run.stream_id}")).json()
            await http.delete(f"/stream/{run.stream_id}")
            await asyncio.wait([listening], timeout=LAST_WORDS_S)
            listening.cancel()

    async def _send(self, socket: ClientConnection, run: Run) -> None:
        scene, clock = Scene(), asyncio.get_running_loop().time
        await self._warm_up(socket, scene, run)
        began, self._began = clock(), datetime.now(UTC)
        self._say("the scene begins" + ("" if self._seconds else "; Ctrl-C ends it"))
        while not self._stop.is_set() and (self._seconds is None or clock() - began < self._seconds):
            run.seconds = clock() - began  # the scene's own clock: a late frame shows a later moment
            await _send_picture(socket, scene, run, run.seconds)
            await _sleep_until(self._stop, began + (int((clock() - began) * FPS) + 1) / FPS)
        run.seconds = clock() - began

    async def _warm_up(self, socket: ClientConnection, scene: Scene, run: Run) -> None:
        """Show the still yard until `motion` has answered once: its worker may take seconds to load."""
        deadline = asyncio.get_running_loop().time() + WARM_UP_S
        while not (self._warm.is_set() or self._stop.is_set()):
            now = asyncio.get_running_loop().time()
            if now > deadline:
                self._say(f"motion has not answered within {WARM_UP_S:.0f} s")
                self._warm.set()
            await _send_picture(socket, scene, run, 0.0)
            await _sleep_until(self._warm, now + 1 / FPS)

    async def _listen(self, socket: ClientConnection, run: Run) -> None:
        """Take in every message until the socket closes."""
        with suppress(WebSocketException):
            async for message in socket:
                item = jsonlib.loads(message)
                if item["type"] in ("hello", "status"):
                    self._analyzers(item.get("analyzers", ()))
                elif item["type"] == "result":
                    self._result(item, run)
                elif item["type"] == "event":
                    self._event(item, run)
                elif item["type"] == "error":
                    self._say(f"the gateway says: {item.get('code')}: {item.get('detail')}")

    def _analyzers(self, states: Sequence[dict[str, Any]]) -> None:
        """Do not wait for a `motion` that will never answer."""
        state = next((item["state"] for item in states if item["name"] == "motion"), "not running")
        if state in ("failed", "not running") and not self._warm.is_set():
            self._say(f"motion is {state}")
            self._warm.set()

    def _result(self, item: dict[str, Any], run: Run) -> None:
        for name, result in item["analyzers"].items():
            if "age_ms" in result:
                run.ages_ms.setdefault(name, []).append(float(result["age_ms"]))
                if name == "motion":
                    self._warm.set()

    def _event(self, item: dict[str, Any], run: Run) -> None:
        now = (datetime.now(UTC) - self._began).total_seconds()
        self._say(f"{now:6.1f} s  {describe_event(item)}")
        if item["phase"] == "new":
            run.events[item["analyzer"]] = run.events.get(item["analyzer"], 0) + 1
        if item["event_type"] == "motion":
            end = self._at(item["ended_at"]) if item["ended_at"] else None  # its clip may be told after its end
            self._seen[item["id"]] = Seen(item["id"], self._at(item["started_at"]), end)

    def _at(self, moment: str) -> float:
        return round((datetime.fromisoformat(moment) - self._began).total_seconds(), 3)


async def _send_picture(socket: ClientConnection, scene: Scene, run: Run, at: float) -> None:
    await socket.send("data:image/jpeg;base64," + base64.b64encode(scene.jpeg(at)).decode("ascii"))
    run.sent += 1


async def _sleep_until(event: asyncio.Event, when: float) -> None:
    """Until `when` on the loop's clock, or until the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(when):
            await event.wait()


def _urls(base: str, ticket: dict[str, Any]) -> dict[str, str]:
    paths = {"viewer": ticket["viewer_url"], "mjpeg": ticket["video_url"], "docs": "/docs", "metrics": "/metrics"}
    return {name: urljoin(base, path) for name, path in paths.items()}


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """While inside, Ctrl-C and SIGTERM ask for the end instead of breaking in."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
