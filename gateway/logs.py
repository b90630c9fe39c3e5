"""Structured logs: one JSON object per line, or coloured lines on a terminal. Set up once, by who runs the process."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from gateway.settings import Log


def set_up(rules: Log) -> None:
    """Send every logger of the process through structlog to standard error, or to the file in the settings."""
    console = rules.format == "console" or (rules.format == "auto" and rules.file is None and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
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
    for chatty in ("websockets", "asyncio", "multipart", "python_multipart.multipart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
