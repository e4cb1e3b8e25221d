"""Misbehaving host and corrupted results of the sandbox behave as documented."""

import socket
import time
from typing import Any

import httpx
import pytest

from contentgen_sandbox.hostile import METADATA, REDIRECTS
from contentgen_sandbox.testing import PATIENCE_S, SandboxServer

PICTURES = "fal-ai/flux/dev"
AUTH = {"Authorization": "Key test"}


def get(server: SandboxServer, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}/hostile/{path}")


@pytest.mark.parametrize("code", [403, 404, 500, 503])
def test_errors(server: SandboxServer, code: int) -> None:
    assert get(server, f"status/{code}").status_code == code


def test_redirects(server: SandboxServer) -> None:
    for code in REDIRECTS:
        answer = get(server, f"redirect/{code}?to={METADATA}")
        assert (answer.status_code, answer.headers["location"]) == (code, METADATA)
    with pytest.raises(httpx.TooManyRedirects):
        httpx.get(f"{server.url}/hostile/loop", follow_redirects=True)


def test_bodies(server: SandboxServer) -> None:
    assert get(server, "html").text.startswith("<!DOCTYPE html>")
    assert get(server, "text").headers["content-type"] == "video/mp4"
    assert get(server, "empty").content == b""


@pytest.mark.parametrize("path", ["short", "reset", "huge"])
def test_bodies_that_break_off(server: SandboxServer, path: str) -> None:
    with pytest.raises(httpx.TransportError):
        get(server, path)


def test_a_stream_without_end(server: SandboxServer) -> None:
    with httpx.stream("GET", f"{server.url}/hostile/endless") as answer:
        assert "content-length" not in answer.headers
        chunks = answer.iter_raw()
        assert sum(len(next(chunks)) for _ in range(100)) > 1_000_000


@pytest.mark.parametrize("path", ["drip", "silent"])
def test_hosts_that_let_one_wait(server: SandboxServer, path: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/hostile/{path}", timeout=httpx.Timeout(PATIENCE_S, read=0.3))


def test_a_head_that_comes_slowly_beats_a_read_timeout(server: SandboxServer) -> None:
    """Each read gets a part of the head, and none its end."""
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 80), PATIENCE_S) as one:
        one.sendall(b"GET /hostile/slow-head?pause=0.05 HTTP/1.1\r\nHost: sandbox\r\n\r\n")
        reads = [one.recv(1 << 16) for _ in range(5)]
    assert all(reads)
    assert b"\r\n\r\n" not in b"".join(reads)


def result(server: SandboxServer, fault: str) -> tuple[str, str]:
    """Id of a request with a fault, and the URL of its picture."""
    server.arm({"fault": fault, "provider": "fal"})
    body = {"prompt": fault, "image_size": {"width": 256, "height": 256}}
    taken = httpx.post(f"{server.fal_queue_url}{PICTURES}", json=body, headers=AUTH).raise_for_status().json()
    deadline = time.monotonic() + PATIENCE_S
    while (answer := httpx.get(taken["response_url"], headers=AUTH)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return taken["request_id"], answer.json()["images"][0]["url"]


def test_results_that_are_not_what_they_should_be(server: SandboxServer) -> None:
    assert httpx.get(result(server, "result_html")[1]).text.startswith("<!DOCTYPE")
    assert httpx.get(result(server, "result_private")[1]).headers["location"] == METADATA
    with httpx.stream("GET", result(server, "result_huge")[1]) as answer:
        assert int(answer.headers["content-length"]) == 2**40
    job, url = result(server, "result_truncated")
    half = httpx.get(url).content
    assert httpx.delete(f"{server.url}/sandbox/jobs/{job}/faults").status_code == 204
    assert len(httpx.get(url).content) // 2 == len(half)


def test_a_dead_result_comes_back_to_life(server: SandboxServer) -> None:
    job, url = result(server, "result_url_dead")
    assert httpx.get(url).status_code == 404
    httpx.delete(f"{server.url}/sandbox/jobs/{job}/faults").raise_for_status()
    assert httpx.get(url).status_code == 200
    assert httpx.delete(f"{server.url}/sandbox/jobs/none/faults").status_code == 404


def test_a_stuck_request_goes_on(server: SandboxServer) -> None:
    server.arm({"fault": "stuck", "provider": "fal"})
    stuck, later = submit(server), submit(server)
    until_status(later, "COMPLETED")
    assert httpx.get(stuck["status_url"], headers=AUTH).json()["status"] == "IN_PROGRESS"
    httpx.delete(f"{server.url}/sandbox/jobs/{stuck['request_id']}/faults").raise_for_status()
    until_status(stuck, "COMPLETED")


def submit(server: SandboxServer) -> dict[str, Any]:
    body = {"prompt": "x", "image_size": {"width": 256, "height": 256}}
    taken = httpx.post(f"{server.fal_queue_url}{PICTURES}", json=body, headers=AUTH).raise_for_status()
    return dict(taken.json())


def until_status(taken: dict[str, Any], status: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while httpx.get(taken["status_url"], headers=AUTH).json()["status"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_slow_ones(server: SandboxServer, pauses: list[float]) -> None:
    server.arm({"fault": "slow_accept", "delay_s": 5}, {"fault": "slow_model", "delay_s": 600})
    slow, later = submit(server), submit(server)
    assert pauses == [5]
    until_status(later, "COMPLETED")
    assert httpx.get(slow["status_url"], headers=AUTH).json()["status"] == "IN_PROGRESS"
    httpx.put(slow["cancel_url"], headers=AUTH).raise_for_status()


def test_without_stores_there_is_nothing_to_switch(server: SandboxServer) -> None:
    assert httpx.put(f"{server.url}/sandbox/stores/s3", json={"state": "stopped"}).status_code == 404
