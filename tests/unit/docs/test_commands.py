"""Static checks of all documented commands and manifests. tests/cluster/documents/test_docs.py runs the commands."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from contentgen_documents import checks, extract, pages, reviewed, shell
from contentgen_documents.extract import Command, DocumentedManifest, Figure

COMMANDS = pages.commands()
MANIFESTS = pages.manifests()
NAMES = sorted({part.file for part in pages.parts()})


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pages.ROOT)


def wrong(text: str) -> list[str]:
    return checks.problems(Command("page.md", 1, text))


# The documents


@pytest.mark.parametrize("name", NAMES)
def test_every_command_could_work(name: str) -> None:
    """Targets, variables, subcommands, options, values and paths exist, also in commands that no test runs."""
    problems = [
        f"{name}:{command.line}: {command.text}: {problem}"
        for command in COMMANDS
        if command.file == name
        for problem in checks.problems(command, named_only=command.text in reviewed.NAMED_ONLY)
    ]
    assert problems == []


@pytest.mark.parametrize("name", sorted({manifest.file for manifest in MANIFESTS}))
def test_every_manifest_is_one(name: str) -> None:
    """Manifests of our kinds are validated strictly by their CRD schemas."""
    found = [manifest for manifest in MANIFESTS if manifest.file == name]
    assert [problem for manifest in found for problem in checks.manifest_problems(manifest)] == []


def test_every_make_target_can_be_planned() -> None:
    """`make --dry-run`: the targets with the variables that documents give."""
    given = {command.text for command in COMMANDS if command.text.startswith("make ")}
    assert len(given) > 15
    for text in given:
        words = shell.calls(text)
        done = subprocess.run(["make", "--dry-run", *next(words)[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}: {done.stderr}"


def test_every_block_is_a_command_a_manifest_or_a_known_figure() -> None:
    assert [figure for figure in pages.figures() if not reviewed.is_known(figure)] == []


def test_every_entry_of_the_reviewed_tables_is_used() -> None:
    assert reviewed.dead_entries(COMMANDS, MANIFESTS, pages.figures()) == []


def test_most_commands_are_run() -> None:
    """Control: the tests above have inputs."""
    run = [command for command in COMMANDS if not reviewed.not_run(command)]
    assert len(COMMANDS) > 180
    assert len(run) > 120
    assert Command("README.md", 33, "kubectl apply -f samples/").text in {command.text for command in run}
    assert {"README.md", "docs/gateway.md", "docs/backup.md", "samples/loratraining.yaml"} <= {c.file for c in run}


def test_no_command_is_run_with_a_placeholder_left_in_it() -> None:
    for command in COMMANDS:
        if not reviewed.not_run(command):
            typed = reviewed.typed(command)
            assert not any(word in typed for word in ("…", "NAME ", "REGISTRY", "UID", "marketing")), typed


HARMFUL = re.compile(
    r"\b(make \w|docker|rm |uv |python -m contentgen_cluster (?!env)|rollout restart"
    r"|(helm (install|upgrade|uninstall)|kubectl.* (delete|scale|drain|cordon) )(?!.*--dry-run))"
)


def test_no_command_that_does_harm_is_typed() -> None:
    """A new one needs a reason not to be run, or a stand-in, because the cluster and this machine are shared."""
    typed = [reviewed.typed(command) for command in COMMANDS if not reviewed.not_run(command)]
    assert [text for text in typed if HARMFUL.search(text)] == []
    written = {command.text for command in COMMANDS if HARMFUL.search(command.text)}
    assert {"make cluster-down", "helm uninstall contentgen --namespace contentgen"} < written


def test_the_files_that_readers_write_are_in_the_documents() -> None:
    for file in reviewed.FILES:
        kinds = [manifest.kind for manifest in MANIFESTS if manifest.file == file.page and manifest.kind in file.kinds]
        assert set(kinds) == set(file.kinds), file.name
        assert any(file.name in command.text for command in COMMANDS if not reviewed.not_run(command)), file.name


# Invalid commands are detected


@pytest.mark.parametrize(
    "text",
    [
        "make tset",
        ".venv/bin/pytest tests/unit/opreator",
        "make demo VIDOE=talk.mp4",
        "kubectl contentgen whyy avatar",
        "kubectl contentgen logs avatar --folow",
        "kubectl contentgen get files avatar -o xml",
        "kubectl contentgen cost NAME",
        "kubectl contentgen why",
        "kubectl exec deploy/contentgen-gateway -- contentgen backup --quick - > backup.tar",
        "mongoexport … | kubectl exec -i deploy/contentgen-gateway -- contentgen inport -n team -",
        "python -m contentgen_cluster upp",
        'eval "$(.venv/bin/python -m contentgen_cluster envv)"',
        "contentgen-worker dataset talk.mp4 out --triger jf",
        "helm install contentgen charts/contentgen --set storage.buket=mine",
        "helm install contentgen charts/contentgen --set gateway.replicas=many",
        "helm install contentgen charts/content",
        "helm template contentgen charts/contentgen --show-only templates/network.yaml",
        'curl "http://localhost:5000/api/jobs?phase=completed"',
        "curl http://localhost:5000/api/job",
        "curl http://localhost:5000/api/jobs -d '{}'",
        "docker build --file worker/Dockerfile .",
        "uv tool install '.[client]'",
        "uv tool install 'contentgen-9.9.9-py3-none-any.whl[cli]'",
        "kubectl get contentgen --all-namespaces | grep Failled",
        "kubectl logs deploy/contentgen | grep 'the certificate of the worker API'",
        "sum by (kind) (contentgen_dollars_total)",
    ],
)
def test_a_command_that_cannot_work_is_told(text: str) -> None:
    assert len(wrong(text)) == 1


def test_a_program_that_nobody_checks_is_told() -> None:
    with pytest.raises(checks.UnknownProgram, match="frobnicate"):
        wrong("kubectl get pods | frobnicate")


@pytest.mark.parametrize(
    "text",
    [
        "make demo VIDEO=talk.mp4",
        "make demo CONTEXT=mine IMAGE_PREFIX=registry/path",
        "kubectl contentgen logs lora/avatar -f --namespace team",
        "kubectl exec deploy/contentgen-gateway -- contentgen backup - > backup.tar",
        "helm install contentgen charts/contentgen --set gateway.trustedProxies='{192.0.2.10,192.0.2.11}'",
        "curl --header 'Authorization: Bearer x' http://localhost:5000/api/assets/abc/download/model.safetensors",
    ],
)
def test_a_command_that_can_work_is_not(text: str) -> None:
    assert wrong(text) == []


def samples() -> Iterator[str]:
    yield from (path.read_text() for path in (pages.ROOT / "samples").glob("*.yaml"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("triggerWord:", "triggerword:"),
        ("minImages: 8", "minImages: none"),
        ("# speed: Fast ", "# speed: Fastest "),
        ("# faces: {mode:", "# faces: {modes:"),
        ("  source:", "  sources:"),
    ],
)
def test_a_field_that_a_kind_does_not_have_is_told(old: str, new: str) -> None:
    """Fields that a sample has commented out are checked too."""
    (text,) = [sample for sample in samples() if "kind: LoraTraining" in sample]
    assert old in text
    parts = extract.sample("sample.yaml", text.replace(old, new))
    assert any(checks.manifest_problems(part) for part in parts if isinstance(part, DocumentedManifest))


def test_other_documents_are_looked_at_too() -> None:
    values = {"storage": {"bucket": "mine", "region": 1}}
    assert checks.manifest_problems(DocumentedManifest("page.md", 1, values))
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": ["s3:Fetch"]}]}
    assert checks.manifest_problems(DocumentedManifest("page.md", 1, policy))
    assert checks.manifest_problems(DocumentedManifest("page.md", 1, {"kind": "Role", "metadata": {"name": "a"}}))


def test_an_entry_that_matches_nothing_is_told() -> None:
    left = [command for command in COMMANDS if command.text not in ("make cluster-down", "kubectl plugin list")]
    assert reviewed.dead_entries(left, MANIFESTS, pages.figures()) == ["make cluster-down"]
    without = [manifest for manifest in MANIFESTS if manifest.kind != "Certificate"]
    assert reviewed.dead_entries(COMMANDS, without, pages.figures()) == ["docs/install.md Certificate"]


# Parsers of the documents

PAGE = """\
# Title

