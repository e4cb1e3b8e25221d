"""The suites of `make test` and `make acceptance`: what each runs, its budget, and the lanes in which they run.

A lane is a queue: its steps run one after another, and lanes run at the same time. Suites that need the processors are
in the lane `local`, at a low priority; suites on the cluster mostly wait. The lane `main release` shares one release,
which works on all namespaces. The other lanes stop operators and stores, so each has a release of its own, of an
operator class of its own and limited to one namespace; they start when the lane `main release` has ended.

`make acceptance` runs all that shows the policies: their cluster suites in the same lanes, and those of full size.
"""

from dataclasses import dataclass, replace

PYTEST = ("-m", "pytest", "-q")


@dataclass(frozen=True)
class SuiteStep:
    """A command that is part of the run; it counts as one test unless it writes a JUnit report.

    `python` are the arguments of our Python, `make` a target. `budget` is in seconds, where the cluster stands already.
    `needs` names the steps that must have succeeded.
    """

    name: str
    about: str
    budget: int
    python: tuple[str, ...] = ()
    make: str = ""
    needs: tuple[str, ...] = ()
    reports: bool = False


@dataclass(frozen=True)
class SuiteLane:
    """Steps that run one after another; it starts when the lane `after` has ended, whatever came of it.

    `release` is the namespace of the lane's own release; None for suites of the main release, or of none.
    """

    name: str
    steps: tuple[SuiteStep, ...]
    after: str | None = None
    release: str | None = None
    nice: int = 0


def suite(
    name: str, about: str, budget: int, *paths: str, needs: tuple[str, ...] = (), processes: int = 1
) -> SuiteStep:
    """One pytest run over these paths of tests/."""
    # By file: the campaigns check their size where one process has run them whole.
    spread = ("-n", str(processes), "--dist", "loadfile") if processes > 1 else ()
    return SuiteStep(name, about, budget, (*PYTEST, *spread, *(f"tests/{path}" for path in paths)), "", needs, True)


def on_cluster(name: str, about: str, budget: int, *files: str) -> SuiteStep:
    """A suite that needs the cluster, and programs such as helm beside it."""
    return suite(name, about, budget, *(f"cluster/{file}" for file in files), needs=("cluster", "chart tools"))


def own_release(letter: str, *steps: SuiteStep) -> SuiteLane:
    """A lane on the cluster with a release of its own, which is uninstalled at the end."""
    namespace = f"lane-{letter}"
    down = SuiteStep(
        f"{namespace} down", "its release uninstalled", 30, ("-m", "contentgen_cluster", "lanes-down", namespace)
    )
    return SuiteLane(namespace, (*steps, down), after=WIDE.name, release=namespace)


VERIFY = SuiteStep("verify", "ruff, mypy, import contracts, generated files", 120, make="verify")
CLUSTER = SuiteStep("cluster", "brought up or found running", 60, ("-m", "contentgen_cluster", "up"))
CHART_TOOLS = SuiteStep(
    "chart tools", "helm 3, helm-unittest, kstatus, promtool", 10, ("-m", "contentgen_cluster", "chart-tools"),
    needs=("cluster",),
)  # fmt: skip
LANES_DOWN = SuiteStep(
    "releases", "those that an interrupted run left", 10, ("-m", "contentgen_cluster", "lanes-down"), needs=("cluster",)
)

TRY_FILES = SuiteStep(
    "try files", "jars and video of `contentgen try`", 60, ("-m", "contentgen_demo.wheel", "--data"),
)  # fmt: skip
KUBERNETES = SuiteStep(
    "kubernetes", "the chart, and CRDs under upgrade and rollback, on an API server alone", 120,
    ("-m", "contentgen_cluster", "api-server", "1.35", *PYTEST, "tests/kubernetes"),
    needs=("cluster", "chart tools"), reports=True,
)  # fmt: skip

