"""Reviewed exceptions: commands that are not run and why, substitutes for a reader's own names, and blocks that are
neither command nor manifest. tests/cluster/documents/test_docs.py runs everything else.

An entry without a match fails a test.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from contentgen_documents.extract import Command, DocumentedManifest, Figure


@dataclass(frozen=True)
class NotRun:
    """Verbatim commands that no test runs, with the reason; they are still checked statically."""

    reason: str
    commands: tuple[str, ...]


NOT_RUN = (
    NotRun(
        "it would run this very test, or rebuild the cluster that this test runs on",
        (
            "make test",
            "make test-cluster",
            "make cluster",
            "make demo",
            "make demo CONTEXT=name IMAGE_PREFIX=registry/path",
            "make demo VIDEO=path-or-url",
            "python -m contentgen_cluster up",
            "python -m contentgen_cluster node-up",
            "python -m contentgen_cluster api-server 1.36 -m pytest tests/kubernetes",
        ),
    ),
    NotRun(
        "it takes minutes and writes dist/release; tests/unit/release tests its functions",
        (
            "make release",
            "make release VERSION=1.2.3 KEY=release.key",
            "make release-check",
            "make release-check VERSION=1.2.3 PUBKEY=contentgen.pub",
            "make release-verify",
            "make publish",
            "make publish VERSION=1.2.3 PUBKEY=contentgen.pub",
        ),
    ),
    NotRun("a part of it, `--data`, is a step of `make test`; make try-check installs the wheel", ("make wheel",)),
    NotRun(
        "it starts its own API server, stores and operator; tests/try does the same",
        (
            "contentgen try",
            "contentgen try my.yaml",
            "contentgen try my.yaml --fal-key-file fal.key",
            "contentgen try my.yaml --assemblyai-key-file assemblyai.key --bucket my-bucket",
            "make try",
            "make try ARGS=my.yaml",
        ),
    ),
    NotRun(
        "it needs keys of the real services; tests/unit/real and tests/integration/sandbox/test_real_checks.py run it",
        (
            "make test-real",
            "make test-real ARGS=--later",
            "make test-real MAX_USD=3",
            'make test-real ARGS="--again pictures"',
            'make test-real ARGS="--only prices --only pictures"',
        ),
    ),
    NotRun("it ends the cluster", ("make cluster-down",)),
    NotRun("it serves until Ctrl-C, at ports of this machine that may be taken; test_ui.py has it", ("make ui",)),
    NotRun("it serves until Ctrl-C, at a port of this machine that may be taken; tests/pages has it", ("make pages",)),
    NotRun("it is a suite or a part of `make test`", ("make check", "make verify")),
    NotRun("`make test` runs a sample of it", ("make test-media", "make test-hostile", "make test-pages")),
    NotRun("it lists the targets; tests/unit/docs/test_docs.py compares them with the documents", ("make help-all",)),
    NotRun("it runs tests that `make test` runs", (
        ".venv/bin/pytest tests/unit/operator/payment/test_ledger.py",
        ".venv/bin/pytest tests/unit/operator/payment -k lost_reply -x",
        ".venv/bin/pytest tests/unit -n auto --dist loadfile",
    )),
    NotRun("it builds a program first; tests/unit/tooling/test_olm_bundle.py has the bundle", ("make olm-validate",)),
    NotRun(
        "it takes minutes, and writes figures or files of the repository",
        (
            "make bench-e2e",
            "make bench-gateway",
            "make bench-media",
            "make bench-scaling",
            "make docs-pictures",
            "make format",
            "make generate",
            "make lock",
            "make lock-base",
            "make rehearse",
            "make soak",
            "make test-hostile",
            "make test-kubernetes",
            "make vendor",
            "python -m contentgen_bench unseen",
            "python -m contentgen_bench videos",
            "python -m contentgen_cluster images --output dist/images --version 0.1.0",
        ),
    ),
    NotRun(
        "it asks PyPI's vulnerability service, or Debian's archives, which the cluster's machine may not reach",
        ("make audit", "make audit-base"),
    ),
    NotRun(
        "it would replace the other suites' release; tests/chart/test_manifests.py builds it",
        ("kubectl apply --server-side --kustomize deploy/kustomize/overlays/example",),
    ),
    NotRun(
        "it asks for kinds of Flux and Argo CD; tests/unit/tooling/test_gitops_examples.py checks both files",
        (
            "kubectl apply --filename deploy/gitops/flux/from-registry.yaml",
            "kubectl apply --filename deploy/gitops/argocd/application.yaml",
        ),
    ),
    NotRun(
        "it asks the gateway of the namespace contentgen, and the tests' release may be in another one; "
        "tests/cluster/gateway/test_plugin_gateway.py has it",
        ("kubectl contentgen orphans", "kubectl contentgen download avatar"),
    ),
    NotRun(
        "it asks the gateway of the namespace contentgen, and the tests' release may be in another one; test_audit.py "
        "and test_notifications.py of tests/cluster/policies have it",
        (
            "kubectl contentgen audit",
            "kubectl contentgen notifications avatar",
            "kubectl contentgen notifications NAME",
            "kubectl contentgen notifications NAME --namespace NAMESPACE",
            "kubectl contentgen notifications NAME --resend ID",
        ),
    ),
    NotRun(
        "it names a request whose reply was lost, and a healthy release has none; test_cli.py has it",
        ("kubectl contentgen adopt NAME REQUEST_ID", "kubectl contentgen adopt avatar REQUEST_ID"),
    ),
    NotRun("this release would not serve it any more; tests/cluster/installations/test_classes.py moves resources", (
        "kubectl contentgen move avatar --to batch",
        "kubectl contentgen move avatar transcript/talk --to batch",
        "kubectl contentgen move --all --to batch -n media",
    )),
    NotRun("the later jobs of the namespace would wait; tests/unit/operator/approval/test_approval.py has the label", (
        "kubectl label namespace marketing contentgen.dev/approval=Manual",
    )),
    NotRun("no run waits for an approval here; tests/unit/cli/test_cli.py has both commands", (
        "kubectl contentgen approve NAME",
        "kubectl contentgen approve avatar",
        "kubectl contentgen approve poster",
        "kubectl contentgen reject NAME",
    )),
    NotRun("it needs a Docker engine and a registry", (
        "docker build --tag REGISTRY/contentgen-operator:0.1.0 .",
        "docker build --tag REGISTRY/contentgen-worker:0.1.0 --file worker-image/Dockerfile .",
    )),
    NotRun("it installs into the user's home from a package index", (
        "uv tool install '.[cli]'",
        "uv tool install 'contentgen-0.1.0-py3-none-any.whl[cli]'",
    )),
    NotRun("PromQL, for Prometheus; promtool checks the same metrics in tests/chart", (
        "sum by (provider, model) (increase(contentgen_estimated_dollars_total[1h]))",
    )),
    NotRun("it stops the operator; test_backup.py does it", (
        "kubectl --namespace contentgen scale deploy/contentgen --replicas 0",
    )),
    NotRun("it says whose purchases they are; tests/unit/test_operator_tenan*.py do it", (
        "kubectl --namespace contentgen exec deploy/contentgen-gateway -- contentgen namespaces confirm",
        "kubectl -n contentgen exec deploy/contentgen-gateway -- contentgen namespaces confirm --cluster UID --fresh",
        "kubectl -n contentgen exec deploy/contentgen-gateway -- contentgen namespaces map web --uid UID --to unscoped",
    )),
    NotRun("it asks for cert-manager's kind, which this cluster has not", (
        "kubectl -n contentgen describe certificate",
    )),
    NotRun("it wants a run that was paid for and has failed, as test_collect.py has", (
        "kubectl contentgen collect NAME",
        "kubectl contentgen collect avatar",
    )),
)  # fmt: skip

NAMED_ONLY = (
    "kubectl delete --kustomize",
    "contentgen backup",
    "contentgen restore",
    "contentgen-worker prepare",
    "curl --location",
    "helm test",
    "helm uninstall",
    "helm upgrade",
    "kubectl apply",
    "kubectl contentgen",
    "kubectl contentgen move",
    "kubectl create token",
    "kubectl port-forward",
    "kubectl wait",
    "kubectl wait --for=condition=Complete",
    "kubectl wait --for=condition=Failed",
)
"""Commands that sentences mention without their arguments; they are not complete."""


@dataclass(frozen=True)
class StandIn:
    """Substitute for a reader's own value; `$WORDS` are variables of the session."""

    old: str
    new: str
    reason: str
    files: tuple[str, ...] = ()

    def put(self, text: str) -> str:
        return self._pattern.sub(lambda _: self.new, text)

    @property
    def _pattern(self) -> re.Pattern[str]:
        """Pattern for whole words: NAME does not match NAMESPACE."""
        begin = r"(?<![\w-])" if re.match(r"\w", self.old) else ""
        end = r"(?![\w-])" if re.search(r"\w$", self.old) else ""
        return re.compile(begin + re.escape(self.old) + end)


