"""Tables of attempts that admission policies or RBAC must refuse."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from contentgen_cluster import release
from contentgen_contract.names import GROUP, VERSION, Kind
from contentgen_e2e.boundary import (
    CONTROLLERS,
    GATEWAY,
    JSON_PATCH,
    MERGE,
    NOBODYS,
    OPERATOR,
    PLURALS,
    POLICIES,
    POLICY_NAMES,
    RBAC,
    RIVAL,
    WAITING,
    Attempt,
    AttemptPlace,
    Body,
    BoundaryCaller,
    jobs,
    operator_class,
    ours,
    patch,
    plain_job,
    resource,
)

# Attempts that admission policies refuse, with their callers. Each is sent twice, see `Outcome`.

Asked = tuple[str, BoundaryCaller, Attempt]
"""Policy, caller and attempt."""


def status_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Status writes by anyone but the operator, whatever their rights."""
    callers = [place.admin, place.owner, *(place.as_user(each) for each in (GATEWAY, *CONTROLLERS))]
    forged = {"phase": "Completed", "progress": 100, "reason": "Completed"}
    for who in callers:
        for kind in Kind:
            path = f"{ours(kind, place.namespace, 'held')}/status"
            for how, body in (
                (MERGE, {"status": forged}),
                (JSON_PATCH, [{"op": "add", "path": "/status/phase", "value": "Failed"}]),
            ):
                name = f"status of {kind.plural} by {who.name}, {how}"
                yield "status", who, Attempt(name, "PATCH", path, body, "is written by the operator", how)


def class_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Operators in classes that they do not serve or own, and creations of such classes."""
    forged, kind = {"status": {"phase": "Completed"}}, Kind.IMAGE_GENERATION
    for who, name in ((place.operator, NOBODYS), (place.operator, RIVAL), (place.rival, NOBODYS)):
        path = f"{ours(kind, place.namespace, name)}/status"
        found = json.loads(place.world.kubectl("get", "imagegeneration", name, "--output", "json"))
        says = f'by the operator of its class ("{name}") alone'
        yield "status", who, Attempt(f"status in {name} by {who.name}", "PUT", path, found | forged, says)
    path = f"{ours(kind, place.namespace, 'held')}/status"
    says = f"default is served by {OPERATOR}"
    yield "status-owner", place.rival, patch("status in the class default by a rival", path, forged, says)
    everywhere = f"/apis/{GROUP}/{VERSION}/operatorclasses"
    operators, rivals = (release.NAMESPACE, "contentgen"), (place.namespace, "rival")
    for who, name, owner in (
        (place.operator, NOBODYS, operators),
        (place.operator, RIVAL, operators),
        (place.rival, NOBODYS, rivals),
        (place.rival, RIVAL, operators),
        (place.admin, NOBODYS, operators),
    ):
        body = operator_class(name, *owner)
        made = Attempt(f"{name} for {owner} by {who.name}", "POST", everywhere, body, "may not take it for")
        yield "classes", who, made


def resource_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Changes with the operator's token that the operator does not need."""
    changes: dict[str, Body] = {
        "suspend": {"spec": {"suspend": False}},
        "user": {"spec": {"userId": place.namespace}},
        "deletion policy": {"spec": {"deletionPolicy": "Delete"}},
        "annotation": {"metadata": {"annotations": {"note": "a"}}},
        "label": {"metadata": {"labels": {"note": "a"}}},
        "owner": {
            "metadata": {
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt", "uid": "u"}]
            }
        },
    }
    for kind in Kind:
        held = ours(kind, place.namespace, "held")
        for name, body in changes.items():
            says = f"changes the finalizers and the label contentgen.dev/given-up of {kind.plural}.contentgen.dev alone"
            yield "resources", place.operator, patch(f"{name} of {kind.plural}", held, body, says)
        says = "deletes only finished resources with spec.ttlSecondsAfterFinished"
        yield "resources-deletions", place.operator, Attempt(f"deletes {kind.plural}", "DELETE", held, None, says)


MARKS: dict[str, tuple[Body, str]] = {
    "uid label": ({"labels": {"contentgen.dev/uid": "u"}}, '"contentgen.dev/uid"'),
    "kind label": ({"labels": {"contentgen.dev/kind": "Transcription"}}, '"contentgen.dev/kind"'),
    "stage label": ({"labels": {"contentgen.dev/stage": "collect"}}, '"contentgen.dev/stage"'),
    "class label": ({"labels": {"contentgen.dev/operator-class": "default"}}, '"contentgen.dev/operator-class"'),
    "any label of ours": ({"labels": {"contentgen.dev/anything": ""}}, '"contentgen.dev/anything"'),
    "managed-by label": ({"labels": {"app.kubernetes.io/managed-by": "contentgen"}}, "app.kubernetes.io/managed-by"),
}