LOCAL = SuiteLane(
    "local",
    (
        suite("pages", "Chromium goes through every page, over made-up jobs", 90, "pages"),
        suite("site", "the documentation, built strictly, in Chromium", 60, "site"),
        suite("unit", "in memory: stores, providers, API server", 900, "unit", processes=2),
        VERIFY,
        TRY_FILES,
        suite("try", "`contentgen try`: samples, a refused manifest, one payment", 240, "try", needs=("try files",)),
        suite("hostile", "a sample of hostile and broken files, in confined children", 60, "hostile"),
        suite("integration", "real store servers and the sandbox over HTTP", 120, "integration", needs=("cluster",)),
        on_cluster(
            "chart",
            "helm 3 and 4, helm-unittest, promtool, rendered",
            90,
            "chart/test_chart.py",
            "chart/test_manifests.py",
            "chart/test_gitops_examples.py",
            "monitoring",
        ),
        KUBERNETES,
        SuiteStep(
            "sample of mutants", "a test fails without a defence of each policy", 60, ("tools/mutants.py", "--sample")
        ),
    ),
    nice=10,
)
WIDE = SuiteLane(
    "main release",
    (
        CLUSTER,
        CHART_TOOLS,
        LANES_DOWN,
        on_cluster("crds", "the real API server", 60, "chart/test_crds_api_server.py", "chart/test_admission.py"),
        on_cluster("boundary", "attempts of tenants, and with our tokens", 90, "tenancy/test_boundary.py"),
        on_cluster(
            "gateway", "HTTP and Chromium alone", 120, "gateway/test_gateway_pages.py", "gateway/test_gateway.py"
        ),
        on_cluster("documents", "commands and manifests of README, docs and samples", 120, "documents/test_docs.py"),
        on_cluster("kubectl", "the plugin", 60, "documents/test_cli.py"),
        on_cluster("approval", "admitted, refused, lapsed, rejected, and dry runs", 120, "policies/test_approval.py"),
        on_cluster("budgets", "forty pictures under a budget for ten", 240, "policies/test_budgets.py"),
        on_cluster("tenants", "two hundred attempts to leave a namespace", 90, "tenancy/test_tenants.py"),
        on_cluster(
            "namespaces", "deleted with resources in them, and created again", 120, "tenancy/test_namespaces.py"
        ),
        on_cluster("classes", "several installations, and resources that move", 300, "installations/test_classes.py"),
        on_cluster(
            "selection",
            "namespaces of a list and with labels, which leave and come back",
            180,
            "installations/test_selection.py",
        ),
        on_cluster(
            "provider accounts", "labels of namespaces, and separate bills", 180, "policies/test_provider_accounts.py"
        ),
        on_cluster(
            "audit", "a request that nobody asked for is found, and a tenant is refused", 240, "policies/test_audit.py"
        ),
        on_cluster("metrics", "a scrape through the Service", 60, "chart/test_metrics.py"),
        on_cluster("chart installs", "helm 3 and 4", 240, "chart/test_chart_install.py"),
    ),
)
OWN = (
    own_release(
        "a",
        on_cluster("outages", "S3 and MongoDB away at every stage", 360, "operator/test_outages.py"),
        on_cluster("lifecycle", "versions, deletion, deadlines", 120, "operator/test_lifecycle.py"),
        on_cluster("cleanup", "expiry, given-up work, temporary files", 180, "policies/test_cleanup.py"),
        on_cluster("notifications", "webhooks, and receivers that fail", 240, "policies/test_notifications.py"),
    ),
    own_release(
        "b",
        on_cluster(
            "backup", "all deleted, and restored; the ledger knows no refusal yet", 60, "operator/test_backup.py"
        ),
        on_cluster(
            "purchases", "a rewound ledger, a full quota and an expired result", 90, "operator/test_purchases.py"
        ),
        on_cluster(
            "rotation", "Secrets of the stores change under a running release", 90, "installations/test_rotation.py"
        ),
        on_cluster("bad input", "sources, results, providers, keys", 300, "operator/test_bad_input.py"),
        on_cluster("gitops", "kstatus and Argo CD's Lua, over real watches", 60, "chart/test_gitops.py"),
    ),
    own_release(
        "c",
        on_cluster("end to end", "three kinds, killed operators, mutants", 300, "operator/test_end_to_end.py"),
        on_cluster("worker API", "tokens, certificates, an operator that is away", 150, "operator/test_desk.py"),
        on_cluster("queues", "limits, turns, circuits, Kueue's labels", 240, "policies/test_queues.py"),
        on_cluster("soak", "a minute of jobs and killed operators", 120, "operator/test_soak.py"),
        on_cluster("takeovers", "the leader frozen, cut off and rolled out", 180, "installations/test_takeovers.py"),
    ),
    own_release(
        "d",
        on_cluster(
            "dead node",
            "a second node is cut off or dies, leader and workers on it",
            600,
            "installations/test_dead_node.py",
        ),
    ),
)
LANES = (LOCAL, WIDE, *OWN)
POLICIES = ("tests/cluster/policies", "tests/cluster/documents/test_docs.py")
ON_POLICIES = SuiteLane(
    "policies",
    (
        suite("samples", "valid, documented, and applied by the commands of the documents", 120,
              "unit/contract", "unit/demo/test_samples.py", "unit/docs"),
        SuiteStep("reference", "generated files are those of the models", 60, ("tools/generate.py", "--check")),
        suite(
            "policies alone", "decision tables, crashes, freezes, attacks; budgets and rehearsal at full size", 2400,
            "unit/operator/policies", "unit/operator/notifications", "unit/operator/audit",
            "unit/operator/process/test_circuit_breaker.py", "unit/operator/process/test_fair_turns.py",
            "unit/operator/process/test_temporary_files.py", "unit/operator/process/test_usage_metrics.py",
            "unit/gateway/policies", "unit/gateway/auth/test_approve.py", "unit/gateway/auth/test_audit.py",
            "unit/gateway/pages/test_given_up.py", "unit/cli", "unit/simulation/test_rehearsal.py",
        ),
        suite(
            "policies with stores", "budgets, notifications, accounts and temporary files on real store servers", 120,
            "integration/operator/test_budgets.py", "integration/operator/test_outbox.py",
            "integration/operator/test_provider_accounts.py", "integration/operator/test_temporary_files.py",
            needs=("cluster",),
        ),
        KUBERNETES,  # who may read budgets
        SuiteStep("rehearsal", "randomized plans: replies lost, crashes, edits of waiting runs", 1200, make="rehearse"),
        SuiteStep("mutants", "a test fails without each defence of a policy", 600, ("tools/mutants.py", "--policies")),
    ),
    nice=10,
)  # fmt: skip
FULL_SIZE = on_cluster(
    "full size", "200 pictures under a frozen leader, 1,000 resources in three namespaces", 3600, "policies/acceptance"
)


def of_policies(lane: SuiteLane) -> SuiteLane | None:
    """The lane with the suites of policies and what they need; None: it has none."""
    chosen = [each for each in lane.steps if any(word.startswith(POLICIES) for word in each.python)]
    if not chosen:
        return None
    around = [each for each in lane.steps if each in (CLUSTER, CHART_TOOLS, LANES_DOWN) or "lanes-down" in each.python]
    steps = [each for each in lane.steps if each in chosen or each in around]
    return replace(lane, steps=(*steps, *((FULL_SIZE,) if lane is WIDE else ())))


ACCEPTANCE = (ON_POLICIES, *(each for lane in LANES if (each := of_policies(lane)) is not None))
EXPLAIN = suite("explain", "your MongoDB (MONGODB_URI): how it would answer", 60, "explain")
"""Runs in the lane `local` where MONGODB_URI names a server."""