PLAY = (
    "docs/concepts.md",
    "docs/kubectl-plugin.md",
    "docs/runbooks/ContentgenSpending.md",
    "docs/troubleshooting.md",
)
"""Documents whose commands change their sample resource: each has a namespace with ImageGenerations of its own."""

ANEW = {"README.md": "kubectl apply -f avatar.yaml"}
"""First command of a document's second chapter, which has a namespace of its own."""

_PORTS = "ports of this machine may be taken"
_RELEASE = "the release's namespace"
_THERE = "a resource that is there"
_NOBODY = "nobody is there to be asked; then its end is waited for, because the next commands are for what has ended"
_UNDER_WAY = "a run that is under way, whatever the machine's speed"
_ESTIMATED = "a run that has ended with its estimate; nobody is there to be asked"
_HEALTHY = "a healthy release says nothing of the kind: what it does say must be found"
_UNCHANGED = "the release stays as it is: the server is asked, and does nothing"
_CANCEL = (
    "kubectl apply -f waiting.yaml && kubectl wait imagegen/waiting --for=jsonpath='{.status.reason}'=LoraMissing"
    " && kubectl contentgen cancel imagegen/waiting"
)
_RETRY = (
    "retry imagegen/avatar --yes && kubectl wait imagegen/avatar --for=jsonpath='{.status.run.number}'=2"
    " && kubectl contentgen watch imagegen/avatar"
)
_PAID = (
    "kubectl apply -f estimate.yaml && kubectl wait imagegen/estimate --for=jsonpath='{.status.reason}'=Estimated"
    " && kubectl contentgen retry imagegen/estimate --paid --yes && kubectl contentgen watch imagegen/estimate"
)

