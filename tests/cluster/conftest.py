"""Fixtures of the cluster tests: the release with the sandbox, a namespace for this run, a video, and jobs that two
tenants create through the gateway.
"""

from collections.abc import Iterator

import pytest

from contentgen_cluster import release
from contentgen_demo.film import video
from contentgen_e2e.gateway import Gateway, GatewayTenant, MadeJobs, open_gateway, tenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld, installed


@pytest.fixture(scope="session")
def world() -> Iterator[ClusterWorld]:
    """Installed release with a new namespace."""
    with installed(ROOT, "e2e") as opened:
        yield opened


@pytest.fixture(scope="session")
def film(world: ClusterWorld) -> str:
    """URL of a video with sound, as seen by a worker."""
    path = video.ensure_film().path
    name = f"e2e-{path.stem}.mp4"
    with path.open("rb") as content:
        world.sandbox.put(f"/media/{name}", content=content).raise_for_status()
    return f"{release.SANDBOX}/media/{name}"


@pytest.fixture(scope="session")
def gateway(world: ClusterWorld) -> Iterator[Gateway]:
    with open_gateway(ROOT) as opened:
        yield opened


@pytest.fixture(scope="session")
def ann(world: ClusterWorld, gateway: Gateway) -> Iterator[GatewayTenant]:
    with tenant(gateway, world.namespace, "user123") as opened:
        yield opened


@pytest.fixture(scope="session")
def bob(world: ClusterWorld, gateway: Gateway) -> Iterator[GatewayTenant]:
    namespace = f"{world.namespace}-other"
    with tenant(gateway, namespace, "user456") as opened:
        yield opened
    release.kubectl(ROOT, "delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="session")
def made(gateway: Gateway, ann: GatewayTenant, film: str, tmp_path_factory: pytest.TempPathFactory) -> MadeJobs:
    tags = {"tags": ["avatar", "headshot", "professional"], "description": "Jesse professional headshot avatar"}
    training = {"userId": "user123", "videoUrl": film, "loraName": "jesse_avatar", "triggerWord": "jf"}
    wanted = training | {"dataset": {"minImages": 8}, "steps": 500, "metadata": tags | {"isPublic": False}}
    lora = ann.ask("/api/lora/train", wanted, **{"Idempotency-Key": "the-lora"})["jobId"]
    again = ann.ask("/api/lora/train", wanted, **{"Idempotency-Key": "the-lora"})["jobId"]
    assert again == lora
    transcript = ann.ask("/api/transcribe", {"userId": "user123", "audioUrl": film})["jobId"]
    stream = gateway.curl(f'curl -N "http://localhost:5000/api/stream/job/{lora}"', ann, tmp_path_factory.mktemp("s"))
    address = ann.finished(lora)["versions"][-1]["modelUrl"]
    inputs = {"prompt": "Professional headshot of jf in a suit", "loras": [{"path": address, "scale": 0.8}]}
    order = {"model": "flux-lora", "inputs": inputs, "userId": "user123"}
    pictures = ann.ask("/api/images/generate", order)["jobId"]
    made = MadeJobs(lora, pictures, transcript, stream)
    for job_id in made.all:
        job = ann.finished(job_id)
        assert job["status"] == "completed", job
    return made
