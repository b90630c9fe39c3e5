"""The command `framegate transcribe`: its name, flags and help, and nothing else, as in `gateway.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def transcribe(
    file: Annotated[Path, typer.Argument(help="A file with sound: video or audio.", metavar="FILE")],
    *,
    model: Annotated[str, typer.Option(help="Folder of a Whisper model, or its name.", metavar="MODEL")] = "",
    language: Annotated[str | None, typer.Option(help="Spoken language; found out if not given.", metavar="XX")] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Into English.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Print what is said in a file, with times. Needs the extra [speech] and a model's folder; sends nothing."""
    from gateway.cli import load_settings
    from gateway.commands.transcribe import transcribe

    code = transcribe(load_settings(), file, model=model, language=language, translate=translate, json=json)
    raise typer.Exit(code)
