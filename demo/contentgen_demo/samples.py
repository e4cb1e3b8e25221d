"""Copies of samples/ with unused names and the video's URL. Manifests are plain dicts."""

import copy
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import yaml

Manifest = dict[str, Any]


def fresh_name(base: str, now: datetime, taken: Collection[str]) -> str:
    """Unused resource name: purchases are keyed by name, so a used name would adopt the finished run."""
    stem = f"{base}-{now:%H%M%S}"
    if stem not in taken:
        return stem
    return next(name for number in range(2, 1000) if (name := f"{stem}-{number}") not in taken)


def renamed(manifest: Manifest, names: dict[str, str], url: str) -> Manifest:
    """Manifest with new name, updated references, and `url` as its source."""
    fresh = copy.deepcopy(manifest)
    fresh["metadata"]["name"] = names[manifest["metadata"]["name"]]
    spec = fresh["spec"]
    if "source" in spec:
        spec["source"]["url"] = url
    for lora in spec.get("loras", ()):
        reference = lora.get("loraRef")
        if reference:
            reference["name"] = names.get(reference["name"], reference["name"])
    return fresh


def fresh_samples(samples: Iterable[Manifest], url: str, now: datetime, taken: Collection[str]) -> tuple[Manifest, ...]:
    """All samples under new names; samples that shared a name still share one."""
    manifests = tuple(samples)
    names = {name: fresh_name(name, now, taken) for name in (manifest["metadata"]["name"] for manifest in manifests)}
    ordered = sorted(manifests, key=lambda each: _ORDER.index(each["kind"]))
    return tuple(renamed(each, names, url) for each in ordered)


def as_yaml(manifests: Iterable[Manifest]) -> str:
    """Multi-document YAML, fields in the samples' order."""
    return yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True)


_ORDER = ("LoraTraining", "ImageGeneration", "Transcription")
