"""Settings: what the operator chose, read once at start, checked, frozen.

Order: flags > environment > .env > framegate.toml > defaults. A key `section.key` of the file is
`FRAMEGATE_SECTION__KEY` in the environment. Nothing reads the environment when this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.clip_rules import Clips
from gateway.limits import Limits, Section
from gateway.media_rules import Media
from gateway.webrtc_rules import Webrtc

PREFIX = "FRAMEGATE_"
CONFIG_FILE = "framegate.toml"


class Stream(Section):
    """How a stream is buffered and what it remembers."""

    credits: int = Field(4, ge=1, description="Unacknowledged frames a polite publisher may have on the way.")
    viewer_messages: int = Field(64, ge=1, description="Messages waiting for one viewer; the oldest goes first.")
    events_kept: int = Field(200, ge=1, description="Events a live stream remembers.")
    ended_kept_s: float = Field(60.0, ge=0, description="How long an ended stream's reason can be asked for, in s.")
    status_s: float = Field(2.0, gt=0, description="Seconds between two status messages on the stream socket.")
    stale_s: float = Field(
        3.0, gt=0, description="Without a frame for this long a stream is stale and MJPEG shows a slate, in s."
    )
    clock_skew_s: float = Field(
        5.0, gt=0, description="Capture times further than this from the gateway's clock are flagged in results, in s."
    )
    snapshot_forms: int = Field(
        8, ge=1, description="Drawn or scaled forms of the newest frame kept for who asks for snapshots."
    )


class Analysis(Section):
    """How analyzers run. The operator decides where, the analyzer's author does not."""

    default: list[str] | None = Field(
        None,
        description="Analyzers of a stream that names none; unset: motion and every built-in whose weights are found.",
    )
    worker: Literal["process", "thread"] = Field("process", description="Where analyzers that decode pixels run.")
    threads: int = Field(
        0, ge=0, description="Threads of the one runtime pool of a worker process; 0: the cores it may use."
    )
    nice: int = Field(10, ge=0, le=19, description="Niceness of worker processes, so that the gateway answers first.")
    deadline_s: float = Field(2.0, gt=0, description="An analyzer call longer than this is a failure, in s.")
    kill_s: float = Field(5.0, gt=0, description="A call longer than this costs the worker its life, in s.")
    first_call_s: float = Field(60.0, gt=0, description="The same for an analyzer's first call, in s.")
    breaker_failures: int = Field(
        5, ge=1, description="Failures in a row after which an analyzer is left alone for a while."
    )
    breaker_max_s: float = Field(
        60.0, gt=0, description="Longest wait before an analyzer that failed is tried again, in s."
    )
    load_s: float = Field(300.0, gt=0, description="Loading a model longer than this costs the worker its life, in s.")
    batch_size: int = Field(
        0,
        ge=0,
        le=256,
        description="Frames of different streams in one call, for analyzers that can; 0: what each wishes; 1: never.",
    )
    batch_wait_ms: float = Field(
        0.0, ge=0, le=1000, description="How long a batch that is not full waits for more frames, in ms."
    )
    ahead: bool = Field(
        False, description="Send a worker its next frame while it works on one: decoded by then, but older."
    )
    ping_s: float = Field(5.0, gt=0, description="An idle worker is pinged this often, and ended if it is as late.")
    memory_mb: int = Field(
        4096, ge=0, description="A worker that holds more is started anew after its frame, in MiB; 0: no limit."
    )
    restart_pause_s: float = Field(
        1.0, ge=0, description="Pause before a worker that died is started again, in s; doubled while it does no work."
    )
    restarts: int = Field(
        5,
        ge=0,
        description="An analyzer that costs its worker more lives than this in restarts_s, or in a row, is disabled.",
    )
    restarts_s: float = Field(60.0, gt=0, description="The time in which restarts are counted, in s.")
    quarantine: bool = Field(
        True, description="Keep the frame that killed a worker, once per analyzer, in FRAMEGATE_HOME/quarantine."
    )
    confine: bool = Field(
        True, description="Take network, foreign files and signals from workers, as far as the system can (Linux)."
    )


