"""Where a gateway answers: the base of all its addresses, with the path a proxy may have put before them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """`base` ends with a slash."""

    base: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `http[s]://HOST[:PORT][/BASE/PATH]`. Raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected http[s]://HOST[:PORT][/PATH], got {parts.scheme}://{parts.hostname or ''}")
        if parts.username is not None:
            raise ValueError("a credential in the address would end in logs; give it as token=")
        return cls(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/")

    @property
    def secure(self) -> bool:
        return self.base.startswith("https:")

    def url(self, path: str) -> str:
        """The address of something the gateway named, such as a `snapshot_url`.

        A gateway behind a proxy may not know its base path and answer from the root.
        """
        base_path = urlsplit(self.base).path
        lacks_base = path.startswith("/") and not path.startswith("//") and not path.startswith(base_path)
        return urljoin(self.base, path[1:] if lacks_base else path)

    def socket_url(self, path: str) -> str:
        return self.url(path).replace("http", "ws", 1)


def stream_path(stream_id: str) -> str:
    """Relative to the base, as all paths this client makes itself."""
    return f"stream/{quote(stream_id, safe='')}"
