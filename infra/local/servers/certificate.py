"""A certificate that the parts of SeaweedFS show each other, so that nobody else on the machine can speak to them.

Its inner gRPC ports would answer everybody on the loopback. One certificate, its own authority, serves all parts: they
are one process. It is made once; SeaweedFS does not check the name in it.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.local.folder import write_secret

_VALID = timedelta(days=365 * 20)


def ensure(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) as PEM files in `folder`; made where they are missing."""
    certificate, key = folder / "grpc.crt", folder / "grpc.key"
    if not certificate.exists():
        certificate_pem, key_pem = _make()
        write_secret(key, key_pem)
        write_secret(certificate, certificate_pem)
    return certificate, key


def _make() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "waypost-objects")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
