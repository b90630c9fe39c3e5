"""Asking a vision model behind an OpenAI-compatible endpoint: who is asked, what is sent, what is believed of answers.

The other end is a stranger: its answer is cut to size before it is read, and what it says is text, whatever it looks
like. Our key goes into one header and nowhere else: no message of this module has it, nor what the other end wrote.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

GROQ = "https://api.groq.com/openai/v1"
GROQ_MODEL = "meta-llama/llama-4-scout-17b-16e-instruct"  # sees pictures; the option model names another
OWN_KEY, GROQ_KEYS = "FRAMEGATE_CAPTION_API_KEY", ("FRAMEGATE_GROQ_API_KEY", "GROQ_API_KEY")

MAX_ANSWER = 65_536  # bytes; 150 tokens are one of them, with everything around
MAX_TEXT = 600  # characters of a description
MAX_RETRY_S = 3600.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)  # of models that think aloud
_WORDS = ("text", "description", "caption", "answer")  # where a model that likes JSON puts what it says


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, by what model, with which key ("": none)."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: one line of plain text, and what it cost."""

    text: str
    model: str
    tokens: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """No answer, and why. `retry_s` is what the other end asked for; `lasting`: asking again alone mends nothing."""

    reason: str
    retry_s: float | None = None
    lasting: bool = False


def find_endpoint(url: str, model: str, environment: Mapping[str, str]) -> Endpoint | str:
    """The endpoint that was named, or Groq's if only its key is there; else what is lacking, in one line.

    Groq's key goes to a named endpoint too, in case that stands before it, but never in clear to another machine.
    """
    groq = next((environment[name] for name in GROQ_KEYS if environment.get(name)), "")
    own = environment.get(OWN_KEY, "")
    if not url:
        if groq:
            return Endpoint(GROQ, model or GROQ_MODEL, groq)
        return (
            "it sends pictures to an endpoint that you name: set endpoint and model in [analyzers.caption], and"
            " caption_api_key if that wants one; or groq_api_key (GROQ_API_KEY) alone"
        )
    if not model:
        return f"which model is to be asked at {urlsplit(url).hostname}? Set model in [analyzers.caption]"
    parts = urlsplit(url)
    safe = parts.scheme == "https" or parts.hostname in LOOPBACK
    return Endpoint(url.rstrip("/"), model, own or (groq if safe else ""))


def check_url(url: str) -> None:
    """Raises `ValueError` for what is no base URL, or has a secret in it that would be shown with the options."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("endpoint must be a URL such as https://HOST/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("endpoint must have no user, password, query or fragment; a key goes into caption_api_key")


def question(model: str, prompt: str, picture: str, max_tokens: int) -> dict[str, Any]:
    """The body of a request: a prompt and a JPEG in base64."""
    content = [
        {"type": "text", "text": prompt},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
    ]
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}


class Call:
    """One request under way, on a thread of its own that ends with it. It never takes longer than `timeout_s`."""

    def __init__(self, endpoint: Endpoint, body: Mapping[str, Any], timeout_s: float) -> None:
        self.outcome: Reply | Trouble | None = None
        self._endpoint, self._body, self._timeout_s = endpoint, dict(body), timeout_s
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._thread = Thread(target=self._run, name="caption", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def close(self, patience_s: float = 1.0) -> None:
        """Give the request up. What is still being resolved by then ends with the process."""
        if self._task is not None:
            loop, task = self._task
            with suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join(patience_s)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self.outcome = asyncio.run(self._ask())

    async def _ask(self) -> Reply | Trouble:
        import httpx2

        task = asyncio.current_task()
        assert task is not None
        self._task = asyncio.get_running_loop(), task
        began = time.monotonic()
        try:
            secure = self._endpoint.url.startswith("https:")  # else it needs no certificates, which take 30 ms to load
            async with asyncio.timeout(self._timeout_s), httpx2.AsyncClient(timeout=None, verify=secure) as client:
                status, headers, text = await self._post(client)
                if status == HTTPStatus.BAD_REQUEST and b"max_completion_tokens" in text:  # newer models want that
                    self._body["max_completion_tokens"] = self._body.pop("max_tokens")
                    status, headers, text = await self._post(client)
        except TimeoutError:
            return Trouble(f"no answer within {self._timeout_s:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            return Trouble(f"the endpoint cannot be reached ({type(error).__name__})")
        if status != HTTPStatus.OK:
            return refusal(status, headers)
        return read_answer(text, self._endpoint.model, (time.monotonic() - began) * 1e3)

    async def _post(self, client: Any) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers, and the beginning of the body. Redirects are not followed: a key is for one host."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}  # nothing to be unpacked
        if self._endpoint.key:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        url = f"{self._endpoint.url}/chat/completions"
        async with client.stream("POST", url, content=json.dumps(self._body), headers=headers) as response:
            text = b""
            async for part in response.aiter_raw():
                text += part
                if len(text) > MAX_ANSWER:
                    break
            return response.status_code, response.headers, text


def refusal(status: int, headers: Mapping[str, str]) -> Trouble:
    """What an HTTP status other than 200 means."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    busy = status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500
    retry_s = retry_after(headers.get("retry-after", ""), datetime.now(UTC)) if busy else None
    return Trouble(f"the endpoint answered {status} {phrase}".rstrip(), retry_s, lasting=not busy)


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds of a Retry-After header (RFC 9110: a number or a date), an hour at most; None if it says nothing."""
    if value.isascii() and value.isdigit():
        return float(min(int(value[:9]), MAX_RETRY_S))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_S)


def read_answer(text: bytes, model: str, latency_ms: float) -> Reply | Trouble:
    """What a body of status 200 says."""
    if len(text) > MAX_ANSWER:
        return Trouble(f"the answer is longer than {MAX_ANSWER} bytes", lasting=True)
    answer = _loads(text)
    try:
        content = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return Trouble("the answer is no chat completion", lasting=True)
    said = plain_line(_said(content), MAX_TEXT)
    if not said:
        return Trouble("the answer says nothing")
    by = answer.get("model")
    return Reply(said, plain_line(by, 100) if isinstance(by, str) else model, _tokens(answer.get("usage")), latency_ms)


def _said(content: Any) -> str:
    """The words of a message: text, parts of text, or an object in JSON around them, fenced or not."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = " ".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        return ""
    text: str = _THOUGHTS.sub("", content)
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    found = _loads(bare.encode(errors="replace")) if bare.startswith("{") else None
    if isinstance(found, dict):
        return next((found[word] for word in _WORDS if isinstance(found.get(word), str)), text)
    return text


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _tokens(usage: Any) -> int:
    counts: Iterable[Any] = [usage.get("total_tokens")] if isinstance(usage, dict) else []
    return next((count for count in counts if type(count) is int and 0 <= count < 10**9), 0)


def plain_line(text: str, most: int) -> str:
    """One line of printable text, cut to size."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 8 * most]).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