def owner_mark(kind: Kind, uid: str, *, version: str = VERSION, controller: bool = True) -> Body:
    owner = {"apiVersion": f"{GROUP}/{version}", "kind": kind.value, "name": "held", "uid": uid}
    return {"ownerReferences": [owner | ({"controller": True} if controller else {})]}


def marks(place: AttemptPlace) -> dict[str, tuple[Body, str]]:
    """Metadata of a Job that imitates the operator's."""
    owners = {
        f"owned by the {kind.value}{' as its controller' if controller else ''}, {version}": (
            owner_mark(kind, place.uids[kind], version=version, controller=controller),
            f'belongs to the {kind.value} "held"',
        )
        for kind in Kind
        for controller, version in ((True, VERSION), (False, VERSION), (True, "v9"))
    }
    return MARKS | owners


def job_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Jobs that imitate the operator's, at creation or by an update."""
    makers = [place.admin, place.owner, place.editor, *(place.as_user(each) for each in (GATEWAY, *CONTROLLERS))]
    path, theirs = jobs(place.namespace), jobs(place.namespace, "theirs")
    for who in makers:
        for name, (meta, says) in marks(place).items():
            yield "jobs", who, Attempt(f"a Job, {name}, by {who.name}", "POST", path, plain_job("new", **meta), says)
        squatted = plain_job("contentgen-0123456789ab-r1-collect-1")
        yield "jobs", who, Attempt(f"the name of a Job of ours, by {who.name}", "POST", path, squatted, "its own Jobs")
    for who in (place.admin, place.owner):
        for name, (meta, says) in marks(place).items():
            for target in (theirs, f"{theirs}/status"):
                about = f"{name} added to {target.rpartition('theirs')[2] or 'a Job'} by {who.name}"
                yield "jobs", who, patch(about, target, {"metadata": meta}, says)
        changed = {"metadata": {"labels": {"contentgen.dev/uid": "another"}}}
        mine = jobs(place.namespace, place.ours_job)
        yield "jobs", who, patch(f"another uid by {who.name}", mine, changed, '"contentgen.dev/uid"')
        stolen = {"metadata": owner_mark(Kind.LORA_TRAINING, place.uids[Kind.LORA_TRAINING])}
        yield "jobs", who, patch(f"another owner by {who.name}", mine, stolen, "LoraTraining")


def changed(body: Body, path: Sequence[str | int], value: Any) -> Body:
    """Copy with another value at a path; None removes the field."""
    mutant = copy.deepcopy(body)
    at: Any = mutant
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    elif path[-1] == "+":
        at.append(value)
    else:
        at[path[-1]] = value
    return mutant


POD: tuple[str | int, ...] = ("spec", "template", "spec")
ONE: tuple[str | int, ...] = (*POD, "containers", 0)
VOLUMES: dict[str, Body] = {
    "the node's files": {"hostPath": {"path": "/"}},
    "a Secret": {"secret": {"secretName": "provider-keys"}},
    "a ConfigMap": {"configMap": {"name": "kube-root-ca.crt"}},
    "a claim": {"persistentVolumeClaim": {"claimName": "data"}},
    "a volume of its own": {
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            }
        }
    },
    "NFS": {"nfs": {"server": "10.0.0.1", "path": "/"}},
    "CSI": {"csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}},
    "its own fields": {"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    "a token for the API server": {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    "a token for the gateway": {
        "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "contentgen-gateway"}}]}
    },
    "a projected Secret": {"projected": {"sources": [{"secret": {"name": "provider-keys"}}]}},
    "a Secret beside the token": {
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "audience": "contentgen"}},
                {"secret": {"name": "provider-keys"}},
            ]
        }
    },
}
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "contentgen"}}]}}
ENTERS = {"exec": {"command": ["sh"]}}
VARIABLES: dict[str, Body] = {
    "the worker API's address": {"name": "CONTENTGEN_WORKER_API_URL", "value": "https://example.com:8443"},
    "the worker API by another port": {
        "name": "CONTENTGEN_WORKER_API_URL",
        "value": f"https://contentgen-worker-api.{release.NAMESPACE}.svc:9443",
    },
    "the worker API of another namespace": {
        "name": "CONTENTGEN_WORKER_API_URL",
        "value": "https://contentgen-worker-api.default.svc:8443",
    },
    "no address": {"name": "CONTENTGEN_WORKER_API_URL", "value": ""},
    "the token's file": {"name": "CONTENTGEN_TOKEN_FILE", "value": "/etc/passwd"},
    "the model's folder": {"name": "CONTENTGEN_VISION_MODEL", "value": "/scratch"},
    "a deadline that is no number": {"name": "CONTENTGEN_DEADLINE_SECONDS", "value": "1; id"},
    "no deadline": {"name": "CONTENTGEN_DEADLINE_SECONDS"},
    "the scratch folder": {"name": "CONTENTGEN_SCRATCH", "value": "/opt"},
    "the temporary folder": {"name": "TMPDIR", "value": "/var/run/secrets/contentgen"},
    "code at the start": {"name": "PYTHONSTARTUP", "value": "/scratch/a.py"},
    "a browser as a warning": {"name": "PYTHONWARNINGS", "value": "all:0:antigravity.x:0:0"},
    "the browser": {"name": "BROWSER", "value": "/bin/sh -c id #%s"},
    "modules": {"name": "PYTHONPATH", "value": "/scratch"},
    "another home of Python": {"name": "PYTHONHOME", "value": "/scratch"},
    "a library": {"name": "LD_PRELOAD", "value": "/scratch/a.so"},
    "libraries": {"name": "LD_LIBRARY_PATH", "value": "/scratch"},
    "programs": {"name": "PATH", "value": "/scratch"},
    "a proxy": {"name": "HTTPS_PROXY", "value": "http://10.0.0.1:3128"},
    "certificates": {"name": "SSL_CERT_FILE", "value": "/scratch/ca.pem"},
    "in small letters": {"name": "contentgen_worker_api_url", "value": "https://example.com:8443"},
}
MOUNTS: dict[str, Body] = {
    "scratch over the modules": {"name": "scratch", "mountPath": "/opt/contentgen"},
    "scratch over programs": {"name": "scratch", "mountPath": "/usr/local/bin"},
    "scratch beside itself": {"name": "scratch", "mountPath": "/scratch/a"},
    "the token at a path of its own": {"name": "token", "mountPath": "/scratch/token"},
}
_POD, _CONTAINER = "worker.podSecurityContext", "worker.securityContext"  # chart values named by the error
MUTANTS: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    **{f"a volume of {name}": ((*POD, "volumes", "+"), {"name": "x"} | it, "volumes") for name, it in VOLUMES.items()},
    **{f"as token {name}": ((*POD, "volumes", 1), {"name": "token"} | it, "volumes") for name, it in VOLUMES.items()},
    "another emptyDir": ((*POD, "volumes", "+"), {"name": "x", "emptyDir": {}}, "volumes"),
    "another token": ((*POD, "volumes", "+"), {"name": "x"} | TOKEN, "volumes"),
    "scratch in memory": ((*POD, "volumes", 0), {"name": "scratch", "emptyDir": {"medium": "Memory"}}, "on disk"),
    "the token as scratch": ((*POD, "volumes", 0), {"name": "scratch"} | TOKEN, "volumes"),
    **{f"mounts {name}": ((*ONE, "volumeMounts", "+"), it, "volumeMounts") for name, it in MOUNTS.items()},
    "scratch at another path": ((*ONE, "volumeMounts", 0, "mountPath"), "/opt/contentgen", "volumeMounts"),
    "a folder of scratch": ((*ONE, "volumeMounts", 0, "subPath"), "a", "subPath"),
    "a folder by a variable": ((*ONE, "volumeMounts", 0, "subPathExpr"), "$(TMPDIR)", "subPath"),
    "mounts of the node": ((*ONE, "volumeMounts", 0, "mountPropagation"), "HostToContainer", "mountPropagation"),
    **{f"environment: {name}": ((*ONE, "env", "+"), it, "CONTENTGEN_WORKER_API_URL") for name, it in VARIABLES.items()},
    "another address alone": ((*ONE, "env", 0, "value"), "https://example.com:8443", "CONTENTGEN_WORKER_API_URL="),
    "another working folder": ((*ONE, "workingDir"), "/scratch", "workingDir"),
    "a file over a module": (
        (*ONE, "terminationMessagePath"),
        "/opt/contentgen/contentgen_worker/download/address_guard.py",
        "terminationMessagePath",
    ),
    "another DNS server": ((*POD, "dnsConfig"), {"nameservers": ["10.0.0.1"]}, "dnsConfig"),
    "the node's DNS": ((*POD, "dnsPolicy"), "Default", "dnsPolicy"),
    "no DNS but its own": ((*POD, "dnsConfig"), {"searches": ["example.com"]}, "dnsConfig"),
    "an injected container": (
        ("spec", "template", "metadata", "annotations"),
        {"vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-image": "alpine"},
        "podAnnotations",
    ),
    "another image": ((*ONE, "image"), "docker.io/library/alpine:3", "image"),
    "the image by another tag": ((*ONE, "image"), "contentgen/contentgen-worker:evil", "worker.image"),
    "another account": ((*POD, "serviceAccountName"), "admin", "serviceAccountName"),
    "its account's token": ((*POD, "automountServiceAccountToken"), True, "automountServiceAccountToken"),
    "its account's token by default": ((*POD, "automountServiceAccountToken"), None, "automountServiceAccountToken"),
    "hostNetwork": ((*POD, "hostNetwork"), True, "hostNetwork"),
    "hostPID": ((*POD, "hostPID"), True, "hostPID"),
    "hostIPC": ((*POD, "hostIPC"), True, "hostIPC"),
    "a shared process namespace": ((*POD, "shareProcessNamespace"), True, "shareProcessNamespace"),
    "a node past the scheduler": ((*POD, "nodeName"), "control-plane", "nodeName"),
    "another worker API's address": ((*POD, "hostAliases"), [{"ip": "10.0.0.1", "hostnames": ["api"]}], "hostAliases"),
    # `privileged` is refused by the API server of the bare cluster itself, which has no --allow-privileged.
    "escalation": ((*ONE, "securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
    "escalation by default": ((*ONE, "securityContext", "allowPrivilegeEscalation"), None, "allowPrivilegeEscalation"),
    "a writable root": ((*ONE, "securityContext", "readOnlyRootFilesystem"), False, "readOnlyRootFilesystem"),
    "capabilities kept": ((*ONE, "securityContext", "capabilities"), None, "capabilities"),
    "some capabilities dropped": ((*ONE, "securityContext", "capabilities", "drop"), ["KILL"], "capabilities"),
    "a capability added": ((*ONE, "securityContext", "capabilities", "add"), ["SYS_ADMIN"], "capabilities"),
    "no context": ((*ONE, "securityContext"), None, "securityContext"),
    "root in the container": ((*ONE, "securityContext", "runAsUser"), 0, "securityContext"),
    "root allowed in the container": ((*ONE, "securityContext", "runAsNonRoot"), False, "securityContext"),
    "no seccomp in the container": ((*ONE, "securityContext", "seccompProfile"), {"type": "Unconfined"}, _CONTAINER),
    "no AppArmor in the container": ((*ONE, "securityContext", "appArmorProfile"), {"type": "Unconfined"}, _CONTAINER),
    "SELinux type": ((*ONE, "securityContext", "seLinuxOptions"), {"type": "spc_t"}, _CONTAINER),
    "another user": ((*POD, "securityContext", "runAsUser"), 1000, _POD),
    "another group of volumes": ((*POD, "securityContext", "fsGroup"), None, _POD),
    "root": ((*POD, "securityContext", "runAsUser"), 0, "runAsNonRoot"),
    "root allowed": ((*POD, "securityContext", "runAsNonRoot"), None, "runAsNonRoot"),
    "no seccomp": ((*POD, "securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
    "no AppArmor": ((*POD, "securityContext", "appArmorProfile"), {"type": "Unconfined"}, _POD),
    "sysctls": ((*POD, "securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], _POD),
    "SELinux": ((*POD, "securityContext", "seLinuxOptions"), {"type": "spc_t"}, _POD),
    "no pod context": ((*POD, "securityContext"), None, "runAsNonRoot"),
    "a command": ((*ONE, "command"), ["sh", "-c", "env"], "no command"),
    "other arguments": ((*ONE, "args"), ["-c", "import os"], "[prepare] or [collect]"),
    "a Secret in the environment": (
        (*ONE, "env", "+"),
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "provider-keys", "key": "fal-key"}}},
        "Secrets",
    ),
    "all of a Secret": ((*ONE, "envFrom"), [{"secretRef": {"name": "provider-keys"}}], "Secrets"),
    "all of a ConfigMap": ((*ONE, "envFrom"), [{"configMapRef": {"name": "x"}}], "Secrets"),
    "a hook": ((*ONE, "lifecycle"), {"postStart": ENTERS}, "lifecycle"),
    "a probe": ((*ONE, "livenessProbe"), ENTERS, "probes"),
    "a port of the node": ((*ONE, "ports"), [{"containerPort": 80, "hostPort": 80}], "ports"),
    "a second container": ((*POD, "containers", "+"), {"name": "two", "image": "alpine"}, "one container"),
    "an init container": ((*POD, "initContainers"), [{"name": "two", "image": "alpine"}], "initContainers"),
    "a higher priority": ((*POD, "priorityClassName"), "system-node-critical", "priorityClassName"),
    "another runtime": ((*POD, "runtimeClassName"), "unconfined", "runtimeClassName"),
    "a pull secret": ((*POD, "imagePullSecrets"), [{"name": "registry"}], "imagePullSecrets"),
    "a thousand pods": (("spec", "parallelism"), 1000, "parallelism"),
    "no owner": (("metadata", "ownerReferences"), [], "ownerReferences"),
    "another controller": (
        ("metadata", "ownerReferences", 0),
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u", "controller": True},
        "ownerReferences",
    ),
    "an owner that is no controller": (("metadata", "ownerReferences", 0, "controller"), None, "controller: true"),
    "two owners": (
        ("metadata", "ownerReferences", "+"),
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"},
        "exactly one",
    ),
    "another label of Kueue": (("metadata", "labels", "kueue.x-k8s.io/managed"), "true", "worker.jobLabels"),
    "a label of ours that is none": (("metadata", "labels", "contentgen.dev/x"), "1", "worker.jobLabels"),
    "another name of the part": (("metadata", "labels", "app.kubernetes.io/name"), "x", "worker.jobLabels"),
    "an annotation of the Job": (("metadata", "annotations"), {"example.com/x": "1"}, "worker.jobAnnotations"),
    "another class": (("metadata", "labels", "contentgen.dev/operator-class"), "rival", "worker.jobLabels"),
    "another's uid": (("metadata", "labels", "contentgen.dev/uid"), "another", "contentgen.dev/uid"),
    "no uid": (("metadata", "labels", "contentgen.dev/uid"), None, "contentgen.dev/uid"),
}  # fmt: skip


def other_place(job: Body, namespace: str) -> Body:
    return changed(job, ("metadata", "namespace"), namespace)


def worker_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Abuse of the operator's right to create and delete Jobs, with its token."""
    genuine = changed(place.worker_job(), ("metadata", "name"), "new")
    for name, (path, value, says) in MUTANTS.items():
        attempt = Attempt(name, "POST", jobs(place.namespace), changed(genuine, path, value), says)
        yield "workers", place.operator, attempt
    for namespace in ("kube-system", "kube-public", "kube-node-lease"):
        attempt = Attempt(f"in {namespace}", "POST", jobs(namespace), other_place(genuine, namespace), namespace)
        yield "workers", place.operator, attempt
    theirs = Attempt("deletes another's Job", "DELETE", jobs(place.namespace, "theirs"), None, "none of the operator's")
    yield "workers-deletion", place.operator, theirs


SPENT = ("rerun", "resubmit", "adopt")


def endpoint_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Redirection of a Service in the operator's namespace, with the operator's token."""
    here = f"/apis/discovery.k8s.io/v1/namespaces/{release.NAMESPACE}/endpointslices"
    for name, service in (
        ("contentgen-gateway-evil", "contentgen-gateway"),
        ("contentgen-worker-api-ipv6", "contentgen-gateway"),
        ("contentgen-worker-api-ipv6", None),
        ("contentgen-worker-api-evil", "contentgen-worker-api"),
    ):
        labels = {"kubernetes.io/service-name": service} if service else {}
        body = {
            "metadata": {"name": name, "labels": labels},
            "addressType": "IPv6",
            "endpoints": [{"addresses": ["fd00::1"]}],
            "ports": [{"name": "https", "port": 8443}],
        }
        about = f"slice {name} of {service}"
        says = "the operator writes the EndpointSlices of the Service contentgen-worker-api alone"
        yield "endpoints", place.operator, Attempt(about, "POST", here, body, says)


def spend_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Paid annotations by a user with all other rights, and invalid values by anyone."""
    for kind in Kind:
        held = ours(kind, place.namespace, "held")
        for word in SPENT:
            noted = {"annotations": {f"contentgen.dev/{word}": "0a1b2c3d"}}
            says = f'"contentgen.dev/{word}" can cost money'
            new = resource(kind, place.namespace, "new", **noted)
            made = Attempt(f"{word} of new {kind.plural}", "POST", ours(kind, place.namespace), new, says)
            yield "spend", place.owner, made
            for how, body in annotating(word):
                about = f"{word} of {kind.plural}, {how}"
                yield "spend", place.owner, Attempt(about, "PATCH", held, body, says, how)
    held = ours(Kind.IMAGE_GENERATION, place.namespace, "held")
    for who in (place.admin, place.owner, place.editor, place.gateway):
        for value in ("true", "2", "0", "", " 1", "01", "1.0", "latest"):
            body = {"metadata": {"annotations": {"contentgen.dev/cancel": value}}}
            says = f'"contentgen.dev/cancel" is "{value}"; expected "1", the number of the run under way'
            yield "spend", who, patch(f"cancel={value!r} by {who.name}", held, body, says)
    for value in ("true", "1", "0a1b2c3d"):
        body = {"metadata": {"annotations": {"contentgen.dev/resubmit": value}}}
        says = f'"contentgen.dev/resubmit" is "{value}"; expected none'
        yield "spend", place.admin, patch(f"resubmit={value}", held, body, says)
    for word, value in (("cancel", "true"), ("cancel", "0"), ("resubmit", "true")):
        new = resource(Kind.IMAGE_GENERATION, place.namespace, "new", annotations={f"contentgen.dev/{word}": value})
        made = Attempt(f"new with {word}={value}", "POST", ours(Kind.IMAGE_GENERATION, place.namespace), new, value)
        yield "spend", place.admin, made
    long = {"metadata": {"annotations": {"contentgen.dev/rerun": "a" * 257}}}
    yield "spend", place.admin, patch("a long rerun", held, long, "expected at most 256")


def approvals_without_the_verb(place: AttemptPlace) -> Iterator[Asked]:
    """Approvals and rejections by users with all other rights, in their own name."""
    kind = Kind.IMAGE_GENERATION
    path = ours(kind, place.namespace, "waiting")
    for who in (place.owner, place.editor, place.maker):
        name = f"system:serviceaccount:{place.namespace}:{who.name}"
        says = f"{name} has not the verb approve on {kind.plural}.contentgen.dev"
        for word in ("approve", "reject"):
            for how, body in verdict(f"{WAITING}", name, word):
                yield "approvals", who, Attempt(f"{word} by {who.name}, {how}", "PATCH", path, body, says, how)
        renamed = {"metadata": {"annotations": {"contentgen.dev/approved-by": name}}}
        yield "approvals", who, patch(f"approved-by alone by {who.name}", path, renamed, says)
        bare = {"metadata": {"annotations": {"contentgen.dev/approve": f"{WAITING}"}}}
        yield "approvals", who, patch(f"approve alone by {who.name}", path, bare, says)
        for each_kind in Kind:
            held = ours(each_kind, place.namespace, "held")
            says_too = f"has not the verb approve on {each_kind.plural}.contentgen.dev"
            body = dict(verdict("1", name))[MERGE]
            yield "approvals", who, patch(f"approve {each_kind.plural} by {who.name}", held, body, says_too)


def lowered_approvals(place: AttemptPlace) -> Iterator[Asked]:
    """`spec.approval` set to Automatic, or removed, by users with all rights but `approve`."""
    path = ours(Kind.IMAGE_GENERATION, place.namespace, "waiting")
    for who in (place.owner, place.editor, place.maker):
        for value in ("Automatic", None):
            says = 'spec.approval: "Manual" asks for an approval of each payment'
            yield "approvals", who, patch(f"approval={value} by {who.name}", path, {"spec": {"approval": value}}, says)


def approval_attempts(place: AttemptPlace) -> Iterator[Asked]:
    """Approvals and rejections without the verb, in another's name, of another run, and by a forged status."""
    yield from approvals_without_the_verb(place)
    yield from lowered_approvals(place)
    kind, others = Kind.IMAGE_GENERATION, "alice@example.com"
    path, alice = ours(kind, place.namespace, "waiting"), place.as_user(others)
    for by in (GATEWAY, place.operator.name, "", "Alice@example.com", f"{others} "):
        body = dict(verdict(f"{WAITING}", by))[MERGE]
        says = f'"contentgen.dev/approved-by" is "{by}"; expected "{others}"'
        yield "approvals", alice, patch(f"in the name of {by!r}", path, body, says)
    unnamed = {"metadata": {"annotations": {"contentgen.dev/approve": f"{WAITING}"}}}
    yield "approvals", alice, patch("by nobody", path, unnamed, f'is ""; expected "{others}"')
    yield "approvals", place.gateway, patch("by the gateway for nobody", path, unnamed, f'is ""; expected "{GATEWAY}"')
    for word in ("approve", "reject"):
        for value in ("2", "4", "0", "03", "33", "true", "", "3-", "3 ", "3-a b", "3-" + "a" * 49):
            for who in (alice, place.gateway):
                body = dict(verdict(value, others, word))[MERGE]
                says = f'"contentgen.dev/{word}" is "{value}"; expected "{WAITING}" or "{WAITING}-ANYTHING"'
                yield "approvals", who, patch(f"{word}={value!r} by {who.name}", path, body, says)
    body = dict(verdict("1", others))[MERGE]
    says = "expected none: it names a run that waits for an approval"
    yield "approvals", alice, patch("nothing waits", ours(kind, place.namespace, "held"), body, says)
    body = dict(verdict(f"{WAITING}", "a" * 257))[MERGE]
    yield "approvals", place.gateway, patch("a long name", path, body, "has 257 characters; expected at most 256")
    for value in ("true", "0", "", "1 "):
        new = resource(kind, place.namespace, "new", annotations={"contentgen.dev/approve": value})
        made = Attempt(f"new with approve={value!r}", "POST", ours(kind, place.namespace), new, "the number of a run")
        yield "approvals", alice, made
    given = {"run": WAITING, "since": "2026-01-02T03:04:05Z", "verdict": "Approved", "by": others}
    for who in (place.admin, place.owner, place.as_user(GATEWAY)):
        forged = {"status": {"run": {"approval": given}}}
        says = "is written by the operator"
        yield "status", who, patch(f"an approval in the status by {who.name}", f"{path}/status", forged, says)


def verdict(value: str, by: str, word: str = "approve") -> list[tuple[str, Any]]:
    given = {f"contentgen.dev/{word}": value, "contentgen.dev/approved-by": by}
    added = {"op": "add", "path": "/metadata/annotations", "value": given}
    return [(MERGE, {"metadata": {"annotations": given}}), (JSON_PATCH, [added])]


def annotating(word: str) -> list[tuple[str, Any]]:
    key = f"contentgen.dev/{word}"
    added = {"op": "add", "path": "/metadata/annotations", "value": {key: "0a1b2c3d"}}
    return [(MERGE, {"metadata": {"annotations": {key: "0a1b2c3d"}}}), (JSON_PATCH, [added])]


# Attempts that RBAC refuses


def pod(namespace: str) -> Body:
    return {"metadata": {"name": "new", "namespace": namespace}, "spec": {"containers": [{"name": "c", "image": "a"}]}}


def role(kind: str, name: str = "new") -> Body:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}


def binding(kind: str, account: str) -> Body:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": release.NAMESPACE}
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}
    named = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": "new"}}
    return named | {"roleRef": reference, "subjects": [subject]}


