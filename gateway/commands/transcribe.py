"""`framegate transcribe`: what is said in a file, with times, as it is found."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.speech import CannotTranscribe, Transcript, Whisper, find_whisper, read_sound
from gateway.weights import folders

if TYPE_CHECKING:
    from gateway.settings import Settings


def transcribe(
    settings: Settings, file: Path, *, model: str = "", language: str | None, translate: bool, json: bool
) -> int:
    """The exit code. Raises `SystemExit` with one line for what cannot be done."""
    try:
        sound = read_sound(file)
        folder = find_whisper(model, folders(settings.home, settings.models_dir))
        engine = Whisper(folder, device=settings.runtime.device, threads=settings.analysis.threads)
        told = engine.transcribe(sound, language=language, translate=translate)
        _print_json(told) if json else _print(told)
    except CannotTranscribe as error:
        raise SystemExit(f"transcribe: {error}") from None
    return 0


def _print(told: Transcript) -> None:
    """A line for each segment, when it is there."""
    for segment in told.segments:
        print(f"{clock(segment.start)} - {clock(segment.end)}  {segment.text}", flush=True)


def _print_json(told: Transcript) -> None:
    """One object, in the end."""
    segments = [{**asdict(one), "confidence": round(one.confidence, 3)} for one in told.segments]
    about = {"language": told.language, "language_confidence": round(told.language_confidence, 3)}
    print(jsonlib.dumps({**about, "segments": segments}, ensure_ascii=False, indent=2))


def clock(seconds: float) -> str:
    """0:00:00.0 in tenths."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}:{rest:04.1f}"
