"""Connectors of plugins: what the gateway knows of one without importing it, and which plugin has a scheme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.connector import Connector
from gateway.engine.plugins import BUILT_IN, PluginSpec, denied


@dataclass(frozen=True, slots=True)
class ConnectorManifest:
    """`failed` says why it cannot run here, if so."""

    scheme: str
    plugin: str
    version: str
    title: str = ""
    permissions: tuple[str, ...] = ()
    admin: bool = False
    failed: str | None = None

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> ConnectorManifest:
        return cls(**{**item, "permissions": tuple(item["permissions"])})


def introduction(cls: type[Connector], spec: PluginSpec) -> dict[str, Any]:
    """Its manifest as JSON."""
    ours = spec.distribution in ("", BUILT_IN)
    title = cls.title or (cls.__doc__ or "").strip().partition("\n")[0]
    version = cls.version if ours else spec.version
    permissions = tuple(cls.permissions)
    return asdict(
        ConnectorManifest(cls.scheme, spec.name, version, title, permissions, bool(cls.admin), denied(cls, spec))
    )


def by_scheme(
    plugins: Sequence[PluginSpec], found: Iterable[tuple[str, ConnectorManifest]]
) -> dict[str, tuple[ConnectorManifest, list[PluginSpec]]]:
    """Of manifests with the group they were found in: which one has a scheme, and the plugins that share its process.

    Of two with one scheme the one whose plugin was found first has it. Plugins that bring no connector stay out.
    """
    found = list(found)
    bringing = {(group, manifest.plugin) for group, manifest in found}
    order = {(spec.group, spec.name): number for number, spec in enumerate(plugins)}
    ranked = sorted(found, key=lambda item: order.get((item[0], item[1].plugin), len(order)))
    chosen: dict[str, tuple[ConnectorManifest, list[PluginSpec]]] = {}
    for group, manifest in ranked:
        sharing = [spec for spec in plugins if spec.group == group and (group, spec.name) in bringing]
        chosen.setdefault(manifest.scheme, (manifest, sharing))
    return chosen
