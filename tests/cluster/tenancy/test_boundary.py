"""Security boundary of the API server: attempts of tenants, and of owners of the operator's or gateway's token.

Everything but the few objects that attempts need is a server-side dry run. A control proves each refusal, so that none
is caused by a typo: an attempt that an admission policy refuses must succeed while the policies only audit, and an
attempt that RBAC refuses must succeed for an administrator. No operator runs meanwhile, because it would replace the
statuses that attempts need.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind, Stage
from contentgen_e2e.attempts import (
    annotating,
    approval_attempts,
    beyond_gateway,
    beyond_operator,
    class_attempts,
    endpoint_attempts,
    job_attempts,
    powers,
    resource_attempts,
    secrets,
    spend_attempts,
    status_attempts,
    verdict,
    worker_attempts,
    workloads,
)
from contentgen_e2e.boundary import (
    CONTROLLERS,
    MERGE,
    NOBODYS,
    POLICIES,
    POLICY_NAMES,
    RIVAL,
    WAITING,
    Attempt,
    AttemptPlace,
    BoundaryAnswer,
    BoundaryCaller,
    actions,
    caller,
    connected,
    jobs,
    operator_class,
    ours,
    patch,
    plain_job,
    resource,
    template_of,
    tenants,
)
from contentgen_e2e.world import ClusterWorld, until
from contentgen_operator.kube.job_manifests import WorkerPod, job_manifest
from contentgen_operator.state.observed import ResourceRef


def no_operator(world: ClusterWorld) -> None:
    where = ("--namespace", release.NAMESPACE)
    release.kubectl(world.root, *where, "scale", "deployment/contentgen", "--replicas=0")
    selector = "app.kubernetes.io/component=operator"
    release.kubectl(world.root, *where, "wait", "pods", "--selector", selector, "--for=delete", "--timeout=60s")


def operator_again(world: ClusterWorld) -> None:
    where = ("--namespace", release.NAMESPACE)
    release.kubectl(world.root, *where, "scale", "deployment/contentgen", "--replicas=1")
    release.kubectl(world.root, *where, "rollout", "status", "deployment/contentgen", "--timeout=120s")


@pytest.fixture(scope="module")
def place(world: ClusterWorld) -> Iterator[AttemptPlace]:
    no_operator(world)
    with ExitStack() as stack:
        stack.callback(operator_again, world)
        admin = BoundaryCaller("admin", stack.enter_context(connected()))
        items = {"apiVersion": "v1", "kind": "List", "items": tenants(world.namespace)}
        world.kubectl("apply", "--filename", "-", stdin=json.dumps(items))
        uids = {}
        for kind in Kind:
            body = resource(kind, world.namespace, "held")
            uids[kind] = world.apply(kind.value, "held", body["spec"])
            stack.callback(world.kubectl, "delete", kind.value.lower(), "held", "--ignore-not-found")
        stack.callback(
            world.kubectl, "delete", "clusterrole,clusterrolebinding", f"{world.namespace}-rival", "--ignore-not-found"
        )
        for name in (RIVAL, NOBODYS):
            spec = resource(Kind.IMAGE_GENERATION, world.namespace, name)["spec"] | {"operatorClass": name}
            world.apply(Kind.IMAGE_GENERATION.value, name, spec)
            stack.callback(world.kubectl, "delete", "imagegeneration", name, "--ignore-not-found")
        made = AttemptPlace(
            world=world,
            admin=admin,
            operator=caller(stack, world, release.NAMESPACE, "contentgen"),
            gateway=caller(stack, world, release.NAMESPACE, "contentgen-gateway"),
            maker=caller(stack, world, world.namespace, "default"),
            viewer=caller(stack, world, world.namespace, "viewer"),
            editor=caller(stack, world, world.namespace, "editor"),
            owner=caller(stack, world, world.namespace, "owner"),
            rival=caller(stack, world, world.namespace, "rival"),
            template=template_of(world),
            uids=uids,
        )
        stack.callback(world.kubectl, "delete", "jobs", "--all", "--ignore-not-found")
        for who, body in ((made.operator, made.worker_job()), (admin, plain_job("theirs"))):
            body["spec"]["suspend"] = True  # no pod is started
            answer = who(Attempt("real", "POST", jobs(world.namespace), body, dry=False))
            assert answer.code == 201, answer
        spec = resource(Kind.IMAGE_GENERATION, world.namespace, "waiting")["spec"] | {"approval": "Manual"}
        world.apply(Kind.IMAGE_GENERATION.value, "waiting", spec)
        stack.callback(world.kubectl, "delete", "imagegeneration", "waiting", "--ignore-not-found")
        put_status(made, "waiting", phase="AwaitingApproval", reason="AwaitingApproval")
        yield made


@dataclass(frozen=True)
class Outcome:
    """Responses to one attempt, with enforcing and with auditing policies."""

    policy: str
    caller: str
    attempt: Attempt
    enforced: BoundaryAnswer
    audited: BoundaryAnswer


@pytest.fixture(scope="module")
def outcomes(place: AttemptPlace) -> list[Outcome]:
    """Every attempt with and without enforcing policies."""
    parts = (
        status_attempts,
        class_attempts,
        resource_attempts,
        job_attempts,
        worker_attempts,
        spend_attempts,
        approval_attempts,
        endpoint_attempts,
    )
    asked = [each for part in parts for each in part(place)]
    first = list({policy: (who, attempt) for policy, who, attempt in reversed(asked)}.values())
    enforced = [who(attempt) for _, who, attempt in asked]
    try:
        actions(place.world, "Audit")
        until(lambda: all(who(attempt).allowed for who, attempt in first), "the policies only audit")
        audited = [who(attempt) for _, who, attempt in asked]
    finally:
        actions(place.world, "Deny")
        until(lambda: not any(who(attempt).allowed for who, attempt in first), "the policies refuse again")
    return [
        Outcome(policy, who.name, attempt, with_them, without)
        for (policy, who, attempt), with_them, without in zip(asked, enforced, audited, strict=True)
    ]


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_objects_that_a_policy_refuses(outcomes: list[Outcome], policy: str) -> None:
    mine = [outcome for outcome in outcomes if outcome.policy == policy]
    assert mine
    wrong = [
        each
        for each in mine
        if each.enforced.code not in (403, 422)
        or not any(f"'{POLICIES}-{name}'" in each.enforced.message for name in _names(policy))
        or each.attempt.says not in each.enforced.message
    ]
    assert wrong == []


def _names(policy: str) -> tuple[str, ...]:
    """Policies that an error may name: the API server names one, and a status in the class default violates two."""
    return (policy, "status-owner") if policy == "status" else (policy,)


def test_every_refusal_by_a_policy_is_the_policys_own(outcomes: list[Outcome]) -> None:
    """Control: every attempt succeeds without the policies, so no refusal is caused by a typo."""
    assert [outcome for outcome in outcomes if not outcome.audited.allowed] == []
    assert len(outcomes) >= 425


def test_the_operators_own_work_is_admitted(place: AttemptPlace) -> None:
    kind = Kind.IMAGE_GENERATION
    held = ours(kind, place.namespace, "held")
    for stage in Stage:
        ref = ResourceRef(kind=kind, namespace=place.namespace, name="held", uid=place.uids[kind])
        pod = WorkerPod(
            labels={"team": "a"},
            annotations=place.template.pod.annotations,
            node_selector={"disk": "fast"},
            tolerations=({"key": "gpu", "operator": "Exists"},),
            affinity={"nodeAffinity": {}},
        )
        body = job_manifest(ref, 8, stage, 1, place.template.model_copy(update={"pod": pod}))
        answer = place.operator(Attempt(stage, "POST", jobs(place.namespace), body))
        assert answer.code == 201, answer
    own = jobs(place.namespace, place.ours_job)
    found = json.loads(place.world.kubectl("get", "imagegeneration", "held", "--output", "json"))
    finalizer = {"metadata": {"finalizers": ["contentgen.dev/finalizer"]}}
    for attempt in (
        Attempt("delete", "DELETE", own),
        Attempt("status", "PUT", f"{held}/status", found),
        patch("finalizer", held, finalizer),
    ):
        assert place.operator(attempt).allowed, (attempt.name, place.operator(attempt))


def test_another_installation_works_in_its_own_class(place: AttemptPlace) -> None:
    """An account with the verb serve on a class may write the OperatorClass, statuses and Jobs."""
    kind = Kind.IMAGE_GENERATION
    held = ours(kind, place.namespace, RIVAL)
    ref = ResourceRef(kind=kind, namespace=place.namespace, name=RIVAL, uid="a-uid")
    made = job_manifest(ref, 1, Stage.PREPARE, 1, place.template.model_copy(update={"operator_class": RIVAL}))
    body = operator_class(RIVAL, place.namespace, "rival")
    for attempt in (
        Attempt("operator class", "POST", "/apis/contentgen.dev/v1alpha1/operatorclasses", body),
        patch("status", f"{held}/status", {"status": {"phase": "Processing"}}),
        Attempt("Job", "POST", jobs(place.namespace), made),
    ):
        assert place.rival(attempt).allowed, (attempt.name, place.rival(attempt))


def test_kubernetes_controllers_may_change_the_operators_jobs(place: AttemptPlace) -> None:
    """Controllers, and accounts with rights on Jobs, may keep or remove labels and owners."""
    mine = jobs(place.namespace, place.ours_job)
    collector = place.as_user("system:serviceaccount:kube-system:generic-garbage-collector")
    for who in (place.as_user(CONTROLLERS[0]), collector, place.owner):
        for attempt in (
            patch("suspend", mine, {"spec": {"suspend": False}}),
            patch("finalizer", mine, {"metadata": {"finalizers": ["foregroundDeletion"]}}),
            patch("orphan", mine, {"metadata": {"ownerReferences": None}}),
            patch("label off", mine, {"metadata": {"labels": {"contentgen.dev/stage": None}}}),
            patch("status", f"{mine}/status", {"status": {"active": 1}}),
            Attempt("delete", "DELETE", mine),
        ):
            assert who(attempt).allowed, (who.name, attempt.name, who(attempt))
    other = plain_job("new", labels={"app.kubernetes.io/managed-by": "Helm", "contentgen": "x"})
    assert place.editor(Attempt("a Job of a tenant's own", "POST", jobs(place.namespace), other)).allowed


# Annotations with the number of a run or the name of a purchase


def put_status(place: AttemptPlace, name: str = "held", *, token: str | None = None, **status: Any) -> None:
    """Write the status of an ImageGeneration, with the operator's token."""
    held = place.world.get("ImageGeneration", name)
    run = {"number": WAITING, "version": 3, "runHash": "00", "generation": held["metadata"]["generation"], "spec": {}}
    run |= {"startedAt": "2026-01-02T03:04:05Z"} | ({} if token is None else {"resubmitToken": token})
    held["status"] = {"observedGeneration": 1, "run": run} | status
    path = f"{ours(Kind.IMAGE_GENERATION, place.namespace, name)}/status"
    answer = place.operator(Attempt("status", "PUT", path, held, dry=False))
    assert answer.allowed, answer


