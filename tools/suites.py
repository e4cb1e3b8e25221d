"""The suites of `make test`, `make test-cluster` and `make acceptance`, and the lanes in which they run.

A lane is a queue: its steps run one after another, and lanes run at the same time. `make test` needs neither root nor a
cluster. In `make test-cluster` the lane `main release` shares one release, which works on all namespaces. The lanes
after it stop operators and stores, so each has a release of its own, of an operator class of its own and limited to one
namespace; they start when the lane `main release` has ended.

`make acceptance` runs all that shows the policies: their cluster suites in the same lanes, and those of full size.
"""

import os
import shutil
from dataclasses import dataclass, replace

PYTEST = ("-m", "pytest", "-q")


@dataclass(frozen=True)
class Program:
    """Program that a step needs, and the Debian package that has it. As root the steps install it themselves."""

    name: str
    package: str

    def is_missing(self) -> bool:
        return shutil.which(self.name) is None and (os.geteuid() != 0 or shutil.which("apt-get") is None)


CHROMIUM = Program("chromium", "chromium")
PROMTOOL = Program("promtool", "prometheus")


@dataclass(frozen=True)
class SuiteStep:
    """A command that is part of the run; it counts as one test unless it writes a JUnit report.

    `python` are the arguments of our Python, `make` a target. `needs` names the steps that must have succeeded.
    Where one of `programs` is missing, the step is not run, and the end of the run says so.
    """

    name: str
    about: str
    python: tuple[str, ...] = ()
    make: str = ""
    needs: tuple[str, ...] = ()
    programs: tuple[Program, ...] = ()
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


def command(
    name: str, about: str, *python: str, needs: tuple[str, ...] = (), programs: tuple[Program, ...] = ()
) -> SuiteStep:
    """A step that runs a command of our Python."""
    return SuiteStep(name, about, python, needs=needs, programs=programs)


def suite(
    name: str,
    about: str,
    *paths: str,
    needs: tuple[str, ...] = (),
    programs: tuple[Program, ...] = (),
    processes: str = "",
) -> SuiteStep:
    """One pytest run over these paths of tests/; `processes` is xdist's `-n`."""
    # By file: the campaigns check their size where one process has run them whole.
    spread = ("-n", processes, "--dist", "loadfile") if processes else ()
    python = (*PYTEST, *spread, *(f"tests/{path}" for path in paths))
    return SuiteStep(name, about, python, needs=needs, programs=programs, reports=True)


def on_cluster(name: str, about: str, *files: str) -> SuiteStep:
    """A suite that needs the cluster, and programs such as helm beside it."""
    return suite(name, about, *(f"cluster/{file}" for file in files), needs=("cluster", "cluster tools"))


def own_release(letter: str, *steps: SuiteStep) -> SuiteLane:
    """A lane on the cluster with a release of its own, which is uninstalled at the end."""
    namespace = f"lane-{letter}"
    down = command(f"{namespace} down", "its release uninstalled", "-m", "contentgen_cluster", "lanes-down", namespace)
    return SuiteLane(namespace, (*steps, down), after=WIDE.name, release=namespace)


STORES = command("stores", "jars, versitygw", "-m", "contentgen_cluster", "stores")
CHART_TOOLS = command(
    "chart tools", "helm 3 and 4, helm-unittest", "-m", "contentgen_cluster", "tools", "helm", "helm3", "helm-unittest"
)
ALONE = (
    SuiteLane("in memory", (suite("unit", "in memory: stores, providers, API server", "unit", processes="auto"),)),
    SuiteLane(
        "programs",
        (
            STORES,
            suite(
                "integration",
                "real store servers and the sandbox over HTTP",
                "integration",
                "explain",
                needs=("stores",),
                processes="2",
            ),
            command("try files", "jars and video of `contentgen try`", "-m", "contentgen_demo.wheel", "--data"),
            suite("try", "`contentgen try`: samples, a refused manifest, one payment", "try", needs=("try files",)),
            SuiteStep("verify", "ruff, mypy, import contracts, generated files", make="verify"),
            suite("pages", "Chromium goes through every page, over made-up jobs", "pages", programs=(CHROMIUM,)),
            suite("site", "the documentation, built strictly, in Chromium", "site", programs=(CHROMIUM,)),
            CHART_TOOLS,
            suite(
                "chart",
                "helm 3 and 4, helm-unittest, rendered",
                "chart/test_chart.py",
                "chart/test_manifests.py",
                "chart/test_gitops_examples.py",
                needs=("chart tools",),
            ),
            command("promtool", "downloaded", "-m", "contentgen_cluster", "tools", "promtool", programs=(PROMTOOL,)),
            suite(
                "monitoring",
                "alerts, dashboard; rules by promtool",
                "chart/test_monitoring.py",
                needs=("chart tools", "promtool"),
                programs=(PROMTOOL,),
            ),
            suite("hostile", "a sample of hostile and broken files, in confined children", "hostile"),
            suite("media", "a sample of footage and sound that people record, with known results", "media"),
            command(
                "sample of mutants", "a test fails without a defence of each policy", "tools/mutants.py", "--sample"
            ),
            *(
                command(
                    f"benchmark {name}", "its small size ends", "-m", "contentgen_bench", name, "--small", needs=needs
                )
                for name, needs in (("gateway", ("stores",)), ("media", ("stores",)), ("scaling", ()))
            ),
        ),
    ),
)
"""`make test`: lanes that need no cluster."""

