"""Headers from Secrets of the operator's namespace, which are mounted as folders: one file for each header."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_operator.notifications.header_grants import MAX_HEADERS, HeaderGrant, grant_refusal, headers_problem
from contentgen_operator.notifications.values import Notification
from contentgen_runtime.rotation import read_files


class NotificationSettings(Value):
    """Secrets whose headers are sent, by grant, and the Secret of the keys that sign."""

    headers: tuple[HeaderGrant, ...] = ()
    headers_folder: Path = Field(
        Path("/etc/contentgen/notify-headers"), description="Folder with the mounted Secrets of headers, by name."
    )
    keys_secret: str = "contentgen-webhook-keys"  # noqa: S105 - a Secret's name


class HeadersRefused(Exception):
    """The headers of a notification may not or cannot be sent; the message says why, without a value."""


class GrantedHeaders:
    """Reads the mounted Secrets that are granted. They are read for each delivery, so a rotation needs no restart."""

    def __init__(self, folder: Path, grants: Sequence[HeaderGrant]) -> None:
        self._folder = folder
        self._grants = tuple(grants)

    def of(self, notification: Notification) -> dict[str, str]:
        """Headers of a notification; empty if it names no Secret. Raises HeadersRefused."""
        secret = notification.headers_secret
        if secret is None:
            return {}
        if why := grant_refusal(secret, notification.ref.namespace, notification.url, self._grants):
            raise HeadersRefused(why)
        headers = self._read(self._folder / secret)  # a granted name, so it is no path of a user's
        if headers is None:
            raise HeadersRefused(f"the Secret {secret!r} is missing or empty in the operator's namespace")
        if why := headers_problem(headers):
            raise HeadersRefused(f"the Secret {secret!r} {why}")
        return headers

    def _read(self, folder: Path) -> dict[str, str] | None:
        try:
            names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("..") and each.is_file())
        except OSError:
            return None
        found = read_files(folder, names[: MAX_HEADERS + 1])
        return dict(zip(names, found, strict=False)) if names and found is not None else None
