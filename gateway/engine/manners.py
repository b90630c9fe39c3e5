"""Manners: how fast one socket sends and how long it keeps silent. No I/O; it is told what came when.

Too much is dropped and told; far too much, or a silence that a publisher does not keep, ends the connection.
"""

from __future__ import annotations

from gateway.engine.rate import Allowance
from gateway.errors import BadMessage, TooFast, TooLate
from gateway.limits import Limits
from gateway.protocol import AckIn, ClientEvent, FrameIn, RelayIn

LEAST_FPS = 10.0  # a stream that takes one frame a second is no trap for an ordinary camera
SPELL_S = 1.0  # excesses this close together are one


class Manners:
    """What one socket may do. Times are monotonic seconds."""

    def __init__(self, limits: Limits, now: float, *, negotiated: bool) -> None:
        self._limits = limits
        self._fps = 0.0
        self._frames = self._texts = Allowance(1.0)
        self._messages = Allowance(limits.messages_per_s)
        self._relays = Allowance(limits.relays_per_s, burst=2 * limits.relays_per_s)
        self._tellings = Allowance(1.0)
        self._excess_since = self._excess_at = float("-inf")
        self._hello_by: float | None = now + limits.hello_s if negotiated else None
        self._frame_by: float | None = None

    # --- how fast ----------------------------------------------------------------------------------------------------

    def admit(self, message: str | bytes, now: float, max_fps: float) -> None:
        """Before a message is looked at; `max_fps` is what its stream takes. Raises `TooFast`."""
        if max_fps != self._fps:
            self._fps = max_fps
            most = self._limits.flood_ratio * max(max_fps, LEAST_FPS)
            self._frames, self._texts = Allowance(most), Allowance(most + self._limits.messages_per_s)
        if not (self._texts if isinstance(message, str) else self._frames).take(now):
            raise TooFast("far more than the stream takes", flood=True)

    def heed(self, event: ClientEvent, message: str | bytes, now: float) -> None:
        """Once it is understood. Raises `TooFast`, or `BadMessage` for more than is passed on."""
        if isinstance(event, FrameIn):
            self._hello_by, self._frame_by = None, now + self._limits.publisher_silence_s
            if isinstance(message, str) and not self._frames.take(now):
                raise TooFast("far more frames than the stream takes", flood=True)
            return
        if self._hello_by is not None:
            self._hello_by, self._frame_by = None, now + self._limits.publisher_silence_s
        if isinstance(event, AckIn):
            return
        if not self._messages.take(now):
            raise TooFast(f"at most {self._limits.messages_per_s:g} messages a second", flood=True)
        if isinstance(event, RelayIn):
            self._check_relay(message, now)

    def _check_relay(self, message: str | bytes, now: float) -> None:
        most = self._limits.max_relay_bytes
        if len(message) > most or len(str(message).encode()) > most:
            raise BadMessage(f"a message for everybody else may have {most} bytes", code="relay_too_large")
        if not self._relays.take(now):
            raise TooFast(f"at most {self._limits.relays_per_s:g} messages a second are passed on")

    def floods(self, error: TooFast, now: float) -> bool:
        """Whether this excess is one of a spell that has lasted too long."""
        if not error.flood:
            return False
        if now - self._excess_at > SPELL_S:
            self._excess_since = now
        self._excess_at = now
        return now - self._excess_since >= self._limits.flood_s

    def may_tell(self, now: float) -> bool:
        """Whether the peer is told of an excess now; answering each would be an excess of ours."""
        return self._tellings.take(now)

    # --- how silent --------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When it must have said something; None for a viewer, who may be silent for ever."""
        return self._hello_by if self._hello_by is not None else self._frame_by

    def overdue(self, now: float) -> TooLate | None:
        """What is wrong if the deadline has passed."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return None
        if self._hello_by is not None:
            return TooLate(f"no hello within {self._limits.hello_s:g} s", code="hello_timeout")
        return TooLate(f"no frame for {self._limits.publisher_silence_s:g} s", code="publisher_silent")
