"""The directory's certificate, by real handshakes on loopback with the code that runs on hosts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from addons.sites import example_ldap
from deskside.hosts.remote.tls import answer_tls
from deskside.identity.ldap import tls_finding
from deskside.model.finding import Finding, Outcome
from deskside.model.query import ReadTls

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def write(self, folder: Path) -> Path:
        kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        secret = self.key.private_bytes(kind, form, serialization.NoEncryption()).decode()
        path = folder / f"{self.certificate.serial_number}.pem"
        path.write_text(self.pem + secret)
        return path


def make(name: str, signer: Made | None = None, *, until: timedelta = 300 * DAY) -> Made:
    """An authority, or with a signer a server's certificate for `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = signer.certificate.subject if signer else subject
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * DAY)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return Made(builder.sign(signer.key if signer else key, hashes.SHA256()), key)


@contextmanager
def server(made: Made, folder: Path) -> Iterator[int]:
    """A TLS server on loopback; gives its port."""
    speaking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    speaking.load_cert_chain(made.write(folder))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.1)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                plain, _ = listening.accept()
                plain.settimeout(5)
                with plain, speaking.wrap_socket(plain, server_side=True) as link:
                    link.recv(1)
            except OSError:
                continue  # nobody came, or the other side refused us: that is what is tested

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        done.set()
        thread.join(15)
        listening.close()


def finding(made: Made, ca: str, folder: Path, name: str = "nas.lab.example") -> Finding:
    """What `check` says of a server with this certificate."""
    wanted = example_ldap({"server": f"ldaps://{name}"}).server
    with server(made, folder) as port:
        query = ReadTls("127.0.0.1", port, name, ca)
        return tls_finding(wanted, ca, query.answer(answer_tls(query.wire())))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def authority() -> Made:
    return make("Directory CA")


@pytest.fixture(scope="module")
def leaf(authority: Made) -> Made:
    return make("nas.lab.example", authority)


def test_accepted(authority: Made, leaf: Made, tmp_path: Path) -> None:
    found = finding(leaf, authority.pem, tmp_path)
    assert (found.outcome, found.hint) == (Outcome.OK, "")
    assert "nas.lab.example" in found.message


def test_expired(authority: Made, tmp_path: Path) -> None:
    found = finding(make("nas.lab.example", authority, until=-DAY), authority.pem, tmp_path)
    assert found.outcome is Outcome.FAILED
    assert "expired" in found.message
    assert "renew" in found.hint


def test_another_authority(leaf: Made, tmp_path: Path) -> None:
    found = finding(leaf, make("Another CA").pem, tmp_path)
    assert found.outcome is Outcome.FAILED
    assert found.hint.startswith("identity.ca.file: this authority did not sign")


def test_another_name(authority: Made, leaf: Made, tmp_path: Path) -> None:
    found = finding(leaf, authority.pem, tmp_path, name="directory.lab.example")
    assert found.outcome is Outcome.FAILED
    assert found.hint == "identity.server: write a name that the certificate has: nas.lab.example"


def test_a_leaf_given_as_the_authority(leaf: Made, tmp_path: Path) -> None:
    # Newer OpenSSL settings accept the very leaf; that of another server of the same authority they never do.
    found = finding(leaf, make("other.lab.example", make("Directory CA")).pem, tmp_path)
    assert found.outcome is Outcome.FAILED
    assert "no authority" in found.hint


def test_the_very_leaf_given_as_the_authority(leaf: Made, tmp_path: Path) -> None:
    found = finding(leaf, leaf.pem, tmp_path)
    if ssl.create_default_context().verify_flags & ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN:
        assert found.outcome is Outcome.OK
    else:
        assert found.outcome is Outcome.FAILED
        assert "no authority" in found.hint


def test_text_that_is_no_certificate(leaf: Made, tmp_path: Path) -> None:
    found = finding(leaf, "hello", tmp_path)
    assert found.outcome is Outcome.FAILED
    assert "PEM" in found.hint
