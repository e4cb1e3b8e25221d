"""Addresses of LoRAs that the provider could not load: pages of model hubs instead of files, and pickles. Pure.

The provider downloads what the address returns, and bills a request whose LoRA does not load.
"""

import re
from urllib.parse import SplitResult, parse_qs, quote, unquote

from contentgen_contract.resources.addresses import split_url

_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
_HUGGING_FACE = ("huggingface.co", "hf.co")
_CIVITAI = ("civitai.com", "civitai.red", "civitai.green")
_DRIVE_ID = re.compile(r"/(?:file/(?:u/\d+/)?d|folders|drive/folders)/([A-Za-z0-9_-]+)")


def refusal(url: str) -> str:
    """Reason to refuse the address of a LoRA, with the right link where there is one; empty if it may be a file."""
    parts = split_url(url)
    if parts is None:
        return ""
    path = unquote(parts.path).rstrip("/")
    formats = parse_qs(parts.query).get("format", [])
    if path.lower().endswith(_PICKLES) or "pickletensor" in [format_name.lower() for format_name in formats]:
        return "a pickle, which can run code when it is loaded: expected a .safetensors file"
    link = _link(parts, path)
    return f"a page and not the file: use {link}" if link else ""


def _link(parts: SplitResult, path: str) -> str:
    """The link of the file, or its form, for a page of a known host; empty for any other address."""
    host = (parts.hostname or "").removeprefix("www.")
    names = path.strip("/").split("/")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if host in _HUGGING_FACE:
        return _hugging_face(names)
    if host in _CIVITAI:
        return _civitai(host, names, query)
    if host in ("drive.google.com", "docs.google.com"):
        return _drive(path, query)
    if host == "dropbox.com" and query.get("dl") != "1" and query.get("raw") != "1":
        return "the same address with dl=1 in its query"
    if host == "github.com" and len(names) > 3 and names[2] == "blob":
        return _address("https://github.com", [*names[:2], "raw", *names[3:]])
    return ""


def _hugging_face(names: list[str]) -> str:
    kind = names[:1] if names[0] in ("datasets", "spaces") else []
    repository, rest = names[len(kind) : len(kind) + 2], names[len(kind) + 2 :]
    if names[0] == "api" or rest[:1] == ["resolve"]:
        return ""
    if rest[:1] in (["blob"], ["raw"]) and len(rest) > 2:
        return _address("https://huggingface.co", [*kind, *repository, "resolve", *rest[1:]])
    owner = repository if len(repository) == 2 else ["OWNER", "REPOSITORY"]
    return _address("https://huggingface.co", [*kind, *owner, "resolve", "main", "FILE.safetensors"])


def _civitai(host: str, names: list[str], query: dict[str, str]) -> str:
    if names[0] == "api":
        return ""
    version = query.get("modelVersionId", "")
    number = version if version.isascii() and version.isdigit() else "VERSION"
    return f"https://{host}/api/download/models/{number}, the address of its download button"


def _drive(path: str, query: dict[str, str]) -> str:
    if path == "/uc":
        return ""
    found = _DRIVE_ID.match(path)
    given = found[1] if found and "folders" not in path else query.get("id", "")
    number = given if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", given) else "FILE"
    return f"https://drive.usercontent.google.com/download?id={number}&export=download&confirm=t"


def _address(start: str, names: list[str]) -> str:
    return "/".join((start, *(quote(name) for name in names)))[:300]
