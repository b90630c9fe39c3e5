"""MultiCameraService in a script's own process: cameras, events, pictures, errors; several threads at once."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from gateway import service as service_module
from gateway.errors import BadSource, CameraExists, UnknownOption, WindowFailed
from gateway.jpeg import read_header
from gateway.service import CameraConfig, MultiCameraService
from gateway.service_courier import Courier, Delivery, Listener, event_for_callback
from gateway.service_runtime import Device, Over, Runtime, device_of
from gateway.settings import Runtime as RuntimeSettings
from tests.media.pulling import free_port
from tests.media.web_camera import web_camera
from tests.pictures import colour_of, picture
from tests.service_script import clip, settings, until

KEYS = {"camera_id", "faces", "ids", "bags", "owned", "session_id"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultiCameraService]:
    """One for all tests that leave it as it was: each uses cameras of its own."""
    with MultiCameraService(settings(tmp_path_factory.mktemp("service"))) as found:
        yield found


def stats(service: MultiCameraService, camera_id: str) -> dict[str, Any]:
    found = service.get_latest_stats(camera_id)
    assert found is not None
    return found


def pictured(service: MultiCameraService, camera_id: str) -> bytes:
    return until(lambda: service.get_latest_jpeg(camera_id))


# --- cameras ---------------------------------------------------------------------------------------------------------


def test_a_camera_has_pictures_counts_and_a_session_of_the_day(service: MultiCameraService) -> None:
    service.start_camera(CameraConfig("counts", "demo:"))
    assert service.camera_ids == ["counts"]
    first = stats(service, "counts")
    assert (first["state"] in ("starting", "connecting"), first["error"]) == (True, None)
    header = read_header(pictured(service, "counts"))
    told = stats(service, "counts")
    assert told["state"] == "online"
    assert told.keys() >= KEYS
    assert {key: told[key] for key in ("faces", "ids", "bags", "owned")} == dict.fromkeys(
        ("faces", "ids", "bags", "owned"), 0
    )
    assert (told["camera_id"], told["width"], told["height"]) == ("counts", header.width, header.height)
    assert re.fullmatch(r"S_\d{4}_\d\d_\d\d_\d{4}", told["session_id"])
    assert told["session_id"] == first["session_id"]
    until(lambda: "motion" in stats(service, "counts")["measures"])
    drawn = service.get_latest_jpeg("counts", draw=True)
    assert drawn is not None
    assert (read_header(drawn).width, read_header(drawn).height) == (header.width, header.height)
    service.stop_camera("counts")
    assert (service.get_latest_jpeg("counts"), service.get_latest_stats("counts"), service.camera_ids) == (
        None,
        None,
        [],
    )


def test_an_id_that_runs_is_refused_and_free_again_after_its_stop(service: MultiCameraService) -> None:
    config = CameraConfig("twice", "demo:")
    service.start_camera(config)
    number = stats(service, "twice")["session_id"]
    with pytest.raises(CameraExists, match="camera twice runs already"):
        service.start_camera(config)
    assert stats(service, "twice")["session_id"] == number
    service.stop_camera("twice")
    service.stop_camera("twice")
    service.start_camera(config)
    assert int(stats(service, "twice")["session_id"][-4:]) == int(number[-4:]) + 1
    service.stop_camera("twice")


@pytest.mark.slow
def test_a_source_that_does_not_open_is_told_and_tried_until_it_does(
    service: MultiCameraService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later.mp4"
    with caplog.at_level(logging.WARNING):
        service.start_camera(CameraConfig("later", str(path)))
        until(lambda: stats(service, "later")["error"])
    told = stats(service, "later")
    assert (told["state"], told["error_code"]) == ("lost", "file")
    assert told["error"] == "the file cannot be opened: No such file or directory"
    assert f"camera later lost: {told['error']}" in caplog.messages
    made = clip(tmp_path / "made.mp4")
    made.rename(path)
    until(lambda: stats(service, "later")["state"] == "ended")
    over = stats(service, "later")
    assert (over["error"], over["width"], over["height"]) == (None, 320, 240)
    assert service.get_latest_jpeg("later") is not None, "the last picture can be had after the end"
    service.stop_camera("later")


def test_cameras_at_this_machine_and_in_private_networks_need_no_permission(service: MultiCameraService) -> None:
    with web_camera() as camera:
        service.start_camera(CameraConfig("near", f"{camera.url}/mjpeg"))
        assert colour_of(pictured(service, "near")) in ("red", "green", "blue")
        service.stop_camera("near")


@pytest.mark.slow
def test_a_camera_sends_nobody_to_other_places_of_this_machine(service: MultiCameraService) -> None:
    with web_camera() as camera, web_camera() as other:
        camera.location = f"{other.url}/mjpeg"
        service.start_camera(CameraConfig("lured", f"{camera.url}/moved"))
        until(lambda: stats(service, "lured")["error"])
        assert stats(service, "lured")["error_code"] == "address"
        camera.location = f"{camera.url}/mjpeg"
        pictured(service, "lured")
        service.stop_camera("lured")
        assert other.asked == []


@pytest.mark.slow
def test_a_camera_is_pulled_where_no_analyzer_looks(service: MultiCameraService, tmp_path: Path) -> None:
    service.start_camera(CameraConfig("bare", clip(tmp_path / "bare.mp4"), analyzers=(), loop=True))
    pictured(service, "bare")
    until(lambda: stats(service, "bare")["fps_in"] > 5)  # if nobody wanted them, it would be one in a second
    assert stats(service, "bare")["analyzers"] == {}
    service.stop_camera("bare")


def test_what_no_retry_would_mend_is_refused_at_once(service: MultiCameraService) -> None:
    for source in ("", "rtsp://", "http://127.1/", "file:x.mp4", True, None):
        with pytest.raises(BadSource):
            service.start_camera(CameraConfig("wrong", source))  # type: ignore[arg-type]
    with pytest.raises(UnknownOption, match="device is cuda"):
        service.start_camera(CameraConfig("wrong", 0, device="gpu"))
    for name in ("", "a\nb", "x" * 65, 7):
        with pytest.raises(ValueError, match="camera_id"):
            CameraConfig(name, 0)  # type: ignore[arg-type]
    assert service.camera_ids == []


@pytest.mark.parametrize(
    ("config", "code", "error"),
    [
        ({"analyzers": ["motoin"]}, "unknown_analyzer", "there is no analyzer 'motoin'; did you mean motion?"),
        ({"source": "ftp://127.0.0.1/x"}, "source_scheme", "no connector reads ftp:"),
    ],
)
def test_an_analyzer_or_connector_there_is_not_is_told(
    service: MultiCameraService, config: dict[str, Any], code: str, error: str
) -> None:
    service.start_camera(CameraConfig("astray", **{"source": "demo:", **config}))
    until(lambda: stats(service, "astray")["error"])
    told = stats(service, "astray")
    assert (told["state"], told["error_code"], told["error"]) == ("failed", code, error)
    service.stop_camera("astray")


@pytest.mark.slow
def test_a_camera_of_a_connector_that_imports_slowly_waits_for_it(tmp_path: Path) -> None:
    plugin = tmp_path / "slow_stills.py"
    example = Path(__file__).parents[1] / "examples/framegate-stills/framegate_stills.py"
    plugin.write_text(f"import time\ntime.sleep(14)\n{example.read_text()}")
    (tmp_path / "1.jpg").write_bytes(picture("red"))
    chosen = {"plugins": [str(plugin)], "plugin_permissions": {"slow_stills": ["files"]}}
    with MultiCameraService(settings(tmp_path / "home").model_copy(update=chosen)) as service:
        service.start_camera(CameraConfig("patient", f"stills:{tmp_path}", analyzers=()))
        until(lambda: stats(service, "patient")["error"])
        told = stats(service, "patient")
        assert (told["state"], told["error_code"]) == ("waiting", "starting")
        assert colour_of(pictured(service, "patient")) == "red"


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_come_on_one_background_thread_and_a_callback_that_raises_or_dawdles_disturbs_nobody(
    service: MultiCameraService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, list[dict[str, Any]]]] = []
    threads: set[threading.Thread] = set()
    go_on = threading.Event()

    def callback(camera_id: str, events: list[dict[str, Any]]) -> None:
        heard.append((camera_id, events))
        threads.add(threading.current_thread())
        if len(heard) == 1:
            raise RuntimeError("the script's own mistake")
        go_on.wait()

    service.set_event_callback(callback, phases=("new", "end"))
    path = clip(tmp_path / "moving.mp4")
    try:
        for name in ("A", "B"):
            service.start_camera(CameraConfig(name, path, loop=True))
        until(lambda: len(heard) == 2)
        assert "the event callback failed" in caplog.text
        assert "the script's own mistake" in caplog.text
        frames = stats(service, "A")["frames"]
        until(lambda: stats(service, "A")["frames"] > frames + 5)  # the callback still waits
        service.stop_camera("A")
    finally:
        go_on.set()
        service.stop_camera("B")
        service.set_event_callback(None)
    assert len(threads) == 1
    assert threads.isdisjoint({threading.main_thread()})
    camera_id, [event] = heard[0]
    assert (event["type"], event["event_type"], event["phase"]) == ("motion", "motion", "new")
    assert (event["camera_id"], camera_id in ("A", "B")) == (camera_id, True)
    assert event.keys().isdisjoint({"person_id", "bag_id"})
    assert re.fullmatch(r"S_\d{4}_\d\d_\d\d_\d{4}", event["session_id"])


@pytest.mark.slow
def test_a_callback_may_stop_its_camera(service: MultiCameraService) -> None:
    seen: list[object] = []

    def callback(camera_id: str, events: list[dict[str, Any]]) -> None:
        if camera_id != "brief":  # heard late, of a test before
            return
        seen.append(service.get_latest_stats(camera_id) is not None)
        service.stop_camera(camera_id)
        seen.append(service.get_latest_stats(camera_id))

    service.set_event_callback(callback)
    service.start_camera(CameraConfig("brief", "demo:"))
    until(lambda: len(seen) == 2)
    service.set_event_callback(None)
    assert seen == [True, None]


def test_an_event_names_persons_and_bags_only_where_there_are_any() -> None:
    wire = {"type": "event", "event_type": "abandoned", "bag_id": "b1", "person_id": None, "ended_at": None}
    assert event_for_callback(wire) == {
        "type": "abandoned", "event_type": "abandoned", "bag_id": "b1", "ended_at": None
    }  # fmt: skip


def test_of_what_waits_for_a_slow_callback_the_oldest_goes_and_its_sender_is_told() -> None:
    through: list[int] = []
    heard: list[str] = []
    busy, go_on = threading.Event(), threading.Event()

    def callback(camera_id: str, events: list[dict[str, Any]]) -> None:
        heard.append(camera_id)
        busy.set()
        go_on.wait()

    courier = Courier(Listener(callback))
    courier.post(Delivery("0", [], lambda: None))
    assert busy.wait(10)
    for number in range(1, 258):
        courier.post(Delivery(str(number), [], lambda number=number: through.append(number)))  # type: ignore[misc]
    assert through == [1]
    go_on.set()
    courier.close(10)
    assert heard == ["0", *map(str, range(2, 258))]


@pytest.mark.parametrize("wrong", ["text", 3])
def test_what_cannot_be_called_is_no_callback(service: MultiCameraService, wrong: Any) -> None:
    async def callback(camera_id: str, events: list[dict[str, Any]]) -> None: ...

    for refused in (wrong, callback):
        with pytest.raises(TypeError, match="a plain function"):
            service.set_event_callback(refused)
    with pytest.raises(ValueError, match="'begin'"):
        service.set_event_callback(print, phases=("begin",))


# --- where it is shown -----------------------------------------------------------------------------------------------


def test_the_preview_is_a_page_and_motion_jpeg_on_this_machine_only(
    service: MultiCameraService, tmp_path: Path
) -> None:
    port = free_port()
    service.start_camera(CameraConfig("<A&B>", clip(tmp_path / "shown.mp4"), loop=True, preview_port=port))
    url = stats(service, "<A&B>")["preview_url"]
    assert url == f"http://127.0.0.1:{port}/"
    pictured(service, "<A&B>")
    with httpx2.Client(base_url=url, timeout=30) as http:
        page = http.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "<title>&lt;A&amp;B&gt;</title>" in page.text
        assert '<img src="stream"' in page.text
        with http.stream("GET", "/stream?fps=30") as answer:
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
            body = answer.iter_raw()
            start = next(body)
            while start.count(b"--frame\r\n") < 3:
                start += next(body)
        assert start.startswith(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
        length = int(start.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        jpeg = start.partition(b"\r\n\r\n")[2][:length]
        assert (read_header(jpeg).width, read_header(jpeg).height) == (320, 240)
        assert start.partition(b"\r\n\r\n")[2][length:].startswith(b"\r\n--frame\r\n")
        assert http.get("/stream?fps=no").json()["code"] == "unknown_option"
        assert http.get("/other").status_code == 404
        foreign = http.get("/stream", headers={"Host": f"pictures.example:{port}"})
        assert (foreign.status_code, foreign.json()["code"]) == (421, "host")
        assert http.head("/").status_code == 200
    listening = {c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.laddr.port == port and not c.raddr}
    assert listening == {"127.0.0.1"}
    service.stop_camera("<A&B>")
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


def test_a_preview_port_that_is_taken_is_an_error_at_once(service: MultiCameraService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"camera hidden: preview_port {port} is taken by somebody else"):
            service.start_camera(CameraConfig("hidden", "demo:", preview_port=port))
    with pytest.raises(UnknownOption, match="0 to 65535"):
        service.start_camera(CameraConfig("hidden", "demo:", preview_port=70000))
    assert service.camera_ids == []


def test_a_window_needs_a_display_and_an_opencv_with_windows(
    service: MultiCameraService, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CameraConfig("framed", "demo:", render_enabled=True)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(WindowFailed, match="neither DISPLAY nor WAYLAND_DISPLAY is set"):
        service.start_camera(config)
    monkeypatch.setenv("DISPLAY", ":1")
    with pytest.raises(WindowFailed, match="opencv-python-headless is installed; put opencv-python in its place"):
        service.start_camera(config)
    assert service.camera_ids == []


def test_a_window_that_fails_all_the_same_costs_the_camera_nothing(
    service: MultiCameraService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An OpenCV of the system's may turn out to have no windows."""
    monkeypatch.setattr(service_module, "check", lambda: None)
    service.start_camera(CameraConfig("blind", "demo:", render_enabled=True))
    until(lambda: "camera blind: its window is gone: " in caplog.text)
    assert "The function is not implemented" in caplog.text
    pictured(service, "blind")
    service.stop_camera("blind")


