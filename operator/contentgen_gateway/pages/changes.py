"""Changes of a job from its page: cancel, run again, resume, describe, share, collect, delete."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from contentgen_gateway.injection import (
    ActionsDep,
    CallerDep,
    CollectionsDep,
    DeletionDep,
    EditingDep,
    JobsDep,
    SharingDep,
    UsageDep,
)
from contentgen_gateway.pages.rendering.forms import redirect, validated
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.changes import Edit
from contentgen_gateway.schemas.collections import AssetRef, MoreAssets
from contentgen_gateway.schemas.sharing import Grantees, Wish

_WAIT_SECONDS = 3  # for the provider's word on a cancelled request; it goes on without us

router = APIRouter()


@router.post("/jobs/{job_id}/cancel")
async def cancel_it(caller: CallerDep, actions: ActionsDep, job_id: Name) -> Response:
    """End the run; the job stays."""
    await actions.cancel(caller, job_id, _WAIT_SECONDS)
    return redirect(f"/jobs/{job_id}?said=cancelling")


@router.get("/jobs/{job_id}/retry")
async def ask_price(request: Request, caller: CallerDep, actions: ActionsDep, jobs: JobsDep, job_id: Name) -> Response:
    """The price of another run, before it is paid for."""
    record = await jobs.record(caller, job_id)
    quote = await actions.quote(caller, job_id)
    return render(request, "again.html", caller, job=card(record), quote=quote)


@router.post("/jobs/{job_id}/retry")
async def pay_again(
    caller: CallerDep,
    actions: ActionsDep,
    job_id: Name,
    run: Annotated[int | None, Form()] = None,
    resubmit: Annotated[str | None, Form(max_length=64)] = None,
) -> Response:
    """The run that the question was about. A form that has not asked leads to the question."""
    if run is None:
        await actions.quote(caller, job_id)
        return redirect(f"/jobs/{job_id}/retry")
    await actions.run_again(caller, job_id, resubmit, run)
    return redirect(f"/jobs/{job_id}?said=again")


@router.post("/jobs/{job_id}/fetch")
async def fetch_it(caller: CallerDep, actions: ActionsDep, job_id: Name) -> Response:
    """The paid result of a failed run once more; it costs nothing."""
    await actions.collect(caller, job_id)
    return redirect(f"/jobs/{job_id}?said=fetching")


@router.post("/jobs/{job_id}/resume")
async def resume_it(caller: CallerDep, actions: ActionsDep, job_id: Name) -> Response:
    """Let a suspended job go on."""
    await actions.resume(caller, job_id)
    return redirect(f"/jobs/{job_id}?said=resumed")


@router.post("/jobs/{job_id}/edit")
async def describe(  # noqa: PLR0917 - a form has as many fields
    caller: CallerDep,
    editing: EditingDep,
    job_id: Name,
    tags: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    public: Annotated[bool, Form()] = False,
) -> Response:
    """Tags with commas between them, a description, and whether everybody may see it."""
    named = [each.strip() for each in tags.split(",") if each.strip()]
    wish = validated(Edit, {"tags": named, "description": description.strip(), "isPublic": public})
    await editing.edit(caller, job_id, wish)
    return redirect(f"/jobs/{job_id}?said=saved")


@router.post("/jobs/{job_id}/share")
async def share_it(
    caller: CallerDep,
    sharing: SharingDep,
    job_id: Name,
    users: Annotated[str, Form()] = "",
    namespaces: Annotated[str, Form()] = "",
) -> Response:
    """With users and namespaces, commas between them."""
    await sharing.share(caller, job_id, validated(Wish, _listed(users, namespaces)))
    return redirect(f"/jobs/{job_id}?said=shared")


@router.post("/jobs/{job_id}/unshare")
async def unshare_it(
    caller: CallerDep,
    sharing: SharingDep,
    job_id: Name,
    users: Annotated[str, Form()] = "",
    namespaces: Annotated[str, Form()] = "",
) -> Response:
    """Not with these any more; with nobody where none is named."""
    await sharing.unshare(caller, job_id, validated(Grantees, _listed(users, namespaces)))
    return redirect(f"/jobs/{job_id}?said=unshared")


def _listed(users: str, namespaces: str) -> dict[str, object]:
    given = {"users": users, "namespaces": namespaces}
    found = {key: [each.strip() for each in text.split(",") if each.strip()] for key, text in given.items()}
    return {key: value for key, value in found.items() if value}


@router.post("/jobs/{job_id}/collect")
async def collect(
    caller: CallerDep, jobs: JobsDep, collections: CollectionsDep, job_id: Name, collection: Annotated[str, Form()] = ""
) -> Response:
    """Put it into a collection."""
    await jobs.record(caller, job_id)
    await collections.put(caller, collection, MoreAssets(assets=[AssetRef(job_id=job_id)]))
    return redirect(f"/jobs/{job_id}?said=added")


@router.get("/jobs/{job_id}/delete")
async def ask_first(request: Request, caller: CallerDep, jobs: JobsDep, usage: UsageDep, job_id: Name) -> Response:
    """What goes with it, and what was made with it."""
    record = await jobs.record(caller, job_id)
    stats = await usage.asset(caller, record)
    users = await jobs.stored(stats.used_in_jobs[:20])
    return render(request, "delete.html", caller, job=card(record), record=record, using=[card(each) for each in users])


@router.post("/jobs/{job_id}/delete")
async def delete_it(
    caller: CallerDep, deletion: DeletionDep, job_id: Name, force: Annotated[bool, Form()] = False
) -> Response:
    """The record, the resource and all files."""
    await deletion.delete(caller, job_id, force=force)
    return redirect("/jobs?said=deleted")
