"""The command `framegate`: names, flags and help of every command, and nothing else.

Each command's module is imported only when it runs, so that `--help` loads no picture, media, model or web library
(tests/test_cli.py holds it to that). A user's mistake is `SystemExit` with one line, for standard error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.version import __version__

if TYPE_CHECKING:
    from gateway.settings import Settings

# Rich help costs 0.2 s of CPU at every --help, and its tracebacks would hide ours.
_PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "no_args_is_help": True,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(
    name="framegate", help="A streaming gateway for camera pictures: push frames, analyze, watch.", **_PLAIN
)
models_app = typer.Typer(help="Model weights: what there is, where it lies, fetch it, check it.", **_PLAIN)
config_app = typer.Typer(help="The settings in effect, and what settings there are.", **_PLAIN)
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")

Url = Annotated[
    str, typer.Option(help="The gateway, or one stream of it: http://HOST:PORT[/stream/ID].", metavar="URL")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Config = Annotated[Path | None, typer.Option(help="Settings file instead of ./framegate.toml.", metavar="FILE")]

DEFAULT_URL = "http://127.0.0.1:8000"


def main() -> None:
    """Run the command line. Typer ends it with 130 on Ctrl-C and quietly when its reader has gone (`| head`)."""
    app(prog_name="framegate")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"framegate {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8000]")] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file to load; repeatable.", metavar="FILE")] = None,
    config: Config = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = None,
) -> None:
    """Run the gateway until Ctrl-C."""
    settings = load_settings(config, host=host, port=port, plugins=plugin, log_level=log_level)
    from gateway.commands.serve import serve

    serve(settings)


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option(help="How long; on a terminal until Ctrl-C if not given, else 20.", min=1)
    ] = None,
    json: Json = False,
    port: Annotated[int, typer.Option(help="Port to try first; the next free one is taken.", min=1, max=65535)] = 8000,
) -> None:
    """See it work: a gateway of its own, a drawn scene, events as they come. Needs no camera, model or network."""
    from gateway.commands.demo import demo

    raise typer.Exit(demo(load_settings(), seconds=seconds, json=json, port=port))


@app.command()
def push(
    source: Annotated[
        str, typer.Argument(help="Video file, /dev/videoN or its number, picture, folder or glob.", metavar="SOURCE")
    ],
    url: Url = DEFAULT_URL,
    fps: Annotated[float | None, typer.Option(help="At most so many frames per second.", min=0.01)] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    analyzers: Annotated[str | None, typer.Option(help="Which analyzers, separated by commas.", metavar="A,B")] = None,
) -> None:
    """Send a video, a camera or pictures to a gateway as a stream."""
    from gateway.commands.push import push

    names = [name.strip() for name in analyzers.split(",") if name.strip()] if analyzers is not None else None
    raise typer.Exit(push(source, url=url, fps=fps, loop=loop, analyzers=names))


@app.command()
def watch(
    stream: Annotated[str, typer.Argument(help="A stream's id or URL.", metavar="ID|URL")],
    url: Annotated[str, typer.Option(help="The gateway, if only an id is given.", metavar="URL")] = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Print a stream's events as they come, and what its analyzers see."""
    from gateway.commands.watch import watch

    raise typer.Exit(watch(stream, url=url, json=json))


@app.command()
def plugins(
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file to look at too.", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """List plugins and analyzers, with what each still lacks."""
    from gateway.commands.plugins import plugins

    raise typer.Exit(plugins(load_settings(plugins=plugin), json=json))


@app.command()
def doctor(
    port: Annotated[int | None, typer.Option(help="Port to look at.  [default: the setting]")] = None,
    json: Json = False,
) -> None:
    """Find out what is broken on this machine, and how to mend it."""
    from gateway.commands.doctor import doctor

    raise typer.Exit(doctor(load_settings(port=port), json=json))


@models_app.command("list")
def models_list(json: Json = False) -> None:
    """List known weights: for which analyzer, licence, size, where found."""
    from gateway.commands.models import list_models

    list_models(load_settings(), json=json)


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str], typer.Argument(help="Names as in `framegate models list`.", metavar="NAME...")],
    url: Annotated[str | None, typer.Option(help="Fetch from this mirror; the checksum still holds.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="FRAMEGATE_OFFLINE", help="Never use the network.")
    ] = False,
) -> None:
    """Fetch weights into FRAMEGATE_HOME/models, resuming what was cut, and check them."""
    from gateway.commands.models import pull_models

    raise typer.Exit(pull_models(load_settings(), names, url=url, offline=offline))


@models_app.command("verify")
def models_verify(json: Json = False) -> None:
    """Compare every known file on this machine with its official SHA-256."""
    from gateway.commands.models import verify_models

    raise typer.Exit(verify_models(load_settings(), json=json))


@config_app.command("show")
def config_show(config: Config = None) -> None:
    """Print the settings in effect as TOML, each with its source; secrets masked."""
    settings = load_settings(config)
    from gateway.commands.config import show

    show(settings)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of framegate.toml."""
    from gateway.commands.config import schema

    schema()


def load_settings(config: Path | None = None, *, log_level: str | None = None, **flags: Any) -> Settings:
    """The settings, with the flags that were given on top. Raises `SystemExit` with one line per problem."""
    from gateway import settings

    if config is not None:
        if not config.is_file():
            raise SystemExit(f"there is no settings file {config}")
        os.environ[settings.PREFIX + "CONFIG"] = str(config)
    given = {name: value for name, value in flags.items() if value is not None}
    if files := given.get("plugins"):
        given["plugins"] = _plugin_files(files)
    if log_level is not None:
        given["log"] = {"level": log_level.upper()}
    return settings.load(**given)


def _plugin_files(files: list[Path]) -> list[str]:
    for file in files:
        if not file.is_file():
            raise SystemExit(f"there is no plugin file {file}")
    return [str(file.resolve()) for file in files]
