"""The static token: the operator's, or one of our own making, kept in the data folder and shown once."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from gateway.credentials import weakness
from gateway.settings import Settings

WEAK = 3  # the exit code
PREFIX = "fga_"


def with_token(settings: Settings) -> tuple[Settings, bool]:
    """The settings with a static token, and whether it was made just now. Raises `SystemExit`."""
    if settings.auth_token is not None:
        refuse_weak(settings.auth_token.get_secret_value(), settings, "auth_token")
        return settings, False
    path = token_file(settings)
    try:
        token, fresh = _kept(path)
    except OSError as error:
        raise SystemExit(f"cannot keep a token in {path}: {error.strerror}") from None
    refuse_weak(token, settings, str(path))
    return settings.model_copy(update={"auth_token": SecretStr(token)}), fresh


def own_gateways_token(settings: Settings) -> str:
    """What a command needs for a gateway that it starts itself; empty in open mode. Raises `SystemExit`."""
    if settings.auth == "auto" and settings.auth_token is None:
        return ""
    token = with_token(settings)[0].auth_token
    return token.get_secret_value() if token else ""


def token_file(settings: Settings) -> Path:
    return settings.home / "secrets" / "auth_token"


def refuse_weak(token: str, settings: Settings, where: str) -> None:
    """Raises `SystemExit` with code 3, before any port is open."""
    if (found := weakness(token, settings.access.token_length)) is not None:
        print(f"weak_secret: {where} {found}. `openssl rand -hex 32` prints a good one", file=sys.stderr)
        raise SystemExit(WEAK)


def _kept(path: Path) -> tuple[str, bool]:
    """The token in the file, and whether the file is new. Nobody but its owner may read it from now on."""
    if path.is_file():
        path.chmod(0o600)
        return path.read_text().strip(), False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = PREFIX + secrets.token_urlsafe(32)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    return token, True


def boxed(lines: Sequence[str]) -> str:
    """Lines in a frame, so that they are seen among logs."""
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    return "\n".join([edge, *(f"| {line:<{width}} |" for line in lines), edge])