class Runtime(Section):
    """What models run on."""

    device: Literal["auto", "cpu", "cuda", "tensorrt", "openvino"] = Field(
        "auto",
        description="auto: CUDA where a GPU truly works, else the CPU. Another one that does not work is an error.",
    )
    gpu: int = Field(0, ge=0, description="Which GPU, counted from 0.")
    allow_pickle: bool = Field(
        False,
        description="Take PyTorch weights (.pt). They are pickles: opening one runs whatever code its maker put in.",
    )


class Mjpeg(Section):
    """MJPEG and snapshots. Free parameters would mean one encode per viewer, so variants are few and shared."""

    widths: list[int] = Field(
        [320, 640, 960, 1280, 1920],
        description="Widths a picture may be scaled to; a wish is rounded up to one of them.",
    )
    quality: int = Field(80, ge=10, le=95, description="JPEG quality of pictures the gateway encodes itself.")
    idle_repeat_s: float = Field(
        1.0, gt=0, description="The last picture is sent again after this long without a new one, in s."
    )


class Access(Section):
    """Credentials: how long they last, and how often a wrong one may be tried."""

    token_length: int = Field(
        16, ge=8, description="Least length of auth_token, in characters; a shorter one is refused at the start."
    )
    stream_tokens: int = Field(16, ge=2, description="Tokens of one stream at once; one more is answered 409.")
    ticket_s: float = Field(30.0, gt=0, le=300, description="A one-time ticket can be used for this long, in s.")
    login_s: float = Field(12 * 3600.0, gt=0, description="A browser stays logged in for this long, in s.")
    logins: int = Field(1024, ge=1, description="Browsers logged in at once; the oldest login ends for one more.")
    failures: int = Field(
        10, ge=1, description="Wrong credentials from one address within failures_s before it is answered 429."
    )
    failures_s: float = Field(60.0, gt=0, description="The time in which wrong credentials are counted, in s.")