CLUSTER = command("cluster", "brought up or found running", "-m", "contentgen_cluster", "up")
CLUSTER_TOOLS = command(
    "cluster tools", "helm 3 and 4, kstatus", "-m", "contentgen_cluster", "tools", "helm", "helm3", "kstatus",
    needs=("cluster",),
)  # fmt: skip
LANES_DOWN = command(
    "releases", "those that an interrupted run left", "-m", "contentgen_cluster", "lanes-down", needs=("cluster",)
)
KUBERNETES = SuiteStep(
    "kubernetes", "the chart, and CRDs under upgrade and rollback, on an API server alone",
    ("-m", "contentgen_cluster", "api-server", "1.35", *PYTEST, "tests/kubernetes"),
    needs=("cluster", "cluster tools"), reports=True,
)  # fmt: skip

WIDE = SuiteLane(
    "main release",
    (
        CLUSTER,
        CLUSTER_TOOLS,
        LANES_DOWN,
        on_cluster("crds", "the real API server", "chart/test_crds_api_server.py", "chart/test_admission.py"),
        on_cluster("boundary", "attempts of tenants, and with our tokens", "tenancy/test_boundary.py"),
        on_cluster("gateway", "HTTP and Chromium alone", "gateway/test_gateway_pages.py", "gateway/test_gateway.py"),
        on_cluster("documents", "commands and manifests of README, docs and samples", "documents/test_docs.py"),
        on_cluster("kubectl", "the plugin", "documents/test_cli.py", "gateway/test_plugin_gateway.py"),
        on_cluster("approval", "admitted, refused, lapsed, rejected, and dry runs", "policies/test_approval.py"),
        on_cluster("budgets", "forty pictures under a budget for ten", "policies/test_budgets.py"),
        on_cluster("tenants", "two hundred attempts to leave a namespace", "tenancy/test_tenants.py"),
        on_cluster("namespaces", "deleted with resources in them, and created again", "tenancy/test_namespaces.py"),
        on_cluster("classes", "several installations, and resources that move", "installations/test_classes.py"),
        on_cluster(
            "selection", "namespaces of a list and with labels, which leave and come back",
            "installations/test_selection.py",
        ),
        on_cluster(
            "provider accounts", "labels of namespaces, and separate bills", "policies/test_provider_accounts.py"
        ),
        on_cluster(
            "audit", "a request that nobody asked for is found, and a tenant is refused", "policies/test_audit.py"
        ),
        on_cluster("metrics", "a scrape through the Service", "chart/test_metrics.py"),
        on_cluster("chart installs", "helm 3 and 4", "chart/test_chart_install.py"),
    ),
)  # fmt: skip
OWN = (
    own_release(
        "a",
        on_cluster("outages", "S3 and MongoDB away at every stage", "operator/test_outages.py"),
        on_cluster("lifecycle", "versions, deletion, deadlines", "operator/test_lifecycle.py"),
        on_cluster("cleanup", "expiry, given-up work, temporary files", "policies/test_cleanup.py"),
    ),
    own_release(
        "b",
        on_cluster("backup", "all deleted, and restored; the ledger knows no refusal yet", "operator/test_backup.py"),
        on_cluster("purchases", "a rewound ledger, a full quota and an expired result", "operator/test_purchases.py"),
        on_cluster(
            "rotation", "Secrets of the stores change under a running release", "installations/test_rotation.py"
        ),
        on_cluster("bad input", "sources, results, providers, keys", "operator/test_bad_input.py"),
        on_cluster("notifications", "webhooks, and receivers that fail", "policies/test_notifications.py"),
        on_cluster("gitops", "kstatus and Argo CD's Lua, over real watches", "chart/test_gitops.py"),
    ),
    own_release(
        "c",
        on_cluster("end to end", "three kinds, killed operators, mutants", "operator/test_end_to_end.py"),
        on_cluster("worker API", "tokens, certificates, an operator that is away", "operator/test_worker_api.py"),
        on_cluster("queues", "limits, turns, circuits, Kueue's labels", "policies/test_queues.py"),
    ),
    own_release(
        "d",
        on_cluster(
            "dead node", "a second node is cut off or dies, leader and workers on it", "installations/test_dead_node.py"
        ),
        on_cluster("soak", "a minute of jobs and killed operators", "operator/test_soak.py"),
        on_cluster("takeovers", "the leader frozen, cut off and rolled out", "installations/test_takeovers.py"),
    ),
    own_release(
        "e",
        on_cluster("first day", "mistakes, quotas, a private CA, a proxy, a small pool", "operator/test_first_day.py"),
    ),
)
NAMESPACES_END = command(
    "namespaces end", "none stays Terminating", "-m", "contentgen_cluster", "wait-namespaces",
    needs=tuple(lane.steps[-1].name for lane in OWN),
)  # fmt: skip
BENCHMARK = command(
    "benchmark e2e", "its small size ends", "-m", "contentgen_bench", "e2e", "--small", "--pods", "0",
    needs=("cluster",),
)  # fmt: skip
ON_CLUSTER = (SuiteLane("API server alone", (KUBERNETES, BENCHMARK, NAMESPACES_END)), WIDE, *OWN)
"""`make test-cluster`: lanes that need the real cluster."""

