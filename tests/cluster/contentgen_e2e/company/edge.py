"""Edge of a company's network in one pod: TLS with a private CA before the sandbox's S3 and media, and a CONNECT proxy.

The pod has the sandbox's image, whose Python runs `edge_servers.py`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contentgen_cluster import release
from contentgen_e2e.settings import ROOT

NAME = "edge"
HOST = f"{NAME}.{release.NAMESPACE}.svc"
OUTSIDE = f"{NAME}.{release.NAMESPACE}"  # the same host by a name that is not reached directly: it does not end in .svc
S3_PORT, MEDIA_PORT, PROXY_PORT = 8443, 8444, 3128
CA_CONFIG_MAP = "company-ca"
_SERVERS = Path(__file__).with_name("edge_servers.py")
_SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Certificates:
    """PEM texts: the CA's certificate, and the server's certificate and key."""

    authority: str
    certificate: str
    key: str


def certificates(*hosts: str) -> Certificates:
    """A new private CA and a server certificate of it for these hosts, valid for a day."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company CA")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    start = datetime.now(UTC) - timedelta(hours=1)
    common = x509.CertificateBuilder(issuer).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    key_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        common.subject_name(issuer)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .add_extension(key_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        common.subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificates(authority.public_bytes(pem).decode(), server.public_bytes(pem).decode(), private.decode())


@contextmanager
def company_edge() -> Iterator[None]:
    """The edge's pod and Service, and the ConfigMap with its CA, in the release's namespace within the context."""
    made = certificates(HOST, OUTSIDE)
    meta = {"name": NAME, "labels": {"app": NAME}}
    files = {"edge_servers.py": _SERVERS.read_text(), "tls.crt": made.certificate, "tls.key": made.key}
    image = json.loads((ROOT / ".cluster/images.json").read_text())["sandbox"]
    sandbox = f"contentgen-sandbox.{release.NAMESPACE}.svc"
    servers = [
        f"{S3_PORT}={sandbox}:7070", f"{MEDIA_PORT}={sandbox}:80", f"{PROXY_PORT}=proxy",
    ]  # fmt: skip
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-u", "/edge/edge_servers.py", *servers],
        "securityContext": _SAFE,
        "volumeMounts": [{"name": "files", "mountPath": "/edge"}],
        "readinessProbe": {"tcpSocket": {"port": PROXY_PORT}, "periodSeconds": 1},
    }
    ports = [{"name": f"p{port}", "port": port} for port in (S3_PORT, MEDIA_PORT, PROXY_PORT)]
    objects = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": files},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CA_CONFIG_MAP},
            "data": {"ca.crt": made.authority},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
                "volumes": [{"name": "files", "secret": {"secretName": NAME}}],
            },
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": NAME}, "ports": ports}},
    ]
    where = ("--namespace", release.NAMESPACE)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    release.kubectl(ROOT, *where, "apply", "--filename", "-", stdin=json.dumps(listed))
    try:
        release.kubectl(ROOT, *where, "wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=90s")
        yield
    finally:
        named = (f"pod/{NAME}", f"service/{NAME}", f"secret/{NAME}", f"configmap/{CA_CONFIG_MAP}")
        release.kubectl(ROOT, *where, "delete", "--ignore-not-found", *named)


def proxied() -> list[str]:
    """Addresses (`IP:port` or `name:port`) that the proxy was asked to connect to, oldest first."""
    log = release.kubectl(ROOT, "--namespace", release.NAMESPACE, "logs", f"pod/{NAME}")
    return [line.removeprefix("CONNECT ") for line in log.splitlines() if line.startswith("CONNECT ")]


def address() -> str:
    """IP address of the edge's Service."""
    where = ("--namespace", release.NAMESPACE)
    return release.kubectl(ROOT, *where, "get", "service", NAME, "--output", "jsonpath={.spec.clusterIP}")
