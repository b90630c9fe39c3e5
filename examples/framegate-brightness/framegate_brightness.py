"""Brightness: how light it is, where the brightest spot is, and events for darkness and flashes."""

from dataclasses import dataclass

import cv2

from gateway import Analyzer, Box, Detection, Frame, Result, SessionInfo, Sighting, hookimpl


@dataclass(frozen=True)
class Options:
    dark: float = 0.15  # a mean brightness below this is darkness, 0-1
    jump: float = 0.25  # a rise above the usual brightness by more than this is a flash, 0-1


class Brightness(Analyzer):
    name = "brightness"
    labels = ("light",)
    event_types = ("brightness.dark", "brightness.flash")
    Options = Options

    def open(self, session: SessionInfo) -> dict:
        return {"options": session.options}

    def analyze(self, frame: Frame, memory: dict) -> Result:
        options = memory["options"]
        grey = cv2.cvtColor(frame.scaled(160), cv2.COLOR_BGR2GRAY)
        level = float(grey.mean()) / 255
        usual = memory["usual"] = 0.95 * memory.get("usual", level) + 0.05 * level
        _, peak, _, (x, y) = cv2.minMaxLoc(cv2.GaussianBlur(grey, (9, 9), 0))
        height, width = grey.shape
        spot = Box.clipped((x - 8) / width, (y - 8) / height, (x + 8) / width, (y + 8) / height)
        dark = [Sighting("brightness.dark", score=1 - level, severity="warning")] if level < options.dark else []
        flash = [Sighting("brightness.flash", box=spot)] if level - usual > options.jump else []
        return Result((Detection("light", peak / 255, spot),), {"level": level}, (*dark, *flash))


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Brightness]
