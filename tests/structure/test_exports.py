"""What plugin authors import is pinned, and importing it costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gateway
from tests.structure.source import ROOT

PUBLIC = {
    *("Analyzer", "Box", "Detection", "Event", "Frame", "GatewayError", "Result", "SessionInfo", "Sighting"),
    *("Line", "Track", "Tracker", "Zone", "__version__", "as_analyzer", "hookimpl"),
    *("Capture", "Connector", "Demand", "SourceFailed"),
    *("FaceEmbedding", "FileLibrary", "Match", "MemoryLibrary", "Person", "StudiedFace"),
}
HEAVY = {"cv2", "av", "onnxruntime", "torch", "numpy", "fastapi", "starlette", "pydantic", "aiortc", "sqlmodel"}


def test_the_public_names_are_these() -> None:
    assert set(gateway.__all__) == PUBLIC
    assert [name for name in gateway.__all__ if not hasattr(gateway, name)] == []


def test_public_names_are_sorted_and_named_once() -> None:
    assert len(gateway.__all__) == len(set(gateway.__all__))


@pytest.mark.parametrize("statement", ["import gateway", "import gateway.cli", "import analyzers"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert _loaded_by(statement) & HEAVY == set()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, gateway.cli\nsys.argv = ['framegate', '--help']\ntry: gateway.cli.main()\nexcept SystemExit: pass"
    )
    assert _loaded_by(code) & HEAVY == set()


def test_the_application_loads_no_picture_media_or_model_library() -> None:
    """The gateway process never decodes a picture: it must not be able to."""
    heavy = {"cv2", "av", "onnxruntime", "torch", "numpy"}
    assert _loaded_by("import gateway.app, gateway.server, gateway.commands.serve") & heavy == set()


def test_the_package_of_the_analyzers_is_empty() -> None:
    """Another distribution of that name exists; installed beside ours it would overwrite this one file."""
    assert (ROOT / "analyzers" / "__init__.py").read_text() == ""


def _loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}
