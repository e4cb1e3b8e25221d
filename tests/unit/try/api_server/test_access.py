"""Access: a valid token, a name of the loopback interface, and rights."""

from typing import Any

import httpx
import pytest

from contentgen_contract.names import API_VERSION
from contentgen_try.api_server.server import ApiServer

GENERATIONS = f"/apis/{API_VERSION}/namespaces/default/imagegenerations"
ACCOUNTS = "/api/v1/namespaces/contentgen/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1"
POD_NAME, POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"


@pytest.mark.parametrize("path", ["/", "/api", "/apis", "/version", "/openapi/v3", GENERATIONS, "/metrics", REVIEWS])
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {}", "{}", "Bearer {}x"])
async def test_requests_without_a_valid_token_are_401(
    server: ApiServer, api: httpx.AsyncClient, path: str, given: str | None
) -> None:
    del api.headers["Authorization"]
    headers = {} if given is None else {"Authorization": given.format(server.admin_token)}
    for method in ("GET", "POST", "DELETE"):
        answer = await api.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


async def test_the_health_is_open(api: httpx.AsyncClient) -> None:
    del api.headers["Authorization"]
    assert (await api.get("/readyz")).text == "ok"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:6443",
        "127.0.0.1.evil.example",
        "localhost.evil.example:1",
        "10.0.0.1",
        "",
        "[::2]:1",
    ],
)
async def test_other_names_for_the_loopback_address_are_refused(api: httpx.AsyncClient, host: str) -> None:
    """DNS rebinding: a page's own name leads to 127.0.0.1, and the browser sends it as the Host."""
    for path in ("/readyz", GENERATIONS):
        assert (await api.get(path, headers={"Host": host})).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:6443", "127.0.0.1:1", "127.0.0.1", "[::1]:6443", "[::1]"])
async def test_names_of_the_loopback_interface_are_served(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get(GENERATIONS, headers={"Host": host})).status_code == 200


async def token(api: httpx.AsyncClient, account: str, **spec: Any) -> str:
    answer = await api.post(f"{ACCOUNTS}/{account}/token", json={"spec": spec})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["status"]["token"])


async def reviewed(api: httpx.AsyncClient, given: str, *audiences: str) -> dict[str, Any]:
    answer = await api.post(REVIEWS, json={"spec": {"token": given, "audiences": list(audiences)}})
    assert "token" not in answer.json()["spec"]
    status: dict[str, Any] = answer.json()["status"]
    return status


@pytest.mark.parametrize(
    ("account", "verb", "group", "resource", "namespace", "allowed"),
    [
        ("contentgen", "patch", "contentgen.dev", "loratrainings", "any", True),
        ("contentgen", "create", "contentgen.dev", "loratrainings", "any", False),
        ("contentgen", "get", "", "secrets", "contentgen", True),
        ("contentgen", "get", "", "secrets", "default", False),
        ("contentgen-gateway", "create", "contentgen.dev", "loratrainings", "any", True),
        ("contentgen-gateway", "get", "", "secrets", "contentgen", False),
        ("contentgen-user", "spend", "contentgen.dev", "imagegenerations", "any", True),
        ("contentgen-user", "get", "", "secrets", "default", False),
        ("default", "get", "contentgen.dev", "imagegenerations", "default", False),
    ],
)
async def test_rights_of_service_accounts(  # noqa: PLR0917 - a table
    api: httpx.AsyncClient, account: str, verb: str, group: str, resource: str, namespace: str, allowed: bool
) -> None:
    asked = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    user = f"system:serviceaccount:contentgen:{account}"
    spec = {"user": user, "resourceAttributes": asked}
    answer = await api.post(f"{ACCESS}/subjectaccessreviews", json={"spec": spec})
    assert answer.json()["status"]["allowed"] is allowed
    own = {"Authorization": f"Bearer {await token(api, account)}"}
    answer = await api.post(f"{ACCESS}/selfsubjectaccessreviews", json={"spec": spec}, headers=own)
    assert answer.json()["status"]["allowed"] is allowed
    prefix = f"/apis/{API_VERSION}" if group else "/api/v1"
    method = {"patch": "PATCH", "create": "POST", "get": "GET", "spend": "GET"}[verb]
    name = "" if verb == "create" else "/a"
    answer = await api.request(method, f"{prefix}/namespaces/{namespace}/{resource}{name}", headers=own)
    assert (answer.status_code != 403) is allowed