def secrets(place: AttemptPlace) -> Iterator[Attempt]:
    for namespace in ("kube-system", release.NAMESPACE, place.namespace):
        yield Attempt(f"lists Secrets of {namespace}", "GET", f"/api/v1/namespaces/{namespace}/secrets")
        body = {"metadata": {"name": "new"}, "stringData": {"a": "b"}}
        yield Attempt(f"makes a Secret in {namespace}", "POST", f"/api/v1/namespaces/{namespace}/secrets", body)
    yield Attempt("lists all Secrets", "GET", "/api/v1/secrets")
    keys = f"/api/v1/namespaces/{release.NAMESPACE}/secrets/contentgen-providers"
    yield Attempt("reads the providers' keys", "GET", keys)
    yield patch("changes the providers' keys", keys, {"data": None})
    yield Attempt("deletes the providers' keys", "DELETE", keys)
    yield Attempt("reads ConfigMaps", "GET", "/api/v1/namespaces/kube-system/configmaps")
    for account in ("contentgen", "contentgen-gateway", "default"):
        path = f"/api/v1/namespaces/{release.NAMESPACE}/serviceaccounts/{account}/token"
        yield Attempt(f"takes a token of {account}", "POST", path, {"spec": {"audiences": ["x"]}})
    path = f"/api/v1/namespaces/{place.namespace}/serviceaccounts"
    yield Attempt("makes an account", "POST", path, {"metadata": {"name": "new"}})


