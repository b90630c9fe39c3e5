"""Inputs: opens what a source is as a libav container. libav itself opens nothing: it is handed a relay's address, a
body, a file or a device, and whatever a format would open besides is asked for here.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import av

from gateway.media.dial import dial
from gateway.media.errors import Redirected, SourceError
from gateway.media.fetch import MOST_HOPS, Answer, Web
from gateway.media.messages import Setup
from gateway.media.relay import Relay
from gateway.media.sources import Source, redirected

# Demuxers that read one body and refer to nothing else.
FORMATS = "mpjpeg,mpegts,mov,matroska,flv,avi,h264,hevc,mjpeg,mpeg,mpegvideo,ogg,asf,ivf,jpeg_pipe,rm"
PLAYLISTS = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl")
HLS_S = 30.0  # a live playlist gets a new segment every few seconds at best
MOST_PLAYLIST = 2**20


@dataclass(slots=True)
class Input:
    """An open container with video. `paced`: its pictures come faster than their time, so they are to be held back.

    `cut` wakes up who reads, from any thread; `verdict` knows better than libav why reading ended, if it is not None;
    `seen` is to be called when something came of what was read.
    """

    container: Any
    stream: Any
    cut: Callable[[], None]
    release: Callable[[], None]
    verdict: Callable[[], SourceError | None]
    seen: Callable[[], None]
    live: bool = True
    paced: bool = False
    read_s: float = 5.0

    def close(self) -> None:
        """The container first: libav may still say good-bye. By the thread that opened it."""
        try:
            self.container.close()
        finally:
            self.release()


@dataclass(slots=True)
class Cuts:
    """What is open now on behalf of a source, to be cut from another thread. `done`: it was."""

    items: list[Any] = field(default_factory=list)
    done: bool = False

    def add(self, item: Any) -> None:
        """Raises `SourceError` if the source is to be closed already."""
        self.items[:] = [known for known in self.items if not getattr(known, "closed", False)]
        self.items.append(item)
        if self.done:
            item.cut()
        self.check()

    def check(self) -> None:
        """Raises `SourceError` if what was read may have ended because it was cut."""
        if self.done:
            raise SourceError("ended", "the source was closed")

    def cut(self) -> None:
        self.done = True
        for item in list(self.items):
            item.cut()


def open_input(source: Source, setup: Setup, cuts: Cuts, answer: Answer | None = None) -> Input:
    """A source's container; HTTP comes with its answer. Raises `SourceError`."""
    if source.kind == "rtsp":
        return _rtsp(source, setup, cuts)
    if source.kind == "file":
        return _file(source, setup)
    if source.kind == "device":
        return _device(source, setup)
    if answer is None:
        raise AssertionError("an HTTP source is opened by its answer")
    return _playlist(answer, setup, cuts) if is_playlist(answer) else _body(answer, setup)


def is_playlist(answer: Answer) -> bool:
    return answer.kind in PLAYLISTS or answer.source.path.partition("?")[0].lower().endswith(".m3u8")


# --- kinds -----------------------------------------------------------------------------------------------------------


def _rtsp(source: Source, setup: Setup, cuts: Cuts) -> Input:
    for _ in range(MOST_HOPS + 1):
        cuts.check()
        relay = Relay(source, dial(source, setup), patience_s=setup.open_s)
        with ExitStack() as stack:
            stack.callback(relay.close)
            cuts.add(relay)
            try:
                opened = _relayed(relay, source, setup)
            except SourceError as error:
                relay.close()
                if not isinstance(relay.verdict, Redirected):
                    raise (relay.verdict or error) from None
                source = redirected(source, relay.verdict.location)
            else:
                stack.pop_all()
                return opened
    raise SourceError("redirect", f"the source sends elsewhere more than {MOST_HOPS} times")


def _relayed(relay: Relay, source: Source, setup: Setup) -> Input:
    options = {
        "rtsp_transport": "udp" if source.udp else "tcp",
        "allowed_media_types": "video",
        "protocol_whitelist": "tcp,udp,rtp",
        "fflags": "nobuffer",
        "analyzeduration": "2000000",
        "fpsprobesize": "0",  # its rate is measured here; libav would watch it for a second or two first
        "user_agent": "framegate",
        "rtsp_flags": "filter_src",  # of UDP, datagrams of the camera alone
    }

    def verdict() -> SourceError | None:
        return relay.verdict if isinstance(relay.verdict, SourceError) else None

    container = _opened(relay.url, setup, format="rtsp", options=options)
    return _input(container, cut=relay.cut, release=relay.close, verdict=verdict, seen=relay.seen, read_s=setup.read_s)


def _body(answer: Answer, setup: Setup) -> Input:
    """Motion JPEG, or any other video that comes as one body."""
    multipart = answer.kind.startswith("multipart/")
    if answer.kind in ("text/html", "application/json", "text/plain"):
        raise SourceError("protocol", f"the source sends {answer.kind}, no video")
    options = {"strict_mime_boundary": "0", "fpsprobesize": "0"} if multipart else {"format_whitelist": FORMATS}
    container = _opened(
        answer, setup, format="mpjpeg" if multipart else None, io_open=_refuse, buffer_size=2**15, options=options
    )
    return _input(
        container,
        cut=answer.cut,
        release=answer.close,
        verdict=lambda: answer.error,
        seen=answer.seen,
        read_s=setup.read_s,
        paced=not multipart and answer.kind.startswith("video/mp4"),
    )


