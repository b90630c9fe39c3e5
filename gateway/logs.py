"""Structured logs: one JSON object per line, or coloured lines on a terminal. Set up once, by who runs the process.

No credential gets into a log: whatever wrote the line, secrets are blanked in the text as it goes out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import structlog
from pydantic import SecretStr

from gateway.settings import Log

BLANK = "***"
# Our own tokens, what stands behind Authorization's schemes, users and passwords of addresses, and cookies; also within
# JSON and tracebacks.
_SECRETS = re.compile(
    r"fg[a-z]_[A-Za-z0-9_-]{16,}"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{6,}"
    r"|(?<=://)[^/\s\"]+(?=@)"
    r"|(?<=framegate_login=)[^;\s\"']+|(?<=framegate_link=)[^;\s\"']+"
)
# What would move a terminal's cursor or begin another line.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x0A: "\\n", 0x0D: "\\r"}


class Redactor(structlog.stdlib.ProcessorFormatter):
    """Blanks secrets in the finished line."""

    def __init__(self, *, secret: str | None, **given: Any) -> None:
        super().__init__(**given)
        self._known = {secret, json.dumps(secret)[1:-1]} if secret else set()

    def format(self, record: logging.LogRecord) -> str:
        text = _SECRETS.sub(BLANK, super().format(record))
        for known in self._known:
            text = text.replace(known, BLANK)
        return text


def set_up(rules: Log, *, secret: SecretStr | None = None) -> None:
    """Send every logger of the process through structlog to standard error, or to the file in the settings.

    `secret` is blanked besides everything that looks like one.
    """
    console = rules.format == "console" or (rules.format == "auto" and rules.file is None and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        # a traceback with the values of variables, as the renderer would have it, shows what was blanked elsewhere
        [_harmless, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    )
    formatter = Redactor(
        secret=secret.get_secret_value() if secret else None,
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler: logging.Handler = logging.FileHandler(rules.file) if rules.file else logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(rules.level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # uvicorn says "WebSocket /path?query [accepted]" whatever access_log is set to; paths may hold tokens
    logging.getLogger("uvicorn.error").addFilter(lambda record: "WebSocket %s" not in str(record.msg))
    logging.getLogger("uvicorn.error").addFilter(lambda record: "connection %s" not in str(record.msg))
    for chatty in ("websockets", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for peers_fault in ("multipart", "python_multipart.multipart"):  # a line for each bad body; the refusal is logged
        logging.getLogger(peers_fault).setLevel(logging.ERROR)


def _harmless(logger: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
    """JSON escapes what a peer made up; lines for a terminal have to have it done. Tracebacks stay as they are."""
    return {
        key: value.translate(_CONTROL) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }
