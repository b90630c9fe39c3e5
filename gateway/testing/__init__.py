"""For authors: run an analyzer over pictures as the gateway would, without a server, a worker or a clock.

`gateway.testing.fixtures` has the same as pytest fixtures, and a real gateway besides; only it needs pytest.
"""

from gateway.testing.difference import Tolerance, assert_same
from gateway.testing.session import Seen, Session, analyze, frame_of

__all__ = ["Seen", "Session", "Tolerance", "analyze", "assert_same", "frame_of"]