async def test_the_administrator_may_do_everything_and_impersonate(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{ACCESS}/selfsubjectaccessreviews", json={"spec": {"resourceAttributes": {"verb": "x"}}})
    assert answer.json()["status"]["allowed"] is True
    as_default = {"Impersonate-User": "system:serviceaccount:default:default"}
    assert (await api.get(GENERATIONS, headers=as_default)).status_code == 403
    own = {"Authorization": f"Bearer {await token(api, 'contentgen-user')}"}
    assert (await api.get(GENERATIONS, headers=own)).status_code == 200
    assert (await api.get(GENERATIONS, headers=own | {"Impersonate-User": "x"})).status_code == 403


async def test_a_token_has_its_audiences_alone(server: ApiServer, api: httpx.AsyncClient) -> None:
    given = await token(api, "contentgen-user", audiences=["contentgen-gateway"])
    status = await reviewed(api, given, "contentgen-gateway", "other")
    assert status["authenticated"] is True
    assert status["audiences"] == ["contentgen-gateway"]
    assert status["user"]["username"] == "system:serviceaccount:contentgen:contentgen-user"
    assert "system:serviceaccounts:contentgen" in status["user"]["groups"]
    assert (await reviewed(api, given))["authenticated"] is False
    assert (await reviewed(api, given, "contentgen"))["authenticated"] is False
    assert (await api.get(GENERATIONS, headers={"Authorization": f"Bearer {given}"})).status_code == 401
    assert (await reviewed(api, server.admin_token))["user"]["groups"][0] == "system:masters"
    assert (await reviewed(api, server.admin_token, "contentgen"))["authenticated"] is False


async def test_a_token_bound_to_a_pod_ends_with_it(api: httpx.AsyncClient) -> None:
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "worker"}, "spec": {"containers": [{"name": "worker"}]}}
    made = (await api.post(pods, json=pod)).json()["metadata"]
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    bound = {"kind": "Pod", "name": "worker", "uid": made["uid"]}
    wrong = await api.post(path, json={"spec": {"boundObjectRef": bound | {"uid": "other"}}})
    assert wrong.status_code == 409
    answer = await api.post(path, json={"spec": {"audiences": ["contentgen"], "boundObjectRef": bound}})
    given = answer.json()["status"]["token"]
    status = await reviewed(api, given, "contentgen")
    assert status["user"]["extra"] == {POD_NAME: ["worker"], POD_UID: [made["uid"]]}
    await api.delete(f"{pods}/worker")
    assert (await reviewed(api, given, "contentgen"))["authenticated"] is False
    await api.post(pods, json=pod)  # of the same name
    assert (await reviewed(api, given, "contentgen"))["authenticated"] is False


async def test_a_token_expires(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    given = await token(api, "contentgen-user", expirationSeconds=600)
    assert (await reviewed(api, given))["authenticated"] is True
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert (await reviewed(api, given))["authenticated"] is False
    for seconds in (599, "600", True):
        answer = await api.post(f"{ACCOUNTS}/contentgen-user/token", json={"spec": {"expirationSeconds": seconds}})
        assert answer.status_code == 422


async def test_a_token_is_for_the_service_account_of_its_pod(api: httpx.AsyncClient) -> None:
    pod = {"metadata": {"name": "worker"}, "spec": {"containers": [{"name": "worker"}]}}
    await api.post("/api/v1/namespaces/contentgen/pods", json=pod)
    bound = {"kind": "Pod", "name": "worker"}
    answer = await api.post(f"{ACCOUNTS}/contentgen/token", json={"spec": {"boundObjectRef": bound}})
    assert answer.status_code == 422
