"""Multipart bodies taken apart: however the bytes are cut, the parts are the same."""

from __future__ import annotations

import pytest

from gateway.connectors.multipart import PictureParts
from gateway.errors import BadMessage, BodyTooLarge, GatewayError

NAMED = "multipart/x-mixed-replace; boundary=cut"
BODY = (
    b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: 5\r\n\r\n\xff\xd81\r\n\r\n"  # its last two bytes are CR LF
    b"--cut\r\n\r\n--cu\r\n--cux--\r\n"
    b"--cut\r\nContent-type: image/jpeg\r\n\r\n\r\n"
    b"--cut\r\n"
)
PARTS = [b"\xff\xd81\r\n", b"--cu\r\n--cux--", b""]


def parts_of(body: bytes, content_type: str | None, step: int) -> list[bytes]:
    parts = PictureParts(content_type, most=100)
    return [part for at in range(0, len(body), step) for part in parts.feed(body[at : at + step])]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "content_type", [NAMED, 'multipart/mixed; boundary="--cut"', None, "", "application/octet-stream"]
)
def test_parts_are_complete_at_the_next_boundary_line_wherever_the_body_is_cut(
    content_type: str | None, step: int
) -> None:
    assert parts_of(BODY, content_type, step) == PARTS


def test_a_boundary_that_is_none_is_a_bad_message() -> None:
    with pytest.raises(BadMessage) as refused:
        PictureParts(f"multipart/mixed; boundary={'x' * 20_000}", most=100)
    assert refused.value.code == "multipart"


@pytest.mark.parametrize("lead", [b"\r\n", b"\r\n\r\n"])
def test_line_ends_before_the_first_boundary_are_passed_over(lead: bytes) -> None:
    assert parts_of(lead + BODY, None, 1) == PARTS


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("image/jpeg", b"", BadMessage),
        (NAMED, b"--other\r\n", BadMessage),
        (None, b"\xff\xd8\xff\xe0", BadMessage),
        (None, b"--" + b"x" * 80 + b"\r\n", BadMessage),
        (NAMED, b"--cut\r\n\r\n" + bytes(101), BodyTooLarge),
        (NAMED, b"--cut\r\n" + b"X: y\r\n" * 100, BadMessage),
    ],
)
def test_anything_else_is_an_error_with_a_word_for_it(
    content_type: str, body: bytes, error: type[GatewayError]
) -> None:
    with pytest.raises(error) as raised:
        parts_of(body, content_type, 5)
    assert raised.value.code in ("multipart", "body_too_large")


def test_a_first_line_without_a_boundary_is_refused_at_once() -> None:
    with pytest.raises(BadMessage, match="begins with a boundary line"):
        PictureParts(None, most=1000).feed(b"--\r\n")
