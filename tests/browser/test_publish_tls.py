"""The camera page as a phone would open it: over `serve --tls`, at an address that is not loopback, behind a login.

Chromium is told to pass over the certificate, as a person does who has compared the fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.tls import own_addresses
from tests.access.door import TOKEN, bearer
from tests.browser.test_publish import pixels, sends_on, wait_for
from tests.chromium import PHONE, opened
from tests.server import SERVE, Server, running

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    addresses = [address for address in own_addresses() if ":" not in address]
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    command = (*SERVE, "--tls", "--host", addresses[0])
    with running(tmp_path_factory.mktemp("tls"), command=command, AUTH_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture
def phone(browser: Any) -> Iterator[Any]:
    permissions = ["camera", "screen-wake-lock"]
    with opened(browser, **PHONE, permissions=permissions, ignore_https_errors=True) as page:
        yield page


def test_a_phone_logs_in_and_its_camera_is_seen(phone: Any, secure: Server) -> None:
    phone.goto(f"{secure.url}/publish")
    phone.get_by_label("Access token").fill(TOKEN)
    phone.get_by_role("button", name="Log in").click()
    phone.wait_for_url("**/publish")
    assert phone.evaluate("[isSecureContext, location.protocol]") == [True, "https:"]
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    sends_on(phone)
    link = phone.get_attribute("#link", "href")
    assert link.startswith(f"{secure.url}/viewer/fgv_")
    answer = secure.http.get("/stream", headers=bearer(TOKEN)).json()["items"]
    assert [item["publishers"] for item in answer] == [1]
    seen = secure.http.get(f"/stream/{answer[0]['stream_id']}/snapshot.jpg", headers=bearer(TOKEN)).content
    assert pixels(seen).std() > 10  # the fake camera's picture, not a plain one


def test_who_opens_the_link_that_the_phone_shows_sees_its_pictures(phone: Any, browser: Any, secure: Server) -> None:
    stream = secure.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    phone.goto(f"{secure.url}/login")
    phone.get_by_label("Access token").fill(TOKEN)
    phone.get_by_role("button", name="Log in").click()
    phone.wait_for_url("**/viewer")
    phone.goto(f"{secure.url}/publish?stream_id={stream['stream_id']}")
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    sends_on(phone)
    with opened(browser, ignore_https_errors=True) as friend:
        friend.goto(secure.url + stream["viewer_url"])
        friend.locator("#picture[data-seq]").wait_for()
        assert friend.url == f"{secure.url}/viewer?stream_id={stream['stream_id']}"