STAND_INS = (
    # Names and addresses of installed objects
    StandIn("--namespace contentgen", "--namespace $RELEASE_NAMESPACE", _RELEASE),
    StandIn("-n contentgen", "-n $RELEASE_NAMESPACE", _RELEASE),
    StandIn("serviceaccount:contentgen:", "serviceaccount:$RELEASE_NAMESPACE:", _RELEASE),
    StandIn("--namespace marketing", "--namespace $NAMESPACE", "a team's namespace"),
    StandIn("-n marketing", "-n $NAMESPACE", "a team's namespace"),
    StandIn(
        "apply -f examples/policies/",
        "apply --dry-run=server -f examples/policies/",
        "tests/cluster/policies has the runs",
    ),
    StandIn(
        "apply --filename examples/policies/",
        "apply --dry-run=server --filename examples/policies/",
        "it would hold the payments of all tests",
    ),
    StandIn("contentbudget hold-payments", "contentbudget hold-payments --ignore-not-found", "it is not applied"),
    StandIn("--namespace argocd", "--namespace $NAMESPACE", "a ConfigMap like Argo CD's is there"),
    StandIn("http://localhost:5000", "$GATEWAY", _PORTS),
    StandIn("http://localhost:8000", "$SANDBOX", _PORTS),
    StandIn("localhost:8080", "localhost:$FREE_PORT", _PORTS),
    StandIn("5000:80", ":80", _PORTS),
    StandIn("8000:80", ":80", _PORTS),
    StandIn("svc/contentgen-metrics 8080", "svc/contentgen-metrics $FREE_PORT:8080", _PORTS),
    StandIn("deployment/contentgen 8080", "deployment/contentgen :8080", _PORTS),
    StandIn("https://…/api", "$GATEWAY/api", "a gateway that is there"),
    # Objects of the reader
    StandIn("KIND NAME --namespace NAMESPACE", "lora avatar", _THERE),
    StandIn("patch lora NAME", "patch imagegen avatar", _THERE, PLAY),
    StandIn("create token NAME", "create token default", "an account that is there"),
    StandIn("kubectl contentgen cancel avatar", _CANCEL, _UNDER_WAY),
    StandIn("kubectl contentgen cancel NAME", _CANCEL, _UNDER_WAY),
    StandIn("kubectl contentgen retry avatar --paid", _PAID, _ESTIMATED),
    StandIn("kubectl contentgen retry NAME --paid", _PAID, _ESTIMATED),
    StandIn("retry NAME", "why NAME", "a run is under way there", ("docs/runbooks/ContentgenResultsNotStored.md",)),
    StandIn("retry avatar", _RETRY, _NOBODY),
    StandIn("retry NAME", _RETRY, _NOBODY, PLAY),
    StandIn("operatorclass CLASS", "operatorclass default", "a class that is there"),
    StandIn("NAME", "imagegen/avatar", _THERE, PLAY),
    StandIn("NAME", "lora/avatar", _THERE),
    StandIn("annotate …", "annotate lora avatar", _THERE),
    StandIn("describe pod …", "describe pod --selector contentgen.dev/uid=$JOB --namespace $NAMESPACE", "a Job's pod"),
    StandIn("uid=UID", "uid=$JOB", _THERE),
    StandIn("--previous ", "", "it has not ended before"),
    StandIn("(ERROR|WARNING)", "(ERROR|WARNING|INFO)", _HEALTHY),
    StandIn("50[0-9] in", "[25]0[0-9] in", _HEALTHY),
    StandIn("a store is unavailable|", "a store is unavailable|watch|", _HEALTHY),
    StandIn("grep Failed", "grep Completed", _HEALTHY),
    StandIn("grep 'a notification failed for a day'", "grep Completed", _HEALTHY),
    StandIn("grep -i notification", "grep Completed", _HEALTHY),
    StandIn("grep -E 'Collecting|CollectBacklog'", "grep Completed", _HEALTHY),
    StandIn("grep CircuitOpen", "grep Completed", _HEALTHY),
    StandIn("grep 'the circuit of'", "grep Completed", _HEALTHY),
    StandIn("grep 'buying is stopped'", "grep Completed", _HEALTHY),
    StandIn("grep ProviderNotConfigured", "grep Completed", _HEALTHY),
    StandIn("grep ProviderUnavailable", "grep Completed", _HEALTHY),
    StandIn("grep StoreUnavailable", "grep Completed", _HEALTHY),
    StandIn("grep SubmissionUnknown", "grep Completed", _HEALTHY),
    StandIn('"marketing"', """"'$NAMESPACE'\"""", "a team's namespace"),
    StandIn("[ … ]", """[ '"$OLD_JOB"' ]""", "a document of an older service"),
    StandIn("mongodb://old/", "$OLD_MONGODB --from-database none", "no older service is there"),
    StandIn("mongoexport …", """printf '%s' "$OLD_JOB\"""", "a document of an older service"),
    StandIn("…", "example", "any value"),
    # Changes of the release, which other tests use
    StandIn("helm install", "helm template", "the name is in use; rendered with the same values"),
    StandIn(
        "helm upgrade contentgen charts/contentgen --namespace $RELEASE_NAMESPACE --reset-then-reuse-values",
        "helm template contentgen charts/contentgen --set sandbox.enabled=true",
        "rendered: the Prometheus operator's kinds are not on this cluster",
        ("docs/reference/metrics.md",),
    ),
    StandIn("helm upgrade", "helm upgrade --dry-run=server", _UNCHANGED),
    StandIn("helm uninstall", "helm uninstall --dry-run", _UNCHANGED),
    StandIn("create namespace contentgen", "create namespace contentgen --dry-run=client", "it is there already"),
    StandIn("create secret generic", "create secret generic --dry-run=client", "it may be there already"),
    StandIn("patch secret", "patch --dry-run=server secret", _UNCHANGED),
    StandIn("kubectl patch --namespace", "kubectl patch --dry-run=server --namespace", _UNCHANGED),
    StandIn("kubectl delete", "kubectl delete --dry-run=server", _UNCHANGED),
    StandIn("kubectl annotate crd", "kubectl annotate --dry-run=server crd", _UNCHANGED),
    StandIn("scale deploy/contentgen", "scale --dry-run=server deploy/contentgen", _UNCHANGED),
)
"""Substitutes in the order of their application; each applies to the result of the earlier ones."""


