"""The commands `framegate faces ...`: names, flags and help, and nothing else, as in `gateway.cli`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Who = Annotated[str, typer.Argument(help="A person's id, or a name that one person has.", metavar="PERSON")]


def faces_add(
    name: Annotated[str, typer.Argument(help="The person's name; of one who is known, more faces.", metavar="NAME")],
    images: Annotated[list[Path], typer.Argument(help="Pictures, each with one face.", metavar="IMAGE...")],
    person_id: Annotated[str | None, typer.Option("--id", help="The person's id.  [default: a new one]")] = None,
    json: Json = False,
) -> None:
    """Enrol a person. Says of each picture why it does or does not do. Exit code 1 if none does."""
    from gateway.commands.faces import add_face

    raise typer.Exit(add_face(_settings(), name, images, person_id=person_id, json=json))


def faces_list(json: Json = False) -> None:
    """List who is enrolled."""
    from gateway.commands.faces import list_faces

    raise typer.Exit(list_faces(_settings(), json=json))


def faces_identify(
    image: Annotated[Path, typer.Argument(help="A picture.", metavar="IMAGE")], json: Json = False
) -> None:
    """Print whose each face on a picture is, or that it is nobody's enrolled."""
    from gateway.commands.faces import identify

    raise typer.Exit(identify(_settings(), image, json=json))


def faces_remove(who: Who) -> None:
    """Forget a person: every face, its vector and its picture."""
    from gateway.commands.faces import remove_face

    raise typer.Exit(remove_face(_settings(), who))


def faces_merge(
    who: Who, other: Annotated[str, typer.Argument(help="Who is the same person.", metavar="OTHER")]
) -> None:
    """Make two persons one: the first has the other's faces from now on."""
    from gateway.commands.faces import merge_faces

    raise typer.Exit(merge_faces(_settings(), who, other))


def faces_renew() -> None:
    """Embed the faces anew that another model has made, from the aligned pictures that were kept."""
    from gateway.commands.faces import renew

    raise typer.Exit(renew(_settings()))


def add_commands(app: typer.Typer) -> None:
    """Give an application these commands."""
    commands: dict[str, Callable[..., None]] = {
        "add": faces_add,
        "list": faces_list,
        "identify": faces_identify,
        "remove": faces_remove,
        "merge": faces_merge,
        "renew": faces_renew,
    }
    for name, command in commands.items():
        app.command(name)(command)


def _settings() -> Settings:
    from gateway.cli import load_settings

    return load_settings()