def workloads(place: AttemptPlace) -> Iterator[Attempt]:
    for namespace in ("kube-system", release.NAMESPACE, place.namespace):
        if namespace == place.namespace:
            continue
        yield Attempt(f"makes a pod in {namespace}", "POST", f"/api/v1/namespaces/{namespace}/pods", pod(namespace))
    for path, kind in (("deployments", "Deployment"), ("daemonsets", "DaemonSet")):
        body = {"metadata": {"name": "new"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template()}}
        yield Attempt(f"makes a {kind}", "POST", f"/apis/apps/v1/namespaces/{place.namespace}/{path}", body)
    cron = {
        "metadata": {"name": "new"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": plain_job("x")["spec"]}},
    }
    yield Attempt("makes a CronJob", "POST", f"/apis/batch/v1/namespaces/{place.namespace}/cronjobs", cron)
    for name in ("contentgen", "contentgen-gateway"):
        own = f"/apis/apps/v1/namespaces/{release.NAMESPACE}/deployments/{name}"
        yield patch(f"changes the Deployment {name}", own, {"spec": {"paused": True}})
        yield patch(f"scales {name}", f"{own}/scale", {"spec": {"replicas": 2}})
    suspended = {"spec": {"suspend": True}}
    yield patch("changes a Job", jobs(place.namespace, "theirs"), suspended)
    yield Attempt("deletes all Jobs", "DELETE", jobs(place.namespace))


def template() -> Body:
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}


