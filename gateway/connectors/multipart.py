"""Multipart bodies of pictures, taken apart as they come (`multipart/x-mixed-replace`). No I/O."""

from __future__ import annotations

from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import BadMessage, BodyTooLarge

LONGEST_BOUNDARY = 70  # RFC 2046 section 5.1.1


class PictureParts:
    """The parts of one body. Without a boundary in the Content-Type the body's first line is it.

    `ffmpeg -f mpjpeg -method POST` sends no Content-Type at all.
    """

    def __init__(self, content_type: str | None, *, most: int) -> None:
        """`most`: bytes of one part. Raises `BadMessage` for a type that is something else."""
        kind, options = parse_options_header(content_type)
        if kind and kind != b"application/octet-stream" and not kind.startswith(b"multipart/"):
            raise BadMessage(f"expected multipart/x-mixed-replace; boundary=..., got {content_type}", code="multipart")
        self._most = most
        self._part = bytearray()
        self._done: list[bytes] = []
        self._start = b""
        boundary = options.get(b"boundary", b"").removeprefix(b"--")
        self._parser = self._parser_for(boundary) if boundary else None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The parts this chunk completes. Raises `BadMessage` or `BodyTooLarge`."""
        if self._parser is None:
            chunk = self._start = (self._start + chunk).lstrip(b"\r\n")
            if not (boundary := self._first_line()):
                return []
            self._parser = self._parser_for(boundary)
        try:
            self._parser.write(chunk)
        except ValueError as error:
            raise BadMessage(f"not the multipart body it says it is: {error}", code="multipart") from None
        done, self._done = self._done, []
        return done

    def _first_line(self) -> bytes:
        line, end, _ = self._start[: LONGEST_BOUNDARY + 4].partition(b"\r\n")
        endless = not end and len(self._start) > LONGEST_BOUNDARY + 4
        if not b"--".startswith(line[:2]) or endless or (end and not line[2:]):
            raise BadMessage("expected a body that begins with a boundary line", code="multipart")
        return line[2:] if end else b""

    def _parser_for(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(boundary, {"on_part_data": self._more, "on_part_end": self._finish})
        except ValueError as error:
            raise BadMessage(f"not a boundary (RFC 2046 section 5.1.1): {error}", code="multipart") from None

    def _more(self, chunk: bytes, start: int, end: int) -> None:
        if len(self._part) + end - start > self._most:
            raise BodyTooLarge(f"a part is larger than the limit of {self._most} bytes")
        self._part.extend(memoryview(chunk)[start:end])

    def _finish(self) -> None:
        self._done.append(bytes(self._part))
        self._part.clear()