def annotated(place: AttemptPlace, word: str, value: str | None) -> BoundaryAnswer:
    """Response to the namespace's editor, who sets an annotation; None removes it."""
    body = {"metadata": {"annotations": {f"contentgen.dev/{word}": value}}}
    path = ours(Kind.IMAGE_GENERATION, place.namespace, "held")
    return place.editor(patch(word, path, body))


def test_a_cancellation_names_the_run_under_way(place: AttemptPlace) -> None:
    put_status(place, phase="Processing")
    assert annotated(place, "cancel", "3").allowed
    for wrong in ("true", "1", "2", "4"):
        answer = annotated(place, "cancel", wrong)
        assert not answer.allowed
        assert f'"contentgen.dev/cancel" is "{wrong}"; expected "3", the number of the run under way' in answer.message
    put_status(place, phase="Completed")
    assert annotated(place, "cancel", "3").allowed
    assert annotated(place, "cancel", "4").allowed, "another run may have been asked for"
    assert (
        'expected "3", the number of the last run, which has ended, or "4"' in annotated(place, "cancel", "2").message
    )


def test_a_resubmission_names_the_purchase(place: AttemptPlace) -> None:
    """The message is not read: it repeats the words of a provider."""
    told, right = "the annotation contentgen.dev/resubmit=0a1b2c3e allows another payment", "0a1b2c3d"
    put_status(place, token=right, phase="SubmissionUnknown", message=told)
    assert annotated(place, "resubmit", right).allowed
    for wrong in ("true", "1", "0a1b2c3", "0a1b2c3d4", "0a1b2c3e"):
        answer = annotated(place, "resubmit", wrong)
        assert not answer.allowed
        assert f'is "{wrong}"; expected "0a1b2c3d", which names the purchase' in answer.message
    put_status(place, phase="SubmissionUnknown", message=told)
    assert "expected none" in annotated(place, "resubmit", "0a1b2c3e").message
    put_status(place, token=right, phase="Completed", message=told)
    assert "expected none" in annotated(place, "resubmit", right).message


