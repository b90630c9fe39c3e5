"""Challenge: answers `WWW-Authenticate` with a user's name and password, for RTSP as for HTTP (RFC 7616, RFC 7617)."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

# A parameter, with the scheme before the first one: a header may hold several challenges (RFC 9110 section 11.6.1).
_PARAMETER = re.compile(
    r'(?<![A-Za-z0-9_-])(?:([A-Za-z0-9_-]+)[ \t]+)?([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))'
)
_MOST = 4096  # characters of a header that are looked at
_HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}  # the better one first


@dataclass(slots=True)
class Credential:
    """A user's answer to the challenges of one server; counts how often a nonce was used."""

    user: str
    password: str = field(repr=False)
    _digest: dict[str, str] = field(default_factory=dict)
    _basic: bool = False
    _used: int = 0

    def challenged(self, offers: Sequence[str], *, again: bool = False) -> bool:
        """Take the best of a server's challenges; whether there is an answer that was not refused already.

        `again`: the request had been answered by this credential, so only a stale nonce is worth another try.
        """
        if not self.user and not self.password:
            return False
        found = [challenge for offer in offers for challenge in _challenges(offer)]
        for name in _HASHES:
            for scheme, said in found:
                if scheme == "digest" and said.get("algorithm", "MD5").upper() == name and "nonce" in said:
                    self._digest, self._used = said, 0
                    return not again or said.get("stale", "").lower() == "true"
        self._basic = any(scheme == "basic" for scheme, _ in found)
        return self._basic and not again

    def answer(self, method: str, uri: str) -> str | None:
        """The Authorization header of a request; None before any challenge."""
        if self._digest:
            return self._answer_digest(method, uri)
        if self._basic:
            return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        return None

    def _answer_digest(self, method: str, uri: str) -> str:
        said = self._digest
        algorithm = said.get("algorithm", "MD5")
        self._used += 1
        parts = {"username": self.user, "realm": said.get("realm", ""), "nonce": said["nonce"], "uri": uri}
        secret = _hashed(algorithm, f"{self.user}:{parts['realm']}:{self.password}")
        about = _hashed(algorithm, f"{method}:{uri}")
        if "auth" in re.split(r"[\s,]+", said.get("qop", "")):
            count, salt = f"{self._used:08x}", secrets.token_hex(8)
            response = _hashed(algorithm, f"{secret}:{said['nonce']}:{count}:{salt}:auth:{about}")
            tail = f', qop=auth, nc={count}, cnonce="{salt}"'
        else:
            response, tail = _hashed(algorithm, f"{secret}:{said['nonce']}:{about}"), ""
        parts["response"] = response
        if "opaque" in said:
            parts["opaque"] = said["opaque"]
        quoted = ", ".join(f'{key}="{_escaped(value)}"' for key, value in parts.items())
        named = f", algorithm={algorithm}" if "algorithm" in said else ""
        return f"Digest {quoted}{named}{tail}"


def _challenges(offer: str) -> list[tuple[str, dict[str, str]]]:
    """The challenges of one header: scheme and parameters of each, names in lower case."""
    alone = offer.strip().lower()
    found: list[tuple[str, dict[str, str]]] = [(alone, {})] if alone.isalpha() else []
    for scheme, key, quoted, plain in _PARAMETER.findall(offer[:_MOST]):
        if scheme:
            found.append((scheme.lower(), {}))
        if found:
            found[-1][1][key.lower()] = quoted or plain
    return found


def _hashed(algorithm: str, text: str) -> str:
    return _HASHES[algorithm.upper()](text.encode()).hexdigest()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"') if '"' in value and "\\" not in value else value
