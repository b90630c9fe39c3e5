"""A Whisper small enough to be made on the spot, in the format of CTranslate2: whatever it hears, it says one word.

Its layers add nothing. What comes next depends on the place alone: the code of a place is large in the position
encodings, and the token that follows there has the same code among the embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIZE, PLACES, MELS = 64, 448, 80
WORD, FROM_S, TO_S = "help", 0.0, 1.4  # what it says, and when


def make(folder: Path) -> Path:
    """A folder as `WhisperModel` loads it, of a model that knows English only."""
    from ctranslate2.specs import whisper_spec

    folder.mkdir(parents=True)
    tokens, letters = _tokens()
    _tokenizer(folder / "tokenizer.json", tokens, len(letters))
    number = {token: index for index, token in enumerate(tokens)}
    said = [_stamp(FROM_S), *(_byte_letter(letter) for letter in WORD.encode()), _stamp(TO_S), "<|endoftext|>"]
    spec = whisper_spec.WhisperSpec(1, 1, 1, 1)
    _encoder(spec.encoder)
    _decoder(spec.decoder, len(tokens), {place: number[token] for place, token in enumerate(said)})
    spec.config.lang_ids = []
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.save(str(folder))
    return folder


def _stamp(seconds: float) -> str:
    return f"<|{seconds:.2f}|>"


def _byte_letter(byte: int) -> str:
    """The letter that stands for a byte in byte-level vocabularies (GPT-2): itself where it can be printed."""
    return chr(byte) if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255 else chr(256 + _unprinted(byte))


def _unprinted(byte: int) -> int:
    return [n for n in range(256) if not (33 <= n <= 126 or 161 <= n <= 172 or 174 <= n <= 255)].index(byte)


def _tokens() -> tuple[list[str], list[str]]:
    """The vocabulary in Whisper's order, and those of it that are bytes."""
    letters = [_byte_letter(byte) for byte in range(256)]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    special = [f"<|{word}|>" for word in ("endoftext", "startoftranscript", "en", *tasks)]
    return [*letters, *special, *(_stamp(n * 0.02) for n in range(1501))], letters


def _tokenizer(path: Path, tokens: list[str], letters: int) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens[:letters])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in tokens[letters:]])
    made.save(str(path))


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def _norm(spec: Any) -> None:
    spec.gamma, spec.beta = np.ones(SIZE, np.float32), _zeros(SIZE)


def _linear(spec: Any, rows: int, columns: int = SIZE) -> None:
    spec.weight, spec.bias = _zeros(rows, columns), _zeros(rows)


def _block(layer: Any) -> None:
    _norm(layer.self_attention.layer_norm)
    _linear(layer.self_attention.linear[0], 3 * SIZE)
    _linear(layer.self_attention.linear[1], SIZE)
    _norm(layer.ffn.layer_norm)
    _linear(layer.ffn.linear_0, SIZE)
    _linear(layer.ffn.linear_1, SIZE)


def _encoder(spec: Any) -> None:
    spec.conv1.weight, spec.conv1.bias = _zeros(SIZE, MELS, 3), _zeros(SIZE)
    spec.conv2.weight, spec.conv2.bias = _zeros(SIZE, SIZE, 3), _zeros(SIZE)
    spec.position_encodings.encodings = _zeros(1500, SIZE)
    _norm(spec.layer_norm)
    _block(spec.layer[0])


def _decoder(spec: Any, tokens: int, follows: dict[int, int]) -> None:
    """`follows`: the token that comes after each place."""
    embeddings, places = _zeros(tokens, SIZE), _zeros(PLACES, SIZE)
    for place, token in follows.items():
        embeddings[token, place] = 5.0
    for place in range(min(PLACES, SIZE)):
        places[place, place] = 50.0
    spec.embeddings.weight = embeddings
    spec.position_encodings.encodings = places
    _norm(spec.layer_norm)
    spec.projection.weight = embeddings.copy()
    layer = spec.layer[0]
    _block(layer)
    _norm(layer.attention.layer_norm)
    _linear(layer.attention.linear[0], SIZE)
    _linear(layer.attention.linear[1], 2 * SIZE)
    _linear(layer.attention.linear[2], SIZE)
