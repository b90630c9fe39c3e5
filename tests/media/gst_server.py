"""A GStreamer RTSP server for tests, run by the system's Python, which has the bindings: PORT [USER PASSWORD].

/h264, /mjpeg and /wide serve live test pictures, /sizes changes its size twice a second. It prints its port when it
listens.
"""

from __future__ import annotations

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOURCE = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width={w},height={h},framerate=15/1"
H264 = (
    "x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max={gop}"
    " ! rtph264pay name=pay0 pt=96 config-interval=1"
)
MEDIA = {
    "/h264": f"{SOURCE.format(w=320, h=240)} ! {H264.format(gop=15)}",
    "/own": f"{SOURCE.format(w=160, h=120)} ! {H264.format(gop=15)}",
    "/wide": f"{SOURCE.format(w=640, h=360)} ! {H264.format(gop=15)}",
    "/mjpeg": f"{SOURCE.format(w=320, h=240)} ! jpegenc ! rtpjpegpay name=pay0 pt=26",
    "/sizes": "videotestsrc is-live=true"
    " ! capsfilter name=size caps=video/x-raw,format=I420,width=320,height=240,framerate=15/1"
    f" ! {H264.format(gop=15)}",
}


def switch(size: Gst.Element, width: list[int]) -> bool:
    width[0] = 320 if width[0] == 640 else 640
    caps = f"video/x-raw,format=I420,width={width[0]},height={width[0] * 3 // 4},framerate=15/1"
    size.set_property("caps", Gst.Caps.from_string(caps))
    return True


def configured(_factory: object, media: GstRtspServer.RTSPMedia) -> None:
    size = media.get_element().get_by_name("size")
    if size is not None:
        GLib.timeout_add(1500, switch, size, [320])


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    now = os.environ.get("CAMERA", "/h264")  # what the camera at /camera sends this time
    for path, launch in (MEDIA | {"/camera": MEDIA[now]}).items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        factory.set_shared(path != "/own")  # shared ones abort the server now and then, when many come and go at once
        factory.connect("media-configure", configured)
        if len(sys.argv) > 3:
            permit(factory)
        server.get_mount_points().add_factory(path, factory)
    if len(sys.argv) > 3:
        server.set_auth(digest(*sys.argv[2:4]))
    server.attach(None)
    print(sys.argv[1], flush=True)
    GLib.MainLoop().run()


def permit(factory: GstRtspServer.RTSPMediaFactory) -> None:
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


def digest(user: str, password: str) -> GstRtspServer.RTSPAuth:
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_digest(user, password, token)
    return auth


if __name__ == "__main__":
    main()
