"""Small files, short functions, one kind of buffer, no task without a parent, no error passed over."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.structure.source import OURS, Function, Module, modules, own_lines

FUNCTION_LINES, PARAMETERS = 50, 6  # self included
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "base", "core"}

# Where `except Exception` stands: foreign code is called, or the outermost edge of a task or request is reached.
CATCH_ALL = {
    ("gateway/engine/plugins.py", "load"),  # importing a plugin
    ("gateway/engine/plugins.py", "execute"),  # puts back what was there before, and raises it again
    ("gateway/engine/host.py", "AnalyzerHost._fitness"),  # an analyzer's own check
    ("gateway/engine/host.py", "AnalyzerHost.prepare"),  # an analyzer's constructor
    ("gateway/engine/host.py", "AnalyzerHost._batch"),  # an analyzer's call about several frames
    ("gateway/engine/host.py", "_tried"),  # an analyzer's call
    ("gateway/media/plugged.py", "_captures"),  # a connector's own code
    ("gateway/engine/host.py", "_quietly"),  # an analyzer's close
    ("gateway/testing/subject.py", "Subject.make"),  # an analyzer under examination: its constructor
    ("gateway/testing/subject.py", "outcome_of"),  # its calls
    ("gateway/testing/class_rules.py", "examine_options"),  # its schema
    ("gateway/testing/process_rules.py", "_cycle"),  # its close
    ("gateway/testing/examiner.py", "answer_to"),  # whatever else it does to the child
    ("gateway/testing/replaying.py", "_row"),  # an analyzer's call in a replay
    ("gateway/engine/refresh.py", "_new_code"),  # importing a plugin's new code
    ("gateway/engine/refresh.py", "_close"),  # an analyzer's close
    ("gateway/engine/hub.py", "Hub._live"),  # a defect of ours costs one session
    ("gateway/engine/clips.py", "Clips._always"),  # or one clip
    ("gateway/engine/supervisor.py", "Supervisor.run"),  # or one worker a restart
    ("gateway/media/pull.py", "Pull._failure"),  # or one camera its pictures
    ("gateway/media/pool.py", "MediaPool._live"),  # or one media child a restart
    ("gateway/media/pool.py", "MediaPool._guarded"),  # or one camera its feed
    ("gateway/media/peers.py", "Switchboard._guarded"),  # or one WebRTC peer its connection
    ("gateway/sinks/whep.py", "WhepViewer._run"),  # or one WebRTC viewer its call
    ("gateway/media/rtc_decode.py", "Decoding._run"),  # or one WebRTC publisher its connection
    ("gateway/media/rtc_show.py", "Channel._run"),  # or the viewers of one channel their pictures
    ("gateway/media/rtc_loop.py", "Rtc._run"),  # or one media child a restart
    ("gateway/media/rtc_peer.py", "RtcPeer.answer"),  # what an offer does to aiortc's parser
    ("gateway/media/rtc_ice.py", "Protocol.datagram_received"),  # what a datagram does to aioice's
    ("gateway/media/rtc_stack.py", "DtlsTransport._recv_next"),  # or to aiortc's
    ("gateway/service_camera.py", "ServiceCamera.run"),  # or one camera of a script its life
    ("gateway/service_runtime.py", "Runtime._keep"),  # or those of one device theirs
    ("gateway/service_runtime.py", "Runtime._run"),  # or a service, told in its script's log
    ("gateway/service_runtime.py", "_settle"),  # raised again by the thread that waits for it
    ("gateway/service_courier.py", "Courier._call"),  # a script's callback
}
# Tasks that no TaskGroup holds, and why.
LOOSE_TASKS = {
    ("gateway/server.py", "Server._begin_drain"),  # from a signal handler; kept, and it ends the server
    ("gateway/media/rtc_peer.py", "RtcPeer.begin"),  # kept by its peer, whose end cancels it
    ("gateway/media/rtc_peer.py", "RtcPeer.end"),  # kept; it says when nothing is left, itself included
    ("gateway/media/rtc_peers.py", "Peers._soon"),  # kept until done; an error of one peer's must not end the others
}
# Deques that hold no traffic between tasks: an analyzer's memory, a client's own bookkeeping.
DEQUES = {
    *("gateway/engine/mailbox.py", "gateway/engine/ring.py", "analyzers/motion.py", "analyzers/_smoking_votes.py"),
    *("analyzers/_crowd.py", "analyzers/_posture.py", "analyzers/_scenery.py", "analyzers/_speed.py"),
    *("gateway/commands/client_rules.py", "gateway/commands/stream_client.py"),
    # Between threads of a media child: bounded, and whoever is too slow loses what is old.
    *("gateway/media/rtc_decode.py", "gateway/media/rtc_outbox.py", "gateway/media/rtc_show.py"),
}
OTHER_QUEUES = {"asyncio.Queue", "queue.Queue", "queue.SimpleQueue", "multiprocessing.Queue", "janus.Queue"}
FORGOTTEN = {"ensure_future", "run_coroutine_threadsafe"}


@pytest.mark.parametrize(("folder", "most"), [("gateway", 400), ("analyzers", 400), ("bench", 400), ("tests", 700)])
def test_no_file_is_longer_than_it_can_be_read(folder: str, most: int) -> None:
    long = {m.place: lines for m in modules(folder) if (lines := m.text.count("\n")) > most}
    assert long == {}, "split it by noun"


def test_no_function_is_longer_than_50_lines() -> None:
    assert {
        f"{m.place} {name}": lines
        for m in modules(*OURS)
        for name, function in m.functions()
        if (lines := own_lines(function)) > FUNCTION_LINES
    } == {}


def test_the_median_function_is_under_10_lines() -> None:
    lengths = sorted(own_lines(function) for m in modules(*OURS) for _, function in m.functions())
    assert lengths[len(lengths) // 2] < 10


def test_functions_take_few_things_by_position() -> None:
    assert {
        f"{m.place} {name}": count
        for m in modules(*OURS)
        for name, function in m.functions()
        if (count := len(function.args.posonlyargs) + len(function.args.args)) > PARAMETERS
    } == {}


def test_modules_are_named_after_what_they_hold() -> None:
    assert [m.place for m in modules(*OURS, "bench", "tests") if m.path.stem.lower().strip("_") in VAGUE] == []


def test_every_module_says_what_it_holds() -> None:
    assert [m.place for m in modules(*OURS, "bench") if m.text and ast.get_docstring(m.tree) is None] == []


def test_every_task_has_a_parent() -> None:
    loose = {
        (module.place, name)
        for module, name, call in _calls("gateway")
        if _ends_in(call, "create_task") and not _is_task_group(call)
    }
    assert loose == LOOSE_TASKS


def test_no_task_is_started_and_forgotten() -> None:
    found = [f"{m.place} {name}" for m, name, call in _calls(*OURS) if any(_ends_in(call, word) for word in FORGOTTEN)]
    assert found == []


def test_the_only_buffer_is_the_mailbox() -> None:
    others = [f"{m.place} {name}" for m, name, call in _calls(*OURS) if ast.unparse(call.func) in OTHER_QUEUES]
    assert others == []
    deques = {m.place for m in modules(*OURS) for i in m.imports() if (i.target, i.name) == ("collections", "deque")}
    assert deques <= DEQUES


def test_errors_are_caught_by_name_but_where_foreign_code_is_called() -> None:
    found = Counter(
        (module.place, name)
        for module in modules(*OURS)
        for name, function in module.functions()
        for handler in _own_nodes(function)
        if isinstance(handler, ast.ExceptHandler) and _catches_all(handler)
    )
    assert set(found) == CATCH_ALL
    assert [place for place, times in found.items() if times > 1] == []


def test_commands_print_and_nobody_else_does() -> None:
    found = {m.place for m, _, call in _calls(*OURS) if ast.unparse(call.func) in ("print", "pprint.pprint")}
    assert [place for place in sorted(found) if not place.startswith("gateway/commands/")] == []


def _calls(*folders: str) -> Iterator[tuple[Module, str, ast.Call]]:
    for module in modules(*folders):
        for name, function in module.functions():
            for node in _own_nodes(function):
                if isinstance(node, ast.Call):
                    yield module, name, node


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """Everything in a function but what stands in functions inside it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting.extend(ast.iter_child_nodes(node))


def _ends_in(call: ast.Call, name: str) -> bool:
    return ast.unparse(call.func).rpartition(".")[2] == name


def _is_task_group(call: ast.Call) -> bool:
    """Whether the task is made by something called tasks or group: TaskGroups are, by convention."""
    owner = ast.unparse(call.func).rpartition(".")[0].rpartition(".")[2]
    return owner.strip("_") in ("tasks", "group")


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)
