"""AnalyzerHost: holds the analyzers of one worker and runs jobs, stage by stage.

It lives in a worker process (or in a thread, if the operator says so) and knows nothing of sockets. A job is a frame
and the analyzers that are to see it, in order; each stage is answered as soon as it is done. The frame is decoded at
most once for all of them.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Lock
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo, fill_options
from gateway.convert import to_result
from gateway.engine.plugins import PluginSpec, load, manifest_json
from gateway.errors import BadImage, GatewayError, UnknownOption
from gateway.frame import Frame
from gateway.results import Result, result_from_json, result_to_json

log = logging.getLogger(__name__)

Report = dict[str, Any]


class AnalyzerHost:
    """One worker's analyzers. `run` is called by one thread at a time; `prepare` may run beside it on another."""

    def __init__(self, specs: list[PluginSpec], options: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = options
        self._loaded = load(specs)
        self._ready: dict[str, Analyzer] = {}
        self._memories: dict[tuple[str, str], Any] = {}
        self._preparing = Lock()

    def hello(self) -> Report:
        """The manifests of all analyzers and the tracebacks of plugins that did not load."""
        manifests = [
            {**manifest_json(self._loaded.manifests[name]), **self._fitness(cls)}
            for name, (cls, _) in self._loaded.analyzers.items()
        ]
        return {"t": "hello", "analyzers": manifests, "failed": self._loaded.failed}

    def _fitness(self, cls: type[Analyzer]) -> dict[str, str | None]:
        """Whether an analyzer could run here: its options fit, and its weights are there."""
        try:
            return {"missing": cls.missing(self._options(cls)), "failed": None}
        except GatewayError as error:
            return {"missing": None, "failed": str(error)}
        except Exception:  # noqa: BLE001 - foreign code
            return {"missing": None, "failed": traceback.format_exc(limit=-3)}

    def _options(self, cls: type[Analyzer], wishes: Mapping[str, Any] | None = None) -> Any:
        return fill_options(cls, {**self._settings.get(cls.name, {}), **(wishes or {})})

    def prepare(self, name: str) -> Report:
        """Load one analyzer's model. Seconds, off the frame path; answers with the state that came of it."""
        try:
            with self._preparing:
                if name not in self._ready:
                    cls, _ = self._loaded.analyzers[name]
                    options = self._options(cls)
                    if reason := cls.missing(options):
                        return {"t": "state", "analyzer": name, "state": "failed", "reason": reason}
                    self._ready[name] = cls(options)
        except (Exception, SystemExit) as error:
            log.warning("analyzer %s: failed to start", name, exc_info=True)
            return {
                "t": "state",
                "analyzer": name,
                "state": "failed",
                "reason": _one_line(error),
                "traceback": traceback.format_exc(limit=-6),
            }
        return {"t": "state", "analyzer": name, "state": "ready"}

    def run(self, job: Mapping[str, Any], jpeg: bytes) -> Iterator[Report]:
        """The stages of one job, each reported when it is done; a stage whose need is absent is skipped."""
        results: dict[str, Result] = {name: result_from_json(item) for name, item in job["results"].items()}
        frame = _frame(job["frame"], jpeg, results)
        for stage in job["stages"]:
            started = time.perf_counter()
            report: Report = {"t": "stage", "analyzer": stage["name"]}
            try:
                result = self._call(stage, job["session"], frame)
            except (BadImage, UnknownOption) as error:  # the sender's mistake, not the analyzer's
                report["skipped"], report["reason"] = error.code, str(error)
            except (Exception, SystemExit) as error:
                log.warning("analyzer %s: frame %d failed", stage["name"], frame.seq, exc_info=True)
                report["error"] = _one_line(error)
                report["traceback"] = traceback.format_exc(limit=-6)
            else:
                if isinstance(result, str):
                    report["skipped"] = result
                else:
                    results[stage["name"]] = result
                    report["result"] = result_to_json(result)
            report["ms"] = round((time.perf_counter() - started) * 1e3, 2)
            yield report

    def _call(self, stage: Mapping[str, Any], session: Mapping[str, Any], frame: Frame) -> Result | str:
        """The analyzer's result, or the reason why it was not asked, in the word drops are counted under."""
        name = stage["name"]
        analyzer = self._ready.get(name)
        if analyzer is None:
            return "loading"
        for need in analyzer.needs:
            if need not in frame.results:
                return "needs"
        return to_result(analyzer.analyze(frame, self._memory(analyzer, stage, session)), frame, analyzer.labels)

    def _memory(self, analyzer: Analyzer, stage: Mapping[str, Any], session: Mapping[str, Any]) -> Any:
        """What the analyzer remembers of this session; opened with its first frame."""
        key = (session["stream_id"], analyzer.name)
        if key not in self._memories:
            options = self._options(type(analyzer), stage["options"])
            info = SessionInfo(session["stream_id"], session["camera_id"], session["name"], options)
            self._memories[key] = analyzer.open(info)
        return self._memories[key]

    def forget(self, stream_id: str) -> None:
        """A session is over: drop what was remembered of it."""
        for key in [key for key in self._memories if key[0] == stream_id]:
            del self._memories[key]

    def close(self) -> None:
        """Close every analyzer, whatever one of them thinks of it."""
        for name, analyzer in self._ready.items():
            _quietly(analyzer.close, f"analyzer {name}: close failed")
        self._ready.clear()


def _frame(item: Mapping[str, Any], jpeg: bytes, results: dict[str, Result]) -> Frame:
    captured = item["captured_at"]
    return Frame(
        seq=item["seq"],
        received_at=item["received_at"],
        width=item["width"],
        height=item["height"],
        jpeg=jpeg,
        captured_at=datetime.fromisoformat(captured) if captured else None,
        at=item["at"],
        results=results,
    )


def _one_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def _quietly(call: Callable[[], object], complaint: str) -> None:
    try:
        call()
    except Exception:
        log.warning(complaint, exc_info=True)
