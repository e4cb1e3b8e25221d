"""Release files: notes, chart values, archives, checksums, signatures, krew manifest, SBOM; no network, no helm."""

import base64
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from contentgen_release import integrity, signing, source, verification
from contentgen_release.artifacts import archives, chart, notes, oci, plugin, sbom
from contentgen_release.build import INDEX
from contentgen_release.errors import ReleaseError

ROOT = Path(__file__).parents[3]
ORIGIN = source.ReleaseSource("1.2.3", "c" * 40, 1_700_000_000, dirty=False)
KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(8, ec.SECP256R1())


class TestVersion:
    @pytest.mark.parametrize("version", ["0.1.0", "1.2.3-rc.1", "10.20.30-a-b.7"])
    def test_semantic_versions_are_accepted(self, version: str) -> None:
        assert source.valid_version(version) == version

    @pytest.mark.parametrize("version", ["", "v1.2.3", "1.2", "1.2.3+x", "01.2.3", "1.2.3-01", "1.2.3\n", "../1.2.3"])
    def test_others_are_refused(self, version: str) -> None:
        with pytest.raises(ReleaseError, match="is not a version"):
            source.valid_version(version)


class TestSource:
    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        root = tmp_path / "clone"
        (root / "charts/contentgen").mkdir(parents=True)
        (root / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
        (root / "charts/contentgen/Chart.yaml").write_text("name: x\nversion: 0.1.0\nappVersion: 0.1.0\n")
        (root / ".gitignore").write_text("/dist/\n")
        (root / "run.sh").write_text("#!/bin/sh\n")
        (root / "run.sh").chmod(0o755)
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
            subprocess.run(["git", *command], cwd=root, check=True)
        return root

    def test_a_file_that_is_not_committed_is_refused_unless_allowed(self, clone: Path) -> None:
        assert not source.source(clone, "1.2.3", allow_dirty=False).dirty
        (clone / "new.txt").write_text("x")
        with pytest.raises(ReleaseError, match="1 files differ from the commit"):
            source.source(clone, "1.2.3", allow_dirty=False)
        assert source.source(clone, "1.2.3", allow_dirty=True).dirty

    def test_copy_has_the_version_and_no_ignored_files(self, clone: Path, tmp_path: Path) -> None:
        (clone / "dist").mkdir()
        (clone / "dist/old.whl").write_text("x")
        (clone / "run.sh").chmod(0o700)
        staged = source.stage(clone, tmp_path / "staged", ORIGIN)
        assert not (staged / "dist").exists()
        assert 'version = "1.2.3"' in (staged / "pyproject.toml").read_text()
        about = yaml.safe_load((staged / "charts/contentgen/Chart.yaml").read_text())
        assert about == {"name": "x", "version": "1.2.3", "appVersion": "1.2.3"}
        assert {path.stat().st_mtime for path in staged.rglob("*")} == {ORIGIN.epoch}
        assert oct((staged / "run.sh").stat().st_mode)[-3:] == "755"
        assert 'version = "0.1.0"' in (clone / "pyproject.toml").read_text()


class TestNotes:
    RELEASED = (
        "# Changelog\n\n## Unreleased\n\n## [1.2.3] - 2026-11-23\n\n### Added\n\n- a\n\n## 1.2.2 - 2026-01-01\n\n- b\n"
    )

    def test_the_section_of_the_version(self) -> None:
        assert notes.release_notes(self.RELEASED, "1.2.3") == "### Added\n\n- a\n"
        assert notes.release_notes(self.RELEASED, "1.2.2") == "- b\n"

    def test_a_final_version_needs_its_section(self) -> None:
        with pytest.raises(
            ReleaseError, match=r"no section 2\.0\.0: rename `## Unreleased` to `## 2\.0\.0 - YYYY-MM-DD`"
        ):
            notes.release_notes(self.RELEASED, "2.0.0")

    def test_a_prerelease_may_use_unreleased(self) -> None:
        assert notes.release_notes("## Unreleased\n\n- new\n", "2.0.0-rc.1") == "- new\n"
        with pytest.raises(ReleaseError, match="no section"):
            notes.release_notes("## Unreleased\n\n- new\n", "2.0.0")

    @pytest.mark.parametrize(
        ("changelog", "problem"),
        [
            ("## Unreleased\n\n- new\n\n## 1.2.3 - 2026-11-23\n\n- a\n", "changes under Unreleased"),
            ("## 1.2.3 - 2026-11-23\n\n", "empty"),
            ("## 1.2.3\n\n- a\n", "YYYY-MM-DD"),
            ("## 1.2.3 - 2026-11-23\n\n- a\n\n## 1.2.3 - 2026-11-22\n\n- b\n", "two sections"),
        ],
    )
    def test_unclear_changelogs_are_refused(self, changelog: str, problem: str) -> None:
        with pytest.raises(ReleaseError, match=problem):
            notes.release_notes(changelog, "1.2.3")


class TestChart:
    def test_values_name_registry_and_digests_and_keep_comments(self) -> None:
        before = (ROOT / "charts/contentgen/values.yaml").read_text()
        digests = {name: f"sha256:{name}" for name in ("operator", "worker", "sandbox")}
        after = chart.with_values(before, chart.image_values("r.example/team", digests))
        values, old = yaml.safe_load(after), yaml.safe_load(before)
        for name, section in (("operator", values), ("worker", values["worker"]), ("sandbox", values["sandbox"])):
            given = section["image"]
            assert (given["repository"], given["digest"]) == (f"r.example/team/contentgen-{name}", digests[name])
        assert values["gateway"] == old["gateway"]
        assert before.count("#") == after.count("#")

    def test_the_annotations_for_artifact_hub_name_the_same_images(self) -> None:
        text = (ROOT / "charts/contentgen/Chart.yaml").read_text()
        changed = yaml.safe_load(chart.with_annotations(text, "1.2.3-rc.1", "r.example/x", {"worker": "sha256:1"}))
        listed = yaml.safe_load(changed["annotations"]["artifacthub.io/images"])
        assert {each["name"]: each["image"] for each in listed} == {
            "operator": "r.example/x/contentgen-operator:1.2.3-rc.1",
            "worker": "r.example/x/contentgen-worker@sha256:1",
            "sandbox": "r.example/x/contentgen-sandbox:1.2.3-rc.1",
        }
        assert changed["annotations"]["artifacthub.io/prerelease"] == "true"

    def test_a_value_that_the_chart_lacks_is_refused(self) -> None:
        with pytest.raises(ReleaseError, match=r"no image\.digest"):
            chart.with_values("image:\n  tag: x\nother:\n  digest: y\n", {("image", "digest"): "z"})


class TestArchives:
    def test_equal_files_give_equal_archives(self) -> None:
        packed = []
        for order, time in ((("b", "a"), 1), (("a", "b"), 999)):
            raw = io.BytesIO()
            with tarfile.open(fileobj=raw, mode="w:gz") as archive:
                for name in order:
                    member = tarfile.TarInfo(name)
                    member.size, member.mtime, member.uid, member.uname = 1, time, time, "x"
                    archive.addfile(member, io.BytesIO(b"1"))
            packed.append(archives.normalized(raw.getvalue(), ORIGIN.epoch))
        assert packed[0] == packed[1]
        with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
            assert [(each.name, each.mtime, each.uid) for each in archive] == [
                ("a", ORIGIN.epoch, 0),
                ("b", ORIGIN.epoch, 0),
            ]


def write_image(path: Path, layer: bytes = b"layer") -> str:
    config = oci.encoded({"architecture": "amd64", "os": "linux"})
    kinds = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
    return oci.write_artifact(path, "1.2.3", config=(config, kinds[0]), layer=(layer, kinds[1]), annotations={})


def write_chart(folder: Path, digest: str, *, other: bool = False) -> str:
    """Chart package and its artifact; `other` puts another package into the artifact."""
    packed = archives.tar_gz({"contentgen/values.yaml": (f"image: {{digest: {digest}}}\n".encode(), False)}, 0)
    (folder / "contentgen-1.2.3.tgz").write_bytes(packed)
    layer = archives.tar_gz({}, 0) if other else packed
    path = folder / "contentgen-chart-1.2.3.oci.tar"
    return oci.write_artifact(path, "1.2.3", config=(b"{}", "c"), layer=(layer, "l"), annotations={})


class TestLayouts:
    def test_two_archives_of_one_image_are_equal(self, tmp_path: Path) -> None:
        digests = [write_image(tmp_path / name) for name in ("one", "two")]
        assert digests[0] == digests[1] == oci.verify(tmp_path / "one")["digest"]
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    @pytest.mark.parametrize("damage", ["changed", "missing"])
    def test_a_damaged_layer_is_found(self, tmp_path: Path, damage: str) -> None:
        write_image(tmp_path / "all.tar", b"a" * 2000)
        layer = oci.digest_of(b"a" * 2000).replace(":", "/")
        with tarfile.open(tmp_path / "all.tar") as old, tarfile.open(tmp_path / "bad.tar", "w") as bad:
            for member in old:
                content = old.extractfile(member)
                assert content is not None
                damaged = content.read().replace(b"a" * 2000, b"b" * 2000)
                if damage == "changed" or member.name != f"blobs/{layer}":
                    bad.addfile(member, io.BytesIO(damaged))
        with pytest.raises(ReleaseError, match="differs from its digest" if damage == "changed" else "lacks the blob"):
            oci.verify(tmp_path / "bad.tar")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Small signed release with one image and a chart."""
    folder = tmp_path / "1.2.3"
    folder.mkdir()
    (folder / "crds.yaml").write_text("a: b\n")
    signer = signing.Signer(KEY)
    digests = {"operator": write_image(folder / "contentgen-operator-1.2.3.oci.tar")}
    digests["chart"] = write_chart(folder, digests["operator"])
    for name, digest in digests.items():
        signing.sign_image(signer, f"r/contentgen-{name}", digest, folder / f"contentgen-{name}-1.2.3.sig.oci.tar")
    (folder / signing.PUBLIC_KEY).write_bytes(signer.public_pem())
    about = {
        "version": "1.2.3",
        "registry": "r",
        "digests": digests,
    }
    (folder / INDEX).write_text(json.dumps(about))
    resign(folder)
    return folder


def key_file(folder: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    path = folder / "public.pem"
    path.write_bytes(signing.Signer(key).public_pem())
    return path


def resign(release: Path, key: ec.EllipticCurvePrivateKey = KEY) -> None:
    about = json.loads((release / INDEX).read_text())
    special = {INDEX, integrity.SUMS, integrity.SIGNATURE}
    about["files"] = {path.name: integrity.sha256(path) for path in release.iterdir() if path.name not in special}
    (release / INDEX).write_text(json.dumps(about))
    (release / integrity.SIGNATURE).write_bytes(signing.Signer(key).sign(integrity.write_sums(release)))


class TestVerification:
    def test_a_release_is_accepted_with_its_key(self, release: Path, tmp_path: Path) -> None:
        said: list[str] = []
        verified = verification.verify(release, key_file(tmp_path, KEY), said.append)
        assert verified.signed
        assert [text.partition(" ")[0] for text in said] == [
            "SHA256SUMS",
            "8",
            "operator:",
            "chart:",
            "contentgen-1.2.3.tgz",
        ]

    def test_a_changed_file_is_refused(self, release: Path) -> None:
        (release / "crds.yaml").write_text("a: c\n")
        with pytest.raises(ReleaseError, match=r"crds\.yaml differs from its checksum"):
            verification.verify(release, None, print)

    def test_a_missing_file_is_refused(self, release: Path) -> None:
        (release / "crds.yaml").unlink()
        with pytest.raises(ReleaseError, match=r"crds\.yaml is missing"):
            verification.verify(release, None, print)

    def test_an_additional_file_is_refused(self, release: Path) -> None:
        (release / "more.yaml").write_text("")
        with pytest.raises(ReleaseError, match=r"more\.yaml is not in SHA256SUMS"):
            verification.verify(release, None, print)

    def test_changed_checksums_are_refused(self, release: Path) -> None:
        (release / "crds.yaml").write_text("a: c\n")
        integrity.write_sums(release)
        with pytest.raises(ReleaseError, match="was not made with this key"):
            verification.verify(release, None, print)

    def test_another_key_is_refused(self, release: Path, tmp_path: Path) -> None:
        with pytest.raises(ReleaseError, match="was not made with this key"):
            verification.verify(release, key_file(tmp_path, OTHER_KEY), print)

    def test_an_image_signature_by_another_key_is_refused(self, release: Path, tmp_path: Path) -> None:
        digest = json.loads((release / INDEX).read_text())["digests"]["operator"]
        path = release / "contentgen-operator-1.2.3.sig.oci.tar"
        signing.sign_image(signing.Signer(OTHER_KEY), "r/contentgen-operator", digest, path)
        resign(release)
        with pytest.raises(ReleaseError, match=r"sig\.oci\.tar: the signature was not made with this key"):
            verification.verify(release, key_file(tmp_path, KEY), print)

    def test_a_signature_of_another_image_is_refused(self, release: Path, tmp_path: Path) -> None:
        path = release / "contentgen-operator-1.2.3.sig.oci.tar"
        signing.sign_image(signing.Signer(KEY), "r/contentgen-operator", "sha256:0", path)
        resign(release)
        with pytest.raises(ReleaseError, match="signs sha256:0: expected"):
            verification.verify(release, key_file(tmp_path, KEY), print)

    def test_a_removed_signature_is_refused(self, release: Path, tmp_path: Path) -> None:
        (release / integrity.SIGNATURE).unlink()
        with pytest.raises(ReleaseError, match="should be signed"):
            verification.verify(release, None, print)
        (release / signing.PUBLIC_KEY).unlink()
        with pytest.raises(ReleaseError, match="should be signed"):
            verification.verify(release, key_file(tmp_path, KEY), print)

    def test_unsigned_release_is_accepted_only_without_a_key(self, release: Path) -> None:
        for path in [*release.glob("*.sig.oci.tar"), release / signing.PUBLIC_KEY]:
            path.unlink()
        resign(release)
        (release / integrity.SIGNATURE).unlink()
        assert not verification.verify(release, None, print).signed

    def test_a_chart_that_names_another_image_is_refused(self, release: Path) -> None:
        self.replace_chart(release, write_chart(release, "sha256:0"))
        with pytest.raises(ReleaseError, match="does not name the digests of operator"):
            verification.verify(release, None, print)

    def test_an_artifact_with_another_chart_is_refused(self, release: Path) -> None:
        operator = json.loads((release / INDEX).read_text())["digests"]["operator"]
        self.replace_chart(release, write_chart(release, operator, other=True))
        with pytest.raises(ReleaseError, match="contains another chart"):
            verification.verify(release, None, print)

    def replace_chart(self, release: Path, digest: str) -> None:
        about = json.loads((release / INDEX).read_text())
        about["digests"]["chart"] = digest
        (release / INDEX).write_text(json.dumps(about))
        path = release / "contentgen-chart-1.2.3.sig.oci.tar"
        signing.sign_image(signing.Signer(KEY), "r/charts/contentgen", digest, path)
        resign(release)

    def test_an_index_that_names_another_digest_is_refused(self, release: Path) -> None:
        about = json.loads((release / INDEX).read_text())
        about["digests"]["operator"] = "sha256:0"
        (release / INDEX).write_text(json.dumps(about))
        resign(release)
        with pytest.raises(ReleaseError, match=r"release\.json has sha256:0"):
            verification.verify(release, None, print)

    def test_a_path_in_the_checksums_is_refused(self, release: Path) -> None:
        (release / integrity.SUMS).write_text(f"{'0' * 64}  ../secret\n")
        resign_sums = signing.Signer(KEY).sign((release / integrity.SUMS).read_bytes())
        (release / integrity.SIGNATURE).write_bytes(resign_sums)
        with pytest.raises(ReleaseError, match="wrong line"):
            verification.verify(release, None, print)


class TestSigning:
    def test_signatures_are_deterministic_and_openssl_verifies_them(self, tmp_path: Path) -> None:
        signer = signing.Signer(KEY)
        signature = signer.sign(b"content")
        assert signature == signer.sign(b"content")
        (tmp_path / "key.pub").write_bytes(signer.public_pem())
        (tmp_path / "content").write_bytes(b"content")
        (tmp_path / "content.der").write_bytes(base64.b64decode(signature))
        command = ["openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "content.der", "content"]
        assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b"Verified OK\n"

    def test_an_encrypted_key_needs_its_password(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "release.key"
        encryption = serialization.BestAvailableEncryption(b"secret")
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path.write_bytes(KEY.private_bytes(*pem, encryption))
        monkeypatch.delenv(signing.PASSWORD, raising=False)
        with pytest.raises(ReleaseError, match="set CONTENTGEN_KEY_PASSWORD"):
            signing.load_signer(path)
        monkeypatch.setenv(signing.PASSWORD, "wrong")
        with pytest.raises(ReleaseError, match="is wrong"):
            signing.load_signer(path)
        monkeypatch.setenv(signing.PASSWORD, "secret")
        assert signing.load_signer(path).public_pem() == signing.Signer(KEY).public_pem()

    @pytest.mark.parametrize("key", [ec.derive_private_key(7, ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
    def test_other_keys_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ) -> None:
        monkeypatch.delenv(signing.PASSWORD, raising=False)
        path = tmp_path / "other.key"
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(*pem, serialization.NoEncryption()))
        with pytest.raises(ReleaseError, match="P-256"):
            signing.load_signer(path)
        with pytest.raises(ReleaseError, match="No such file"):
            signing.load_signer(tmp_path / "none.key")


class TestPlugin:
    SUMS = dict.fromkeys(plugin.PLATFORMS, "0" * 64)
    DOWNLOADS = "https://example.com/o/contentgen/releases/download/v1.2.3"

    def test_the_manifest_names_each_archive(self) -> None:
        about = yaml.safe_load(plugin.manifest(ORIGIN, self.DOWNLOADS, self.SUMS))
        assert plugin.krew_problems(about) == []
        assert about["spec"]["homepage"] == "https://example.com/o/contentgen"
        assert [platform["uri"].rpartition("/")[2] for platform in about["spec"]["platforms"]] == [
            plugin.archive_name(platform, ORIGIN) for platform in sorted(plugin.PLATFORMS)
        ]

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"version": "1.2.3"}, "version"),
            ({"shortDescription": "Shows things."}, "short description"),
            ({"shortDescription": "x" * 51}, "short description"),
            ({"platforms": []}, "no platform"),
            ({"platforms": [{"selector": {}, "uri": "https://e.com/a.zip", "sha256": "0", "bin": "a"}]}, "SHA-256"),
            ({"platforms": [{"selector": {}, "uri": "file:a", "sha256": "0" * 64, "bin": "a"}]}, "URI"),
            ({"platforms": [{"selector": {}, "uri": "https://e.com/a.zip", "sha256": "0" * 64}]}, "no program"),
        ],
    )
    def test_krews_rules(self, change: dict[str, object], problem: str) -> None:
        about = yaml.safe_load(plugin.manifest(ORIGIN, self.DOWNLOADS, self.SUMS))
        about["spec"] |= change
        (found,) = plugin.krew_problems(about)
        assert problem in found

    def test_the_launcher_runs_our_packages_from_its_folder(self, tmp_path: Path) -> None:
        members = plugin.own_files(ROOT, ORIGIN)
        for name in (plugin.PROGRAM, "lib/contentgen_cli/app.py", "lib/contentgen_contract/names.py"):
            assert name in members
        assert not any("__pycache__" in name for name in members)
        assert members[plugin.PROGRAM][1], "executable"
        (tmp_path / "lib/contentgen_cli").mkdir(parents=True)
        (tmp_path / "lib/contentgen_cli/__init__.py").write_text("")
        (tmp_path / "lib/contentgen_cli/__main__.py").write_text("def main(): print('here')")
        program = tmp_path / plugin.PROGRAM
        program.write_bytes(members[plugin.PROGRAM][0])
        program.chmod(0o755)
        link = tmp_path / "link"
        link.symlink_to(program)
        assert subprocess.run([link], capture_output=True, text=True, check=True, cwd="/").stdout == "here\n"

    def test_versions_of_python_may_add_files_but_not_change_them(self) -> None:
        one, other = {"lib/a.py": (b"1", False)}, {"lib/b.cpython-312.so": (b"2", False)}
        assert plugin.merged(one, other) == one | other
        with pytest.raises(ReleaseError, match=r"lib/a\.py"):
            plugin.merged(one, {"lib/a.py": (b"2", False)})

    def test_the_requirements_of_some_packages(self) -> None:
        lock = "# head\na==1 \\\n    --hash=sha256:1\nb==2 ; python_version < '3' \\\n    --hash=sha256:2\n"
        assert plugin.only(lock, {"a"}) == "a==1 \\\n    --hash=sha256:1\n"
        with pytest.raises(ReleaseError, match="does not lock c-d"):
            plugin.only(lock, {"a", "c-d"})

    def test_packages_with_native_modules_are_separated_from_others(self) -> None:
        installed = {
            "lib/pure.py": (b"1", False),
            "lib/pure-1.0.dist-info/WHEEL": (b"Root-Is-Purelib: true\n", False),
            "lib/pure-1.0.dist-info/RECORD": (b"pure.py,,\npure-1.0.dist-info/WHEEL,,\n../bin/pure,,\n", False),
            "lib/a_native/core.so": (b"2", False),
            "lib/a_native-2.0.dist-info/WHEEL": (b"Root-Is-Purelib: false\n", False),
            "lib/a_native-2.0.dist-info/RECORD": (b"a_native/core.so,,\n", False),
        }
        assert plugin.separated(installed) == ({"lib/pure.py": (b"1", False)}, {"a-native"})


class TestSbom:
    LOCK = "# head\na-b==1.0 \\\n    --hash=sha256:1\nwin==2 ; sys_platform == 'win32' \\\n    --hash=sha256:2\n"

    def test_sbom_lists_the_linux_packages_and_is_reproducible(self, tmp_path: Path) -> None:
        (tmp_path / "lock.txt").write_text(self.LOCK)
        made = [
            sbom.document("contentgen-operator", "0" * 64, ORIGIN, components, container=True)
            for components in (sbom.python_components(tmp_path / "lock.txt", "3.11") for _ in range(2))
        ]
        assert made[0] == made[1]
        about = json.loads(made[0])
        assert about["specVersion"] == "1.6"
        assert [component["purl"] for component in about["components"]] == ["pkg:pypi/a-b@1.0"]
        assert about["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
        assert about["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]

    def test_debian_packages_of_some_architectures(self) -> None:
        lock = "# head\nsnapshot 2026\n" + "".join(
            f"{each} libc6 2.36-9+deb12u14 {'a' * 64} debian/pool/libc6.deb\n" for each in ("amd64", "arm64")
        )
        (found,) = sbom.debian_components(lock, ["amd64"])
        assert found.purl is not None
        assert found.purl.to_string() == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
        assert [digest.content for digest in found.hashes] == ["a" * 64]
        assert len(sbom.debian_components(lock, ["amd64", "arm64"])) == 2
