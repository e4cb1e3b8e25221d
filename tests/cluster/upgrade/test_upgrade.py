"""Upgrade from release a5a1c84 on a real cluster with a resource in each stage, and the rollback, by the commands of
docs/upgrade.md: all are Completed at the end, and paid once.

The stores and the providers are a sandbox beside the release, as in production: they stay while the release changes.
These tests replace the main release and leave none; the CRDs are today's again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from contentgen_cluster import release
from contentgen_e2e import media
from contentgen_e2e.admin import contentgen
from contentgen_e2e.five_stages import FiveStages
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld, open_world, wait_for_rollout

OLD = "a5a1c84"
TODAY = ROOT / "charts/contentgen"
HOST = f"contentgen-sandbox.{release.NAMESPACE}.svc"
IN_RELEASE = ("--namespace", release.NAMESPACE)
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}}
VALUES = {
    "mongodb": {"uri": f"mongodb://{HOST}:27017/"},
    "storage": {
        "endpoint": f"http://{HOST}:7070",
        "accessKeyId": "contentgen-sandbox",
        "secretAccessKey": "contentgen-sandbox-secret",
    },
    "providers": {
        "fal": {"key": "sandbox", "queueUrl": f"http://{HOST}/fal", "apiUrl": f"http://{HOST}/fal-api"},
        "assemblyai": {"key": "sandbox", "url": f"http://{HOST}/assemblyai"},
    },
    "allowedHosts": [f"{HOST}:80"],
    "pollSeconds": 1,
    "worker": {"resources": SMALL},
    "resources": SMALL,
    "gateway": {"replicas": 1, "resources": SMALL},
}
"""Values of both releases."""


def helm(*args: str) -> str:
    return release.helm(ROOT, *args)


def kubectl(*args: str, stdin: str | None = None) -> str:
    return release.kubectl(ROOT, *args, stdin=stdin)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file values.yaml of docs/upgrade.md."""
    path = tmp_path_factory.mktemp("values") / "values.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path


