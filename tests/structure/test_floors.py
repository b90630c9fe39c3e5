"""Imports go downwards only, and nothing heavy is imported before it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import gateway
from tests.structure.source import OURS, Import, Module, modules

NOUNS = (
    *("analyzer", "clip_rules", "errors", "events", "frame", "geometry", "hookspecs", "jpeg", "limits", "media_rules"),
    *("convert", "function", "permissions", "protocol", "proxies", "results", "settings", "strictjson", "version"),
    *("connector", "motion_model", "person_files", "persons", "sdp", "tracking", "webrtc_rules", "zones"),
)
HIGH_TESTING = (
    *("material", "subject", "class_rules", "result_rules", "process_rules", "examiner", "replaying"),
    *("conformance", "target", "fixtures"),
)
FLOORS: Mapping[str, int] = {
    "gateway": 0,  # only re-exports nouns
    **{f"gateway.{noun}": 0 for noun in NOUNS},
    "gateway.engine": 1,
    "gateway.store": 1,
    "gateway.media": 1,
    "gateway.web": 1,  # what all edges share
    "gateway.weights": 1,  # known model files, for workers, the API and commands
    "gateway.download": 1,
    "gateway.speech": 1,  # sound becomes text, for commands and later for streams
    "gateway.credentials": 1,
    "gateway.peer": 1,  # what a server knows of a connection
    "gateway.ice": 1,
    "gateway.calls": 1,  # WebRTC connections, what WHIP and WHEP share
    "gateway.webrtc": 1,
    "gateway.testing": 1,
    # What draws pictures, reads clips or runs a gateway for tests stands as high as the commands it shares them with.
    **{f"gateway.testing.{noun}": 3 for noun in HIGH_TESTING},
    "gateway.connectors": 2,
    "gateway.sinks": 2,
    "gateway.api": 2,
    "gateway.app": 3,
    "gateway.service": 3,
    **{f"gateway.service_{noun}": 3 for noun in ("camera", "courier", "preview", "runtime", "window")},
    "gateway.server": 3,
    "gateway.listener": 3,
    "gateway.http1": 3,
    "gateway.ws": 3,
    "gateway.last_answer": 3,
    "gateway.checks": 3,
    "gateway.bodies": 3,
    "gateway.middleware": 3,
    "gateway.logs": 3,
    "gateway.access": 3,
    "gateway.routes": 3,
    "gateway.tls": 3,
    "gateway.cli": 3,
    "gateway.cli_faces": 3,
    "gateway.cli_speech": 3,
    "gateway.commands": 3,
    "gateway.commands.scene": 1,  # the demo's drawn yard is a source too
    "gateway.evaluation": 3,  # runs the engine, decodes clips as commands do
    "gateway.__main__": 3,
}
EDGES = ("gateway.connectors", "gateway.sinks", "gateway.api")

# Libraries that are imported inside functions, because `import gateway`, `framegate --help` or a worker without that
# kind of work must not pay for them.
LATE = {
    *("cv2", "numpy", "onnxruntime", "av", "pydantic", "platformdirs", "httpx2", "rich", "dotenv", "markdown_it"),
    *(
        "pydantic_settings",
        "tomllib",
        "yaml",
        "torch",
        "difflib",
        "ctypes",
        "packaging",
        "resource",
        "psutil",
        "ultralytics",
        "insightface",
        "tokenizers",
        "faster_whisper",
        "shapely",
        "fcntl",
        "cryptography",
        "segno",
    ),
}
# Our own modules that are imported inside functions, by who does so and why.
LATE_OWN = {
    "gateway": ("gateway.tracking",),  # a public name that brings numpy
    "gateway.cli": ("gateway.commands", "gateway.settings"),  # --help loads no command
    "gateway.cli_speech": ("gateway.commands", "gateway.cli"),
    "gateway.cli_faces": ("gateway.commands", "gateway.cli"),  # the same, and the settings as all commands read them
    "gateway.commands": ("gateway.commands", "gateway.settings", "gateway.download"),  # a command loads what it needs
    "gateway.testing.examiner": ("gateway.testing.replaying",),  # which brings FFmpeg, for no rule
    "gateway.engine.child": ("gateway.engine", "gateway.media"),  # each role loads its own half
    # The first runs as the program; aiortc is loaded when the first peer comes, by a thread of its own.
    "gateway.media.child": ("gateway.engine.child", "gateway.media.rtc_loop"),
    "gateway.media.rtc_loop": ("gateway.media.rtc_peers",),
    "analyzers._devices": ("analyzers._onnx",),  # which cannot do without it
    "analyzers._export": ("analyzers._weights",),  # it is a program too, run without the rest
}


def test_every_module_has_a_floor() -> None:
    homeless = [module.name for module in modules("gateway") if _floor(module.name) is None]
    assert homeless == [], "give it a floor here and in docs/architecture.md"


def test_imports_go_downwards_only() -> None:
    upwards = [
        f"{module.place}:{found.line} imports {found.target}.{found.name}"
        for module, found, target in _own_imports("gateway")
        if (_floor(target) or 0) > (_floor(module.name) or 0)
    ]
    assert upwards == []


def test_edges_never_import_each_other() -> None:
    crossing = [
        f"{module.place}:{found.line} imports {target}"
        for module, found, target in _own_imports("gateway")
        if _edge(module.name) and _edge(target) and _edge(module.name) != _edge(target)
    ]
    assert crossing == []


def test_there_is_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for module, found, target in _own_imports(*OURS):
        if not found.typing and not found.function and target != module.name:
            graph.setdefault(module.name, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_gateway_never_imports_analyzers() -> None:
    assert [f"{m.place}:{i.line}" for m in modules("gateway") for i in m.imports() if _is(i.target, "analyzers")] == []


def test_analyzers_use_public_names_only() -> None:
    foreign = [
        f"{module.place}:{found.line} imports {found.target}.{found.name}"
        for module in modules("analyzers")
        for found in module.imports()
        if _is(found.target, "gateway") and not (found.target == "gateway" and found.name in gateway.__all__)
    ]
    assert foreign == []


def test_nothing_imports_tests_bench_or_docs() -> None:
    outside = ("tests", "bench", "docs", "examples")
    found = [
        f"{m.place}:{i.line} imports {i.target}"
        for m in modules(*OURS)
        for i in m.imports()
        if any(_is(i.target, folder) for folder in outside)
    ]
    assert found == []


def test_imports_inside_functions_are_the_listed_ones() -> None:
    late = [
        f"{module.place}:{found.line} imports {found.target} in {found.function}()"
        for module in modules(*OURS)
        for found in module.imports()
        if found.function and not _may_be_late(module.name, found)
    ]
    assert late == []


def _own_imports(*folders: str) -> Iterator[tuple[Module, Import, str]]:
    """Imports of our own modules, with the module meant: `from gateway import logs` means gateway.logs."""
    known = {module.name for module in modules(*OURS)}
    for module in modules(*folders):
        for found in module.imports():
            if found.target.partition(".")[0] in OURS:
                longer = f"{found.target}.{found.name}"
                yield module, found, longer if longer in known else found.target


def _floor(name: str) -> int | None:
    """By the longest name that is listed; `gateway` itself is the package's front door alone."""
    parts = name.split(".")
    places = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((FLOORS[place] for place in places if place in FLOORS and (place != "gateway" or place == name)), None)


def _edge(name: str) -> str | None:
    return next((edge for edge in EDGES if _is(name, edge)), None)


def _is(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _may_be_late(module: str, found: Import) -> bool:
    if found.target.partition(".")[0] in LATE:
        return True
    meant = f"{found.target}.{found.name}"
    return any(
        _is(module, who) and any(_is(meant, what) or _is(found.target, what) for what in whats)
        for who, whats in LATE_OWN.items()
    )
