"""Client connection to an API server."""

import base64
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Api:
    """Address and credentials of one user at one API server."""

    url: str
    tls: ssl.SSLContext

    def client(self) -> httpx.Client:
        """New client with its own connections."""
        return httpx.Client(base_url=self.url, verify=self.tls, timeout=60, trust_env=False)


def from_kubeconfig(path: Path) -> Api:
    """Connection from a self-contained kubeconfig, as written by the cluster's commands."""
    body = json.loads(path.read_text())
    cluster, user = body["clusters"][0]["cluster"], body["users"][0]["user"]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.TemporaryDirectory() as folder:  # ssl reads a client's certificate from files only
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
        key.touch(mode=0o600)
        key.write_bytes(base64.b64decode(user["client-key-data"]))
        tls.load_cert_chain(certificate, key)
    return Api(cluster["server"], tls)
