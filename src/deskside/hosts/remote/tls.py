"""Answers about TLS servers, LDAP's StartTLS included. Part of the remote program; reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deskside.hosts.remote.core import SINGLE, TYPE_CHECKING, Raw, number_of, text_of

if TYPE_CHECKING:
    import socket
    import ssl

# LDAPMessage 1, ExtendedRequest 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14).
START_TLS = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + b"1.3.6.1.4.1.1466.20037"


class TlsRefused(Exception):
    """The server does not speak as asked."""


def connected(query: Mapping[str, object]) -> socket.socket:
    """A connection that is ready for the handshake."""
    import socket

    timeout = number_of(query, "timeout", 10.0)
    address = (text_of(query, "host"), int(number_of(query, "port")))
    connection = socket.create_connection(address, timeout=timeout)
    if query.get("starttls"):
        connection.sendall(START_TLS)
        reply = connection.recv(4096)
        # In an ExtendedResponse (0x78) the result code is the first ENUMERATED (0x0a 0x01).
        place = reply.find(b"\x0a\x01")
        if b"\x78" not in reply[:8] or place < 0 or reply[place + 2 : place + 3] != b"\x00":
            connection.close()
            raise TlsRefused("the server refuses StartTLS")
    return connection


def certificate(query: Mapping[str, object], verify: ssl.SSLContext) -> Raw:
    """The server's certificate as Python's own table; an unverified one is decoded from its bytes."""
    import ssl
    import tempfile

    with connected(query) as plain, verify.wrap_socket(plain, server_hostname=text_of(query, "name")) as link:
        found = link.getpeercert()
        if found:
            return dict(found)
        data = link.getpeercert(binary_form=True)
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if not data or decode is None:
        return {}
    handle, path = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "w") as file:
            file.write(ssl.DER_cert_to_PEM_cert(data))
        return dict(decode(path))
    finally:
        os.unlink(path)


def names_in(found: Mapping[str, object]) -> list[str]:
    """DNS names and addresses of a certificate; its common name when it has no others."""
    pairs = found.get("subjectAltName")
    names = [str(value) for _, value in pairs] if isinstance(pairs, tuple) else []
    subject = found.get("subject")
    if names or not isinstance(subject, tuple):
        return names
    return [str(value) for part in subject for key, value in part if key == "commonName"]


def tls_answer(error: str, found: Mapping[str, object]) -> Raw:
    """The answer in the wire's words."""
    import ssl

    end = found.get("notAfter")
    return {
        "error": error,
        "names": names_in(found),
        "not_after": float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else 0.0,
    }


def answer_tls(query: Mapping[str, object]) -> Raw:
    """Op `tls`: a handshake that checks chain and name; when it fails, one that only looks."""
    import ssl

    checking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if text_of(query, "ca"):
            checking.load_verify_locations(cadata=text_of(query, "ca"))
        else:
            checking.load_default_certs()
    except (ssl.SSLError, ValueError) as error:
        return tls_answer(f"the CA certificate cannot be read: {error}", {})
    try:
        return tls_answer("", certificate(query, checking))
    except ssl.SSLCertVerificationError as error:
        refused = error.verify_message or str(error)
    except (OSError, TlsRefused) as error:
        return tls_answer(str(error) or type(error).__name__, {})
    looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looking.check_hostname = False
    looking.verify_mode = ssl.CERT_NONE
    try:
        return tls_answer(refused, certificate(query, looking))
    except (OSError, TlsRefused):
        return tls_answer(refused, {})


SINGLE["tls"] = answer_tls
