"""Rules about the class and its module: import, contract, options."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo, fill_options, options_schema
from gateway.engine.plugins import BUILT_IN
from gateway.errors import UnknownOption
from gateway.results import Result, plain_json
from gateway.testing.material import CONTENTS, SCENE_NAMES, Moment, stream
from gateway.testing.rules import HEAVY, IMPORT_S
from gateway.testing.subject import Outcome, Refused, Subject, Unjudged, one_line, outcome_of

Measured = dict[str, Any]

_PROBE = "no_such_option"
_SOCKETS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")


def examine_import(subject: Subject) -> Measured:
    """Time and side effects of the import, numpy and OpenCV being there already."""
    for library in ("cv2", "numpy"):
        import_module(library)
    before, threads, seen = set(sys.modules), threading.active_count(), listen()
    began = time.perf_counter()
    try:
        subject.load()
    except Unjudged as error:
        raise Refused(f"at import: {seen[0]}" if seen else str(error)) from None
    took = time.perf_counter() - began
    if heavy := sorted({name.partition(".")[0] for name in set(sys.modules) - before} & set(HEAVY)):
        raise Refused(f"imports {', '.join(heavy)} at the top of the module")
    if seen:
        raise Refused(f"at import: {seen[0]}")
    if threading.active_count() > threads:
        raise Refused(f"starts a thread at import: {threading.enumerate()[-1].name}")
    if took > IMPORT_S:
        raise Refused(f"takes {took:.2f} s to import; at most {IMPORT_S:g} s")
    return {"seconds": round(took, 3)}


def listen() -> list[str]:
    """What is done at import that should not be, as it happens. The hook cannot be taken away; the process ends."""
    seen: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SOCKETS:
            seen.append(f"uses the network ({event})")
        elif event == "socket.__new__" and arguments[1:2] and arguments[1] not in (None, 1):  # 1: AF_UNIX
            seen.append("opens a socket")
        elif event == "subprocess.Popen":
            seen.append(f"starts a process ({arguments[0]})")

    sys.addaudithook(hook)
    return seen


def examine_contract(subject: Subject) -> Measured:
    """What the class says of itself, and whether what it reports agrees with that."""
    try:
        cls = subject.load()
    except Unjudged as error:
        raise Refused(str(error)) from None
    _event_types(cls, stranger=subject.spec.distribution != BUILT_IN)
    analyzer = subject.make()
    for outcome in subject.run(analyzer, [*stream(SCENE_NAMES), *_contents()]):
        _declared(cls, outcome)
    return {"api": cls.api, "labels": list(cls.labels), "event_types": list(cls.event_types)}


def _contents() -> list[Moment]:
    first = len(SCENE_NAMES)
    return [Moment(name, first + n, 20.0 + n) for n, name in enumerate(CONTENTS)]


def _event_types(cls: type[Analyzer], *, stranger: bool) -> None:
    if not stranger:
        return
    for event_type in cls.event_types:
        if not all(event_type.partition(".")):
            raise Refused(f"event type {event_type} has no name space; call it {cls.name}.{event_type.strip('.')}")


def _declared(cls: type[Analyzer], outcome: Outcome) -> None:
    if not isinstance(outcome.result, Result):
        return
    labels = {one.label for one in outcome.result.detections}
    if cls.labels and (undeclared := sorted(labels - set(cls.labels))):
        raise Refused(f"reports the label {undeclared[0]}, which is not among its labels {', '.join(cls.labels)}")
    types = {one.event_type for one in outcome.result.sightings}
    if undeclared := sorted(types - set(cls.event_types)):
        raise Refused(f"sights {undeclared[0]}, which is not among its event_types ({', '.join(cls.event_types)})")


def examine_options(subject: Subject) -> Measured:
    """The defaults, through the same door as an operator's values; a live change to them."""
    cls = subject.load()
    try:
        schema = options_schema(cls)
        plain_json(schema, "options")
    except Exception as error:
        raise Refused(f"Options has no JSON schema: {one_line(error)}") from error
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name, about in properties.items():
        if "default" in about:
            _accepts(cls, name, about["default"])
    if _takes(cls, {_PROBE: 1}):
        raise Refused(f"takes an option {_PROBE} that it does not have")
    _strange(cls.load_options, properties)
    _configure(subject)
    return {"options": len(properties)}


def _accepts(cls: type[Analyzer], name: str, default: Any) -> None:
    try:
        filled = fill_options(cls, {name: default})
    except UnknownOption as error:
        raise Refused(f"refuses its own default: {error}") from error
    if asdict(filled) != asdict(fill_options(cls, {})):
        raise Refused(f"option {name}: its default {default!r} becomes {getattr(filled, name)!r} when it is set")


def _takes(cls: type[Analyzer], values: Mapping[str, Any]) -> bool:
    try:
        fill_options(cls, values)
    except UnknownOption:
        return False
    return True


def _strange(load_options: Iterable[str], known: Mapping[str, Any]) -> None:
    if strange := [name for name in load_options if name not in known]:
        raise Refused(f"load_options names {strange[0]}, which is no option")


def _configure(subject: Subject) -> None:
    """Options that are set anew while a session runs."""
    analyzer = subject.make()
    memory = subject.open(analyzer)
    first, second = (subject.material.frame(moment) for moment in stream(SCENE_NAMES[:2]))
    if subject.call(analyzer, first, memory).kind != "result":
        return  # what it raises is other rules' business
    subject.announcer.begin("configure()")
    session = SessionInfo("one", options=subject.options())
    changed = outcome_of(lambda: analyzer.configure(session, memory))
    if changed.kind != "result":
        raise Refused(f"configure() with the same options raises {changed.text}")
    after = subject.call(analyzer, second, changed.result)
    if after.kind != "result":
        raise Refused(f"after configure() analyze() raises {after.text}")
