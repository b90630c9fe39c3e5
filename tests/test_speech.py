"""Speech: sound of any file becomes samples, samples become words with times, and nothing is fetched."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway import speech
from gateway.commands.transcribe import clock, transcribe
from gateway.settings import Settings
from gateway.speech import RATE, CannotTranscribe, Segment, Whisper, find_whisper, read_sound


def tone(path: Path, *, seconds: float = 1.0, rate: int = 44_100, channels: int = 2) -> Path:
    """A WAV file with 440 Hz at half the full swing."""
    t = np.arange(int(seconds * rate)) / rate
    samples = np.repeat((np.sin(2 * np.pi * 440 * t) * 16_384).astype("<i2")[:, None], channels, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_whisper", reason="the extra [speech] is not installed")
    from tests import tiny_whisper

    return tiny_whisper.make(tmp_path_factory.mktemp("models") / "tiny-whisper")


# --- sound -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (16_000, 1), (8_000, 1)])
def test_sound_becomes_16_khz_of_one_channel(tmp_path: Path, rate: int, channels: int) -> None:
    sound = read_sound(tone(tmp_path / "tone.wav", rate=rate, channels=channels))
    assert (str(sound.dtype), sound.ndim) == ("float32", 1)
    assert len(sound) == pytest.approx(RATE, abs=64)
    assert np.abs(np.fft.rfft(sound[:8000])).argmax() * RATE / 8000 == 440
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.02)


def test_what_has_no_sound_is_refused_by_name(tmp_path: Path) -> None:
    import cv2

    silent = tmp_path / "silent.avi"
    writer = cv2.VideoWriter(str(silent), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    (tmp_path / "notes.txt").write_text("hello")
    for name, why in (("silent.avi", "has no sound"), ("notes.txt", "cannot be read"), ("none.wav", "cannot be read")):
        with pytest.raises(CannotTranscribe, match=rf"{name} {why}"):
            read_sound(tmp_path / name)


def test_more_sound_than_memory_is_meant_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotTranscribe, match=r"more than 0\.0001\d* hours of sound"):
        read_sound(tone(tmp_path / "long.wav"), most_s=0.5)


# --- words -----------------------------------------------------------------------------------------------------------


def test_samples_become_words_with_their_times(model: Path) -> None:
    told = Whisper(model, device="cpu", threads=1).transcribe(np.zeros(2 * RATE, np.float32), vad=False)
    (segment,) = told.segments
    assert (told.language, told.language_confidence) == ("en", 1.0)
    assert segment == Segment(0.0, 1.4, "help", segment.confidence)
    assert segment.confidence > 0.99


def test_what_holds_no_speech_is_not_heard(model: Path) -> None:
    """A Whisper makes up words where nobody speaks, as this one does to anything."""
    told = Whisper(model, device="cpu", threads=1).transcribe(np.zeros(2 * RATE, np.float32))
    assert list(told.segments) == []


def test_no_sound_at_all_is_no_words(model: Path) -> None:
    assert list(Whisper(model, device="cpu").transcribe(np.zeros(0, np.float32)).segments) == []


def test_a_language_the_model_does_not_know_is_refused(model: Path) -> None:
    engine = Whisper(model, device="cpu")
    engine._model.model = type("Multilingual", (), {"is_multilingual": True})()
    with pytest.raises(CannotTranscribe, match="not a valid language code"):
        engine.transcribe(np.zeros(RATE, np.float32), language="klingon")


def test_a_damaged_model_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    for part in speech.PARTS:
        (tmp_path / part).write_bytes((model / part).read_bytes()[:1000])
    with pytest.raises(CannotTranscribe, match=f"{tmp_path} cannot be loaded"):
        Whisper(tmp_path, device="cpu")


def test_a_model_is_found_by_path_by_name_and_as_the_only_one(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    for part in speech.PARTS[:2]:
        (folder / part).touch()
    with pytest.raises(CannotTranscribe, match=r"no Whisper model in .*tokenizer\.json"):
        find_whisper("", [tmp_path])
    (folder / "tokenizer.json").touch()
    assert find_whisper("", [tmp_path]) == find_whisper("small", [tmp_path]) == find_whisper(str(folder), []) == folder
    with pytest.raises(CannotTranscribe, match="no Whisper model in large"):
        find_whisper("large", [tmp_path])


# --- the command -----------------------------------------------------------------------------------------------------


def command(tmp_path: Path, file: Path, models: Path | str, **more: Any) -> int:
    settings = Settings(home=tmp_path, models_dir=str(models), runtime={"device": "cpu"})
    return transcribe(settings, file, **{"language": None, "translate": False, "json": False, **more})


def test_the_command_prints_a_line_for_each_segment(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hear = Whisper.transcribe
    monkeypatch.setattr(Whisper, "transcribe", lambda *args, **how: hear(*args, **how, vad=False))  # it is a tone
    file = tone(tmp_path / "tone.wav", seconds=2.0)
    assert command(tmp_path, file, model.parent) == 0
    assert capsys.readouterr().out == "0:00:00.0 - 0:00:01.4  help\n"
    assert command(tmp_path, file, model.parent, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    (segment,) = told.pop("segments")
    assert told == {"language": "en", "language_confidence": 1.0}
    assert (segment["start"], segment["end"], segment["text"]) == (0.0, 1.4, "help")


def test_the_command_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^transcribe: .*no Whisper model in "):
        command(tmp_path, tone(tmp_path / "tone.wav"), "")
    with pytest.raises(SystemExit, match=r"^transcribe: .*none\.wav cannot be read"):
        command(tmp_path, tmp_path / "none.wav", "")


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    with pytest.raises(CannotTranscribe, match=r'pip install "framegate\[cpu,speech\]"'):
        Whisper(tmp_path)


def test_times_are_told_in_tenths() -> None:
    assert [clock(s) for s in (0, 59.94, 60, 3725.25)] == ["0:00:00.0", "0:00:59.9", "0:01:00.0", "1:02:05.2"]
