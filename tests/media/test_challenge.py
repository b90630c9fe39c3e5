"""Credentials are proven as RFC 7616 and RFC 7617 say, with their own examples."""

from __future__ import annotations

import time

import pytest

from gateway.media.challenge import Credential

REALM = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
)
OPAQUE = 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(monkeypatch: pytest.MonkeyPatch, algorithm: str, response: str) -> None:
    monkeypatch.setattr(
        "gateway.media.challenge.secrets.token_hex", lambda _: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    )
    credential = Credential("Mufasa", "Circle of Life")
    assert credential.challenged([f"{REALM}, algorithm={algorithm}, {OPAQUE}"])
    answer = credential.answer("GET", "/dir/index.html") or ""
    assert f'response="{response}"' in answer
    assert OPAQUE in answer
    assert "qop=auth, nc=00000001" in answer


def test_without_qop_it_is_the_digest_of_rfc_2069_that_cameras_speak() -> None:
    credential = Credential("Mufasa", "Circle Of Life")
    assert credential.challenged(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in (credential.answer("GET", "/dir/index.html") or "")


def test_the_best_offer_is_taken() -> None:
    credential = Credential("a", "b")
    assert credential.challenged(['Basic realm="x"', 'Digest realm="x", nonce="n"'])
    assert (credential.answer("GET", "/") or "").startswith("Digest ")
    basic = Credential("Aladdin", "open sesame")
    assert basic.challenged(['Basic realm="x"'])
    assert basic.answer("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    "offer",
    [
        'Digest realm="a, b", nonce="n", Basic realm="c"',
        'Basic realm="c", Digest realm="a, b", nonce="n"',
        'Negotiate, Basic realm="c, Basic x=y", Digest nonce="n",realm = "a, b"',
        'Digest realm="a, b" nonce="n"',
    ],
)
def test_one_header_may_hold_several_challenges(offer: str) -> None:
    credential = Credential("u", "p")
    assert credential.challenged([offer])
    answer = credential.answer("GET", "/") or ""
    assert answer.startswith('Digest username="u", realm="a, b", nonce="n", uri="/", response=')


def test_a_basic_challenge_may_come_without_a_realm() -> None:
    assert Credential("u", "p").challenged(["Basic"])


@pytest.mark.parametrize("offer", ["Digest " + "a" * 60_000, "Digest " + "a " * 30_000, "Digest" + " " * 60_000])
def test_a_long_header_is_read_in_no_time(offer: str) -> None:
    began = time.process_time()
    assert not Credential("u", "p").challenged([offer])
    assert time.process_time() - began < 1


def test_nothing_is_sent_unasked_and_a_refused_answer_is_not_repeated() -> None:
    credential = Credential("a", "b")
    offer = 'Digest realm="x", nonce="n"'
    assert credential.answer("GET", "/") is None
    assert credential.challenged([offer])
    assert not credential.challenged([offer], again=True)
    assert credential.challenged([offer + ", stale=TRUE"], again=True)
    assert not credential.challenged(["Bearer realm=x"])
    assert not Credential("", "").challenged([offer])


def test_no_secret_shows() -> None:
    assert "canary" not in repr(Credential("a", "canary"))
