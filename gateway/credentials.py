"""Credentials: the static token, tokens of single streams, logins of browsers, one-time tickets. All but the first live
in memory, and end with their stream or the process.

A secret is looked up by its SHA-256, so how long that takes says nothing about any other secret. What a credential
allows is `gateway.permissions`' business.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gateway.errors import NotFound, TokenLimit
from gateway.permissions import ROLES, SCOPES, Permission, Role, Scope
from gateway.settings import Access

ADDRESSES = 4096  # whose failures are remembered
TICKETS = 4096
PREFIXES: Mapping[Scope, str] = {"publish": "fgp_", "view": "fgv_"}
TICKET_PREFIX = "fgt_"

WELL_KNOWN = {  # as they stand in examples, in letters and digits alone
    *("changeme", "changethis", "secret", "secretkey", "secrettoken", "mysecret", "supersecret", "supersecretkey"),
    *("password", "admin", "token", "authtoken", "accesstoken", "apikey", "test", "testtoken", "default", "example"),
    *("yourtoken", "yoursecret", "yoursecretkey", "yoursecrettoken", "yourauthtoken", "yoursecretkeyhere"),
    *("yoursecretkeychangeinproduction", "changethistoasecurerandomstring", "framegate", "framegatetoken"),
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # of a tutorial that many copied
}

Digest = bytes


def digest_of(secret: str) -> Digest:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def weakness(secret: str, least: int) -> str | None:
    """What is wrong with a secret that somebody chose; None: nothing."""
    plain = "".join(letter for letter in secret.lower() if letter.isalnum())
    if plain in WELL_KNOWN or len(set(secret)) < 5:
        return "is known to everybody"
    if len(secret) < least:
        return f"has {len(secret)} characters, which is too short: {least} at least"
    if any(not "!" <= letter <= "~" for letter in secret):
        return "holds spaces or letters that no header can carry"
    return None


def is_stream_token(text: str) -> bool:
    return text.startswith(tuple(PREFIXES.values()))


class Credential:
    """Something that can be taken back. Whoever holds a connection by it is told (`holders`)."""

    def __init__(self) -> None:
        self.revoked = False
        self.holders: set[Callable[[], None]] = set()

    def revoke(self) -> None:
        self.revoked = True
        for cut in list(self.holders):
            cut()


class StreamToken(Credential):
    """A token of one stream. `id` names it to those who may not know the secret."""

    def __init__(self, stream_id: str, scope: Scope, name: str) -> None:
        super().__init__()
        self.id = secrets.token_hex(6)
        self.stream_id = stream_id
        self.scope = scope
        self.name = name
        self.secret = PREFIXES[scope] + secrets.token_urlsafe(24)
        self.created_at = datetime.now(UTC)


class Login(Credential):
    """A browser: what its cookie stands for. `role` is None for one that only opened links of streams."""

    def __init__(self, role: Role | None, expires_at: float) -> None:
        super().__init__()
        self.role = role
        self.expires_at = expires_at
        self.csrf = secrets.token_urlsafe(24)
        self.tokens: list[StreamToken] = []


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `streams` are those a token of their own names; `local`: this machine in open mode.

    `ambient`: the browser adds the credential by itself, so a foreign page may be behind the request.
    """

    role: Role | None = None
    streams: Mapping[str, Scope] = field(default_factory=dict)
    local: bool = False
    ambient: bool = False
    credentials: tuple[Credential, ...] = ()
    csrf: str | None = None

    @property
    def known(self) -> bool:
        return self.local or self.role is not None or bool(self.streams)

    def may(self, permission: Permission, stream_id: str | None = None) -> bool:
        """Whether it may do this, with this stream if it is about one."""
        if permission == "open" or self.local:
            return True
        if self.role is not None and permission in ROLES[self.role]:
            return True
        if stream_id is None:
            return permission == "any" and bool(self.streams)
        scope = self.streams.get(stream_id)
        return scope is not None and permission in SCOPES[scope]

    def sees(self, stream_id: str) -> bool:
        """Whether it may know that the stream is there."""
        return self.local or self.role is not None or stream_id in self.streams

    def with_(self, other: Caller) -> Caller:
        """Both: what either may, this one may."""
        streams = {**self.streams, **other.streams}
        for stream_id, scope in self.streams.items():
            streams[stream_id] = "publish" if "publish" in (scope, other.streams.get(stream_id)) else "view"
        return Caller(
            role=_stronger(self.role, other.role),
            streams=streams,
            local=self.local or other.local,
            ambient=self.ambient or other.ambient,
            credentials=(*self.credentials, *other.credentials),
            csrf=self.csrf or other.csrf,
        )


