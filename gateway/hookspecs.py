"""The hooks a plugin may implement. All of them register, once at start; frames never go through a hook."""

from __future__ import annotations

import pluggy

from gateway.analyzer import Analyzer
from gateway.connector import Connector

PROJECT = "framegate"
ENTRY_POINT_GROUP = "framegate.plugins"
OPTIONAL_GROUP = "framegate.plugins.optional"  # off until the operator names it; each in a worker of its own

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_analyzers() -> list[type[Analyzer]]:  # type: ignore[empty-body]
    """Return the analyzer classes this plugin brings. Called in a worker process, never in the gateway's own."""


@hookspec
def register_connectors() -> list[type[Connector]]:  # type: ignore[empty-body]
    """Return the connector classes this plugin brings. Called in worker processes, never in the gateway's own."""