POLICIES = ("tests/cluster/policies", "tests/cluster/documents/test_docs.py")
ON_POLICIES = SuiteLane(
    "policies",
    (
        suite("samples", "valid, documented, and applied by the commands of the documents",
              "unit/contract", "unit/demo/test_samples.py", "unit/docs"),
        command("reference", "generated files are those of the models", "tools/generate.py", "--check"),
        suite(
            "policies alone", "decision tables, crashes, freezes, attacks; budgets and rehearsal at full size",
            "unit/operator/policies", "unit/operator/accounts", "unit/operator/approval", "unit/operator/budgets",
            "unit/operator/buying", "unit/operator/queue", "unit/operator/notifications", "unit/operator/audit",
            "unit/operator/cleanup", "unit/operator/process/test_usage_metrics.py",
            "unit/gateway/policies", "unit/gateway/auth/test_approve.py", "unit/gateway/auth/test_audit.py",
            "unit/gateway/pages/test_given_up.py", "unit/cli", "unit/simulation/test_rehearsal.py",
        ),
        STORES,
        suite(
            "policies with stores", "budgets, notifications, accounts and temporary files on real store servers",
            "integration/operator/test_budgets.py", "integration/operator/test_outbox.py",
            "integration/operator/test_provider_accounts.py", "integration/operator/test_temporary_files.py",
            needs=("stores",),
        ),
        KUBERNETES,  # who may read budgets
        SuiteStep("rehearsal", "randomized plans: replies lost, crashes, edits of waiting runs", make="rehearse"),
        command("mutants", "a test fails without each defence of a policy", "tools/mutants.py", "--policies"),
    ),
)  # fmt: skip
FULL_SIZE = on_cluster(
    "full size", "200 pictures under a frozen leader, 1,000 resources in three namespaces", "policies/acceptance"
)


def of_policies(lane: SuiteLane) -> SuiteLane | None:
    """The lane with the suites of policies and what they need; None: it has none."""
    chosen = [step for step in lane.steps if any(word.startswith(POLICIES) for word in step.python)]
    if not chosen:
        return None
    around = [
        step for step in lane.steps if step in (CLUSTER, CLUSTER_TOOLS, LANES_DOWN) or "lanes-down" in step.python
    ]
    steps = [step for step in lane.steps if step in chosen or step in around]
    return replace(lane, steps=(*steps, *((FULL_SIZE,) if lane is WIDE else ())))


ACCEPTANCE = (ON_POLICIES, *(each for lane in ON_CLUSTER if (each := of_policies(lane)) is not None))


RUNS = {"test": ALONE, "cluster": ON_CLUSTER, "acceptance": ACCEPTANCE}
"""Lanes of each run by its name."""
