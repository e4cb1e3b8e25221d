"""Maven builds of jars; if Java does not trust the package server, the error says what to do."""

import ssl
from pathlib import Path

from contentgen_cluster.commands import ClusterError, CommandError, run

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""The certificate authorities that a Debian machine trusts."""
KEYSTORE = Path("/etc/ssl/certs/java/cacerts")
"""The same for Java, made by ca-certificates-java: old or empty where that has not run since."""

# Java's messages for a certificate whose issuer is missing from the keystore, and for an empty keystore.
_NOT_TRUSTED = ("PKIX path building failed", "the trustAnchors parameter must be non-empty")
_END = "-----END CERTIFICATE-----"


def package(project: Path, log: Path) -> None:
    """Run `mvn package`; after a failure `log` has its complete output."""
    try:
        run("mvn", "-B", "-q", "-f", project / "pom.xml", "package")
    except CommandError as error:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(error.output)
        if any(sign in error.output for sign in _NOT_TRUSTED):
            raise ClusterError(not_trusted(log)) from None
        raise


def not_trusted(log: Path) -> str:
    """Explanation of an untrusted server certificate, with the command that fixes it."""
    known = KEYSTORE.read_bytes() if KEYSTORE.exists() else b""
    trusted = authorities(BUNDLE) if KEYSTORE.parent.is_dir() else []
    if missing := sum(each not in known for each in trusted):
        why = f"{KEYSTORE} lacks {missing} of the {len(trusted)} authorities that this machine trusts"
        cure = "Run `update-ca-certificates --fresh` as root, then this again"
    else:
        why = "its keystore has no authority that issued it"
        cure = (
            "Put that authority's certificate into /usr/local/share/ca-certificates and run `update-ca-certificates "
            "--fresh` as root, or name another keystore in MAVEN_OPTS=-Djavax.net.ssl.trustStore=…"
        )
    return f"Java does not trust the server that Maven fetches from: {why}. {cure} (Maven's log: {log})."


def authorities(bundle: Path) -> list[bytes]:
    """Certificates of a PEM file as DER, the form that unencrypted Java keystores contain."""
    if not bundle.exists():
        return []
    parts = bundle.read_text().split(_END)[:-1]
    return [ssl.PEM_cert_to_DER_cert(part[part.index("-----BEGIN") :] + _END) for part in parts]