def test_a_collection_names_the_run_that_has_failed(place: AttemptPlace) -> None:
    put_status(place, phase="Failed")
    for right in ("3", "3-again", "3-2026.11.22_x"):
        assert annotated(place, "collect", right).allowed, "it pays nothing"
    for wrong in ("true", "2", "4", "33", "3-", "3 ", "3-a b", "3-" + "a" * 49, ""):
        answer = annotated(place, "collect", wrong)
        assert not answer.allowed
        assert f'"contentgen.dev/collect" is "{wrong}"; expected "3" or "3-ANYTHING"' in answer.message
    for phase in ("Completed", "Collecting"):
        put_status(place, phase=phase)
        assert f'expected none: it names a run that has failed, and status.phase is "{phase}"' in (
            annotated(place, "collect", "3").message
        )


def test_an_approval_needs_the_verb_and_names_its_user(place: AttemptPlace) -> None:
    """Both positive controls: a user with the verb in the own name, and the gateway in the name of its caller."""
    path, alice = ours(Kind.IMAGE_GENERATION, place.namespace, "waiting"), "alice@example.com"
    for who in (place.as_user(alice), place.gateway):
        for word in ("approve", "reject"):
            for value in (f"{WAITING}", f"{WAITING}-again"):
                body = dict(verdict(value, alice, word))[MERGE]
                answer = who(patch(word, path, body))
                assert answer.allowed, answer


