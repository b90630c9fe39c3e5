"""An OpenAI-compatible endpoint on loopback that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


def completion(content: Any, *, model: str = "tiny-1", tokens: Any = 42) -> Answer:
    """A chat completion as OpenAI's, Groq's, vLLM's and Ollama's servers write them."""
    message = {"role": "assistant", "content": content}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"total_tokens": tokens},
    }
    return raw(200, json.dumps(body).encode())


def raw(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@dataclass
class VisionEndpoint:
    """`answers` are given in turn, the last one for ever; `asked` are the bodies and headers of requests."""

    answers: list[Answer] = field(default_factory=lambda: [completion("A man smokes.")])
    asked: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)  # set when the test is, for answers that wait
    url: str = ""

    def slow(self, handler: BaseHTTPRequestHandler) -> None:
        """Says nothing until the test is over."""
        self.over.wait(30)

    def dripping(self, handler: BaseHTTPRequestHandler) -> None:
        """Says something all the time, and comes to no end."""
        handler.send_response(200)
        handler.end_headers()
        while not self.over.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def flooding(self, handler: BaseHTTPRequestHandler) -> None:
        """Says more and more, as fast as it is taken."""
        handler.send_response(200)
        handler.end_headers()
        while not self.over.is_set():
            handler.wfile.write(b"x" * 65_536)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.asked.append((json.loads(body), {name.lower(): value for name, value in handler.headers.items()}))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if handler.path == "/v1/chat/completions":
            answer(handler)
        else:
            raw(404)(handler)


@contextmanager
def vision_endpoint() -> Iterator[VisionEndpoint]:
    endpoint = VisionEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                endpoint.take(self)
            except (BrokenPipeError, ConnectionResetError):  # the other end has had enough
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield endpoint
        finally:
            endpoint.over.set()
            server.shutdown()
            serving.join()