NOBODY = Caller()


def _stronger(one: Role | None, other: Role | None) -> Role | None:
    return max((one, other), key=lambda role: len(ROLES[role]) if role else 0)


class Tokens:
    """The tokens of all streams."""

    def __init__(self, *, most: int, keep_s: float, live: Container[str], clock: Callable[[], float]) -> None:
        """`most` of one stream; a stream that is no longer `live` keeps them for `keep_s`, to say how it ended."""
        self._most, self._keep_s, self._live, self._clock = most, keep_s, live, clock
        self._by_digest: dict[Digest, StreamToken] = {}
        self._by_stream: dict[str, list[StreamToken]] = {}
        self._gone: dict[str, float] = {}

    def issue(self, stream_id: str, scope: Scope, name: str = "") -> StreamToken:
        """Raises `TokenLimit`."""
        self._prune()
        tokens = self._by_stream.setdefault(stream_id, [])
        if len(tokens) >= self._most:
            raise TokenLimit(f"a stream has at most {self._most} tokens; revoke one first")
        token = StreamToken(stream_id, scope, name)
        tokens.append(token)
        self._by_digest[digest_of(token.secret)] = token
        return token

    def find(self, secret: str) -> StreamToken | None:
        return self._by_digest.get(digest_of(secret))

    def of(self, stream_id: str) -> list[StreamToken]:
        """Those that hold, the oldest first."""
        return list(self._by_stream.get(stream_id, ()))

    def revoke(self, stream_id: str, token_id: str) -> None:
        """Raises `NotFound`. Whoever is connected by it is cut off."""
        for token in self.of(stream_id):
            if token.id == token_id:
                self._by_stream[stream_id].remove(token)
                self._forget(token)
                return
        raise NotFound("the stream has no such token")

    def _forget(self, token: StreamToken) -> None:
        del self._by_digest[digest_of(token.secret)]
        token.revoke()

    def _prune(self) -> None:
        now = self._clock()
        for stream_id in [known for known in self._by_stream if known not in self._live]:
            if now - self._gone.setdefault(stream_id, now) > self._keep_s:
                del self._gone[stream_id]
                for token in self._by_stream.pop(stream_id):
                    self._forget(token)  # browsers that opened its link let go of it


class Logins:
    """The browsers that are logged in, the oldest dropped first."""

    def __init__(self, *, most: int, life_s: float, clock: Callable[[], float]) -> None:
        self._most, self._life_s, self._clock = most, life_s, clock
        self._by_digest: OrderedDict[Digest, Login] = OrderedDict()

    def begin(self, role: Role | None, *tokens: StreamToken) -> tuple[str, Login]:
        """The cookie's value, told once, and the login."""
        while len(self._by_digest) >= self._most:
            self._by_digest.popitem(last=False)[1].revoke()
        secret, login = secrets.token_urlsafe(32), Login(role, self._clock() + self._life_s)
        login.tokens.extend(tokens)
        self._by_digest[digest_of(secret)] = login
        return secret, login

    def find(self, secret: str) -> Login | None:
        key = digest_of(secret)
        login = self._by_digest.get(key)
        if login is not None and self._clock() >= login.expires_at:
            self._by_digest.pop(key).revoke()
            return None
        return login

    def left_s(self, held: Iterable[Credential]) -> float | None:
        """How long these hold, if the time of one of them ends."""
        ends = [one.expires_at for one in held if isinstance(one, Login)]
        return min(ends) - self._clock() if ends else None

    def end(self, secret: str) -> None:
        login = self._by_digest.pop(digest_of(secret), None)
        if login is not None:
            login.revoke()


