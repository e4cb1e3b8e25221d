"""What a record is found and counted by, as it follows from what else is in it. Pure; for everybody who writes one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contentgen_contract import keys
from contentgen_contract.terms import terms

Document = Mapping[str, Any]
_NAMED = ("loraName", "trigger", "prompt", "model")


def terms_of(document: Document) -> list[str]:
    """The words of a record that a search finds it by."""
    return terms(each for each in _texts(document) if isinstance(each, str))


def _texts(document: Document) -> Iterator[object]:
    config, metadata = document.get("config") or {}, document.get("metadata") or {}
    yield document.get("name")
    yield from (config.get(name) for name in _NAMED)
    yield from metadata.get("tags") or ()
    yield metadata.get("description")
    yield (document.get("sourceVideo") or {}).get("filename")


def counted(versions: Sequence[Document]) -> dict[str, Any]:
    """Of all versions of a job: `bytes` that they take in the bucket, how many `pictures` they are, and `uses`, the
    jobIds of the LoRAs that they were drawn with.
    """
    used = (key for version in versions for key in version.get("loras") or ())
    return {
        "bytes": sum(version.get("bytes") or 0 for version in versions),
        "pictures": sum(len(version.get("images") or ()) for version in versions),
        "uses": sorted({run.job_id for key in used if (run := keys.run_of(key)) is not None}),
    }
