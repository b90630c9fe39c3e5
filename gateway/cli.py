"""The command `framegate`: names, flags and help of every command, and nothing else.

Each command's module is imported only when it runs, so that `--help` loads no picture, media, model or web library
(tests/test_cli.py holds it to that). A user's mistake is `SystemExit` with one line, for standard error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import cli_faces, cli_speech
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
plugin_app = typer.Typer(help="For authors of plugins: begin one, run it while you write it, test it.", **_PLAIN)
faces_app = typer.Typer(help="The face library: enrol persons, ask who somebody is, forget them.", **_PLAIN)
app.add_typer(models_app, name="models")
app.add_typer(faces_app, name="faces")
cli_faces.add_commands(faces_app)
app.add_typer(config_app, name="config")
app.add_typer(plugin_app, name="plugin")

Url = Annotated[
    str, typer.Option(help="The gateway, or one stream of it: http://HOST:PORT[/stream/ID].", metavar="URL")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Config = Annotated[Path | None, typer.Option(help="Settings file instead of ./framegate.toml.", metavar="FILE")]
Token = Annotated[
    str | None,
    typer.Option(envvar="FRAMEGATE_TOKEN", help="The gateway's token, or one of the stream.", metavar="TOKEN"),
]

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
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8000]")] = None,
    auth: Annotated[str | None, typer.Option(help="auto or required.  [default: auto]", metavar="MODE")] = None,
    tls: Annotated[bool | None, typer.Option("--tls", help="Serve HTTPS; the first start makes a certificate.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Serve HTTPS with this certificate (PEM).", metavar="FILE")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", metavar="FILE")] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file to load; repeatable.", metavar="FILE")] = None,
    config: Config = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = None,
) -> None:
    """Run the gateway until Ctrl-C."""
    door = {"host": host, "port": port, "auth": auth, "tls": tls, "cert": cert, "key": key}
    settings = load_settings(config, **door, plugins=plugin, log_level=log_level)
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
    *,
    token: Token = None,
    fps: Annotated[float | None, typer.Option(help="At most so many frames per second.", min=0.01)] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    analyzers: Annotated[str | None, typer.Option(help="Which analyzers, separated by commas.", metavar="A,B")] = None,
) -> None:
    """Send a video, a camera or pictures to a gateway as a stream."""
    from gateway.commands.push import push

    names = [name.strip() for name in analyzers.split(",") if name.strip()] if analyzers is not None else None
    raise typer.Exit(push(source, url=url, fps=fps, loop=loop, analyzers=names, token=token))


@app.command()
def watch(
    stream: Annotated[str, typer.Argument(help="A stream's id or URL.", metavar="ID|URL")],
    url: Annotated[str, typer.Option(help="The gateway, if only an id is given.", metavar="URL")] = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print a stream's events as they come, and what its analyzers see."""
    from gateway.commands.watch import watch

    raise typer.Exit(watch(stream, url=url, json=json, token=token))


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


@app.command()
def evaluate(
    suite: Annotated[
        str,
        typer.Argument(help="bags, smoking, people, anomaly, faces, objects, all; or your own folder or TOML file."),
    ],
    *,
    media: Annotated[
        Path | None, typer.Option(help="Folder of labelled material.  [default: $FRAMEGATE_MEDIA_DIR]", metavar="DIR")
    ] = None,
    variant: Annotated[
        str, typer.Option(help="core, all, or names: original,mirrored,half,5fps,before,...", metavar="A,B")
    ] = "core",
    analyzers: Annotated[
        str | None, typer.Option(help="Judge, and run, these only.  [default: what the suites judge]", metavar="A,B")
    ] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Only this clip; repeatable.", metavar="NAME")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The original at 5 frames a second, nothing else.")] = False,
    jobs: Annotated[int, typer.Option(help="Clips at a time, each with workers of its own.", min=1)] = 1,
    json: Annotated[Path | None, typer.Option(help="Write everything there; - prints it.", metavar="FILE")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file to load; repeatable.", metavar="FILE")] = None,
) -> None:
    """Run labelled clips through the real pipeline: precision, recall, time to alert. Exit code 1 if a check fails."""
    from gateway.commands.evaluate import Wish, evaluate

    wish = Wish(suite, media, variant, analyzers, tuple(clip or ()), quick, jobs, json, markdown)
    raise typer.Exit(evaluate(load_settings(plugins=plugin), wish))


