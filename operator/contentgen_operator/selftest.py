"""`helm test`: the operator is ready, S3 has what is needed to pay, the API server accepts each kind and a worker Job,
and, if the provider is free, a small job completes.

This pod has no credentials of the stores, and only the operator may create a worker Job: the operator's health endpoint
has the results of the check at its start and of a dry run.
"""

import argparse
import json
import logging
import secrets
import sys
import time
import urllib.request
from typing import Any

from kubernetes.client.exceptions import ApiException

from contentgen_contract.api_paths import DEPLOYMENTS, ApiPath, api_path, resource_of
from contentgen_contract.names import API_VERSION, Kind
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_runtime import logs
from contentgen_runtime.kube_sync import Body, call
from kubernetes import client, config

_log = logging.getLogger("selftest")
_ROLLOUT_SECONDS = 60
_HEALTH_SECONDS = 60  # the operator may wait for the API server's dry run
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the operator is in the cluster

TINY: dict[Kind, Body] = {
    Kind.IMAGE_GENERATION: {
        "model": "flux-schnell",
        "prompt": "A small grey square",
        "image": {"size": {"width": 256, "height": 256}, "count": 1},
        "deletionPolicy": "Delete",
    },
    Kind.LORA_TRAINING: {
        "loraName": "helm_test",
        "triggerWord": "hlmtst",
        "source": {"url": "https://example.com/film.mp4"},
    },
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/talk.mp3"}},
}


class SelftestFailed(Exception):
    """A check failed; the message says what was found."""


class SelftestChecks:
    """The checks, in order."""

    def __init__(self, api: client.ApiClient, namespace: str, operator_class: str = DEFAULT_CLASS) -> None:
        self._api = api
        self._class = {} if operator_class == DEFAULT_CLASS else {"operatorClass": operator_class}
        self._namespace = namespace
        self._name = f"helm-test-{secrets.token_hex(3)}"

    def operator(self, namespace: str, deployment: str, seconds: float = _ROLLOUT_SECONDS) -> None:
        """The pod of the operator is ready, so it watches."""
        deadline = time.monotonic() + seconds
        path = api_path(DEPLOYMENTS, namespace=namespace, name=deployment)
        while True:
            found = call(self._api, "GET", path)
            if (found.get("status") or {}).get("readyReplicas"):
                _log.info("the operator is ready: deployment %s/%s", namespace, deployment)
                return
            if time.monotonic() > deadline:
                raise SelftestFailed(f"no pod of deployment {namespace}/{deployment} is ready: {found.get('status')}")
            time.sleep(1)

    def stores(self, url: str) -> None:
        """The operator found a bucket that can be listed and in which objects are created once. Other
        unmet requirements are logged.
        """
        (found,) = _health(url, "unmet")
        for unmet in found:
            _log.warning("S3 does not meet %s: %s", unmet["name"], unmet["text"])
        if needed := [unmet["text"] for unmet in found if unmet["stopsPayments"]]:
            raise SelftestFailed("; ".join(needed))
        _log.info("S3: the bucket is there, and objects are created once")

    def kinds(self) -> None:
        """The API server accepts one manifest of each kind in a dry run: CRDs, validation rules, admission policies."""
        for kind in Kind:
            try:
                self._create(kind, dryRun="All")
            except ApiException as error:
                raise SelftestFailed(f"{kind.value} is refused in a dry run: {error.status} {error.body}") from error
            _log.info("%s is served, and accepts a manifest (dry run)", kind.value)

    def worker_job(self, url: str) -> None:
        """The API server accepts a worker Job of the operator in a dry run: quotas, webhooks, admission policies."""
        namespace, refusal, unknown = _health(url, "namespace", "refusal", "unknown")
        if refusal:
            raise SelftestFailed(f"a worker Job in {namespace} is refused in a dry run: {refusal}")
        if unknown:
            _log.warning("whether a worker Job is accepted is not known: %s", unknown)
        else:
            _log.info("a worker Job in %s is accepted (dry run)", namespace)

    def job(self, seconds: float) -> None:
        """One image from manifest to Completed; the resource is deleted in any case."""
        kind = Kind.IMAGE_GENERATION
        path = api_path(resource_of(kind), namespace=self._namespace, name=self._name)
        self._create(kind)
        _log.info("applied %s %s/%s", kind.value, self._namespace, self._name)
        try:
            self._wait(path, seconds)
        finally:
            call(self._api, "DELETE", path)
            _log.info("deleted %s %s/%s", kind.value, self._namespace, self._name)

    def _wait(self, path: ApiPath, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        seen = ""
        while True:
            status = call(self._api, "GET", path).get("status") or {}
            phase = str(status.get("phase", "without a status"))
            if phase != seen:
                _log.info("%s %s", phase, status.get("message", ""))
                seen = phase
            if _true(status, "Complete"):
                return
            if _true(status, "Failed") or time.monotonic() > deadline:
                raise SelftestFailed(f"{phase} {status.get('reason', '')}: {status.get('message', 'nothing happened')}")
            time.sleep(0.5)

    def _create(self, kind: Kind, **how: str) -> None:
        meta = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": API_VERSION, "kind": kind.value, "metadata": meta, "spec": TINY[kind] | self._class}
        path = api_path(resource_of(kind), namespace=self._namespace, query={"fieldValidation": "Strict"} | how)
        call(self._api, "POST", path, body)


def _true(status: Body, condition: str) -> bool:
    conditions = status.get("conditions") or ()
    return any(
        each_condition["type"] == condition and each_condition["status"] == "True" for each_condition in conditions
    )


def _health(url: str, *names: str) -> list[Any]:
    """Members of an answer of the operator's health endpoint. Raises SelftestFailed."""
    try:
        with _DIRECT.open(url, timeout=_HEALTH_SECONDS) as reply:
            found = json.load(reply)
        return [found[name] for name in names]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SelftestFailed(f"{url} does not say {' and '.join(names)}: {error}") from error


def main() -> None:
    """`python -m contentgen_operator.selftest`, in the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True, help="where the operator is")
    parser.add_argument("--deployment", required=True, help="its Deployment")
    parser.add_argument("--in", dest="place", required=True, help="the namespace for the resources")
    parser.add_argument("--operator-class", default=DEFAULT_CLASS, help="the class that the operator serves")
    parser.add_argument("--stores", required=True, help="URL of what the operator says about the stores")
    parser.add_argument("--job", action="store_true", help="run a job; only where the provider is the sandbox")
    parser.add_argument("--seconds", type=float, default=180, help="the longest that the job may take")
    parser.add_argument("--worker-job", required=True, help="URL of what the operator says about a worker Job")
    asked = parser.parse_args()
    logs.configure("plain")
    config.load_incluster_config()
    with client.ApiClient() as api:
        check = SelftestChecks(api, asked.place, asked.operator_class)
        try:
            check.operator(asked.namespace, asked.deployment)
            check.stores(asked.stores)
            check.kinds()
            check.worker_job(asked.worker_job)
            if asked.job:
                check.job(asked.seconds)
            else:
                _log.info("no job was run: the provider is real and would be paid")
        except SelftestFailed as failed:
            _log.error("%s", failed)
            sys.exit(1)


if __name__ == "__main__":
    main()
