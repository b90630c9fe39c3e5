"""Weights alone: what a suite's model sees in whole pictures, without all that its analyzer makes of that.

An analyzer that has a classmethod `alone(options)` answers the options under which `objects` is its bare model: the
same weights and threshold, the size they were trained at. That is what it has to be better than.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.engine.host import own_options
from gateway.engine.plugins import BUILT_IN, discover, load
from gateway.evaluation.frames import still
from gateway.evaluation.material import Still
from gateway.evaluation.pipeline import CannotEvaluate, Pipeline, Take
from gateway.evaluation.run import Run
from gateway.evaluation.variants import Variant
from gateway.settings import Settings

OBJECTS = "objects"


async def look(settings: Settings, analyzer: str, stills: Sequence[Still], variant: Variant) -> list[Run]:
    """The bare model's sight of each picture, as detections of `objects`. Raises `CannotEvaluate`."""
    analyzers = {**settings.analyzers, OBJECTS: _options(settings, analyzer)}
    async with Pipeline(settings.model_copy(update={"analyzers": analyzers})).running() as pipeline:
        return [await pipeline.run(Take(still(one.path, variant, 0.0), (OBJECTS,))) for one in stills]


def _options(settings: Settings, analyzer: str) -> dict[str, Any]:
    loaded = load(spec for spec in discover() if spec.distribution == BUILT_IN and spec.name == analyzer)
    cls, _ = loaded.analyzers.get(analyzer, (None, None))
    alone = getattr(cls, "alone", None)
    if cls is None or alone is None:
        raise CannotEvaluate(f"{analyzer} does not say what its weights are alone")
    return dict(alone(own_options(cls, settings.analyzers.get(analyzer, {}))))
