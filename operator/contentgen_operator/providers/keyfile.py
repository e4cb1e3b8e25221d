"""Key files of providers, mounted from Secrets; each may be missing, and may be rotated at any time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_runtime.rotation import read_files

_KEYS, _KEY_NAMES = "/etc/contentgen/providers", ("key", "billing_key", "audit_key")


class KeyFile:
    """File with a key, read for each use."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> str | None:
        """The key; None if the Secret or its entry is missing, empty or unreadable."""
        found = read_files(self._path.parent, (self._path.name,))
        return found[0] if found else None


@dataclass(frozen=True)
class ProviderKeys:
    """Key files of one account at one provider. The first existing key of a list is used."""

    paid: KeyFile
    billing: KeyFile
    audit: KeyFile

    @classmethod
    def in_folder(cls, folder: Path, provider: str) -> "ProviderKeys":
        """The files of a mounted Secret."""
        names = f"{provider}-key", f"{provider}-billing-key", f"{provider}-audit-key"
        return cls(*(KeyFile(str(folder / name)) for name in names))


class ProviderSettings(Value):
    """Settings of one provider, from environment variables with its name."""

    key_file: str = Field(description="CONTENTGEN_{NAME}_KEY_FILE: key for paid requests.")
    billing_key_file: str = Field(description="CONTENTGEN_{NAME}_BILLING_KEY_FILE: for billing events, used instead.")
    audit_key_file: str = Field(description="CONTENTGEN_{NAME}_AUDIT_KEY_FILE: for the audit, used instead of both.")
    urls: dict[str, str] = Field(
        default_factory=dict, description="CONTENTGEN_{NAME}_URL, …_QUEUE_URL, …_API_URL: base URLs by `url` and so on."
    )
    max_concurrent: int = Field(
        0, ge=0, description="CONTENTGEN_MAX_CONCURRENT_{NAME}: requests under way of each account; 0: no limit."
    )

    @classmethod
    def of(cls, name: str, environment: Mapping[str, str]) -> "ProviderSettings":
        """Settings of a provider; an empty variable is ignored. Raises pydantic.ValidationError."""
        prefix = f"CONTENTGEN_{name.upper()}_"
        own = {text.removeprefix(prefix): value for text, value in environment.items() if text.startswith(prefix)}
        files = {f"{key}_file": f"{_KEYS}/{name}-{key.replace('_', '-')}" for key in _KEY_NAMES}
        given: dict[str, Any] = {file: own.get(file.upper()) or default for file, default in files.items()}
        given["urls"] = {text.lower(): value for text, value in own.items() if text.endswith("URL") and value}
        given["max_concurrent"] = environment.get(f"CONTENTGEN_MAX_CONCURRENT_{name.upper()}") or 0
        return cls.model_validate(given)

    @property
    def keys(self) -> ProviderKeys:
        """Key files of the default account."""
        return ProviderKeys(*map(KeyFile, (self.key_file, self.billing_key_file, self.audit_key_file)))
