"""`framegate plugin dev`: a plugin's file in a gateway of its own, reloaded whenever it is saved."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2

from gateway.commands.child import HOST, GatewayFailed, gateway_process
from gateway.commands.dev_screen import DevScreen
from gateway.commands.dev_source import dev_source
from gateway.commands.first_start import own_gateways_token
from gateway.commands.ports import next_free
from gateway.commands.push import feed
from gateway.commands.saved import SavedFile
from gateway.commands.sources import Source, SourceFailed
from gateway.commands.stream_client import Refused, StreamClient, Target
from gateway.engine.source import Source as Code
from gateway.hookspecs import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from gateway.settings import Settings

LOOK_S = 0.15  # between two looks at the file: a save is taken over after two of them
ASK_S = 1.0  # between two questions how the analyzers are
RELOAD_S = 330.0  # the gateway gives up loading a model after 300


@dataclass(frozen=True, slots=True)
class Dev:
    """What was asked for. `source` None: the drawn scene; `seconds` None: until Ctrl-C."""

    file: Path
    source: str | None = None
    fps: float | None = None
    options: tuple[str, ...] = ()
    trace: bool = False
    json: bool = False
    seconds: float | None = None
    port: int = 8000


def plugin_dev(settings: Settings, wish: Dev) -> int:
    """The exit code: 0 when it was stopped. Raises `SystemExit` for what makes no sense."""
    log = _log(settings, wish)
    token = own_gateways_token(settings)
    leave_out(wish.file)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        source = dev_source(wish.source, wish.fps)
        return asyncio.run(_Run(wish, source, log, token).run())
    except BrokenPipeError:  # whoever read what we print has gone
        raise
    except httpx2.RequestError as error:
        raise SystemExit(f"plugin dev: the gateway has gone ({error}); its log: {_log(settings, wish)}") from None
    except (GatewayFailed, Refused, SourceFailed, OSError) as error:
        raise SystemExit(f"plugin dev: {error}") from None


def _log(settings: Settings, wish: Dev) -> Path:
    return settings.home / "dev" / f"{wish.file.stem}.log"


class _Run:
    """One run of the command. The gateway is started again only where reloading in place cannot do."""

    def __init__(self, wish: Dev, source: Source, log: Path, token: str) -> None:
        self.wish, self.source, self._log = wish, source, log
        self.token = token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.screen = DevScreen(trace=wish.trace, json=wish.json)
        self.file = SavedFile(wish.file)
        self.options = _options(wish.options)
        self.stop = asyncio.Event()
        self._timed = False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop.set)
        port = next_free(HOST, self.wish.port)
        while not self.stop.is_set():
            async with gateway_process(port, self._log, "--plugin", str(self.wish.file.resolve())) as child:
                self.screen.say("gateway", f"gateway: pid {child.pid}, log {self._log}", pid=child.pid)
                base = f"http://{HOST}:{port}"
                async with httpx2.AsyncClient(base_url=base, headers=self._headers, timeout=10.0) as http:
                    await _Life(self, http, base).run()
        return 0

    def begin(self) -> None:
        """There is something to see: the seconds that were asked for count from now."""
        if self.wish.seconds is not None and not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(self.wish.seconds, self.stop.set)


class _Life:
    """One gateway from its start to its end: ends when it was stopped, or when a new gateway must take the new code."""

    def __init__(self, run: _Run, http: httpx2.AsyncClient, base: str) -> None:
        self._run, self._http, self._base = run, http, base
        self._screen, self._file = run.screen, run.file
        self._names: list[str] = []
        self._stream = ""
        self._code: Code | None = None
        self._worker: int | None = None

    async def run(self) -> None:
        plugin = await self._plugin()
        self._names, self._worker = plugin["analyzers"], plugin["worker"]["pid"]
        self._run.begin()
        if not self._names:
            self._broken(plugin)
            await _first_of(self._next_save(), self._run.stop.wait())
            return
        with suppress(SyntaxError, ValueError):
            self._code = Code(self._file.text, str(self._run.wish.file))
        client = await self._open()
        feeding = (
            client.run(),
            feed(self._run.source, client),
            self._asking(),
            self._watching(),
            self._run.stop.wait(),
        )
        await _first_of(*feeding)

    def _broken(self, plugin: dict[str, Any]) -> None:
        before, _, last = (plugin["traceback"] or "there is no analyzer in it").strip().rpartition("\n")
        lines = [f"{self._run.wish.file} cannot be loaded: {last}", before, "waiting for you to save it"]
        self._screen.say("broken", "\n".join(filter(None, lines)))

    async def _plugin(self) -> dict[str, Any]:
        path = str(self._run.wish.file.resolve())
        items = (await self._http.get("/api/plugins")).json()["items"]
        found: dict[str, Any] = next(item for item in items if item["source"] == path)
        return found

    async def _open(self) -> StreamClient:
        options = dict.fromkeys(self._names, self._run.options) if self._run.options else {}
        wish = {"name": "plugin dev", "analyzers": self._names, "options": options}
        answer = await self._http.post("/stream/request", json=wish)
        if answer.status_code != 200:
            raise Refused(f"POST /stream/request: {answer.status_code}: {answer.json().get('detail')}")
        ticket = answer.json()
        self._stream = ticket["stream_id"]
        viewer = f"{self._base}{ticket['viewer_url']}"
        about = {"viewer": viewer, "stream_id": self._stream, "analyzers": self._names}
        self._screen.say(
            "stream", f"{', '.join(self._names)} on {self._run.source.name}; look at it: {viewer}", **about
        )
        target = Target(self._base, self._stream, self._run.token)
        return StreamClient(target, ticket["websocket_url"], self._screen.tell, publish=True)

    async def _asking(self) -> None:
        """Say how the analyzers are whenever that changes."""
        while True:
            for item in (await self._http.get("/api/analyzers")).json()["items"]:
                if item["name"] in self._names:
                    self._screen.analyzer(item)
            await asyncio.sleep(ASK_S)

    async def _next_save(self) -> None:
        while self._file.look() is None:  # noqa: ASYNC110 - a file system has no event to wait for
            await asyncio.sleep(LOOK_S)

    async def _watching(self) -> None:
        """Take over what is saved, until a new gateway must do it."""
        again = False
        while not again:
            await self._next_save()
            again = not await self._reload()

    async def _reload(self) -> bool:
        """Whether the gateway could do it."""
        try:
            code = Code(self._file.text, str(self._run.wish.file))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 0
            self._refused(f"{self._run.wish.file}:{line}: {type(error).__name__}: {getattr(error, 'msg', error)}")
            return True
        name = quote(self._names[0], safe="")
        answer = (await self._http.post(f"/api/analyzers/{name}/reload", timeout=RELOAD_S)).json()
        reason = str(answer.get("reason") or "")
        if reason.startswith("not reloaded: "):
            self._refused(reason.removeprefix("not reloaded: "))
            return True
        plugin = await self._plugin()
        if plugin["analyzers"] != self._names:
            self._screen.say("restart", "the file has other analyzers now: the gateway is started again")
            return False
        same, self._worker = plugin["worker"]["pid"] == self._worker, plugin["worker"]["pid"]
        self._taken(code, answer, same_worker=same)
        return True

    def _refused(self, reason: str) -> None:
        self._screen.say("refused", f"not reloaded, the code before runs on: {reason}", reason=reason)

    def _taken(self, code: Code, answer: dict[str, Any], *, same_worker: bool) -> None:
        """Say what became of the model. Only text that was taken over is compared with the next."""
        kept = same_worker and self._code is not None and code.loads_as(self._code)
        self._code = code
        how = "the model stayed loaded" if kept else "the model was loaded anew"
        state = str(answer.get("state"))
        text = f"reloaded, {how}" if state in ("ready", "idle", "loading") else f"reloaded: {state}: {answer['reason']}"
        self._screen.say("reloaded", text, model="kept" if kept else "loaded", state=state)


def leave_out(file: Path) -> None:
    """While its file is run, the same plugin as it is installed would be a second one of its name."""
    given = os.environ.get("FRAMEGATE_PLUGINS_OFF")
    off = list(jsonlib.loads(given)) if given else []
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        place = Path(*entry.module.split("."))
        parts = file.resolve().parts
        if any(parts[-len(tail.parts) :] == tail.parts for tail in (place.with_suffix(".py"), place / "__init__.py")):
            off.append(entry.name)
    os.environ["FRAMEGATE_PLUGINS_OFF"] = jsonlib.dumps(off)


async def _first_of(*doings: Any) -> None:
    """Run all until one has finished, then end the others. Raises what one of them raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(doing) for doing in doings]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    """From KEY=VALUE, where VALUE is JSON if it can be, else text."""
    options: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise Refused(f"--option expects KEY=VALUE, got {item!r}")
        try:
            options[key] = jsonlib.loads(value)
        except ValueError:
            options[key] = value
    return options