def test_the_field_of_the_spec_is_lowered_with_the_verb(place: AttemptPlace) -> None:
    path = ours(Kind.IMAGE_GENERATION, place.namespace, "waiting")
    for value in ("Automatic", None):
        answer = place.as_user("alice@example.com")(patch("lowered", path, {"spec": {"approval": value}}))
        assert answer.allowed, answer


def test_approval_is_refused_in_a_class_without_a_policy(place: AttemptPlace) -> None:
    """No policy looks at the annotations of a resource in such a class, and a waiting one would bring them back."""
    path = ours(Kind.IMAGE_GENERATION, place.namespace, "waiting")
    body = dict(verdict(f"{WAITING}", "alice@example.com"))[MERGE] | {"spec": {"operatorClass": NOBODYS}}
    for who in (place.editor, place.owner, place.admin):
        answer = who(patch("to another class", path, body))
        assert answer.code == 422, answer
        assert "spec.operatorClass must not change during a run" in answer.message


def test_existing_value_is_kept_and_anyone_may_remove_it(place: AttemptPlace) -> None:
    """A GitOps tool that applies the same manifest again needs no further right."""
    words = {"rerun": "r", "resubmit": "0a1b2c3d", "adopt": "a", "collect": "7-again", "cancel": "7"}
    noted = {f"contentgen.dev/{word}": value for word, value in words.items()}
    body = resource(Kind.TRANSCRIPTION, place.namespace, "noted", annotations=noted)
    path = ours(Kind.TRANSCRIPTION, place.namespace)
    assert place.editor(Attempt("create", "POST", path, body, dry=False)).allowed, "as from Git, or a backup"
    put = ours(Kind.TRANSCRIPTION, place.namespace, "noted")
    try:
        edited = {"spec": {"suspend": True, "deadlineSeconds": 900}, "metadata": {"labels": {"a": "b"}}}
        assert place.owner(patch("edit", put, edited)).allowed
        for word in words:
            off = {"metadata": {"annotations": {f"contentgen.dev/{word}": None}}}
            assert place.owner(patch(word, put, off)).allowed, word
            other = {"metadata": {"annotations": {f"contentgen.dev/{word}": "9"}}}
            assert not place.owner(patch(word, put, other)).allowed, word
    finally:
        assert place.admin(Attempt("delete", "DELETE", put, dry=False)).allowed


# Attempts that RBAC refuses


def refused_by_rbac(
    who: BoundaryCaller, admin: BoundaryCaller, attempts: Sequence[Attempt]
) -> list[tuple[str, BoundaryAnswer, BoundaryAnswer]]:
    """Attempts that RBAC does not refuse, or that it also refuses for an administrator."""
    answers = [(attempt.name, who(attempt), admin(attempt)) for attempt in attempts]
    return [
        (name, mine, theirs)
        for name, mine, theirs in answers
        if mine.code != 403 or "cannot" not in mine.message or not theirs.allowed
    ]