class Log(Section):
    """What is logged and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severity that is logged.")
    file: Path | None = Field(None, description="Write JSON lines to this file instead of standard error.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, JSON elsewhere."
    )
    worker_lines_per_s: float = Field(
        5.0,
        gt=0,
        description="Lines of a worker's standard error that are logged per second, and 100 at once; more are counted.",
    )


class LegacyEnvironment(PydanticBaseSettingsSource):
    """Names the older systems used, below `FRAMEGATE_...` and above `.env`."""

    NAMES: Mapping[str, tuple[str, ...]] = {
        "PORT": ("port",),
        "AUTH_TOKEN": ("auth_token",),
        "YOLO_MODEL_PATH": ("yolo_model_path",),
        "GROQ_API_KEY": ("groq_api_key",),
        "LOG_LEVEL": ("log", "level"),
        "LOG_FILE": ("log", "file"),
    }

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, path in self.NAMES.items():
            if value := os.environ.get(name):
                place = found
                for part in path[:-1]:
                    place = place.setdefault(part, {})
                place[path[-1]] = value.upper() if name == "LOG_LEVEL" else value
        if os.environ.get("DEBUG", "").lower() in ("1", "true", "yes", "on"):
            found.setdefault("log", {}).setdefault("level", "DEBUG")
        return found


class Settings(BaseSettings):
    """Everything an operator may choose."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",  # the environment holds more than ours; the file is checked by check_file()
        frozen=True,
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("framegate", appauthor=False)),
        description="Data folder: downloaded weights, records, secrets. Made at the first start.",
    )
    models_dir: str = Field(
        "",
        description="Folders with model weights, searched by file name, read only; several are separated as in PATH.",
    )
    models_mirror: str = Field(
        "", description="Fetch weights from this address, file name appended; their checksums still hold."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    auth: Literal["auto", "required"] = Field(
        "auto", description="auto: no credential needed from this machine; required: always."
    )
    auth_token: SecretStr | None = Field(
        None, description="One static token with the role admin; setting it means auth = required."
    )
    tls: bool = Field(
        False, description="Serve HTTPS, with a certificate that the first start makes if cert names none."
    )
    cert: Path | None = Field(None, description="Certificate chain, a PEM file; setting it means tls = true.")
    key: Path | None = Field(None, description="Private key of cert, a PEM file; unset: it stands in cert's file.")
    allowed_origins: list[str] = Field(
        [], description="Web origins besides the own one and localhost that may use the API and sockets."
    )
    allowed_hosts: list[str] = Field(
        [],
        description="Host names besides localhost, IP addresses and the machine's own that requests may name;"
        " `*.example.org` means all below it, `*` any.",
    )
    trusted_proxies: list[str] = Field(
        [], description="Addresses and networks of proxies whose X-Forwarded-* headers are believed."
    )
    base_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which a proxy shows the gateway: `/cams`. X-Forwarded-Prefix of a trusted proxy wins.",
    )
    grace_s: float = Field(20.0, ge=0, description="A stream lives this long after its last client left, in s.")
    lease_s: float = Field(
        300.0, gt=0, description="A stream nobody ever joined, or that only MJPEG readers hold, lives this long, in s."
    )
    plugins: list[str] = Field([], description="Plugin files to load besides the installed ones.")
    plugins_dir: Path | None = Field(
        None, description="Folder whose *.py files are plugins too; unset: FRAMEGATE_HOME/plugins."
    )
    plugins_off: list[str] = Field(
        [], description="Plugins to leave out: entry point names, and stems of files in the plugins folder."
    )
    plugins_on: list[str] = Field(
        [],
        description="Optional plugins to run, each in a worker of its own, by entry point name: `scene`, `caption`."
        " A stream has them when it or analysis.default names them.",
    )
    plugin_permissions: dict[str, list[Literal["network", "files"]]] = Field(
        {},
        description="What a confined plugin may, by distribution or file name, or the own name of an optional built-in:"
        " `network`, `files`.",
    )
    groq_api_key: SecretStr | None = Field(
        None, description="Key of Groq's API, for the analyzer caption; with no endpoint named, it asks there."
    )
    caption_api_key: SecretStr | None = Field(
        None, description="Key of the endpoint that [analyzers.caption] names; it wins over groq_api_key."
    )
    yolo_model_path: str = Field("", description="ONNX weights for the analyzer objects, a path.")
    limits: Limits = Field(default_factory=Limits)
    stream: Stream = Field(default_factory=Stream)
    analysis: Analysis = Field(default_factory=Analysis)
    runtime: Runtime = Field(default_factory=Runtime)
    mjpeg: Mjpeg = Field(default_factory=Mjpeg)
    media: Media = Field(default_factory=Media)
    webrtc: Webrtc = Field(default_factory=Webrtc)
    clips: Clips = Field(default_factory=Clips)
    access: Access = Field(default_factory=Access)
    log: Log = Field(default_factory=Log)
    analyzers: dict[str, dict[str, Any]] = Field(
        {},
        description="Options per analyzer, `[analyzers.NAME]`. Each also takes `fps` (frames per second at most),"
        " `motion_gate` (true or seconds: frames only while something moved within that time) and `labels`"
        " (only these are told). A stream may ask for others.",
    )

    @field_validator("cert", "key", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("home")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, config_path())
        return init_settings, env_settings, LegacyEnvironment(settings_cls), dotenv_settings, file


def config_path() -> Path:
    """The settings file: `FRAMEGATE_CONFIG`, else framegate.toml in the current folder."""
    return Path(os.environ.get(PREFIX + "CONFIG", CONFIG_FILE))


def load(**flags: Any) -> Settings:
    """Read all sources; `flags` win. Raises `SystemExit` with one line per problem, naming key and value."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    if os.environ.get("MONGODB_URL"):
        raise SystemExit("MONGODB_URL is set, but the database is SQL now: unset it and see database_url in the docs")
    check_file(config_path())
    try:
        return Settings(**flags)
    except SettingsError as error:
        raise SystemExit(f'settings are wrong\n  {error}: lists and tables are JSON there, as ["a", "b"]') from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise SystemExit("settings are wrong\n  " + "\n  ".join(lines)) from None


def check_file(path: Path) -> None:
    """Refuse keys no setting has, with the nearest right name. Sections check their own. Raises `SystemExit`."""
    import tomllib
    from difflib import get_close_matches

    if not path.is_file():
        return
    try:
        keys = tomllib.loads(path.read_text()).keys()
    except tomllib.TOMLDecodeError as error:
        raise SystemExit(f"{path}: {error}") from None
    for key in keys - Settings.model_fields.keys():
        near = get_close_matches(key, Settings.model_fields, 1)
        raise SystemExit(f"{path}: there is no setting {key}" + (f"; did you mean {near[0]}?" if near else ""))
