"""Pure parts of the cluster tool: cache keys, provider choice, step order, pid files, image archives."""

import base64
import datetime
import hashlib
import importlib.util
import io
import ipaddress
import json
import os
import re
import ssl
import sys
import tarfile
import threading
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from contentgen_cluster import mounts, release
from contentgen_cluster.cache import KEPT, ContentCache, content_key
from contentgen_cluster.commands import ClusterError, CommandError, feed, run
from contentgen_cluster.images import golang, maven, references, wheels
from contentgen_cluster.layout import Layout, blob
from contentgen_cluster.node import network, processes, second_node, settings
from contentgen_cluster.node.certificates import ClusterAuthority
from contentgen_cluster.paths import API_SERVERS, GO_MODULE
from contentgen_cluster.providers import ClusterKind, Machine, choose
from contentgen_cluster.steps import BuildStep, StepsError, plan, run_steps


class TestContentKey:
    def test_the_same_content_has_the_same_key_wherever_it_lies(self, tmp_path: Path) -> None:
        for clone in ("one", "two"):
            (tmp_path / clone / "src").mkdir(parents=True)
            (tmp_path / clone / "src/a.py").write_text("a")
        assert content_key(tmp_path / "one/src") == content_key(tmp_path / "two/src")

    @pytest.mark.parametrize("change", ["content", "name", "execute", "another"])
    def test_every_change_is_seen(self, tmp_path: Path, change: str) -> None:
        source = tmp_path / "src"
        source.mkdir()
        (source / "a.py").write_text("a")
        before = content_key(source)
        match change:
            case "content":
                (source / "a.py").write_text("b")
            case "name":
                (source / "a.py").rename(source / "b.py")
            case "execute":
                (source / "a.py").chmod(0o755)
            case _:
                (source / "b.py").write_text("")
        assert content_key(source) != before

    def test_leftovers_of_tools_are_no_inputs(self, tmp_path: Path) -> None:
        source = tmp_path / "src"
        (source / "pkg").mkdir(parents=True)
        (source / "pkg/a.py").write_text("a")
        before = content_key(source)
        (source / "pkg/__pycache__").mkdir()
        (source / "pkg/__pycache__/a.pyc").write_bytes(b"1")
        assert content_key(source) == before

    def test_texts_do_not_run_into_each_other(self) -> None:
        assert content_key("ab", "c") != content_key("a", "bc")


class TestCache:
    def test_an_entry_is_made_once(self, tmp_path: Path) -> None:
        made: list[Path] = []

        def make(path: Path) -> None:
            made.append(path)
            path.write_text("x")

        cache = ContentCache(tmp_path)
        assert cache.entry("tool", "k", make) == cache.entry("tool", "k", make) == tmp_path / "tool/k"
        assert len(made) == 1

    def test_a_failure_leaves_no_entry(self, tmp_path: Path) -> None:
        def fail(path: Path) -> None:
            path.write_text("half")
            raise ClusterError("disk full")

        cache = ContentCache(tmp_path)
        with pytest.raises(ClusterError):
            cache.entry("tool", "k", fail)
        assert not cache.path("tool", "k").exists()
        assert cache.entry("tool", "k", lambda path: path.write_text("whole")).read_text() == "whole"

    def test_the_newest_entries_are_kept(self, tmp_path: Path) -> None:
        cache = ContentCache(tmp_path)
        for number in range(KEPT + 2):
            os.utime(cache.entry("tool", str(number), lambda path: path.write_text("x")), (number, number))
        assert {path.name for path in (tmp_path / "tool").iterdir()} == {str(n) for n in range(2, KEPT + 2)}