def test_the_operators_token_gives_no_other_rights(place: AttemptPlace) -> None:
    attempts = [*secrets(place), *workloads(place), *powers(place), *beyond_operator(place)]
    assert refused_by_rbac(place.operator, place.admin, attempts) == []
    assert len(attempts) > 50


def test_the_gateways_token_gives_no_other_rights(place: AttemptPlace) -> None:
    attempts = [*secrets(place), *workloads(place), *powers(place), *beyond_gateway(place)]
    assert refused_by_rbac(place.gateway, place.admin, attempts) == []
    assert len(attempts) > 50


def test_neither_enters_pods(place: AttemptPlace) -> None:
    """The control is an administrator's access to the sandbox's pod, because connections have no dry run."""
    selector = "app.kubernetes.io/component=sandbox"
    listed = release.kubectl(
        place.world.root, "--namespace", release.NAMESPACE, "get", "pods", "--selector", selector, "--output", "name"
    )
    name = listed.split()[0].removeprefix("pod/")
    path = f"/api/v1/namespaces/{release.NAMESPACE}/pods/{name}"
    ways = ("exec?command=true&stdout=true", "attach?stdout=true", "portforward?ports=80")
    for who in (place.operator, place.gateway):
        for way in ways:
            for method in ("GET", "POST"):
                attempt = Attempt(way, method, f"{path}/{way}", dry=False)
                assert (who(attempt).code, way) == (403, way)
                assert place.admin(attempt).code not in (401, 403, 404, 405), place.admin(attempt)
        debug = {"spec": {"ephemeralContainers": [{"name": "e", "image": "a"}]}}
        entered = patch("debug", f"{path}/ephemeralcontainers", debug)
        assert who(entered).code == 403
        assert who(Attempt("delete", "DELETE", path)).code == 403
        assert place.admin(Attempt("delete", "DELETE", path)).allowed


# Permitted requests of people


def test_the_documented_role_is_what_a_user_needs(place: AttemptPlace) -> None:
    """Role of docs/gateway.md, verbatim: it permits all verbs on our resources and nothing else."""
    for kind in Kind:
        held = ours(kind, place.namespace, "held")
        new = resource(kind, place.namespace, "new", annotations={"contentgen.dev/rerun": "1"})
        for attempt in (
            Attempt("list", "GET", ours(kind, place.namespace)),
            Attempt("get", "GET", held),
            Attempt("create", "POST", ours(kind, place.namespace), new),
            patch("edit", held, {"metadata": {"labels": {"a": "b"}}}),
            patch("again", held, annotating("rerun")[0][1]),
            Attempt("delete", "DELETE", held),
        ):
            assert place.maker(attempt).allowed, (kind, attempt.name, place.maker(attempt))
        status = patch("status", f"{held}/status", {"status": {"progress": 1}})
        assert place.maker(status).code == 403
    beyond = [*secrets(place), *powers(place), *beyond_gateway(place)]
    assert refused_by_rbac(place.maker, place.admin, beyond) == []


def test_view_and_edit_have_the_kinds_and_no_status(place: AttemptPlace) -> None:
    for kind in Kind:
        held, everything = ours(kind, place.namespace, "held"), ours(kind, place.namespace)
        for who in (place.viewer, place.editor):
            for path in (held, everything):
                assert who(Attempt("read", "GET", path)).allowed, (who.name, path)
        edits = [
            Attempt("create", "POST", everything, resource(kind, place.namespace, "new")),
            patch("edit", held, {"metadata": {"labels": {"a": "b"}}}),
            patch("again", held, annotating("rerun")[0][1]),
            Attempt("delete", "DELETE", held),
            Attempt("delete all", "DELETE", everything),
        ]
        assert refused_by_rbac(place.viewer, place.admin, edits) == []
        for attempt in edits:
            assert place.editor(attempt).allowed, (attempt.name, place.editor(attempt))
        status = patch("status", f"{held}/status", {"status": {"progress": 1}})
        for who in (place.viewer, place.editor):
            answer = who(status)
            assert answer.code == 403
            assert "cannot patch resource" in answer.message
