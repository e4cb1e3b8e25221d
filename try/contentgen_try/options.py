"""Options of the command line and the environment; pure."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Provider:
    """Key of a real provider, and its URLs; an empty key: the sandbox is the provider, and nothing is paid."""

    key: str = ""

    @property
    def real(self) -> bool:
        """Whether requests are paid."""
        return bool(self.key)


@dataclass(frozen=True)
class Options:
    """Options of `contentgen try`."""

    manifests: tuple[Path, ...]
    folder: Path
    fal: Provider
    assemblyai: Provider
    bucket: str
    endpoint: str
    serve: bool
    minutes: float
    providers_url: str = ""
    """URL under which a sandbox answers as the real providers; set by tests."""

    @property
    def pays(self) -> bool:
        """Whether a real provider may be paid, so that the ledger has to last."""
        return bool(self.real_providers)

    @property
    def real_providers(self) -> tuple[str, ...]:
        """Names of the providers that may be paid."""
        named = (("fal", self.fal), ("assemblyai", self.assemblyai))
        return tuple(name for name, provider in named if provider.real)

    @property
    def cut_off_providers(self) -> tuple[str, ...]:
        """Names of the providers that cannot fetch files from this computer."""
        return () if self.bucket or self.providers_url else self.real_providers
