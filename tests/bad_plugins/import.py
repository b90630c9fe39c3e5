"""Bad: asks the network for something as soon as it is imported."""

import socket

from gateway import Frame, as_analyzer

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


@as_analyzer()
def bad(frame: Frame) -> object:
    return None