@pytest.fixture(scope="module")
def older() -> dict[str, Any]:
    """Path of the older chart, and references of its loaded images."""
    subprocess.run([sys.executable, "-m", "contentgen_cluster", "older-release", OLD], check=True, cwd=ROOT)
    loaded: dict[str, Any] = json.loads((ROOT / f".cluster/{OLD}.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def sandbox() -> Iterator[None]:
    """Sandbox without a release, in the release's namespace."""
    with suppress(release.CommandFailed):  # there is none
        release.uninstall(ROOT)
    release.make_namespace(ROOT, release.NAMESPACE)
    sets = [part for value in ("sandbox.enabled=true", *release.images(ROOT)) for part in ("--set", value)]
    shown = ("--show-only", "templates/sandbox.yaml")
    rendered = helm("template", release.RELEASE, str(TODAY), *IN_RELEASE, *sets, *shown)
    kubectl(*IN_RELEASE, "apply", "--filename", "-", stdin=rendered)
    yield
    kubectl(*IN_RELEASE, "delete", "--filename", "-", stdin=rendered)


def install_older(older: dict[str, Any], values: Path) -> None:
    """Install the older release, with its CRDs in place of today's."""
    images = {"image": "operator", "worker.image": "worker"}
    sets = [part for at, name in images.items() for part in ("--set", f"{at}.reference={older['images'][name]}")]
    where = (*IN_RELEASE, "--values", str(values), "--wait", "--timeout", "180s")
    # Field conflicts with tests that applied the CRDs themselves.
    helm("install", release.RELEASE, older["chart"], *where, "--force-conflicts", *sets)


def upgrade(values: Path) -> None:
    """The command of docs/install.md, with the loaded images."""
    sets = [part for value in release.images(ROOT) for part in ("--set", value)]
    where = (*IN_RELEASE, "--values", str(values), "--wait", "--timeout", "180s")
    helm("upgrade", release.RELEASE, str(TODAY), *where, "--set", "replicas=1", *sets)
    wait_for_rollout(ROOT, "contentgen")


@pytest.fixture(scope="module")
def world(older: dict[str, Any], sandbox: None, values: Path) -> Iterator[ClusterWorld]:
    """The older release, and a namespace for resources."""
    install_older(older, values)
    with open_world(ROOT, f"upgrade-{int(time.time())}") as opened:
        yield opened
        opened.sandbox.delete("/sandbox/faults").raise_for_status()
    release.uninstall(ROOT)


@pytest.fixture(scope="module")
def media_urls(world: ClusterWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """URLs of a video and of a recording. The video's download takes longer than the other stages need."""
    folder = tmp_path_factory.mktemp("media")
    film = media.film(folder, media.scenes(48, 2, (640, 360)), sound=False, streams=True)
    world.sandbox.put("/media/upgrade.mp4", content=film).raise_for_status()
    world.sandbox.put("/media/upgrade.wav", content=media.recording(folder, 3)).raise_for_status()
    return f"http://{HOST}/media/upgrade.mp4?seconds=30", f"http://{HOST}/media/upgrade.wav"


def operator_image() -> str:
    image = "jsonpath={.items[*].spec.containers[*].image}"
    return kubectl(*IN_RELEASE, "get", "pods", "--selector=app.kubernetes.io/component=operator", "--output", image)


def in_flight(world: ClusterWorld, name: str, film: str, sound: str) -> FiveStages:
    """Five resources, each in its stage."""
    five = FiveStages(world, name)
    five.bring(film, sound)
    look = five.look()
    phases = {stage: (status.get("phase"), status.get("reason")) for stage, status in look.items()}
    assert phases["prepare"][0] == "Preparing", phases
    assert phases["gate"][1] == "WaitingForLora", phases
    assert phases["provider"][0] == "Processing", phases
    assert phases["collect"][0] == "Collecting", phases
    assert five.billed("paying") == 1
    return five


def upgrade_in_flight(five: FiveStages, older: dict[str, Any], values: Path) -> None:
    """a5a1c84 brings the resources into their stages, and today's release finishes them."""
    assert operator_image() == older["images"]["operator"]
    upgrade(values)
    assert older["images"]["operator"] not in operator_image()
    five.admit_pods()


def rollback_in_flight(five: FiveStages, older: dict[str, Any], values: Path) -> None:
    """Today's release brings the resources into their stages; a5a1c84 and today's again finish them."""
    kubectl(*IN_RELEASE, "scale", "deploy/contentgen", "--replicas", "0")
    stopped = ("--for=delete", "--timeout=120s", "--selector=app.kubernetes.io/component=operator")
    kubectl(*IN_RELEASE, "wait", "pods", *stopped)
    time.sleep(60)  # as docs/upgrade.md says: the command refuses beside statuses of the last minute
    contentgen("prepare-rollback", "--dry-run")
    contentgen("prepare-rollback")
    helm("rollback", release.RELEASE, *IN_RELEASE)
    wait_for_rollout(ROOT, "contentgen")
    assert operator_image() == older["images"]["operator"]
    five.admit_pods()
    for stage in ("collect", "paying"):
        five.wait(stage, "Completed")
    upgrade(values)
    contentgen("prepare-rollback", "--undo")


JOURNEYS = {"upgrade": upgrade_in_flight, "rollback": rollback_in_flight}
"""In this order: the rollback starts from the upgraded release. `make test` runs the first, `make test-upgrade-cluster`
both."""
# a5a1c84 does not store the unit price with a purchase, so the cost of its purchases stays an estimate.
UNPRICED = {
    "upgrade": ("paying", "provider", "collect"),
    "rollback": ("prepare", "gate", "paying", "provider", "collect"),
}


@pytest.mark.parametrize("journey", list(JOURNEYS) if os.environ.get("CONTENTGEN_UPGRADE") == "all" else ["upgrade"])
def test_everything_in_flight_is_completed_and_paid_once(
    world: ClusterWorld, older: dict[str, Any], values: Path, media_urls: tuple[str, str], journey: str
) -> None:
    five = in_flight(world, journey, *media_urls)
    billed = len(world.billed())
    JOURNEYS[journey](five, older, values)
    five.finish(*UNPRICED[journey])
    # The LoRA and the picture that waited for it.
    assert len(world.billed()) == billed + 2
