"""Equivalent spellings of schemes and language codes have one run hash, and are paid once."""

from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.resources import languages
from contentgen_contract.resources.spec import ImageGenerationSpec, TranscriptionSpec, parse_spec, run_hash
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.kinds.table import call_of
from contentgen_operator.state.purchases import PurchaseKey

IMAGE, TRANSCRIPT = Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
WEB = "https://example.com/a.mp3"
KEY = PurchaseKey(namespace="ns", kind=TRANSCRIPT, name="a", run_hash="00", rerun=None, attempt=1)


def recording(url: str = WEB, **options: Any) -> dict[str, Any]:
    return {"source": {"url": url}} | ({"options": options} if options else {})


def picture(path: str) -> dict[str, Any]:
    return {"prompt": "p", "loras": [{"path": path}]}


def hash_of(kind: Kind, spec: dict[str, Any]) -> str:
    return run_hash(kind, parse_spec(kind, spec))


@pytest.mark.parametrize(
    ("kind", "spec", "before"),
    [
        (TRANSCRIPT, recording("https://Example.com/A.mp3"), "917491960ad0d222"),
        (TRANSCRIPT, recording("s3://recordings/A.mp3"), "060e8b1dbe24e882"),
        (TRANSCRIPT, recording("http://example.com/a.mp3", language="en_us"), "023c156bf78b5a3b"),
        (TRANSCRIPT, recording(language="pt_br"), "d2e6cc88d583d280"),
        (TRANSCRIPT, recording(language="xx"), "3b6f5c8a33f1ebb4"),
        (TRANSCRIPT, recording(language="auto"), "1de12a19b7fee04a"),
        (IMAGE, picture("https://Example.com/A.safetensors"), "04635718f43d7aff"),
    ],
)
def test_older_valid_language_keeps_its_hash(kind: Kind, spec: dict[str, Any], before: str) -> None:
    """Hashes recorded with the release before capitals were accepted."""
    assert hash_of(kind, spec) == before


@pytest.mark.parametrize(
    ("kind", "other", "canonical"),
    [
        (TRANSCRIPT, recording("HTTPS://example.com/a.mp3"), recording()),
        (TRANSCRIPT, recording("Http://example.com/a.mp3"), recording("http://example.com/a.mp3")),
        (TRANSCRIPT, recording("S3://recordings/A.mp3"), recording("s3://recordings/A.mp3")),
        (IMAGE, picture("HTTPS://Example.com/A.safetensors"), picture("https://Example.com/A.safetensors")),
        (TRANSCRIPT, recording(language="EN"), recording(language="en")),
        (TRANSCRIPT, recording(language="en-US"), recording(language="en_us")),
        (TRANSCRIPT, recording(language="EN_AU"), recording(language="en_au")),
        (TRANSCRIPT, recording(language="Haw"), recording(language="haw")),
        (TRANSCRIPT, recording(language="Auto"), recording()),
    ],
)
def test_another_case_is_the_same_run(kind: Kind, other: dict[str, Any], canonical: dict[str, Any]) -> None:
    assert hash_of(kind, other) == hash_of(kind, canonical)


@pytest.mark.parametrize("url", ["https://Example.com/a.mp3", "https://example.com/A.mp3"])
def test_the_case_of_host_and_path_counts_as_before(url: str) -> None:
    assert hash_of(TRANSCRIPT, recording(url)) != hash_of(TRANSCRIPT, recording())


def test_the_canonical_spelling_is_what_others_are_given() -> None:
    spec = parse_spec(TRANSCRIPT, recording("HTTPS://example.com/a.mp3", language="en-US"))
    assert isinstance(spec, TranscriptionSpec)
    assert spec.source.url == WEB, "worker, record and source grants compare it"
    job = CallContext(provider="assemblyai", user_id="u", job_id="j", version=1)
    assert call_of(spec, job, KEY, ()).arguments["language_code"] == "en_us"
    drawn = parse_spec(IMAGE, picture("HTTPS://example.com/a.safetensors"))
    assert isinstance(drawn, ImageGenerationSpec)
    assert drawn.loras[0].path == "https://example.com/a.safetensors"


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        ("pt-BR", "did you mean pt?"),
        ("PT_BR", "did you mean pt?"),
        ("zh-CN", "did you mean zh?"),
        ("en-GB", "did you mean en_uk?"),
        ("NB", "did you mean no?"),
        ("XX", "auto detects the language"),
        ("deu", "auto detects the language"),
    ],
)
def test_unsupported_language_is_refused_with_the_nearest(code: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=meant) as refused:
        parse_spec(TRANSCRIPT, recording(language=code))
    assert code in str(refused.value)


@pytest.mark.parametrize("code", ["English", "e", "en-", "en-USA", "en US", "auto_us", "en_us\n", ""])
def test_invalid_language_code_is_refused(code: str) -> None:
    with pytest.raises(ValidationError):
        parse_spec(TRANSCRIPT, recording(language=code))


def test_every_code_is_canonical_and_admitted() -> None:
    for code in (languages.AUTO, *languages.CODES):
        assert languages.canonical(code) == code
        assert languages.canonical(code.upper()) == code
        spec = parse_spec(TRANSCRIPT, recording(language=code.upper().replace("_", "-")))
        assert isinstance(spec, TranscriptionSpec)
        assert spec.options.language == code
    assert len(set(languages.CODES)) == len(languages.CODES)
    assert set(languages.SUGGESTIONS.values()) <= set(languages.CODES)
    assert not set(languages.SUGGESTIONS) & set(languages.CODES)
