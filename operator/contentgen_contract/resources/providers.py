"""Paid providers: which kind is bought where, and whose model a name is. Pure.

A row and a module in `contentgen_operator/providers/` make a provider; each reader of the table gets it as a value.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from contentgen_contract.names import Kind


@dataclass(frozen=True)
class ProviderInfo:
    """Row of one provider."""

    name: str  # in the ledger, metrics, budgets, and the names of key files and settings
    kinds: tuple[Kind, ...]
    models: str = ""  # prefix of its models' names; empty: names without the prefix of another provider


@dataclass(frozen=True)
class Providers:
    """Table of the providers."""

    rows: tuple[ProviderInfo, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all providers."""
        return tuple(row.name for row in self.rows)

    def of_kind(self, kind: Kind) -> str:
        """Name of a kind's provider. Raises StopIteration for a kind without one."""
        return next(row.name for row in self.rows if kind in row.kinds)

    def of_model(self, model: str) -> str:
        """Name of the provider of a full model name: the one with the longest prefix."""
        return max((row for row in self.rows if model.startswith(row.models)), key=lambda row: len(row.models)).name


PROVIDERS = Providers(
    (
        ProviderInfo("fal", (Kind.LORA_TRAINING, Kind.IMAGE_GENERATION)),
        ProviderInfo("assemblyai", (Kind.TRANSCRIPTION,), models="assemblyai/"),
    )
)


def _known(name: str) -> str:
    if name not in PROVIDERS.names:
        raise ValueError(f"must be one of {', '.join(PROVIDERS.names)}")
    return name


ProviderName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": [*PROVIDERS.names]})]
"""Name of a provider of the table, in settings and manifests."""
