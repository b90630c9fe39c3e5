"""Results and events as server-sent events, for curl and EventSource: `GET /stream/{id}/events`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic_core import from_json
from starlette.responses import Response

from gateway.engine.picture import Picture
from gateway.engine.subscriber import Subscriber
from gateway.errors import UnknownOption
from gateway.protocol import TOPICS, Topic
from gateway.sinks.body import SubscriberBody
from gateway.web import hub_of

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(tags=["streams"])


@router.get(
    "/stream/{stream_id}/events",
    summary="Follow results and events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "One server-sent event per message"}},
)
async def events(
    request: Request,
    stream_id: str,
    topics: Annotated[str, Query(description="Of results, events, status, messages; separated by commas")] = "",
) -> Response:
    """The stream socket's messages, one server-sent event each, named by its type."""
    hub = hub_of(request)
    session = hub.get(stream_id)
    subscriber = Subscriber(messages=hub.settings.stream.viewer_messages, topics=_topics(topics))
    session.audience.subscribe(subscriber)
    session.lease.readers += 1
    session.changed.set()

    def end() -> None:
        session.audience.leave(subscriber)
        session.lease.readers -= 1
        session.changed.set()

    return SubscriberBody(
        subscriber, _wrapped, opening=b": framegate\n\n", headers=HEADERS, clock=hub.clock, on_end=end
    )


def _topics(wish: str) -> list[Topic]:
    if not wish:
        return ["results", "events", "status"]
    chosen: list[Topic] = [topic for topic in TOPICS if topic in wish.split(",")]
    if len(chosen) != len(wish.split(",")):
        raise UnknownOption(f"topics are {', '.join(TOPICS)}, got {wish}")
    return chosen


def _wrapped(item: str | Picture) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (_kind(item).encode(), item.encode()) if isinstance(item, str) else b""


def _kind(text: str) -> str:
    """Every message begins with its type, so most need no parsing."""
    start, end = len('{"type":"'), text.find('"', len('{"type":"'))
    return text[start:end] if text.startswith('{"type":"') else str(from_json(text)["type"])