@dataclass(frozen=True)
class ReviewedFile:
    """File that a reader writes: the manifests of a page, by kind."""

    name: str
    page: str
    kinds: tuple[str, ...]


FILES = (
    ReviewedFile("avatar.yaml", "README.md", ("LoraTraining",)),
    ReviewedFile("values.yaml", "docs/install.md", ("",)),
    ReviewedFile("content-maker.yaml", "docs/gateway.md", ("Role", "RoleBinding")),
    ReviewedFile("importer.yaml", "docs/backup.md", ("Role", "RoleBinding")),
)

IN_MANIFESTS = (
    ("https://example.com/talk.mp4", "$FILM"),
    ("http://contentgen-sandbox.contentgen.svc/media/talk.mp4", "$FILM"),
    ("namespace: marketing", "namespace: $NAMESPACE"),
)
"""Substitutes for a reader's own names in manifests."""


@dataclass(frozen=True)
class KnownFigure:
    """Block that is neither command nor manifest, identified by its first characters."""

    file: str
    begins: str
    reason: str


FIGURES = (
    KnownFigure("README.md", "loras/{userId}/", "where files lie in the bucket"),
    KnownFigure("docs/architecture.md", "prepare (Job) ──►", "a diagram"),
    KnownFigure("docs/architecture.md", "observe   reads", "a diagram"),
    KnownFigure("docs/architecture.md", "flowchart TD", "tests/unit/docs/test_architecture.py compares it"),
    KnownFigure("docs/architecture.md", "sequenceDiagram", "a diagram"),
    KnownFigure("docs/architecture.md", "stateDiagram-v2", "tests/unit/docs/test_architecture.py compares it"),
    KnownFigure("docs/concepts.md", "prepare (Job, free)", "a diagram"),
    KnownFigure("docs/install.md", "proxy:\n  https:", "the chart's values; its tests render them"),
    KnownFigure("docs/install.md", "worker:\n  kinds:", "the chart's values; its tests render them"),
    KnownFigure("docs/lifecycle.md", "flowchart TD", "diagrams; `make verify` compares them"),
    KnownFigure("docs/media.md", "frames ──►", "a diagram"),
    KnownFigure("docs/try.md", "✗ 3 errors", "tests/unit/try/test_checks.py compares it"),
    KnownFigure("docs/releasing.md", "openssl genpkey", "tests/unit/release makes and reads such keys"),
    KnownFigure("docs/releasing.md", "base64 -d", "tests/unit/release verifies a signature with openssl"),
    KnownFigure("docs/reference/cli.md", "Usage: kubectl contentgen", "the plugin's help; `make verify` compares it"),
)


