"""SECURITY.md names every limit as it is: its setting, default, status or close code, and the code of the refusal."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from aiortc.rtp import RTP_HISTORY_SIZE
from pydantic import BaseModel
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from gateway import access, credentials, errors, ice, protocol, sdp, strictjson, webrtc
from gateway.api import auth
from gateway.engine import admission, picture, recorder
from gateway.errors import GatewayError
from gateway.limits import Limits
from gateway.media import rtc_frames, rtc_stack
from gateway.settings import Access, Settings
from gateway.ws import CODES
from tests.structure.source import ROOT, modules

PAGE = (ROOT / "SECURITY.md").read_text()


@dataclass(frozen=True, slots=True)
class Row:
    """One limit."""

    what: str
    settings: tuple[str, ...]
    default: str
    answer: str
    codes: tuple[str, ...]

    def __str__(self) -> str:
        return self.what


def _rows() -> list[Row]:
    found = re.findall(r"^\|([^|]+)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)
    cells = [[cell.strip() for cell in row] for row in found]
    return [
        Row(what, tuple(re.findall(r"`([\w.]+)`", setting)), default, answer, tuple(re.findall(r"`(\w+)`", code)))
        for what, setting, default, answer, code in cells
        if what != "what" and not what.startswith("---")
    ]


ROWS = _rows()
SCALES = {"": 1, "KiB": 1024, "MiB": 2**20, "million": 10**6, "%": 0.01, "s": 1, "h": 3600}
UNITS = {"_s": {"s", "h"}, "_bytes": {"KiB", "MiB"}, "_mb": {"MiB"}, "max_pixels": {"million"}}
WORDS: dict[str, tuple[Any, str]] = {  # settings whose default is no number: what it is, and what the page says of it
    "auth": ("auto", "needed but on loopback"),
    "allowed_hosts": ([], "localhost, addresses, the machine's own"),
    "allowed_origins": ([], "the own one, localhost"),
    "trusted_proxies": ([], "nobody"),
    "limits.memory_mb": (0, "the cgroup's limit, else the machine's"),
    "limits.overload_keep": (["motion"], "`motion`"),
    "mjpeg.widths": ([320, 640, 960, 1280, 1920], "320, 640, 960, 1280, 1920"),
    "analysis.confine": (True, "taken away"),
    "runtime.allow_pickle": (False, "not opened"),
}
CONSTANTS: dict[str, list[float]] = {  # what no setting changes
    "16 times as many of them": [admission.CROWD * Limits().max_pending_per_address],
    "a WebSocket handshake the library does not parse": [MAX_LINE_LENGTH, MAX_NUM_HEADERS],
    "values of one JSON document": [strictjson.VALUES],
    "the form of a login": [auth.FORM_BYTES],
    "mistakes of one socket": [protocol.FAULTS_TOLERATED, protocol.FAULT_WINDOW_S],
    "unreadable pictures of one socket in a row": [protocol.BAD_IMAGES_TOLERATED],
    "nesting, and values, of a JSON message": [strictjson.DEPTH, strictjson.VALUES],
    "events of one clip": [recorder.MOST_EVENTS],
    "pictures that wait for the picture worker": [picture.MOST_WAITING],
    "time for one of them": [picture.JOB_S],
    "length of a credential that is looked at": [access.LONGEST],
    "tickets that were not used yet": [credentials.TICKETS],
    "addresses whose wrong credentials are remembered": [credentials.ADDRESSES],
    "size of an offer": [webrtc.MOST_BYTES],
    "an encoded picture of a publisher": [rtc_frames.MOST_BYTES, rtc_frames.MOST_PARTS],
    "SSRCs of one client": [rtc_stack.MOST_SSRCS],
    "packets that one viewer is sent again": [RTP_HISTORY_SIZE, rtc_stack.MOST_REPEATS],
    "messages of one client, under its own keys, that break a parser": [rtc_stack.MOST_FAULTS],
    "lines, and m-lines, of an offer": [sdp.MOST_LINES, sdp.MOST_SECTIONS],
    "candidates of one message that are looked at": [ice.MOST_LOOKED],
}
ELSEWHERE: dict[str, set[int]] = {  # numbers that no error of the tree carries
    "connection_limit": {503},  # gateway.last_answer
    "fd_exhausted": {503},
    "connections_per_address": set(),
    "pending_per_address": set(),
    "ws_control_flood": set(),
    "weak_secret": {3},  # an exit code
    "method_not_allowed": {400},  # of the parser, as http_malformed
    "draining": {1012},  # of the sockets that are open
    "overloaded": {503, 1013},  # gateway.engine.overload
    "ice_candidate_refused": set(),  # what is passed over is no error
    "": {1011},  # of the library, when a ping is not answered
}


def default_of(name: str) -> Any:
    """Raises `KeyError` for what is no setting."""
    model: type[BaseModel] = Settings
    *sections, last = name.split(".")
    for section in sections:
        found = model.model_fields[section].annotation
        assert isinstance(found, type)
        assert issubclass(found, BaseModel)
        model = found
    return model.model_fields[last].default


def quantities(words: str) -> list[tuple[int, str]]:
    """Each number with its unit."""
    return [(int(number), unit) for number, unit in re.findall(r"(\d+)(?: (KiB|MiB|million|%|h|s)(?!\w))?", words)]


def fits(number: int, unit: str, value: float) -> bool:
    """Whether it is the value, millions rounded down."""
    scale = SCALES[unit]
    return value // scale == number if unit == "million" else number * scale == pytest.approx(value)


def units_of(name: str) -> set[str]:
    if "_per_" in name:
        return {""}
    return next((units for end, units in UNITS.items() if name.endswith(end)), {"", "%"})


@pytest.mark.parametrize(
    "name", [*(f"limits.{name}" for name in Limits.model_fields), *(f"access.{name}" for name in Access.model_fields)]
)
def test_every_limit_stands_in_the_table(name: str) -> None:
    assert any(name in row.settings for row in ROWS), "add a row: what | setting | default | answer | code"


@pytest.mark.parametrize("row", [row for row in ROWS if row.settings], ids=str)
def test_the_default_of_a_limit_is_the_documented_one(row: Row) -> None:
    if row.settings[0] in WORDS:
        assert (default_of(row.settings[0]), row.default) == WORDS[row.settings[0]]
        return
    told = quantities(row.default)
    assert len(told) >= len(row.settings)
    for name, (number, unit) in zip(row.settings, told, strict=False):
        value = default_of(name)
        # 4096 MiB are a memory_mb of 4096
        assert fits(number, "" if name.endswith("_mb") else unit, value), f"{name} is {value}"
        assert unit in units_of(name), f"{name} in {unit or 'no unit'}"


@pytest.mark.parametrize("row", [row for row in ROWS if not row.settings and quantities(row.default)], ids=str)
def test_a_limit_without_a_setting_is_the_documented_one(row: Row) -> None:
    told = quantities(row.default)
    values = CONSTANTS[row.what]
    assert len(told) == len(values)
    assert all(fits(number, unit, value) for (number, unit), value in zip(told, values, strict=True)), values


def test_nothing_is_said_of_a_limit_that_is_not_there() -> None:
    named = {name for row in ROWS for name in row.settings}
    assert (WORDS.keys() - named, CONSTANTS.keys() - {row.what for row in ROWS}) == (set(), set())


# --- how it is answered ----------------------------------------------------------------------------------------------


def _answers() -> dict[str, set[int]]:
    """By code, the statuses and close codes of the errors that carry it."""
    tree: dict[str, type[GatewayError]] = {
        name: it for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, GatewayError)
    }
    found: defaultdict[str, set[int]] = defaultdict(set, {code: set(numbers) for code, numbers in ELSEWHERE.items()})
    for kind in tree.values():
        found[kind.code] |= {kind.status, kind.close_code}
    for module in modules("gateway"):
        for call in (node for node in ast.walk(module.tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            for word in (word for word in call.keywords if word.arg == "code" and name in tree):
                for part in ast.walk(word.value):
                    if isinstance(part, ast.Constant):
                        found[str(part.value)] |= {tree[name].status, tree[name].close_code}
            if name == "Fault" and isinstance(call.args[1], ast.Constant):
                found[str(call.args[1].value)].add(ast.literal_eval(call.args[0]))
    for number, code in CODES.items():
        found[code].add(int(number))
    return found


ANSWERS = _answers()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_limit_is_answered_as_the_code_has_it(row: Row) -> None:
    told = {int(number) for number in re.findall(r"\b\d{3,4}\b", row.answer)}
    assert [code for code in row.codes if code not in ANSWERS] == []
    possible = set().union(*(ANSWERS[code] for code in row.codes or ("",)))
    assert told - possible == set()


def test_a_body_that_is_too_large_is_one_thing_wherever_it_is_noticed() -> None:
    """413 before a socket, 1009 on it; 4413 is for pictures."""
    assert (ANSWERS["body_too_large"], ANSWERS["image_too_large"]) == ({413, 1009}, {413, 4413})


def test_every_code_of_a_refusal_stands_in_the_table() -> None:
    codes = {
        str(node.args[0].value)
        for module in modules("gateway")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("refusals.note")
        and isinstance(node.args[0], ast.Constant)
    }
    listed = {code for row in ROWS for code in row.codes}
    assert codes
    assert codes | set(CODES.values()) | set(ELSEWHERE) - {""} <= listed
