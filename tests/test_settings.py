"""Settings: flags > environment > older names > .env > file > defaults; a mistake is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from gateway.settings import Settings, check_file, load


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and an environment without a word for us."""
    import os

    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("FRAMEGATE_") or name in ("PORT", "AUTH_TOKEN", "YOLO_MODEL_PATH", "DEBUG", "MONGODB_URL"):
            monkeypatch.delenv(name)


def write(name: str, text: str) -> None:
    Path(name).write_text(text)


def test_each_source_wins_over_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [load().port]
    write("framegate.toml", "port = 1001")
    ports.append(load().port)
    write(".env", "FRAMEGATE_PORT=1002")
    ports.append(load().port)
    monkeypatch.setenv("PORT", "1003")
    ports.append(load().port)
    monkeypatch.setenv("FRAMEGATE_PORT", "1004")
    ports.append(load().port)
    ports.append(load(port=1005).port)
    assert ports == [8000, 1001, 1002, 1003, 1004, 1005]


def test_a_key_of_a_section_is_reached_by_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    write("framegate.toml", "[limits]\nmax_fps = 10\nmax_sessions = 3\n")
    monkeypatch.setenv("FRAMEGATE_LIMITS__MAX_FPS", "20")
    limits = load().limits
    assert (limits.max_fps, limits.max_sessions) == (20, 3)


def test_another_file_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 1001")
    monkeypatch.setenv("FRAMEGATE_CONFIG", str(other))
    assert load().port == 1001


def test_options_of_analyzers_are_tables_of_their_own() -> None:
    write("framegate.toml", '[analyzers.objects]\nfps = 5\nlabels = ["person"]\n')
    assert load().analyzers == {"objects": {"fps": 5, "labels": ["person"]}}


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("AUTH_TOKEN", "secret", lambda made: made.auth_token.get_secret_value() == "secret"),
        ("YOLO_MODEL_PATH", "/m/yolo.onnx", lambda made: made.yolo_model_path == "/m/yolo.onnx"),
        ("LOG_LEVEL", "warning", lambda made: made.log.level == "WARNING"),
        ("LOG_FILE", "/tmp/log", lambda made: made.log.file == Path("/tmp/log")),
        ("DEBUG", "true", lambda made: made.log.level == "DEBUG"),
        ("DEBUG", "0", lambda made: made.log.level == "INFO"),
    ],
)
def test_names_of_the_older_systems_are_understood(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: object
) -> None:
    monkeypatch.setenv(name, value)
    assert callable(found)
    assert found(load())


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("prot = 1", "framegate.toml: there is no setting prot; did you mean port?"),
        ("zzz = 1", "framegate.toml: there is no setting zzz"),
        ("port = ", "framegate.toml: Invalid value (at end of document)"),
        ("port = 70000", "port: Input should be less than or equal to 65535, got 70000"),
        ("[limits]\nmax_fsp = 1", "limits.max_fsp: Extra inputs are not permitted, got 1"),
        ('auth = "none"', "auth: Input should be 'auto' or 'required', got 'none'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(file: str, complaint: str) -> None:
    write("framegate.toml", file)
    with pytest.raises(SystemExit) as stopped:
        load()
    assert str(stopped.value).removeprefix("settings are wrong\n").strip() == complaint


@pytest.mark.parametrize(("name", "value"), [("PLUGINS", "my.py"), ("ANALYZERS", "motion"), ("PORT", "http")])
def test_a_mistake_in_the_environment_is_a_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FRAMEGATE_{name}", value)
    with pytest.raises(SystemExit, match=f"(?i){name}"):
        load()


def test_a_database_that_is_no_more_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb://localhost")
    with pytest.raises(SystemExit, match="the database is SQL now"):
        load()


def test_a_file_that_is_not_there_is_no_mistake() -> None:
    check_file(Path("framegate.toml"))


def test_settings_are_frozen() -> None:
    made = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        made.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        made.limits.max_fps = 1  # type: ignore[misc]


def test_a_secret_is_not_printed() -> None:
    assert "hunter2" not in repr(load(auth_token="hunter2"))


def test_every_setting_says_what_it_is() -> None:
    sections = {name: value for name, value in Settings() if isinstance(value, BaseModel)}
    fields = [item for model in (Settings(), *sections.values()) for item in type(model).model_fields.items()]
    assert [name for name, field in fields if not field.description and name not in sections] == []


def test_importing_reads_no_environment() -> None:
    code = "import os; os.environ['FRAMEGATE_PORT'] = 'junk'; import gateway.settings, gateway.app; print('fine')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "fine\n"