def powers(place: AttemptPlace) -> Iterator[Attempt]:
    here = f"/apis/{RBAC}/v1/namespaces/{place.namespace}"
    for account in ("contentgen", "contentgen-gateway"):
        yield Attempt(f"binds {account} here", "POST", f"{here}/rolebindings", binding("RoleBinding", account))
        everywhere = binding("ClusterRoleBinding", account)
        yield Attempt(f"binds {account} everywhere", "POST", f"/apis/{RBAC}/v1/clusterrolebindings", everywhere)
        name = POLICIES if account == "contentgen" else f"{POLICIES}-gateway"
        more = {"rules": role("ClusterRole")["rules"]}
        path = f"/apis/{RBAC}/v1/clusterroles/{name}"
        yield patch(f"gives {account} more rights", path, more)
    yield Attempt("makes a Role", "POST", f"{here}/roles", role("Role"))
    yield Attempt("makes a ClusterRole", "POST", f"/apis/{RBAC}/v1/clusterroles", role("ClusterRole"))
    for user, group in (("admin", ""), (OPERATOR, ""), (GATEWAY, ""), ("x", "system:masters")):
        headers = (("Impersonate-User", user), *((("Impersonate-Group", group),) if group else ()))
        yield Attempt(f"acts as {group or user}", "GET", "/version", headers=headers)
    yield Attempt("makes a namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": "new"}})
    yield Attempt("deletes a namespace", "DELETE", f"/api/v1/namespaces/{place.namespace}")
    relaxed = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    yield patch("relaxes a namespace", f"/api/v1/namespaces/{place.namespace}", relaxed)
    yield Attempt("reads nodes", "GET", "/api/v1/nodes")
    policies = "/apis/admissionregistration.k8s.io/v1"
    for name in POLICY_NAMES:
        for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
            yield Attempt(f"deletes {kind}/{name}", "DELETE", f"{policies}/{kind}/{POLICIES}-{name}")
    hook = {"metadata": {"name": "new"}, "webhooks": []}
    yield Attempt("makes a webhook", "POST", f"{policies}/validatingwebhookconfigurations", hook)
    for plural in PLURALS:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{GROUP}"
        yield Attempt(f"deletes the CRD of {plural}", "DELETE", path)
    network = {"metadata": {"name": "new"}, "spec": {"podSelector": {}}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{release.NAMESPACE}/networkpolicies"
    yield Attempt("makes a NetworkPolicy", "POST", path, network)
    lease = {"metadata": {"name": "new"}}
    yield Attempt("takes a Lease", "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", lease)


def beyond_operator(place: AttemptPlace) -> Iterator[Attempt]:
    """Attempts at requests that only the gateway may send."""
    for kind in Kind:
        new = resource(kind, place.namespace, "new")
        yield Attempt(f"makes {kind.plural}", "POST", ours(kind, place.namespace), new)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods"}},
    }
    yield Attempt("asks what others may", "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    yield Attempt("watches events", "GET", f"/api/v1/namespaces/{place.namespace}/events?watch=true&timeoutSeconds=1")


def beyond_gateway(place: AttemptPlace) -> Iterator[Attempt]:
    """Attempts at requests that only the operator may send."""
    yield Attempt("makes a Job", "POST", jobs(place.namespace), plain_job("new"))
    for path in (jobs(place.namespace), jobs(place.namespace, "theirs"), f"/api/v1/namespaces/{place.namespace}/pods"):
        yield Attempt(f"reads {path}", "GET", path)
    yield Attempt("deletes a Job", "DELETE", jobs(place.namespace, "theirs"))
    certificate = f"/api/v1/namespaces/{release.NAMESPACE}/secrets/contentgen-worker-api-tls"
    yield Attempt("reads the worker API's certificate", "GET", certificate)
    keys = f"/api/v1/namespaces/{release.NAMESPACE}/secrets/contentgen-webhook-keys"
    yield Attempt("reads the keys of notifications", "GET", keys)
    event = {
        "metadata": {"name": "new"},
        "involvedObject": {"kind": "Pod", "namespace": place.namespace, "name": "x"},
        "reason": "x",
    }
    yield Attempt("posts an event", "POST", f"/api/v1/namespaces/{place.namespace}/events", event)
