"""Receiver of webhooks in the sandbox: it records, fails as often as it is told, redirects."""

import httpx
from fastapi import FastAPI

from contentgen_sandbox import hooks


async def test_hooks_are_recorded_and_answered_as_the_query_says() -> None:
    app = FastAPI()
    app.include_router(hooks.router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox") as client:
        codes = [(await client.post("/hooks/down?fails=2", content="{}")).status_code for _ in range(3)]
        assert codes == [503, 503, 204]
        redirected = await client.post("/hooks/moved?status=307&to=http://10.0.0.1/", content="{}")
        assert (redirected.status_code, redirected.headers["location"]) == (307, "http://10.0.0.1/")
        found = (await client.get("/hooks/down")).json()
    assert [(each["name"], each["body"]) for each in found] == [("down", "{}")] * 3
