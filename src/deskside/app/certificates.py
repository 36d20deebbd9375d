"""Certificates of a small site: an authority that is made once, and leaves that it signs.

Only what stands in files is made here; who keeps them, and for how long, is the caller's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 730


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _begin(subject: str, issuer: str, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    # An hour back: hosts of a site never agree on the minute.
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _loaded(pem: bytes) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(pem, None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("it is no key on an elliptic curve")
    return found


def new_key() -> bytes:
    """A private key in PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def authority_of(title: str, pem: bytes) -> bytes:
    """The certificate in PEM of an authority with that key. Raises ValueError for text that is no key."""
    key = _loaded(pem)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    built = (
        _begin(title, title, AUTHORITY_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def make_authority(title: str, certificate: Path, key_file: Path) -> None:
    """Make an authority: its certificate in PEM, its key 0600."""
    key = new_key()
    _write_secret(key_file, key)
    certificate.write_bytes(authority_of(title, key))


def make_leaf(
    authority: Path, authority_key: Path, names: tuple[str, ...], address: str, *, days: float = LEAF_DAYS
) -> tuple[bytes, bytes]:
    """Certificate and key in PEM for a server with these names; negative `days` make one that has expired."""
    issuer = x509.load_pem_x509_certificate(authority.read_bytes())
    signer = _loaded(authority_key.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    title = str(issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    known = [*(x509.DNSName(name) for name in names), x509.IPAddress(IPv4Address(address))]
    built = (
        _begin(names[0], title, days)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM), _pem(key)


def belongs(certificate: bytes, key: bytes) -> bool:
    """Whether key and certificate are a pair. Raises ValueError for text that is neither."""
    return x509.load_pem_x509_certificate(certificate).public_key() == _loaded(key).public_key()


def serves(
    certificate: bytes, authority: bytes, names: tuple[str, ...], address: str, *, days: float
) -> bool:
    """Whether a leaf is of that authority, for just these names, and good for so many days from now."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        known = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    wanted = {*(x509.DNSName(name) for name in names), x509.IPAddress(IPv4Address(address))}
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    return set(known) == wanted and left > timedelta(days=days)