@plugin_app.command("new")
def plugin_new(
    name: Annotated[str, typer.Argument(help="The analyzer's name: a-z, 0-9, - and _.", metavar="NAME")],
    folder: Annotated[Path, typer.Option(help="Where to make it.", metavar="DIR")] = Path(),
    author: Annotated[str, typer.Option(help='Whom the package and its licence name, "Name <mail>" or Name.')] = "",
    licence: Annotated[
        str, typer.Option("--license", help="MIT, Apache-2.0, BSD-3-Clause, or none.", metavar="ID")
    ] = "MIT",
    function: Annotated[bool, typer.Option("--function", help="One file with a function, no package.")] = False,
) -> None:
    """Begin a plugin: a package with an analyzer that runs at once, its tests, sample frames and CI."""
    from gateway.commands.plugin_new import New, plugin_new

    raise typer.Exit(plugin_new(New(name, folder, author=author, licence=licence, function=function)))


@plugin_app.command("dev")
def plugin_dev(
    file: Annotated[Path, typer.Argument(help="The plugin's Python file.", metavar="FILE")],
    *,
    source: Annotated[
        str | None,
        typer.Option(help="Device, video, pictures or URL/stream/ID; a drawn scene if not given.", metavar="SOURCE"),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="At most so many frames per second.", min=0.01)] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the analyzer; repeatable.", metavar="KEY=VALUE")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print every result, not only what changed.")] = False,
    json: Json = False,
    seconds: Annotated[float | None, typer.Option(help="How long; until Ctrl-C if not given.", min=1)] = None,
    port: Annotated[int, typer.Option(help="Port to try first; the next free one is taken.", min=1, max=65535)] = 8000,
) -> None:
    """Run a plugin's file in a gateway of its own, with a page to watch, and reload it whenever you save."""
    from gateway.commands.plugin_dev import Dev, plugin_dev

    wish = Dev(file, source, fps=fps, options=tuple(option or ()), trace=trace, json=json, seconds=seconds, port=port)
    raise typer.Exit(plugin_dev(load_settings(plugins=[file]), wish))


@plugin_app.command("info")
def plugin_info(
    name: Annotated[str, typer.Argument(help="An analyzer or a plugin.", metavar="NAME")],
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file to look at too.", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Print what an analyzer is: its options with their defaults, permissions, labels, events, and what it lacks."""
    from gateway.commands.plugin_info import plugin_info

    raise typer.Exit(plugin_info(load_settings(plugins=plugin), name, json=json))


@plugin_app.command("test")
def plugin_test(
    target: Annotated[str, typer.Argument(help="Plugin file, plugin, distribution or analyzer.", metavar="TARGET")],
    *,
    analyzer: Annotated[str | None, typer.Option(help="Only this analyzer of it.", metavar="NAME")] = None,
    frames: Annotated[
        int | None, typer.Option(help="For the memory rule.  [default: 1000, or as many as 20 s allow]", min=200)
    ] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule; repeatable.", metavar="RULE")] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="Plugin file that it needs.", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Examine a plugin: does it keep every rule the host relies on? Exit code 1 if not, 2 if it cannot run here."""
    from gateway.commands.plugin_test import Wish, plugin_test

    wish = Wish(target, analyzer=analyzer, frames=frames, rules=tuple(rule or ()), json=json)
    raise typer.Exit(plugin_test(load_settings(plugins=plugin), wish))


@plugin_app.command("replay")
def plugin_replay(
    clip: Annotated[str, typer.Argument(help="Video file or folder of pictures.", metavar="CLIP")],
    *,
    plugin: Annotated[str, typer.Option(help="Plugin file, plugin or analyzer.", metavar="FILE|NAME")],
    analyzer: Annotated[str | None, typer.Option(help="Only this analyzer of it.", metavar="NAME")] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with a saved run, or with another plugin.", metavar="BASE")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep this run as JSON lines.", metavar="FILE")] = None,
    fps: Annotated[float | None, typer.Option(help="At most so many frames per second of the clip.", min=0.01)] = None,
    tolerance: Annotated[
        str, typer.Option(help="What may differ.", metavar="iou=0.9,score=0.02,measure=0.001,seconds=0.2")
    ] = "",
    json: Json = False,
) -> None:
    """Run a clip through an analyzer, and show what differs from an earlier run. Exit code 1 if anything does."""
    from gateway.commands.plugin_replay import Wish, plugin_replay

    wish = Wish(clip, plugin, analyzer, against, save, fps, tolerance, json)
    raise typer.Exit(plugin_replay(load_settings(), wish))


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


