"""AnalyzerHost: holds the analyzers of one worker and runs jobs, call by call.

It lives in a worker process (or in a thread, if the operator says so) and knows nothing of sockets. A job is frames of
some sessions and the analyzers that are to see them, in order; each call is answered as soon as it is done.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from threading import Lock
from typing import Any

from gateway.analyzer import Analyzer, fill_options
from gateway.convert import to_result
from gateway.engine.connectors import introduction
from gateway.engine.memories import Memories
from gateway.engine.plugins import PluginSpec, denied, load, manifest_json
from gateway.engine.reports import MAX_BATCH, MAX_TEXT, MAX_TRACEBACK, check_result
from gateway.engine.work import Decoder, Item, Work
from gateway.errors import BadImage, GatewayError, UnknownOption
from gateway.geometry import Areas, placed
from gateway.results import Result, result_to_json
from gateway.weights import examine

log = logging.getLogger(__name__)

Report = dict[str, Any]


@dataclass(slots=True, eq=False)
class _Ask:
    """One frame that an analyzer is asked about, and what came of it."""

    item: Item
    options: Mapping[str, Any]
    memory: Any = None
    areas: Areas | None = None  # the session's zones
    outcome: Report | None = None


class AnalyzerHost:
    """One worker's analyzers. `run` is called by one thread at a time; `begin` and `prepare` may run beside it."""

    def __init__(self, specs: list[PluginSpec], options: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = options
        self.loaded = load(specs)
        self.ready: dict[str, Analyzer] = {}
        self.preparing = Lock()
        self._files: dict[str, list[Report]] = {}  # an analyzer's weights, as they were when it was last prepared
        self._memories = Memories(self._options)
        self._decoder = Decoder()
        self._begun = self._done = 0  # jobs; each is counted by one thread

    def hello(self) -> Report:
        """The manifests of all analyzers and the tracebacks of plugins that did not load."""
        failed = {name: trace[-MAX_TRACEBACK:] for name, trace in self.loaded.failed.items()}
        connectors = [introduction(cls, spec) for cls, spec in self.loaded.connectors.values()]
        analyzers = [self.introduce(name) for name in self.loaded.analyzers]
        return {"t": "hello", "analyzers": analyzers, "connectors": connectors, "failed": failed}

    def introduce(self, name: str) -> dict[str, Any]:
        """An analyzer's manifest, and whether it could run here: its options fit, and its weights are there."""
        cls, spec = self.loaded.analyzers[name]
        refused = denied(cls, spec)
        fitness = {"missing": None, "failed": refused} if refused else self._fitness(cls)
        return {**manifest_json(self.loaded.manifests[name]), **fitness}

    def _fitness(self, cls: type[Analyzer]) -> dict[str, str | None]:
        try:
            return {"missing": cls.missing(self._options(cls)), "failed": None}
        except GatewayError as error:
            return {"missing": None, "failed": str(error)}
        except Exception:  # noqa: BLE001 - foreign code
            return {"missing": None, "failed": _trace(3)}

    def _options(self, cls: type[Analyzer], wishes: Mapping[str, Any] | None = None) -> Any:
        return own_options(cls, {**self._settings.get(cls.name, {}), **(wishes or {})})

    def prepare(self, name: str) -> Report:
        """Load one analyzer's model. Seconds, off the frame path; answers with the state that came of it."""
        try:
            with self.preparing:
                if name not in self.ready:
                    cls, spec = self.loaded.analyzers[name]
                    options = self._options(cls)
                    if reason := denied(cls, spec) or cls.missing(options):
                        return {"t": "state", "analyzer": name, "state": "failed", "reason": reason[:MAX_TEXT]}
                    files = self._files[name] = [examine(path) for path in cls.weights(options)]
                    if wrong := [file for file in files if file["state"] == "wrong"]:
                        return _not_official(name, wrong[0], files)
                    self.ready[name] = cls(options)
                about = {**_about(self.ready[name]), "weights": self._files.get(name, [])}
                return {"t": "state", "analyzer": name, "state": "ready", **about}
        except (Exception, SystemExit) as error:
            log.warning("analyzer %s: failed to start", name, exc_info=True)
            trouble = {"reason": _one_line(error), "traceback": _trace(), "weights": self._files.get(name, [])}
            return {"t": "state", "analyzer": name, "state": "failed", **trouble}

    # --- jobs --------------------------------------------------------------------------------------------------------

    def begin(self, job: Mapping[str, Any], pictures: Sequence[bytes]) -> Work:
        """Take a job. If another one is still running, its frames are decoded meanwhile."""
        busy = self._begun > self._done
        self._begun += 1
        return self._decoder.unpack(job, pictures, self.ready, ahead=busy)

    def run(self, work: Work) -> Iterator[Report]:
        """The calls of one job, each reported when it is done; a frame for which a need is absent is skipped."""
        try:
            for call in work.calls:
                yield from self._call(call, work)
        finally:
            self._done += 1

    def _call(self, call: Mapping[str, Any], work: Work) -> Iterator[Report]:
        """Ask one analyzer about some frames: all at once if it can, and each alone when that raised."""
        started = time.perf_counter()
        name, asks = call["analyzer"], [_Ask(work.items[entry["item"]], entry["options"]) for entry in call["items"]]
        analyzer = self.ready.get(name)
        for ask in asks:
            ask.outcome = self._admit(analyzer, ask)
        if analyzer is not None:
            self._batch(analyzer, [ask for ask in asks if ask.outcome is None])
            for number, ask in enumerate(asks):
                if ask.outcome is None:
                    if len(asks) > 1:
                        yield {"t": "alone", "analyzer": name, "item": number}
                    ask.outcome = _tried(analyzer, ask, _look)
        ms = round((time.perf_counter() - started) * 1e3, 2)
        yield {"t": "call", "analyzer": name, "ms": ms, "outcomes": [ask.outcome for ask in asks]}

    def _admit(self, analyzer: Analyzer | None, ask: _Ask) -> Report | None:
        """Why the analyzer is not asked about a frame, in the word drops are counted under; None if it is."""
        if analyzer is None:
            return {"skipped": "loading"}
        if any(need not in ask.item.results for need in analyzer.needs):
            return {"skipped": "needs"}
        return _tried(analyzer, ask, self._equip)

    def _equip(self, analyzer: Analyzer, ask: _Ask) -> None:
        """Its memory is there, and its picture, if that is being decoded."""
        ask.memory = self._memories.of(analyzer, ask.item.session, ask.options)
        ask.areas = self._memories.areas(ask.item.session)
        if analyzer.pixels:
            ask.item.wait()

    def _batch(self, analyzer: Analyzer, asks: list[_Ask]) -> None:
        """Ask about several frames at once; what has no outcome then is to be asked about alone."""
        if len(asks) < 2 or not _batches(analyzer):
            return
        try:
            values = list(analyzer.analyze_batch([ask.item.frame for ask in asks], [ask.memory for ask in asks]))
        except (Exception, SystemExit):
            log.warning("analyzer %s: a batch of %d frames failed", analyzer.name, len(asks), exc_info=True)
            return
        if len(values) != len(asks):
            error = f"TypeError: analyze_batch gave {len(values)} results for {len(asks)} frames"
            for ask in asks:
                ask.outcome = {"error": error}
            return
        for ask, value in zip(asks, values, strict=True):
            ask.outcome = _tried(analyzer, ask, partial(_result, value=value))

    # --- memories ----------------------------------------------------------------------------------------------------

    def forget(self, stream_id: str, analyzer: str | None = None) -> None:
        """A session is over, or does without this analyzer: drop what was remembered of it."""
        self._memories.forget(stream_id, analyzer)

    def forget_analyzer(self, name: str) -> None:
        """An analyzer begins anew with every session."""
        self._memories.forget(analyzer=name)

    def close(self) -> None:
        """Close every analyzer, whatever one of them thinks of it."""
        for name, analyzer in self.ready.items():
            _quietly(analyzer.close, f"analyzer {name}: close failed")
        self.ready.clear()
        self._decoder.close()


def _look(analyzer: Analyzer, ask: _Ask) -> Report:
    return _result(analyzer, ask, analyzer.analyze(ask.item.frame, ask.memory))


def _result(analyzer: Analyzer, ask: _Ask, value: Any) -> Report:
    """What an analyzer returned for a frame, as a result, which analyzers that need it see from now on."""
    result: Result = to_result(value, ask.item.frame, analyzer.labels)
    if ask.areas:
        result = placed(result, ask.areas)
    told = check_result(result_to_json(result))
    ask.item.results[analyzer.name] = result
    return {"result": told}


def _tried(analyzer: Analyzer, ask: _Ask, act: Callable[[Analyzer, _Ask], Report | None]) -> Report | None:
    """The outcome of foreign code, which may break."""
    try:
        return act(analyzer, ask)
    except (BadImage, UnknownOption) as error:  # the sender's mistake, not the analyzer's
        code = BadImage.code if isinstance(error, BadImage) else UnknownOption.code
        return {"skipped": code, "reason": str(error)[:MAX_TEXT]}
    except (Exception, SystemExit) as error:
        log.warning("analyzer %s: frame %d failed", analyzer.name, ask.item.frame.seq, exc_info=True)
        return {"error": _one_line(error), "traceback": _trace()}


def own_options(cls: type[Analyzer], chosen: Mapping[str, Any]) -> Any:
    """Its options as chosen; `labels` and `zones` are the gateway's to heed unless it has an option of that name."""
    known = {field.name for field in fields(cls.Options)}
    return fill_options(cls, {k: v for k, v in chosen.items() if k not in ("labels", "zones") or k in known})


def _batches(analyzer: Analyzer) -> bool:
    return type(analyzer).analyze_batch is not Analyzer.analyze_batch


def _about(analyzer: Analyzer) -> Report:
    """What an analyzer knows once its model is loaded: how many frames it likes at once (0: one), what it runs on."""
    device = getattr(analyzer, "device", None)
    batch = min(MAX_BATCH, max(0, int(analyzer.batch))) if _batches(analyzer) else 0
    return {"batch": batch, "device": None if device is None else str(device)[:MAX_TEXT]}


def _not_official(name: str, wrong: Report, files: list[Report]) -> Report:
    """The answer about an analyzer one of whose files is not what its name says."""
    reason = (
        f"{wrong['path']} is not the published {wrong['file']}: its SHA-256 is {wrong['sha256']}, expected "
        f"{wrong['expected']}. If it was cut or damaged, delete it and run `framegate models pull {wrong['name']}`; if "
        f"it is your own, give it another name and set option model"
    )
    return {"t": "state", "analyzer": name, "state": "failed", "reason": reason[:MAX_TEXT], "weights": files}


def _one_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def _trace(frames: int = 6) -> str:
    """The traceback of the exception being handled, as far as it is the analyzer's."""
    return traceback.format_exc(limit=-frames)[:MAX_TRACEBACK]


def _quietly(call: Callable[[], object], complaint: str) -> None:
    try:
        call()
    except Exception:
        log.warning(complaint, exc_info=True)
