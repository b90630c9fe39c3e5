"""The Framegate client: publish camera pictures to a gateway, watch what is seen in them.

    from framegate_client import Client, StreamRequest

    with Client("http://localhost:8000") as client:
        with client.publish(StreamRequest(analyzers=["motion"])) as camera:
            camera.run(pictures)  # whatever gives JPEG bytes or NumPy arrays, one after the other

`AsyncClient` is the same for asyncio.
"""

from framegate_client.answers import (
    AnalyzerInfo,
    Changes,
    Health,
    PluginInfo,
    Stream,
    StreamRequest,
    StreamStatus,
    SystemStatus,
    Taken,
)
from framegate_client.blocking import Client, Publisher, Watch
from framegate_client.client import AsyncClient
from framegate_client.errors import (
    BadImage,
    BadRequest,
    Busy,
    Forbidden,
    FramegateError,
    GatewayFailed,
    ImageTooLarge,
    Invalid,
    NoPicture,
    NotFound,
    SecondPublisher,
    SessionEnded,
    SourceFailed,
    Unauthenticated,
    Unreachable,
)
from framegate_client.messages import (
    Ack,
    AnalyzerResult,
    AnalyzerState,
    Box,
    Bye,
    Detection,
    ErrorMessage,
    Event,
    Frame,
    Hello,
    Limits,
    Message,
    Pong,
    Relay,
    Result,
    SlowDown,
    Status,
    Subscribed,
)
from framegate_client.pictures import Picture
from framegate_client.publish import AsyncPublisher
from framegate_client.sources import OpenCV, PyAV
from framegate_client.version import __version__
from framegate_client.watch import AsyncWatch

__all__ = [
    "Ack",
    "AnalyzerInfo",
    "AnalyzerResult",
    "AnalyzerState",
    "AsyncClient",
    "AsyncPublisher",
    "AsyncWatch",
    "BadImage",
    "BadRequest",
    "Box",
    "Busy",
    "Bye",
    "Changes",
    "Client",
    "Detection",
    "ErrorMessage",
    "Event",
    "Forbidden",
    "Frame",
    "FramegateError",
    "GatewayFailed",
    "Health",
    "Hello",
    "ImageTooLarge",
    "Invalid",
    "Limits",
    "Message",
    "NoPicture",
    "NotFound",
    "OpenCV",
    "Picture",
    "PluginInfo",
    "Pong",
    "Publisher",
    "PyAV",
    "Relay",
    "Result",
    "SecondPublisher",
    "SessionEnded",
    "SlowDown",
    "SourceFailed",
    "Status",
    "Stream",
    "StreamRequest",
    "StreamStatus",
    "Subscribed",
    "SystemStatus",
    "Taken",
    "Unauthenticated",
    "Unreachable",
    "Watch",
    "__version__",
]
