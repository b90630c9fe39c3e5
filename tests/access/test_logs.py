"""No credential in a log, and nothing of a peer's that a terminal or a parser would obey."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway import logs
from gateway.settings import Log

SECRET = 'a "static" token\\with odd letters'
STREAM = "fgv_0123456789abcdefghijklmnopqrstuv"
log = logging.getLogger("gateway.tests")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A log file; the loggers of the process are as before in the end."""
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "asyncio", "multipart")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    filters = logging.getLogger("uvicorn.error").filters[:]
    yield tmp_path / "log"
    for handler in logging.getLogger().handlers:
        handler.close()
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.error").filters[:] = filters


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_blanked_whoever_writes_them(file: Path, form: str) -> None:
    logs.set_up(Log.model_validate({"file": file, "format": form}), secret=SecretStr(SECRET))
    log.info("GET /stream/%s/snapshot.jpg: 404", STREAM)
    log.info("Authorization: Bearer %s", "abc.def-ghi")
    log.info("authorization: basic %s", "YW55Ym9keTpzZWNyZXQ=")
    log.info("Cookie: theme=dark; framegate_login=%s; framegate_link=%s", "s3cr3t-login", "s3cr3t-link")
    log.info("the token is %s", SECRET)
    log.info("no way to %s", "rtsp://admin:g3heim@w0rt@192.168.1.9/main")
    log.info("of a library", extra={"url": f"http://gateway/stream/{STREAM}"})
    log.error("it broke", exc_info=ValueError(f"/ws/stream/{STREAM} and {SECRET}"))
    text = file.read_text()
    secrets = (
        STREAM,
        SECRET,
        json.dumps(SECRET)[1:-1],
        "abc.def-ghi",
        "YW55Ym9keTpzZWNyZXQ=",
        "s3cr3t",
        "g3heim",
        "w0rt",
    )
    assert [secret for secret in secrets if secret in text] == []
    assert ("GET /stream/***/snapshot.jpg: 404" in text, "theme=dark" in text) == (True, True)


def test_ordinary_words_are_left_alone(file: Path) -> None:
    logs.set_up(Log(file=file, format="json"))
    words = (
        "the bearer of bad news, basic rules, fg_short and framegate_link; http://gateway/a@b, http://gateway to a@b"
    )
    log.info(words)
    assert json.loads(file.read_text())["event"] == words


def test_blanking_takes_no_longer_than_the_line_is_long() -> None:
    began = time.monotonic()
    for hostile in ("://" * 10**5, "://" + "x" * 10**6, "://x" * 10**5 + "@"):
        logs._SECRETS.sub(logs.BLANK, hostile)
    assert time.monotonic() - began < 5  # a quadratic one takes minutes


@pytest.mark.parametrize("hostile", ["a\r\nb", "\x1b[2J\x1b]0;title\x07", "\x9b31m", "\x00", '"}\n{"event":"forged"'])
def test_a_line_is_one_line_whatever_a_peer_is_called(file: Path, hostile: str) -> None:
    logs.set_up(Log(file=file, format="json"))
    log.info("client %s", hostile)
    log.info("next")
    lines = file.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [f"client {hostile}", "next"]


@pytest.mark.parametrize("hostile", ["a\r\nb", "\x1b[2J", "\x9b31m", "\x00", "\x7f"])
def test_a_terminal_obeys_no_peer(file: Path, hostile: str) -> None:
    logs.set_up(Log(file=file, format="console"))
    log.info("client %s", hostile)
    text = file.read_text()
    ours = text.replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[2m", "")
    for colour in range(30, 38):
        ours = ours.replace(f"\x1b[{colour}m", "")
    assert (hostile in text, len(text.splitlines()), sum(ord(letter) < 0x20 for letter in ours)) == (False, 1, 1)


def test_uvicorns_own_line_about_a_socket_is_left_out(file: Path) -> None:
    logs.set_up(Log(file=file, format="json"))
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "127.0.0.1:1", f"/ws/stream/{STREAM}")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["Started server process [1]"]
