"""TLS: the operator's certificate, or one of our own making, so that a phone's browser gives its camera away.

The own one is signed by itself: who connects for the first time compares the fingerprint that the start prints.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings import Settings

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFE = timedelta(days=397)  # browsers take no longer one
RENEW = timedelta(days=30)  # before its end
SKEW = timedelta(days=1)  # clocks of phones


class TlsFailed(Exception):
    """There is no certificate to serve with; one line saying why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the gateway shows its clients. `warning`: one line for the operator, or nothing."""

    context: ssl.SSLContext
    fingerprint: str
    certificate: Path
    own: bool
    warning: str = ""


def identity(settings: Settings) -> Identity | None:
    """What the settings ask for; None for plain HTTP. Raises `TlsFailed`."""
    if settings.cert is not None:
        return _given(settings.cert, settings.key or settings.cert)
    if settings.key is not None:
        raise TlsFailed("key is set, but cert is not: name the certificate too")
    if not settings.tls:
        return None
    folder = settings.home / "tls"
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = own_names(settings.host)
    _make(cert, key, names)
    return Identity(_context(cert, key), fingerprint(cert), cert, own=True)


def fingerprint(cert: Path) -> str:
    """The SHA-256 of a certificate as browsers and openssl show it: pairs of hex digits and colons."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return _read(cert).fingerprint(SHA256()).hex(":").upper()


# --- the operator's own ----------------------------------------------------------------------------------------------


def _given(cert: Path, key: Path) -> Identity:
    for what, path in (("certificate", cert), ("key", key)):
        if not path.is_file():
            raise TlsFailed(f"there is no {what} {path}")
    found = _read(cert)
    context = _context(cert, key)
    now = datetime.now(UTC)
    left = found.not_valid_after_utc - now
    warning = ""
    if left < timedelta():
        warning = f"the certificate {cert} expired on {found.not_valid_after_utc:%Y-%m-%d}: clients will refuse it"
    elif found.not_valid_before_utc > now:
        warning = f"the certificate {cert} is valid from {found.not_valid_before_utc:%Y-%m-%d} on: clients refuse it"
    elif left < RENEW / 2:
        warning = f"the certificate {cert} expires in {left.days} days"
    return Identity(context, fingerprint(cert), cert, own=False, warning=warning)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise TlsFailed(f"the key {key} is not the key of the certificate {cert}") from None
        raise TlsFailed(f"cannot use the certificate {cert} with the key {key}: {error.reason or error}") from None
    except _Locked:
        raise TlsFailed(f"the key {key} has a passphrase; the gateway takes one without") from None
    except OSError as error:
        raise TlsFailed(f"cannot read the certificate {cert} or the key {key}: {error.strerror}") from None
    return context


class _Locked(Exception):
    pass


def _no_password() -> str:
    raise _Locked


def _read(cert: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(cert.read_bytes())
    except ValueError:
        raise TlsFailed(f"{cert} holds no certificate in PEM form") from None
    except OSError as error:
        raise TlsFailed(f"cannot read the certificate {cert}: {error.strerror}") from None


# --- one of our own --------------------------------------------------------------------------------------------------


def own_names(host: str) -> list[str]:
    """What clients may call this machine: localhost, its name, its addresses, and the one it listens on."""
    name = socket.gethostname().lower()
    found = ["localhost", name, f"{name.partition('.')[0]}.local", "127.0.0.1", "::1", *own_addresses()]
    if host not in ("0.0.0.0", "::"):
        found.append(host)
    return [name for name in dict.fromkeys(found) if name.isascii() and "%" not in name]


def own_addresses() -> list[str]:
    """The machine's addresses that others reach it at."""
    import psutil

    found = []
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            with suppress(ValueError):
                ip = ipaddress.ip_address(address.address)
                if not (ip.is_loopback or ip.is_link_local):
                    found.append(str(ip))
    return sorted(found, key=lambda text: (":" in text, text))


def _make(cert: Path, key: Path, names: list[str]) -> None:
    """A certificate for these names, if the one there is does not do. The key stays while it can be read."""
    if cert.is_file() and key.is_file() and _does(cert, names):
        return
    try:
        cert.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = _key(key)
        _write(cert, _signed(private, names), mode=0o644)
    except OSError as error:
        raise TlsFailed(f"cannot keep a certificate in {cert.parent}: {error.strerror}") from None


def _does(cert: Path, names: Iterable[str]) -> bool:
    from cryptography import x509

    try:
        found = _read(cert)
        known = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (TlsFailed, x509.ExtensionNotFound, ValueError):
        return False
    told = {str(name.value) for name in known}
    return set(names) <= told and found.not_valid_after_utc - datetime.now(UTC) > RENEW


def _key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    with suppress(OSError, ValueError, TypeError):
        found = form.load_pem_private_key(path.read_bytes(), None)
        if isinstance(found, ec.EllipticCurvePrivateKey):
            path.chmod(0o600)
            return found
    made = ec.generate_private_key(ec.SECP256R1())
    _write(path, made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()), mode=0o600)
    return made


def _signed(key: EllipticCurvePrivateKey, names: Iterable[str]) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Framegate")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number(), now - SKEW, now + LIFE)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Whole or not at all, and never readable for longer than it should be."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)