class TestChoice:
    @staticmethod
    def machine(*, docker: bool = False, root: bool = True, system: str = "Linux") -> Machine:
        return Machine(system, is_root=root, docker_answers=lambda: docker)

    def test_a_named_context_comes_first(self) -> None:
        named = {"CONTEXT": "mine", "IMAGE_PREFIX": "registry.example/me"}
        assert choose(named, self.machine(docker=True)) is ClusterKind.NAMED

    def test_a_named_context_needs_a_place_for_the_images(self) -> None:
        with pytest.raises(ClusterError, match="IMAGE_PREFIX"):
            choose({"CONTEXT": "mine"}, self.machine(docker=True))

    def test_no_context_is_used_that_is_not_named(self) -> None:
        kubeconfig = {"KUBECONFIG": "/home/me/.kube/config", "CONTEXT": "", "IMAGE_PREFIX": "registry.example/me"}
        assert choose(kubeconfig, self.machine()) is ClusterKind.BARE

    def test_an_engine_comes_before_a_bare_cluster(self) -> None:
        assert choose({}, self.machine(docker=True)) is ClusterKind.DOCKER

    @pytest.mark.parametrize(("root", "system"), [(False, "Linux"), (True, "Darwin")])
    def test_a_bare_cluster_needs_root_on_linux(self, root: bool, system: str) -> None:
        with pytest.raises(ClusterError, match="Docker engine"):
            choose({}, self.machine(root=root, system=system))