@dataclass(frozen=True, slots=True)
class Ticket:
    """Opens one socket, once, soon. `stream_id`: of this stream alone."""

    caller: Caller
    stream_id: str | None
    expires_at: float


class Tickets:
    """One-time tickets that were not yet used."""

    def __init__(self, *, life_s: float, clock: Callable[[], float]) -> None:
        self._life_s, self._clock = life_s, clock
        self._by_digest: OrderedDict[Digest, Ticket] = OrderedDict()

    def issue(self, caller: Caller, stream_id: str | None, scope: Scope | None) -> str:
        """A ticket for what `caller` may; with a stream, for no more than `scope` on it."""
        now = self._clock()
        while self._by_digest:
            oldest = next(iter(self._by_digest.values()))
            if oldest.expires_at > now and len(self._by_digest) < TICKETS:
                break
            self._by_digest.popitem(last=False)
        streams: Mapping[str, Scope] = caller.streams
        role: Role | None = "operator" if caller.local else caller.role
        if stream_id is not None:
            streams, role = {stream_id: scope or "view"}, None
        heir = replace(caller, role=role, streams=streams, local=False, ambient=False, csrf=None)
        secret = TICKET_PREFIX + secrets.token_urlsafe(24)
        self._by_digest[digest_of(secret)] = Ticket(heir, stream_id, now + self._life_s)
        return secret

    def take(self, secret: str) -> Ticket | None:
        """Good once, and only until it expires or what it was made with is revoked."""
        ticket = self._by_digest.pop(digest_of(secret), None)
        if ticket is None or self._clock() >= ticket.expires_at:
            return None
        return None if any(held.revoked for held in ticket.caller.credentials) else ticket


class Attempts:
    """Wrong credentials by address: after `most` within `span_s` it has to wait."""

    def __init__(self, *, most: int, span_s: float, clock: Callable[[], float]) -> None:
        self._most, self._span_s, self._clock = most, span_s, clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long this address has to wait before it may try again; 0: not at all."""
        since, count = self._failures.get(address, (0.0, 0))
        left = since + self._span_s - self._clock()
        return left if count >= self._most and left > 0 else 0.0

    def failed(self, address: str) -> None:
        now = self._clock()
        since, count = self._failures.pop(address, (now, 0))
        self._failures[address] = (now, 1) if now - since >= self._span_s else (since, count + 1)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


class Credentials:
    """All of one gateway."""

    def __init__(
        self,
        rules: Access,
        static: str | None,
        *,
        live: Container[str],
        clock: Callable[[], float],
        keep_s: float = 60.0,
    ) -> None:
        self._static = digest_of(static) if static else None
        self.rules = rules
        self.tokens = Tokens(most=rules.stream_tokens, keep_s=keep_s, live=live, clock=clock)
        self.logins = Logins(most=rules.logins, life_s=rules.login_s, clock=clock)
        self.tickets = Tickets(life_s=rules.ticket_s, clock=clock)
        self.attempts = Attempts(most=rules.failures, span_s=rules.failures_s, clock=clock)

    def is_static(self, secret: str) -> bool:
        """Whether this is the static token."""
        return self._static is not None and hmac.compare_digest(self._static, digest_of(secret))

    def bearer(self, secret: str) -> Caller | None:
        """Whom a secret in a header stands for."""
        if self.is_static(secret):
            return Caller(role="admin")
        token = self.tokens.find(secret)
        return None if token is None else caller_by(token)


def caller_by(*tokens: StreamToken) -> Caller:
    """Who holds these tokens of streams."""
    caller = NOBODY
    for token in tokens:
        caller = caller.with_(Caller(streams={token.stream_id: token.scope}, credentials=(token,)))
    return caller


def caller_in(login: Login) -> Caller:
    """Whose browser this is."""
    links = caller_by(*(token for token in login.tokens if not token.revoked))
    return Caller(role=login.role, ambient=True, credentials=(login,), csrf=login.csrf).with_(links)
