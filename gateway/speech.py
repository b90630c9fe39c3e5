"""Speech: sound becomes text with times, by a Whisper-type model that lies in a folder. Nothing is ever fetched.

The engine is faster-whisper (CTranslate2), an extra; `Transcriber` is all that the rest knows of it. It takes samples,
not files, so that whoever brings sound of a stream can ask it too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]  # (n,), mono, -1 to 1, RATE a second

RATE = 16_000  # Hz, of every Whisper
PARTS = ("model.bin", "config.json", "tokenizer.json")  # without the last one the library would fetch it
MAX_S = 4 * 3600.0  # of sound; an hour of samples takes 230 MB, and the features of it as much again
EXTRA = 'pip install "framegate[cpu,speech]"'


class CannotTranscribe(ValueError):
    """No model, no library, no sound; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Something that was said from `start` to `end` (s). `confidence` is 0-1, the mean probability of its tokens."""

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said, in the order in which it is; segments are made while they are asked for."""

    language: str
    language_confidence: float
    segments: Iterator[Segment]


class Transcriber(Protocol):
    """An engine with its model loaded; one call at a time."""

    def transcribe(self, samples: Samples, *, language: str | None = None, translate: bool = False) -> Transcript:
        """What is said in this sound. `language` as ISO 639-1, or None to find out; `translate`: into English."""


class Whisper:
    """faster-whisper with a local model. What holds no speech is left out before the model hears it (Silero VAD)."""

    def __init__(self, folder: Path, *, device: str = "auto", threads: int = 0) -> None:
        """Raises `CannotTranscribe`."""
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise CannotTranscribe(f"{error.name} is not installed: {EXTRA}") from None
        try:
            self._model = WhisperModel(
                str(folder),
                device=device if device in ("cpu", "cuda") else "auto",
                cpu_threads=threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise CannotTranscribe(f"{folder} cannot be loaded: {error}") from None

    def transcribe(
        self, samples: Samples, *, language: str | None = None, translate: bool = False, vad: bool = True
    ) -> Transcript:
        """Raises `CannotTranscribe` for a language the model does not know."""
        if samples.size == 0:
            return Transcript(language or "", 0.0, iter(()))
        task = "translate" if translate else "transcribe"
        try:
            found, about = self._model.transcribe(samples, language=language, task=task, vad_filter=vad)
        except ValueError as error:
            raise CannotTranscribe(str(error)) from None
        return Transcript(about.language, float(about.language_probability), map(_segment, found))


def _segment(found: Any) -> Segment:
    confidence = min(1.0, math.exp(found.avg_logprob))
    return Segment(round(float(found.start), 2), round(float(found.end), 2), " ".join(found.text.split()), confidence)


def find_whisper(model: str, places: Sequence[Path]) -> Path:
    """A model's folder, by path or by its name in these trees; the first there is if none is named.

    Raises `CannotTranscribe`.
    """
    if model and _holds_whisper(Path(model).expanduser()):
        return Path(model).expanduser()
    for place in places:
        for folder, below, _ in os.walk(place):
            below.sort()
            if (not model or Path(folder).name == model) and _holds_whisper(Path(folder)):
                return Path(folder)
    named = f"no Whisper model in {model}" if model else f"no Whisper model in {', '.join(map(str, places))}"
    raise CannotTranscribe(f"{named}: a folder with {', '.join(PARTS)}, as faster-whisper has them")


def _holds_whisper(folder: Path) -> bool:
    return all((folder / part).is_file() for part in PARTS)


def read_sound(path: Path, *, most_s: float = MAX_S) -> Samples:
    """The sound of a file in any format FFmpeg reads, pictures left aside. Raises `CannotTranscribe`."""
    import av
    import numpy as np

    parts: list[Any] = []
    left = int(most_s * RATE)
    try:
        with path.open("rb") as file, av.open(file, "r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise CannotTranscribe(f"{path} has no sound")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in _with_end(container.decode(audio=0)):
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray().reshape(-1))
                    left -= len(parts[-1])
                    if left < 0:
                        raise CannotTranscribe(f"{path} has more than {most_s / 3600:g} hours of sound; cut it")
    except (av.FFmpegError, OSError) as error:
        raise CannotTranscribe(f"{path} cannot be read: {error}") from None
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    sound: Samples = samples.astype(np.float32) / np.float32(32768)
    return sound


def _with_end(frames: Iterator[Any]) -> Iterator[Any]:
    """And None in the end, upon which a resampler gives what it still has."""
    yield from frames
    yield None
