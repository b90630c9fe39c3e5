"""`framegate config show` is a framegate.toml that gives the same settings again, but for secrets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from gateway.commands.config import MASK, lines, masked, schema
from gateway.settings import Settings, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder and no setting in the environment."""
    import os

    for name in os.environ:
        if name.startswith("FRAMEGATE_") or name in ("PORT", "DEBUG", "AUTH_TOKEN", "LOG_LEVEL", "LOG_FILE"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown() -> str:
    return "\n".join(lines(load()))


def source_of(key: str) -> str:
    return next(line.partition("  # ")[2] for line in shown().splitlines() if line.startswith(f"{key} = "))


def test_what_is_shown_gives_the_same_settings_again(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEGATE_LIMITS__MAX_FPS", "9")
    monkeypatch.setenv(
        "FRAMEGATE_ANALYZERS", '{"bags": {"zones": [{"name": "a \\"b\\"", "points": [0.5, 1]}], "fps": 2}}'
    )
    monkeypatch.setenv("FRAMEGATE_ALLOWED_ORIGINS", '["https://a.example"]')
    before, text = load(), shown()
    (clean / "framegate.toml").write_text(text)
    for name in ("FRAMEGATE_LIMITS__MAX_FPS", "FRAMEGATE_ANALYZERS", "FRAMEGATE_ALLOWED_ORIGINS"):
        monkeypatch.delenv(name)
    assert load() == before


def test_every_setting_is_shown_or_said_to_be_unset() -> None:
    text = shown()
    tables = tomllib.loads(text)
    for name in Settings.model_fields:
        assert name in tables or f"# {name} is not set" in text or name == "analyzers"


def test_each_setting_tells_its_source(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clean / "framegate.toml").write_text("grace_s = 1.0\nport = 1\n[limits]\nmax_fps = 3.0\n")
    (clean / ".env").write_text("FRAMEGATE_LEASE_S=5\n")
    monkeypatch.setenv("FRAMEGATE_HOST", "127.0.0.2")
    monkeypatch.setenv("PORT", "8123")
    assert source_of("host") == "environment FRAMEGATE_HOST"
    assert source_of("port") == "environment PORT"
    assert source_of("lease_s") == ".env FRAMEGATE_LEASE_S"
    assert source_of("grace_s") == "framegate.toml"
    assert source_of("max_fps") == "framegate.toml"
    assert source_of("max_sessions") == "default"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEGATE_AUTH_TOKEN", "hush-hush")
    monkeypatch.setenv("FRAMEGATE_ANALYZERS", '{"scene": {"api_key": "hush-hush"}}')
    text = shown()
    assert "hush-hush" not in text
    assert tomllib.loads(text)["auth_token"] == MASK
    assert tomllib.loads(text)["analyzers"]["scene"]["api_key"] == MASK


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("database_url", "postgresql://me:hush@db/x", "postgresql://***@db/x"),
        ("FRAMEGATE_SECRET_KEY", "hush", "***"),
        ("sources", ["rtsp://me:hush@cam/1"], ["rtsp://***@cam/1"]),
        ("credits", 4, 4),
        ("token", "", ""),
    ],
)
def test_only_what_is_secret_is_masked(key: str, value: object, shown: object) -> None:
    assert masked(key, value) == shown


def test_the_schema_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    schema()
    assert json.loads(capsys.readouterr().out)["properties"].keys() == Settings.model_fields.keys()