@dataclass(frozen=True)
class NotApplied:
    """Manifests that are not applied, with the reason."""

    file: str
    kind: str
    reason: str


NOT_APPLIED = (
    NotApplied("docs/install.md", "Certificate", "cert-manager's kind is not on this cluster; its shape is checked"),
    NotApplied("docs/policies.md", "", "no manifests: the chart's values, by its schema"),
    NotApplied("docs/install.md", "OperatorGroup", "OLM's kind is not on this cluster"),
    NotApplied("docs/install.md", "Subscription", "OLM's kind is not on this cluster"),
    NotApplied("docs/install.md", "", "no manifests: the chart's values, by its schema; a policy of AWS, by its shape"),
)


def not_run(command: Command) -> str:
    """Reason why no test runs the command; empty if it is run."""
    if command.text in NAMED_ONLY:
        return "a sentence names it without what it is given"
    return next((entry.reason for entry in NOT_RUN if command.text in entry.commands), "")


def typed(command: Command) -> str:
    """Command with its substitutes."""
    text = command.text
    for each in STAND_INS:
        if not each.files or command.file in each.files:
            text = each.put(text)
    return text


def not_applied(manifest: DocumentedManifest) -> str:
    """Reason why the manifest is not applied; empty if it is."""
    matching = (each for each in NOT_APPLIED if (each.file, each.kind) == (manifest.file, manifest.kind))
    return next((each.reason for each in matching), "")


def is_known(figure: Figure) -> bool:
    return any(
        each_figure.file == figure.file and figure.text.startswith(each_figure.begins) for each_figure in FIGURES
    )


def dead_entries(
    commands: Iterable[Command], manifests: Iterable[DocumentedManifest], figures: Iterable[Figure]
) -> list[str]:
    """Table entries without a match."""
    commands, manifests, figures = tuple(commands), tuple(manifests), tuple(figures)
    texts = {command.text for command in commands}
    listed = [*NAMED_ONLY, *(each_command for entry in NOT_RUN for each_command in entry.commands)]
    dead = [each for each in listed if each not in texts]
    dead += [each.old for each in STAND_INS if not _stands_in(each, commands)]
    dead += [
        each_figure.begins for each_figure in FIGURES if not any(_begins(each_figure, figure) for figure in figures)
    ]
    dead += [
        f"{e.file} {e.kind}" for e in NOT_APPLIED if not any((m.file, m.kind) == (e.file, e.kind) for m in manifests)
    ]
    dead += [file for file in PLAY if not any(command.file == file for command in commands)]
    return dead + [text for file, text in ANEW.items() if not any((c.file, c.text) == (file, text) for c in commands)]


def _stands_in(entry: StandIn, commands: Iterable[Command]) -> bool:
    """Whether the entry changes a command that is run, after the entries before it."""
    for command in commands:
        if not_run(command) or (entry.files and command.file not in entry.files):
            continue
        text = command.text
        for each in STAND_INS:
            if each is entry:
                break
            if not each.files or command.file in each.files:
                text = each.put(text)
        if entry.put(text) != text:
            return True
    return False


def _begins(entry: KnownFigure, figure: Figure) -> bool:
    return entry.file == figure.file and figure.text.startswith(entry.begins)