def _playlist(answer: Answer, setup: Setup, cuts: Cuts) -> Input:
    """HLS: playlists and segments are fetched here, from the playlist's host only, and checked like any other."""
    web = Web(answer.source, setup, cuts)
    errors: list[SourceError] = []
    parts: list[Answer] = []

    def fetched(url: str, _flags: int, _options: Mapping[str, str]) -> Answer | io.BytesIO:
        try:
            part = web.get(redirected(answer.source, url), within=answer.source.host)
            if not part.begins_with(b"#EXTM3U"):
                parts[:] = [*(known for known in parts if not known.closed), part]
                return part
            with closing(part):  # libav keeps all that a playlist names, however much
                return io.BytesIO(part.whole(MOST_PLAYLIST))
        except SourceError as error:
            errors.append(error)
            raise

    def seen() -> None:
        for part in parts:
            part.seen()

    answer.close()
    options = {"http_persistent": "0", "http_multiple": "0", "allowed_extensions": "ALL", "extension_picky": "0"}
    container = _opened(
        answer.source.base + answer.source.path,
        setup,
        format="hls",
        io_open=fetched,
        options={**options, "max_reload": "3", "live_start_index": "-2", "protocol_whitelist": "http,https"},
        timeout=(HLS_S, HLS_S),
    )
    return _input(
        container,
        cut=cuts.cut,
        release=lambda: None,
        verdict=lambda: errors[-1] if errors else None,
        seen=seen,
        read_s=HLS_S,
        paced=True,
    )


def _file(source: Source, setup: Setup) -> Input:
    try:
        if not stat.S_ISREG(Path(source.path).stat().st_mode):  # opening a FIFO waits for ever
            raise SourceError("file", "what is to be read is no file")
        file = Path(source.path).open("rb")  # noqa: SIM115 - the input closes it
    except OSError as error:
        raise SourceError("file", f"the file cannot be opened: {error.strerror}") from None
    try:
        container = _opened(file, setup, io_open=_refuse, options={"format_whitelist": FORMATS})
    except SourceError as error:
        file.close()
        raise SourceError("file", f"the file is no video: {error}") from None
    return _input(container, release=file.close, live=False, paced=True, read_s=setup.read_s)


def _device(source: Source, setup: Setup) -> Input:
    try:
        found = stat.S_ISCHR(Path(source.path).stat().st_mode)
    except OSError as error:
        raise SourceError("device", f"{source.path}: {error.strerror}") from None
    if not found:
        raise SourceError("device", f"{source.path} is no camera")
    try:  # its own JPEG, if it has one
        container = _opened(source.path, setup, format="v4l2", options={"input_format": "mjpeg"})
    except SourceError:
        container = _opened(source.path, setup, format="v4l2")
    return _input(container, read_s=setup.read_s)


# --- libav -----------------------------------------------------------------------------------------------------------


def _refuse(url: str, _flags: int, _options: Mapping[str, str]) -> NoReturn:
    """Whatever a file or body refers to."""
    raise SourceError("redirect", "the source refers to another file or address")


def _opened(what: Any, setup: Setup, **how: Any) -> Any:
    """A container, opened within the deadlines. Raises `SourceError`."""
    try:
        return av.open(what, mode="r", **{"timeout": (setup.open_s, setup.read_s), **how})
    except SourceError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise fault(error) from None


def fault(error: Exception) -> SourceError:
    """What libav says, in our words; its own may hold addresses."""
    if isinstance(error, av.error.ExitError | TimeoutError):
        return SourceError("timeout", "the source sends nothing any more")
    if isinstance(error, av.error.EOFError | ConnectionError):
        return SourceError("ended", "the source closed the connection")
    if isinstance(error, av.error.DecoderNotFoundError | av.error.InvalidDataError | av.error.PatchWelcomeError):
        return SourceError("codec", "the source sends nothing that can be decoded")
    if isinstance(error, av.error.OSError):
        return SourceError("ended", f"the source cannot be read any more: {error.strerror}")
    return SourceError("protocol", f"the source cannot be read: {type(error).__name__}")


def _nothing() -> None:
    return None


def _input(
    container: Any,
    *,
    cut: Callable[[], None] = _nothing,
    release: Callable[[], None] = _nothing,
    verdict: Callable[[], SourceError | None] = _nothing,
    seen: Callable[[], None] = _nothing,
    **how: Any,
) -> Input:
    if not container.streams.video:
        container.close()
        release()
        raise SourceError("codec", "there is no video in it")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        release()
        raise SourceError("codec", "there is no decoder for its video")
    stream.codec_context.thread_count = 1  # cameras are many; a second thread of one is a frame of delay
    return Input(container, stream, cut, release, verdict, seen, **how)
