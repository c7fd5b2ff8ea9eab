"""Sets up TLS, passwords and an authorizer for the local Apache Kafka, as in production, in one folder.

Clients log in by SCRAM-SHA-512 over TLS, and know the brokers by an authority of their own. Who has no right may do
nothing; the super user and the brokers need none. Passwords are also arguments of ``kafka-storage``: this is for tests
on one machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiokafka.helpers import create_ssl_context
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.local.kafka_config import BrokerAddress
from deploy.local.key_files import write_private
from deploy.local.ports import LOOPBACK

SUPER_USER = "admin"
BROKER = "broker"
MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4096  # the least that Kafka allows
VALID = timedelta(days=2)
LOGIN_MODULE = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class KafkaAccess:
    """Users by name with their passwords, and the files of the certificates. Made by :func:`make_access`."""

    passwords: dict[str, str]
    authority_file: Path
    broker_file: Path

    def properties(self, broker: BrokerAddress) -> dict[str, str]:
        """Lines of ``server.properties``, over those of a broker without access control.

        Controllers know no SCRAM users before they run, so brokers log in to them by the plain mechanism.
        """
        password = self.passwords[BROKER]
        login = f'username="{BROKER}" password="{password}"'
        client = f"CLIENT://{LOOPBACK}:{broker.client_port}"
        return {
            "listeners": f"{client},CONTROLLER://{LOOPBACK}:{broker.controller_port}",
            "advertised.listeners": client,
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SASL_SSL",
            "inter.broker.listener.name": "CLIENT",
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.sasl.enabled.mechanisms": MECHANISM,
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            f"listener.name.client.{MECHANISM.lower()}.sasl.jaas.config": (
                f"{LOGIN_MODULE}.scram.ScramLoginModule required {login};"
            ),
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{LOGIN_MODULE}.plain.PlainLoginModule required {login} user_{BROKER}="{password}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.broker_file),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority_file),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{BROKER};User:{SUPER_USER}",
        }

    def format_arguments(self) -> list[str]:
        """Arguments of ``kafka-storage format`` that make the users."""
        return [
            part
            for name, password in self.passwords.items()
            for part in ("--add-scram", f"{MECHANISM}=[name={name},iterations={ITERATIONS},password={password}]")
        ]

    def client(self, user: str) -> dict[str, Any]:
        """Arguments under which an aiokafka client is this user."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords[user],
            "ssl_context": create_ssl_context(cafile=self.authority_file),
        }

    def settings(self, user: str) -> dict[str, str]:
        """The settings under which something of ours is this user."""
        return {
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": MECHANISM,
            "kafka_sasl_username": user,
            "kafka_sasl_password": self.passwords[user],
            "kafka_ssl_ca_file": str(self.authority_file),
        }

    def environment(self, user: str) -> dict[str, str]:
        """The same, as a process takes them."""
        return {f"SANO_{name}".upper(): value for name, value in self.settings(user).items()}


def make_access(folder: Path, users: Iterable[str]) -> KafkaAccess:
    """Passwords for these users, the super user and the brokers, and the certificates in ``folder``."""
    names = (BROKER, SUPER_USER, *users)
    authority_key, broker_key = (generate_private_key(SECP256R1()) for _ in range(2))
    authority = _certificate("sanolith local authority", authority_key, None, authority_key)
    broker = _certificate(LOOPBACK, broker_key, authority, authority_key)
    access = KafkaAccess({name: secrets.token_hex(16) for name in names}, folder / "ca.pem", folder / "broker.pem")
    write_private(access.authority_file, authority.public_bytes(Encoding.PEM))
    private = broker_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(access.broker_file, private + broker.public_bytes(Encoding.PEM))
    return access


def _certificate(
    name: str, key: EllipticCurvePrivateKey, issuer: x509.Certificate | None, issuer_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    """Of an authority where nobody is its issuer, of a broker on this machine otherwise."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(_usage(signs_certificates=issuer is None), critical=True)
    )
    if issuer is not None:
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
    return made.sign(issuer_key, SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
