"""One file from the network: resumed where it was cut, checked, and put in place only when it is whole."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx2

from gateway.weights import sha256_of

ATTEMPTS = 4  # a cut connection is taken up again this often before the user is asked to come back
TIMEOUT = httpx2.Timeout(30.0, connect=15.0)

Progress = Callable[[int], None]  # bytes that are there so far


class DownloadFailed(Exception):
    """The file could not be had; one line for the user, saying what to do."""


class _Cut(Exception):
    """The connection ended early; what came is kept."""


def fetch(url: str, target: Path, *, size: int, sha256: str, progress: Progress) -> None:
    """Fetch `url` to `target`, of which `size` bytes and hash are known. Raises `DownloadFailed`.

    An interrupted fetch leaves `target.part` and goes on there next time; `target` appears at once, and only checked.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with httpx2.Client(follow_redirects=True, timeout=TIMEOUT) as client:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _take(client, url, part, size, progress)
                break
            except _Cut as cut:
                if attempt == ATTEMPTS:
                    got = part.stat().st_size if part.exists() else 0
                    raise DownloadFailed(
                        f"{url}: {cut} after {got} of {size} bytes; run the same command again to go on from there"
                    ) from None
    _accept(part, target, sha256)


def _take(client: httpx2.Client, url: str, part: Path, size: int, progress: Progress) -> None:
    """Bring `part` to `size` bytes. Raises `_Cut` or `DownloadFailed`."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    progress(have)
    if have == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with client.stream("GET", url, headers=headers) as response:
            have = _begin_at(response, have)
            _write(response, part, have, size, progress)
    except httpx2.InvalidURL as error:
        raise DownloadFailed(f"{url}: {error}") from None
    except httpx2.UnsupportedProtocol:
        raise DownloadFailed(f"{url}: an address begins with http:// or https://") from None
    except httpx2.RequestError as error:
        raise _Cut(f"the connection failed ({type(error).__name__})") from None
    if part.stat().st_size < size:
        raise _Cut("the answer ended early")


def _begin_at(response: httpx2.Response, have: int) -> int:
    """Where in the file the answer's body belongs: a server may ignore Range (RFC 9110 14.2)."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return have
    if status == HTTPStatus.OK:
        return 0
    if status >= 500:
        raise _Cut(f"the server answered {status}")
    raise DownloadFailed(f"{response.url}: the server answered {status}; --url takes a mirror's address")


def _write(response: httpx2.Response, part: Path, have: int, size: int, progress: Progress) -> None:
    with part.open("r+b" if have else "wb") as stream:
        stream.seek(have)
        for chunk in response.iter_raw():
            have += len(chunk)
            if have > size:
                stream.truncate(0)
                raise DownloadFailed(f"{response.url}: the file is larger than the {size} bytes it should have")
            stream.write(chunk)
            progress(have)


def _accept(part: Path, target: Path, sha256: str) -> None:
    """Rename within one folder, so that nobody ever sees half a file."""
    got = sha256_of(part)
    if got != sha256:
        part.unlink()
        raise DownloadFailed(f"{target.name}: SHA-256 is {got}, expected {sha256}; the file was thrown away")
    part.replace(target)
