"""Folders, tokens and environment of a pod's process. A mount path of the manifest becomes a folder of the work folder;
environment variables with a mount path, or a path below one, get that folder.
"""

from collections.abc import Mapping
from pathlib import Path

from contentgen_contract.names import TOKEN_FOLDER
from contentgen_try.kubelet.state import Body

TOKEN_FILE = "CONTENTGEN_TOKEN_FILE"  # noqa: S105 - the worker's setting for the token's path, a constant in its image


def folders(pod: Body, work: Path) -> dict[str, Path]:
    """Mount paths of the container, with the folders that are there instead."""
    mounts = pod["spec"]["containers"][0].get("volumeMounts") or ()
    return {mount["mountPath"]: work / mount["name"] for mount in mounts}


def environment(pod: Body, mounted: Mapping[str, Path]) -> dict[str, str]:
    """Variables of the container. Raises ValueError for a source of a value that is not supported."""
    found: dict[str, str] = {}
    for each in pod["spec"]["containers"][0].get("env") or ():
        value = each["value"] if "value" in each else _value_from(pod, each)
        found[each["name"]] = _mapped(str(value), mounted)
    if TOKEN_FOLDER in mounted:
        found[TOKEN_FILE] = str(mounted[TOKEN_FOLDER] / "token")
    return found


def tokens(pod: Body) -> list[tuple[str, Body]]:
    """Projected service account tokens: name of the volume and source."""
    return [
        (volume["name"], source["serviceAccountToken"])
        for volume in pod["spec"].get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if "serviceAccountToken" in source
    ]


def write_token(folder: Path, name: str, token: str) -> None:
    """Replace a token file; a reader sees the old or the new token."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}"
    unfinished.touch(mode=0o600)
    unfinished.write_text(token)
    unfinished.replace(folder / name)


def _value_from(pod: Body, variable: Body) -> str:
    path = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", "")
    part, _, name = path.partition(".")
    if part == "metadata" and name in ("name", "namespace", "uid"):
        return str(pod["metadata"][name])
    if path in ("status.podIP", "status.hostIP"):
        return "127.0.0.1"
    if path == "spec.serviceAccountName":
        return str(pod["spec"].get("serviceAccountName") or "default")
    raise ValueError(f"env {variable['name']}: `contentgen try` supports fieldRef to the pod's own fields only")


def _mapped(value: str, mounted: Mapping[str, Path]) -> str:
    for path, folder in mounted.items():
        if value == path or value.startswith(f"{path}/"):
            return str(folder) + value.removeprefix(path)
    return value