# --- what the older system left, and the settings --------------------------------------------------------------------


def test_an_older_database_is_left_alone_with_a_warning_unless_db_path_is_given(
    service: MultiCameraService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    service.start_camera(CameraConfig("before", "demo:"))
    Path("antiterror.db").write_bytes(b"as it was")
    service.start_camera(CameraConfig("named", "demo:", db_path="framegate.db"))
    assert "antiterror.db" not in caplog.text
    service.start_camera(CameraConfig("unnamed", "demo:"))
    assert "camera unnamed: ./antiterror.db is there and left alone" in caplog.text
    for name in ("before", "named", "unnamed"):
        service.stop_camera(name)
    assert Path("antiterror.db").read_bytes() == b"as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["antiterror.db"]


@pytest.mark.parametrize(
    ("text", "gpu", "device"),
    [
        (None, False, Device("cpu")),
        ("cpu", True, Device("cpu")),
        (None, True, Device("auto")),
        ("mps", True, Device("auto")),
        ("cuda", False, Device("cuda")),
        ("cuda:1", True, Device("cuda", 1)),
        ("CPU", False, Device("cpu")),
    ],
)
def test_a_device_is_what_analyzers_know(
    text: str | None, gpu: bool, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.service_runtime._may_have_gpu", lambda: gpu)
    assert device_of(text, RuntimeSettings()) == device


def test_wrong_settings_are_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEGATE_MEDIA__FPS", "many")
    with pytest.raises(ValueError, match=r"settings are wrong\n  media.fps"):
        MultiCameraService()


def test_a_service_that_started_nothing_has_nothing_to_stop(tmp_path: Path) -> None:
    service = MultiCameraService(settings(tmp_path / "home"))
    service.stop_camera("none")
    service.stop_all()
    assert (service.get_latest_jpeg("none"), service.get_latest_stats("none"), service.camera_ids) == (None, None, [])
    assert not (tmp_path / "home").exists()


def test_what_the_work_raises_is_raised_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done just when its caller looks whether the thread is still there has not timed out."""
    runtime = Runtime(settings(tmp_path))
    runtime.start()

    async def late() -> int:
        return 7

    class Looked(concurrent.futures.Future[int]):
        def result(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().result()
            concurrent.futures.wait([self])
            raise concurrent.futures.TimeoutError

    async def own() -> None:
        raise TimeoutError("its own")

    try:
        with pytest.raises(TimeoutError, match="its own"):
            runtime.call(own)
        monkeypatch.setattr(concurrent.futures, "Future", Looked)
        assert runtime.call(late) == 7
    finally:
        runtime.stop(10)


def test_a_home_that_cannot_be_made_is_an_error_of_the_first_camera(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    service = MultiCameraService(settings(tmp_path / "file" / "home"))
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            service.start_camera(CameraConfig("homeless", "demo:"))
    assert service.camera_ids == []
    service.stop_all()


def test_a_camera_that_comes_while_everything_ends_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = MultiCameraService(settings(tmp_path))
    service.start_camera(CameraConfig("first", "demo:", analyzers=()))
    run = service._running
    assert run is not None
    port = free_port()

    def ended(_: object) -> None:
        raise Over

    monkeypatch.setattr(run.runtime, "spawn", ended)
    with pytest.raises(RuntimeError, match="the service has ended, or is about to"):
        service.start_camera(CameraConfig("late", "demo:", preview_port=port))
    assert service.camera_ids == ["first"]
    socket.create_server(("127.0.0.1", port)).close()
    service.stop_all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_in_a_forked_process_nothing_waits_for_a_thread_that_stayed_behind(tmp_path: Path) -> None:
    service = MultiCameraService(settings(tmp_path))
    with service._lock, service_module._numbers.lock:
        forking = threading.Thread(target=lambda: codes.append(in_child(lambda: used(service))))
        codes: list[int] = []
        forking.start()
        forking.join()
    assert codes == [0]


def used(service: MultiCameraService) -> None:
    service.stop_camera("none")
    service.stop_all()
    assert (service.get_latest_jpeg("none"), service.get_latest_stats("none"), service.camera_ids) == (None, None, [])
    assert service_module._numbers.next()


def in_child(work: Callable[[], None]) -> int:
    """How a forked process ends that does this: 0 if well and within 5 s."""
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- the end, and several threads ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stop_all_leaves_no_process_and_no_thread_and_the_service_can_be_used_again(tmp_path: Path) -> None:
    before = (set(psutil.Process().children(recursive=True)), set(threading.enumerate()))
    service = MultiCameraService(settings(tmp_path))
    for _ in range(2):
        service.set_event_callback(lambda camera_id, events: service.stop_all())
        service.start_camera(CameraConfig("C", "demo:", preview_port=0))
        pictured(service, "C")
        service.set_event_callback(None)
        service.stop_all()
        service.stop_all()
        assert service.get_latest_stats("C") is None
        until(lambda: set(threading.enumerate()) <= before[1])
        assert set(psutil.Process().children(recursive=True)) <= before[0]
    assert service_module._runs <= {run for run in service_module._runs if run.runtime.alive}


@pytest.mark.slow
def test_eight_threads_may_do_everything_at_once(tmp_path: Path) -> None:
    service = MultiCameraService(settings(tmp_path))
    path = clip(tmp_path / "clip.mp4")
    failures: list[BaseException] = []
    refused: list[str] = []
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            begin.wait()
            for turn in range(6):
                name = f"T{(number + turn) % 4}"
                try:
                    service.start_camera(CameraConfig(name, path, loop=True))
                except CameraExists:
                    refused.append(name)
                service.get_latest_jpeg(name)
                if (found := service.get_latest_stats(name)) is not None:
                    assert found["camera_id"] == name
                if turn % 2:
                    service.stop_camera(name)
                if (number, turn) == (0, 3):
                    service.stop_all()
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    service.stop_all()
    assert failures == []
    assert refused
    assert service.camera_ids == []
