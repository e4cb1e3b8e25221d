"""Synchronous Kubernetes API client on plain JSON objects, for short programs."""

import json
from typing import Any

from kubernetes.client.exceptions import ApiException

from contentgen_contract.api_paths import ApiPath
from kubernetes import client

Body = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def call(
    api: client.ApiClient, method: str, path: ApiPath, body: object = None, content_type: str = "application/json"
) -> Body:
    """Send a request; returns the object of the response. Raises ApiException unless the status is 2xx."""
    headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if body is not None else {})
    asked = api.param_serialize(method, path, header_params=headers, body=body, auth_settings=["BearerToken"])
    response = api.call_api(*asked)
    content = response.read()
    if not 200 <= response.status <= 299:
        raise ApiException.from_response(http_resp=response, body=content.decode(errors="replace"), data=None)
    answer: Body = json.loads(content)
    return answer