class Record:
    """Observer that records calls."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def started(self, name: str) -> None:
        self.said.append(f"start {name}")

    def finished(self, name: str, seconds: float, note: str) -> None:
        assert seconds >= 0
        self.said.append(f"end {name} {note}")

    def failed(self, name: str, seconds: float, error: BaseException) -> None:
        assert seconds >= 0
        self.said.append(f"fail {name} {error}")


class TestSteps:
    def test_a_step_runs_after_those_it_needs(self) -> None:
        record = Record()
        run_steps([BuildStep("b", lambda: "2", after=("a",)), BuildStep("a", lambda: "1")], record)
        assert record.said == ["start a", "end a 1", "start b", "end b 2"]

    def test_steps_that_need_nothing_run_at_the_same_time(self) -> None:
        both = threading.Barrier(2, timeout=60)

        def meet() -> str:
            both.wait()
            return ""

        run_steps([BuildStep("a", meet), BuildStep("b", meet)], Record())

    def test_a_failure_stops_only_what_needs_it(self) -> None:
        def fail() -> str:
            raise ClusterError("no")

        record = Record()
        steps = [
            BuildStep("a", fail),
            BuildStep("b", lambda: "", after=("a",)),
            BuildStep("c", lambda: ""),
            BuildStep("d", fail),
        ]
        with pytest.raises(StepsError) as raised:
            run_steps(steps, record)
        assert len(raised.value.failures) == 2
        assert "end c " in record.said
        assert "start b" not in record.said

    @pytest.mark.parametrize(
        ("steps", "complaint"),
        [
            ([("a", ()), ("a", ())], "two steps"),
            ([("a", ("x",))], "needs x"),
            ([("a", ("b",)), ("b", ("a",))], "each other"),
        ],
    )
    def test_a_wrong_plan_is_refused(self, steps: list[tuple[str, tuple[str, ...]]], complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            plan(BuildStep(name, lambda: "", after) for name, after in steps)


class TestProcesses:
    @staticmethod
    def proc(root: Path, *, start: int = 500, state: str = "S", name: str = "etcd", boot: str = "b1") -> Path:
        (root / "7").mkdir(parents=True, exist_ok=True)
        (root / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (root / "sys/kernel/random/boot_id").write_text(boot + "\n")
        before = " ".join(["0"] * 18)
        (root / "7/stat").write_text(f"7 ({name}) {state} {before} {start} 0 0\n")
        return root

    RECORD = processes.Started(pid=7, start_time=500, boot="b1")

    def test_the_process_of_the_record_is_alive(self, tmp_path: Path) -> None:
        assert processes.alive(self.RECORD, self.proc(tmp_path))

    def test_a_name_with_spaces_and_parentheses_is_read(self, tmp_path: Path) -> None:
        assert processes.alive(self.RECORD, self.proc(tmp_path, name="a) S 1 (b"))

    @pytest.mark.parametrize("other", [{"start": 501}, {"boot": "b2"}, {"state": "Z"}])
    def test_another_process_with_the_same_pid_is_not_ours(self, tmp_path: Path, other: dict[str, str]) -> None:
        assert not processes.alive(self.RECORD, self.proc(tmp_path, **other))  # type: ignore[arg-type]

    @pytest.mark.parametrize("text", ["", "7", '{"pid": 7}', '{"pid": 7, "start_time": 5, "boot": "b", "x": 1}'])
    def test_a_broken_pid_file_names_nobody(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "pid").write_text(text)
        assert processes.read_record(tmp_path / "pid") is None
        assert not processes.alive(processes.read_record(tmp_path / "missing"))

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the machine has no /proc")
    def test_only_the_process_of_the_record_is_stopped(self, tmp_path: Path) -> None:
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        record = processes.spawn(sleep, tmp_path / "pid", tmp_path / "log")
        assert processes.read_record(tmp_path / "pid") == record
        processes.stop([processes.Started(record.pid, record.start_time - 1, record.boot)])
        assert processes.alive(record)
        processes.stop([record])
        assert not processes.alive(record)


class TestImages:
    @staticmethod
    def repo(root: Path) -> Path:
        for name in ("Dockerfile", "requirements/base.lock", "operator/contentgen_operator/a.py", "sandbox/b.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        return root

    def test_image_tag_depends_only_on_the_copied_files(self, tmp_path: Path) -> None:
        repo = self.repo(tmp_path)
        before = references.tag(references.OPERATOR, repo)
        (repo / "sandbox/b.py").write_text("changed")
        assert references.tag(references.OPERATOR, repo) == before
        (repo / "operator/contentgen_operator/a.py").write_text("changed")
        assert references.tag(references.OPERATOR, repo) != before

    @pytest.mark.parametrize("changed", ["Dockerfile", "requirements/base.lock", "operator/contentgen_operator/a.py"])
    def test_a_tag_changes_with_each_input(self, tmp_path: Path, changed: str) -> None:
        repo = self.repo(tmp_path)
        before = references.tag(references.OPERATOR, repo)
        (repo / changed).write_text("changed")
        assert references.tag(references.OPERATOR, repo) != before

    def test_a_tag_changes_with_the_labels(self, tmp_path: Path) -> None:
        repo = self.repo(tmp_path)
        assert references.tag(references.WORKER, repo, "1.0.0") != references.tag(references.WORKER, repo, "1.0.1")


class TestLayout:
    @staticmethod
    def layout(root: Path) -> Layout:
        layout = Layout(root / "layout")
        layout.add("localhost/a:1", io.BytesIO(b"x" * 4096), {"Env": ["A=1"]})
        return layout

    def test_image_of_compressed_layers_has_its_manifests_digest(self, tmp_path: Path) -> None:
        layer = tmp_path / "layer.tar.gz"
        layer.write_bytes(b"packed")
        digest = f"sha256:{hashlib.sha256(b'packed').hexdigest()}"
        config = blob({"os": "linux"}, "config")
        manifest = blob({"config": config.descriptor, "layers": [{"digest": digest}]}, "manifest")
        layout = Layout(tmp_path / "layout")
        for _ in range(2):
            layout.add_image("localhost/a:1", config, manifest, {digest: layer})
        found = layout.manifest("localhost/a:1")
        assert found is not None
        assert found["digest"] == f"sha256:{hashlib.sha256(manifest.content).hexdigest()}"
        assert layout.has("localhost/a:1")
        assert layout.blob(digest).read_bytes() == b"packed"

    def test_an_archive_leaves_out_layers_that_are_known(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path)
        whole, thin = io.BytesIO(), io.BytesIO()
        layout.archive("localhost/a:1", set(), whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            blobs = {f"sha256:{Path(name).name}" for name in archive.getnames() if name.startswith("blobs/")}
            index = json.load(archive.extractfile("index.json") or io.BytesIO())
        assert len(blobs) == 3
        assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": "localhost/a:1"}
        layout.archive("localhost/a:1", blobs, thin)
        thin.seek(0)
        with tarfile.open(fileobj=thin) as archive:
            assert len([name for name in archive.getnames() if name.startswith("blobs/")]) == 2

    def test_an_image_whose_blob_is_gone_is_not_there(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path)
        assert layout.has("localhost/a:1")
        assert not layout.has("localhost/a:2")
        next((tmp_path / "layout/blobs/sha256").iterdir()).unlink()
        assert not layout.has("localhost/a:1")

    def test_the_newest_of_each_repository_are_kept_with_their_blobs(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path)
        for name in ("a:2", "a:3", "b:1"):
            layout.add(f"localhost/{name}", io.BytesIO(name.encode()), {})
        layout.keep_newest(2)
        assert [layout.has(f"localhost/{name}") for name in ("a:1", "a:2", "a:3", "b:1")] == [False, True, True, True]
        assert len(list((tmp_path / "layout/blobs/sha256").iterdir())) == 9


class TestSettings:
    AT = settings.Folders(state=Path("/state"), run=Path("/run/x"))

    @pytest.fixture
    def identities(self, tmp_path: Path) -> settings.Identities:
        authority = ClusterAuthority(tmp_path, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
        pair = authority.issue("x", "x", groups=["system:masters"], hosts=["10.244.0.1", "name"])
        return settings.Identities(authority.certificate, pair, pair, pair, pair, pair, pair.key, {"admin": pair})

    @pytest.mark.parametrize(("may", "restricted"), [(True, "false"), (False, "true")])
    def test_runc_is_told_where_the_score_may_not_be_lowered(self, may: bool, restricted: str) -> None:
        config = tomllib.loads(settings.containerd_config(self.AT, may_lower_oom_score=may))
        assert config["plugins"]["io.containerd.grpc.v1.cri"]["restrict_oom_score_adj"] is (restricted == "true")

    def test_the_pause_image_is_the_one_that_is_imported(self) -> None:
        config = tomllib.loads(settings.containerd_config(self.AT, may_lower_oom_score=True))
        assert config["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"] == settings.PAUSE_IMAGE

    def test_a_kubeconfig_needs_no_other_file(self, identities: settings.Identities) -> None:
        config = json.loads(settings.kubeconfig(identities.authority, identities.users["admin"]))
        assert config["current-context"] == "contentgen"
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        certificate = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
        issued = x509.load_pem_x509_certificate(certificate)
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.244.0.1")]
        assert names.get_values_for_type(x509.DNSName) == ["name"]

    def test_only_the_cluster_s_own_folders_are_written_to(self, identities: settings.Identities) -> None:
        files = settings.config_files(self.AT, identities, may_lower_oom_score=True)
        assert set(files) >= {"containerd.toml", "kubelet.json", "kube-proxy.json", "Corefile", "admin.kubeconfig"}
        assert "/var/lib" not in files["containerd.toml"] + files["kubelet.json"]

    @pytest.mark.parametrize("has", [True, False])
    def test_other_names_are_forwarded_where_there_is_a_resolver(self, has: bool) -> None:
        assert ("forward . /etc/resolv.conf" in settings.corefile(self.AT, has_resolver=has)) is has

    def test_the_addresses_do_not_overlap(self) -> None:
        pods, services = (ipaddress.ip_network(each) for each in (network.POD_RANGE, network.SERVICE_RANGE))
        assert not pods.overlaps(services)
        assert ipaddress.ip_address(network.NODE_ADDRESS) in pods
        assert {ipaddress.ip_address(network.DNS_SERVICE_ADDRESS)} <= set(services)
        assert str(next(services.hosts())) == network.API_SERVICE_ADDRESS


class TestSecondNode:
    def test_second_cluster_has_its_own_addresses(self) -> None:
        first, second = (ipaddress.ip_network(each.pods) for each in (settings.FIRST, settings.SECOND))
        everything = ipaddress.ip_network(network.CLUSTER_RANGE)
        assert not first.overlaps(second)
        assert first.subnet_of(everything)
        assert second.subnet_of(everything)
        assert ipaddress.ip_address(settings.SECOND.address) in second
        assert not everything.overlaps(ipaddress.ip_network(network.SERVICE_RANGE))

    def test_second_cluster_shares_no_folder_and_no_cgroup(self, tmp_path: Path) -> None:
        pair = ClusterAuthority(tmp_path, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)).issue("x", "x")
        at = second_node.AT
        assert at.state.is_relative_to(second_node.FIRST_AT.state), "it goes with the cluster"
        assert at.run.is_relative_to(second_node.FIRST_AT.run)
        config = tomllib.loads(settings.containerd_config(at, may_lower_oom_score=True))
        assert {config["root"], config["state"], config["grpc"]["address"]} == {
            str(at.state / "containerd"),
            str(at.run / "containerd"),
            str(at.run / "containerd.sock"),
        }
        kubelet = settings.kubelet_config(at, tmp_path, pair, settings.SECOND)
        assert kubelet["cgroupRoot"] == settings.SECOND.cgroup != settings.FIRST.cgroup
        assert kubelet["address"] == settings.SECOND.address
        assert kubelet["registerWithTaints"] == [{"key": settings.SECOND_TAINT, "effect": "NoSchedule"}]
        assert settings.kubelet_config(at, tmp_path, pair)["registerWithTaints"] == []
        assert f"--hostname-override={settings.SECOND.node}" in settings.kubelet(at, settings.SECOND)
        assert settings.kube_proxy_config(at, settings.SECOND)["bindAddress"] == settings.SECOND.address

    def test_second_cluster_has_certificates_of_its_own_name(self, tmp_path: Path) -> None:
        second_node.issue(ClusterAuthority(tmp_path, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)))
        user = x509.load_pem_x509_certificate((tmp_path / "kubelet-2.crt").read_bytes())
        assert user.subject.rfc4514_string() == f"CN=system:node:{settings.SECOND.node},O=system:nodes"
        server = x509.load_pem_x509_certificate((tmp_path / "kubelet-2-server.crt").read_bytes())
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert ipaddress.ip_address(settings.SECOND.address) in names.get_values_for_type(x509.IPAddress)


class TestTools:
    def test_a_requirement_comes_with_its_hashes(self) -> None:
        text = "# why\na==1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\nb==2 \\\n    --hash=sha256:33\n"
        assert wheels.requirement("a", text) == "a==1 --hash=sha256:11 --hash=sha256:22"
        with pytest.raises(ClusterError, match="does not pin c"):
            wheels.requirement("c", text)

    @pytest.mark.parametrize(
        ("version", "enough"),
        [("go1.26.0", True), ("go1.27rc1", True), ("go2.0", True), ("go1.25.9", False), ("devel", False)],
    )
    def test_an_old_go_is_not_used(self, version: str, enough: bool) -> None:
        assert golang.recent_enough(version) is enough

    @pytest.mark.parametrize("module", [GO_MODULE, *sorted(API_SERVERS.iterdir())], ids=lambda module: module.name)
    def test_required_go_is_recent_enough_for_our_modules(self, module: Path) -> None:
        go_mod = (module / "go.mod").read_text()
        wanted = next(line.split()[1] for line in go_mod.splitlines() if line.startswith("go "))
        assert tuple(int(part) for part in wanted.split(".")[:2]) <= golang.NEEDED

    @pytest.mark.parametrize("module", sorted(API_SERVERS.iterdir()), ids=lambda module: module.name)
    def test_an_api_server_is_of_its_minor(self, module: Path) -> None:
        go_mod = (module / "go.mod").read_text()
        version = golang.kubernetes_version(go_mod).removeprefix("v1.")
        assert module.name == f"v1.{version.partition('.')[0]}"
        staging = re.findall(r"^\tk8s\.io/\S+ (v0\.3\d\.\d+)", go_mod, re.MULTILINE)
        assert len(staging) >= 15
        assert set(staging) == {f"v0.{version}"}

    def test_every_staging_module_has_the_version_of_kubernetes(self) -> None:
        go_mod = (GO_MODULE / "go.mod").read_text()
        version = golang.kubernetes_version(go_mod).removeprefix("v1.")
        replaced = [line.split() for line in go_mod.splitlines() if "=>" in line]
        assert len(replaced) >= 25
        assert {line[-1] for line in replaced} == {f"v0.{version}"}

    def test_a_failed_program_says_what_it_said(self) -> None:
        with pytest.raises(CommandError, match=r"(?s)failed .3.*disk full"):
            run(sys.executable, "-c", "import sys; print('disk full', file=sys.stderr); sys.exit(3)")

    def test_a_program_is_fed_and_its_failure_told(self) -> None:
        read_all = "import sys; sys.exit(len(sys.stdin.read()) != 5)"
        assert feed([sys.executable, "-c", read_all], lambda pipe: pipe.write(b"12345")) == 5
        with pytest.raises(CommandError, match="failed"):
            feed([sys.executable, "-c", read_all], lambda pipe: pipe.write(b"1"))
        with pytest.raises(CommandError, match="failed"):  # it ends before it has read all
            feed([sys.executable, "-c", "import sys; sys.exit(1)"], lambda pipe: pipe.write(bytes(2**22)))

    def test_a_missing_program_is_named(self) -> None:
        with pytest.raises(CommandError, match="no-such-program"):
            run("no-such-program")

    def test_mounts_are_undone_from_the_newest(self) -> None:
        table = "".join(f"1 1 0:1 / {point} rw - x x rw\n" for point in ("/a", "/a/b", "/ab", "/a/b/c\\040d"))
        assert mounts.mounted_below(Path("/a"), table) == ["/a/b/c d", "/a/b", "/a"]


class TestMaven:
    """Jars of a local repository."""

    CONTENT = b"a jar"
    DIGEST = hashlib.sha256(CONTENT).hexdigest()

    @pytest.fixture
    def listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """List of one jar in a repository; its path has folders."""
        (tmp_path / "repository/org/one").mkdir(parents=True)
        (tmp_path / "repository/org/one/one-1.jar").write_bytes(self.CONTENT)
        monkeypatch.setenv(maven.REPOSITORY, (tmp_path / "repository").as_uri())
        return f"{self.DIGEST}  org/one/one-1.jar\n"

    def test_jars_are_fetched_by_path_and_named_by_their_file(self, listed: str, tmp_path: Path) -> None:
        (jar,) = maven.fetch(listed, tmp_path)
        assert (jar, jar.read_bytes()) == (tmp_path / "one-1.jar", self.CONTENT)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            (DIGEST, "0" * 64, "one-1.jar is not the expected file"),
            ("one-1.jar", "two-1.jar", f"two-1.jar: .*Set {maven.REPOSITORY} to the URL of a mirror"),
        ],
        ids=["another file", "absent"],
    )
    def test_another_and_an_absent_file_are_told(
        self, listed: str, tmp_path: Path, old: str, new: str, told: str
    ) -> None:
        with pytest.raises(ClusterError, match=told):
            maven.fetch(listed.replace(old, new), tmp_path)
        assert not list(tmp_path.glob("*.jar"))

    def test_an_unknown_authority_is_told_with_what_to_do(
        self, listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def untrusted(*_: object, **__: object) -> None:
            raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "unable to get local issuer certificate"))

        monkeypatch.setattr(urllib.request, "urlopen", untrusted)
        with pytest.raises(ClusterError, match=r"local issuer certificate.*/usr/local/share/ca-certificates"):
            maven.fetch(listed, tmp_path)


@pytest.mark.parametrize(
    ("watched", "spec"), [("lane-a-1", {"operatorClass": "lane-a", "prompt": "x"}), ("", {"prompt": "x"})]
)
def test_release_of_a_lane_has_its_own_class(
    watched: str, spec: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTGEN_TEST_RELEASE", "lane-a" if watched else "")
    monkeypatch.setenv("CONTENTGEN_TEST_WATCHED", watched)
    loader = importlib.util.spec_from_file_location("a_lanes_release", release.__file__)
    assert loader is not None
    assert loader.loader is not None
    lane = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(lane)
    monkeypatch.setattr(lane, "kubectl", lambda *_, **__: "")
    assert lane.of_class({"prompt": "x"}) == spec
    if watched:
        assert "operatorClass=lane-a" in lane._limited(Path(), watched)


def namespace(name: str, *, deleted: bool, **conditions: str) -> dict[str, Any]:
    """Namespace as the API server returns it; `conditions` are those that are true, with their messages."""
    meta = {"name": name} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})
    found = [{"type": condition, "status": "True", "message": message} for condition, message in conditions.items()]
    fine = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "All resources discovered"}
    return {"metadata": meta, "status": {"conditions": [fine, *found]} if deleted else {}}


STUCK = namespace("lane-a-1", deleted=True, NamespaceFinalizersRemaining="contentgen.dev/operator in 2 instances")


def test_terminating_namespaces_are_named_with_their_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = json.dumps({"items": [namespace("default", deleted=False), STUCK]})
    monkeypatch.setattr(release, "kubectl", lambda *_: listed)
    with pytest.raises(TimeoutError, match=r"lane-a-1 \(contentgen.dev/operator in 2 instances\)$"):
        release.wait_until_namespaces_end(Path(), seconds=0)


def test_the_end_of_all_namespaces_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [[namespace("default", deleted=False), STUCK], [namespace("default", deleted=False)]]
    monkeypatch.setattr(release, "kubectl", lambda *_: json.dumps({"items": lists.pop(0)}))
    monkeypatch.setattr(release.time, "sleep", lambda _: None)
    release.wait_until_namespaces_end(Path())
    assert not lists


class LaneCluster:
    """kubectl and helm on a cluster with one lane, whose operator adds its finalizer to a resource until the deletion
    of its namespace, which ends without finalizers."""

    def __init__(self) -> None:
        self.deleted = self.held = False

    @property
    def left(self) -> bool:
        return not self.deleted or self.held

    def run(self, _: Path, *args: str, **__: object) -> str:
        match args:
            case ("list", *_):
                return json.dumps([{"name": release.RELEASE, "namespace": "lane-a"}])
            case ("get", "namespaces", "--selector", "contentgen.dev/test-lane in (lane-a)", *_):
                return "namespace/lane-a namespace/lane-a-1" if self.left else ""
            case ("delete", "namespaces", *_):
                self.deleted = self.held = True
            case (_, _, "get", "contentgen", *_):
                meta = {"name": "one", "finalizers": ["contentgen.dev/finalizer"] if self.held else []}
                return json.dumps({"items": [{"kind": "Transcription", "metadata": meta}]})
            case (_, _, "patch", "transcription", "one", *_):
                self.held = not self.deleted
        return "{}"


def test_no_namespace_of_a_lane_stays_terminating(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = LaneCluster()
    monkeypatch.setattr(release, "kubectl", cluster.run)
    monkeypatch.setattr(release, "helm", cluster.run)
    monkeypatch.setattr(release.time, "sleep", lambda _: None)
    assert release.lanes_down(Path(), ["lane-a"], seconds=60) == ["lane-a"]
    assert not cluster.left
