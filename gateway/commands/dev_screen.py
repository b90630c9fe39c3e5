"""What `plugin dev` prints: what changed in what the analyzers see, events, tracebacks; as lines or as JSON lines."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.commands.describe import describe_event, describe_results

TOP_MEASURES = 4


class DevScreen:
    """`trace` prints every call; otherwise a result is printed when it shows something else than the one before."""

    def __init__(self, *, trace: bool, json: bool) -> None:
        self._trace, self._json = trace, json
        self._last: dict[str, str] = {}
        self._troubles: dict[str, str] = {}

    def say(self, kind: str, text: str, **fields: Any) -> None:
        """One line, now."""
        if self._json:
            print(jsonlib.dumps({"kind": kind, "text": text, **fields}, ensure_ascii=False), flush=True)
        else:
            print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)

    def tell(self, message: dict[str, Any]) -> None:
        """A message of the stream's socket."""
        match message.get("type"):
            case "result":
                for name, result in message.get("analyzers", {}).items():
                    self._result(name, result, message.get("seq"))
            case "event":
                self.say("event", describe_event(message), event=message)
            case "error":
                self.say("error", f"the gateway says: {message.get('code')}: {message.get('detail')}")

    def _result(self, name: str, result: Mapping[str, Any], seq: object) -> None:
        plain = {key: value for key, value in result.items() if key != "age_ms"}
        seen = describe_results({name: plain})
        if self._trace:
            self.say("call", f"frame {seq}  {seen}{_figures(result)}", seq=seq, result=result)
        elif self._last.get(name) != seen:
            self.say("result", f"frame {seq}  {seen}{_figures(result)}", seq=seq, result=result)
        self._last[name] = seen

    def analyzer(self, about: Mapping[str, Any]) -> None:
        """An analyzer's state of `GET /api/analyzers`: said when it changes, with the traceback if there is one."""
        trouble = about.get("reason") or ""
        if about["state"] in ("ready", "idle", "loading") and not about.get("traceback"):
            trouble = ""
        if self._troubles.get(about["name"], "") == trouble:
            return
        self._troubles[about["name"]] = trouble
        if trouble:
            trace = (about.get("traceback") or "").rstrip()
            text = f"{about['name']} is {about['state']}: {trouble}" + (f"\n{trace}" if trace else "")
            self.say("trouble", text, analyzer=about["name"], state=about["state"])


def _figures(result: Mapping[str, Any]) -> str:
    """How long it took, and the first of its measures."""
    words = [f"{result['latency_ms']:.1f} ms"] if "latency_ms" in result else []
    measures = list((result.get("measures") or {}).items())[:TOP_MEASURES]
    words += [f"{key} {value:.4g}" for key, value in measures]
    if data := result.get("data"):
        text = jsonlib.dumps(data, ensure_ascii=False)
        words.append(text if len(text) <= 60 else text[:57] + "...")
    return "".join(f"  {word}" for word in words)
