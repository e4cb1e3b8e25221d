"""Refusal of private addresses in URLs, in all notations, without resolution."""

import pytest
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.resources.addresses import NOT_A_URL, literal_refusal, split_url, strip_credentials
from contentgen_contract.resources.spec import SPECS
from contentgen_runtime.logs import redacted
from contentgen_simulation.gateway.request_corpus import NO_URLS

REFUSED = [
    "http://127.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://0177.0.0.1/", "http://2130706433/", "http://0/",
    "http://169.254.169.254/latest", "http://2852039166/", "http://0xa9fea9fe/", "http://0xA9.0xFE.0xA9.0xFE/",
    "http://10.0.0.1:8080/", "https://192.168.1.1/", "http://[::1]/", "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/", "http://[fd00:ec2::254]/", "http://[2002:7f00:1::]/", "http://[fe80::1%25eth0]/",
    "http://[fd00::5efe:808:808]/x", "http://[2a00:1450::200:5efe:8.8.8.8]/",
    "http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://kubernetes/", "http://worker-api.ns.svc/",
    "http://worker-api.ns.svc.cluster.local/", "http://metadata.google.internal/", "http://printer.local/", "http://",
    "http://user@example.com/", "http://user:secret@example.com/", "http://example.com:99999/", "http://[::1/",
]  # fmt: skip
ALLOWED = [
    "https://example.com/a.safetensors", "http://8.8.8.8/", "http://[2606:4700:4700::1111]/", "http://134744072/",
    "https://1e100.net/", "https://0x.example/", "https://cafe.babe/", "https://storage.googleapis.com:443/a",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_URLS)
@pytest.mark.parametrize("kind", [Kind.LORA_TRAINING, Kind.TRANSCRIPTION])
def test_invalid_url_is_no_source(url: str, kind: Kind) -> None:
    """Admitted sources can be parsed."""
    given = {"source": {"url": url}} | ({"loraName": "a", "triggerWord": "jf"} if kind is Kind.LORA_TRAINING else {})
    with pytest.raises(ValidationError, match=r"source\.url"):
        SPECS[kind].model_validate(given)
    assert split_url("https://example.com/[a]?b=[c]#[d]") is not None, "behind the host brackets are letters"


@pytest.mark.parametrize("url", REFUSED)
def test_off_limits(url: str) -> None:
    assert literal_refusal(url)


@pytest.mark.parametrize("url", ALLOWED)
def test_public(url: str) -> None:
    assert literal_refusal(url) == ""


def test_permission_is_for_exactly_one_host_and_port() -> None:
    allowed = ("sandbox.contentgen.svc:80", "[::1]:9")
    assert literal_refusal("http://Sandbox.contentgen.svc/media/a", allowed) == ""
    assert literal_refusal("http://[::1]:9/", allowed) == ""
    for url in ("https://sandbox.contentgen.svc/", "http://sandbox.contentgen.svc:81/", "http://[::1]/"):
        assert literal_refusal(url, allowed)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://u:p@example.com:8/a/b.mp4?sig=1#x", "https://example.com:8/a/b.mp4"),
        ("s3://bucket/a@b.mp4", "s3://bucket/a@b.mp4"),
        ("https://[::1]:80/a", "https://[::1]:80/a"),
        ("recordings/a.mp4?x", "recordings/a.mp4"),
        ("https://u:pass/word@example.com/a", NOT_A_URL),
        ("https://u:pass?word@example.com/a", NOT_A_URL),
        ("u:password@example.com/a", NOT_A_URL),
        ("https://[u:p@example.com/a", NOT_A_URL),
    ],
)
def test_a_url_without_its_secrets(url: str, bare: str) -> None:
    assert strip_credentials(url) == bare


@pytest.mark.parametrize(
    "line", ["GET https://u:hunter2@h/a?b=1", "s3://u:hunter2@b/a", "mongodb://u:hunter2@h/", "FTP://hunter2@h"]
)
def test_no_line_of_the_log_has_a_password(line: str) -> None:
    assert "hunter2" not in redacted(f"failed: {line} (again)")
    assert redacted("https://h/@user/a.mp4") == "https://h/@user/a.mp4"