Type `make demo VIDEO=mine` or `kubectl contentgen
retry NAME`, not `kubectl` alone.

    make        # what there is
    helm install a charts/contentgen \\
      --set b=c   # 'why'

```console
$ kubectl get lora -w
NAME     PHASE
```

```bash
cat > a.yaml <<EOF
kind: A   # stays
EOF
kubectl apply -f a.yaml && echo "# no comment"
curl -d '{
  "a": 1}' http://localhost
```

```yaml
kind: A
metadata: {name: a}
---
kind: B
```

    kind: Role
    metadata: {name: c}

```json
{"a": 1}
```

    a ──► b

1. Item:

       no block of ours
"""


def test_a_page_is_read() -> None:
    found = extract.markdown("page.md", PAGE)
    assert [(part.line, part.text) for part in found if isinstance(part, Command)] == [
        (3, "make demo VIDEO=mine"),
        (3, "kubectl contentgen retry NAME"),
        (6, "make"),
        (7, "helm install a charts/contentgen --set b=c"),
        (11, "kubectl get lora -w"),
        (16, "cat > a.yaml <<EOF\nkind: A   # stays\nEOF"),
        (19, 'kubectl apply -f a.yaml && echo "# no comment"'),
        (20, "curl -d '{\n  \"a\": 1}' http://localhost"),
    ]
    documents = [part.document for part in found if isinstance(part, DocumentedManifest)]
    assert documents == [
        {"kind": "A", "metadata": {"name": "a"}},
        {"kind": "B"},
        {"kind": "Role", "metadata": {"name": "c"}},
        {"a": 1},
    ]
    assert [part.text for part in found if isinstance(part, Figure)] == ["a ──► b", "   no block of ours"]


def test_a_block_with_one_known_program_is_commands_throughout() -> None:
    """An unknown line in such a block is reported until it is listed."""
    found = extract.markdown("page.md", "Look:\n\n    sum by (a) (b)   # in Prometheus\n    kubectl get pods\n")
    assert [part.text for part in found if isinstance(part, Command)] == ["sum by (a) (b)", "kubectl get pods"]


def test_the_comments_of_a_sample_are_read() -> None:
    text = "# Do:\n#\n#   kubectl apply -f a.yaml   # now\nkind: A\nspec:\n  # As `make demo` does.\n  # b: 1\n  c: 2\n"
    found = extract.sample("a.yaml", text)
    assert [(p.line, p.text) for p in found if isinstance(p, Command)] == [
        (3, "kubectl apply -f a.yaml"),
        (6, "make demo"),
    ]
    assert [p.document["spec"] for p in found if isinstance(p, DocumentedManifest)] == [{"c": 2}, {"b": 1, "c": 2}]


def test_the_notes_of_the_chart_are_read() -> None:
    text = "Next:\n\n  helm test a --logs\n\nWARNING: no key:\n  kubectl create secret generic a\n  and so on\n"
    assert [c.text for c in extract.indented("NOTES.txt", text)] == [
        "helm test a --logs",
        "kubectl create secret generic a",
    ]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("make demo", [["make", "demo"]]),
        ("kubectl get a | grep -E 'b|c' > d", [["kubectl", "get", "a"], ["grep", "-E", "b|c"]]),
        ("curl a && curl b; curl c &", [["curl", "a"], ["curl", "b"], ["curl", "c"]]),
        ('eval "$(python -m a env)"', [["python", "-m", "a", "env"], ["eval", "substituted"]]),
        ("export T=$(kubectl create token)", [["kubectl", "create", "token"], ["export", "T=substituted"]]),
        ("kubectl exec -i a -- b c - < d", [["kubectl", "exec", "-i", "a"], ["b", "c", "-"]]),
    ],
)
def test_a_line_is_split_into_the_programs_that_it_calls(text: str, calls: list[list[str]]) -> None:
    assert list(shell.calls(text)) == calls


def test_stand_ins_take_whole_words() -> None:
    typed = reviewed.typed(
        Command("docs/install.md", 1, "kubectl contentgen why NAME --namespace NAMESPACE -n contentgen")
    )
    assert typed == "kubectl contentgen why lora/avatar --namespace NAMESPACE -n $RELEASE_NAMESPACE"
    assert reviewed.typed(Command("a.md", 1, "helm test -n contentgen-demo")) == "helm test -n contentgen-demo"


def test_the_samples_and_the_api_are_where_the_checks_look() -> None:
    """Control: an empty schema would accept everything."""
    assert len(list(samples())) == 3
    assert len([path for path in (pages.ROOT / "samples").rglob("*") if path.is_file()]) == 3  # kubectl wait recurses
    assert len(json.loads(Path("docs/reference/openapi.json").read_text())["paths"]) > 30
    assert len(yaml.safe_load(Path("crds/contentgen.dev_loratrainings.yaml").read_text())["spec"]["versions"]) == 1
