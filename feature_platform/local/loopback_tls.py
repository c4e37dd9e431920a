"""A certificate by which the parts of one embedded server authenticate each other, so that no other process can talk to them.

Certificates that clients must trust do not belong here.
"""

from datetime import UTC, datetime

from feature_platform.errors import ConfigurationError


def own_certificate() -> tuple[str, str]:
    """A new self-signed certificate and its key, both in PEM; the certificate is its own authority.

    It is valid for ever (the date is RFC 5280's "no well-defined expiration"), because the key does not outlive its server, and a wrong
    clock must not keep a server from starting.

    Raises:
        ConfigurationError: The library that makes it is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise ConfigurationError(
            "The embedded S3 server cannot be closed to other users: expected the package `cryptography`. Install "
            "`feature-platform[local]`."
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "feature-platform-local")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(pem).decode(), key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()
