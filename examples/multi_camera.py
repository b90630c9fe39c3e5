"""Several cameras in one script, no server: python multi_camera.py SOURCE...

A source is the number of a camera, a file, rtsp://, http:// or demo:. Prints what happens and what is counted until
Ctrl-C; every camera can be watched in a browser of this machine.
"""

import sys
import time
from pathlib import Path

from gateway.service import CameraConfig, MultiCameraService

PICTURES = Path("events")


def main() -> None:
    sources = sys.argv[1:] or ["demo:"]
    with MultiCameraService() as service:

        def on_events(camera_id: str, events: list[dict]) -> None:
            for event in events:
                print(f"{camera_id}: {event['type']} ({event['severity']}), score {event['score']}", flush=True)
                if (jpeg := service.get_latest_jpeg(camera_id, draw=True)) is not None:
                    PICTURES.mkdir(exist_ok=True)
                    (PICTURES / f"{camera_id}-{event['id']}.jpg").write_bytes(jpeg)

        service.set_event_callback(on_events)
        for number, source in enumerate(sources, 1):
            given = int(source) if source.isdecimal() else source
            service.start_camera(CameraConfig(f"CAM_{number:02}", given, preview_port=0))
        while True:
            for camera_id in service.camera_ids:
                stats = service.get_latest_stats(camera_id)
                seen = f"{stats['fps_in']:.1f} fps, {stats['faces']} faces, {stats['bags']} bags"
                print(f"{camera_id}: {stats['error'] or stats['state']}; {seen}; {stats['preview_url']}", flush=True)
            time.sleep(5)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