app.command()(cli_speech.transcribe)


@models_app.command("train")
def models_train(
    kind: Annotated[str, typer.Argument(help="The analyzer it is for: smoking or objects.", metavar="KIND")],
    dataset: Annotated[Path, typer.Argument(help="Folder, or data.yaml, in the YOLO layout.", metavar="DATASET")],
    *,
    weights: Annotated[
        str, typer.Option(help="Weights to begin with: a file, or a name searched where models lie.")
    ] = ("yolov8n.pt"),
    epochs: Annotated[int, typer.Option(help="Times through all pictures.", min=1)] = 50,
    size: Annotated[int, typer.Option(help="Longer side of the pictures, px.", min=32)] = 416,
    batch: Annotated[int, typer.Option(help="Pictures a step.", min=1)] = 16,
    device: Annotated[str, typer.Option(help="cpu, or the number of a GPU.")] = "cpu",
    seed: Annotated[int, typer.Option(help="The same seed makes about the same weights.", min=0)] = 0,
    download: Annotated[bool, typer.Option("--download", help="Let Ultralytics fetch the weights to begin with.")] = (
        False
    ),
    check: Annotated[bool, typer.Option("--check", help="Only check the data set.")] = False,
) -> None:
    """Fine-tune a detector on your own pictures, measure, export and install it. Needs [yolo] (AGPL-3.0)."""
    from gateway.commands.models_train import Training, train_model

    wish = Training(kind, dataset, weights, epochs, size, batch, device, seed, download, check)
    raise typer.Exit(train_model(load_settings(), wish))


@models_app.command("export-open")
def models_export_open(
    weights: Annotated[Path, typer.Argument(help="A YOLOE or YOLO-World model.", metavar="MODEL.pt")],
    *,
    prompts: Annotated[str, typer.Option(help="What it shall find, in words.", metavar="A,B")] = "",
    kind: Annotated[str, typer.Option(help="The analyzer it is for: smoking or objects.")] = "smoking",
    embeddings: Annotated[
        Path | None, typer.Option(help="Prompts as save_prompt_embeddings() of YOLOE keeps them.", metavar="FILE.npz")
    ] = None,
    size: Annotated[int, typer.Option(help="Longer side of the pictures, px.", min=32)] = 640,
    download: Annotated[bool, typer.Option("--download", help="Let Ultralytics fetch its text encoder.")] = False,
) -> None:
    """Give an open-vocabulary model its prompts, export it to ONNX and install it. Needs [yolo] (AGPL-3.0)."""
    from gateway.commands.models_train import OpenExport, export_open

    words = tuple(word.strip() for word in prompts.split(",") if word.strip())
    raise typer.Exit(export_open(load_settings(), OpenExport(kind, weights, words, embeddings, size, download)))


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
