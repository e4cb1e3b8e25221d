"""Images: Dockerfiles and recipes agree, the same files are the same layers, and no file in use is left out."""

import ctypes
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy.random
import pytest

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images import assembly, debian, dockerfile, elf, pack, references, rootfs
from contentgen_cluster.images.debian import DebianPackage
from contentgen_cluster.images.layers import Layer
from contentgen_cluster.images.references import ImageRecipe

ROOT = Path(__file__).parents[3]
TIME = 1_700_000_000


def text(image: ImageRecipe) -> str:
    return (ROOT / image.dockerfile).read_text()


@pytest.mark.parametrize("image", [*references.ALL, references.VISION], ids=lambda image: image.name)
class TestDockerfiles:
    def test_the_first_stage_has_the_recipe_s_files_and_builds_it(self, image: ImageRecipe) -> None:
        first = text(image).split("\nFROM scratch\n")[0]
        copied = [source for line in first.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]]
        built = {"build/sandbox"} if image.built else set()
        assert set(copied) == {*image.sources, *built}
        assert f"RUN PYTHONPATH=cluster python3 -m contentgen_cluster.images {image.name} /image\n" in first + "\n"

    def test_the_last_stage_has_nothing_else(self, image: ImageRecipe) -> None:
        copied = [rest for name, rest in dockerfile.last_stage(text(image)) if name == "COPY"]
        model = ["--from=model . /opt/contentgen/vision"] if image is references.VISION else []
        assert copied == ["--from=build /image/ /", *model]
        assert "\nFROM scratch\n" in text(image)

    def test_the_configuration_is_the_image_s(self, image: ImageRecipe) -> None:
        given = {"VERSION": "1.2.3", "REVISION": "abc", "CREATED": "2026-01-01T00:00:00Z", "SOURCE": ""}
        config = dockerfile.configuration(text(image), given)
        labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
        assert labels.pop("description")
        assert labels == {
            "title": image.title,
            "version": "1.2.3",
            "revision": "abc",
            "created": "2026-01-01T00:00:00Z",
            "licenses": "Apache-2.0",
        }
        assert config["User"] == "65532:65532"
        assert {"PYTHONPATH=/opt/contentgen", "PATH=/usr/local/bin:/usr/bin"} <= set(config["Env"])
        program = config["Entrypoint"][0]
        assert program == "python3" or program in image.scripts


@pytest.mark.parametrize("image", references.ALL, ids=lambda image: image.name)
def test_every_image_has_the_licence_and_the_notices(image: ImageRecipe, tmp_path: Path) -> None:
    rootfs.application_tree(image, {}, tmp_path)
    for name in ("LICENSE", "THIRD-PARTY-NOTICES.txt"):
        assert (tmp_path / "usr/share/doc/contentgen" / name).read_bytes() == (ROOT / name).read_bytes()
        assert ROOT / name in set(references.inputs(image, ROOT))


def test_sandbox_image_has_its_facts_and_nothing_of_the_product(tmp_path: Path) -> None:
    rootfs.application_tree(references.SANDBOX, {}, tmp_path)
    root = tmp_path / rootfs.OURS
    code = "import contentgen_sandbox.app; from contentgen_sandbox.facts import files; print(files.FOLDER)"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"]
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path, env=outside).stdout
    folder = root / "contentgen_sandbox/facts/data"
    assert said.strip() == str(folder)
    assert {path.name for path in folder.iterdir()} == {"assemblyai", "fal"}
    assert [path.name for path in root.iterdir()] == ["contentgen_sandbox"]
    assert ROOT / "facts/fal/platform.json" in set(references.inputs(references.SANDBOX, ROOT))


class TestConfiguration:
    def test_an_instruction_that_would_be_ignored_is_refused(self) -> None:
        with pytest.raises(dockerfile.UnknownInstruction, match="RUN"):
            dockerfile.configuration("FROM a\nRUN b\nFROM scratch\nRUN c\n", {})

    def test_only_the_last_stage_counts(self) -> None:
        config = dockerfile.configuration('FROM a\nRUN b\n\nFROM scratch\n# c\nENV A=1 \\\n  B="2 3"\nCMD ["d"]\n', {})
        assert (config["Env"], config["Cmd"]) == (["A=1", "B=2 3"], ["d"])

    def test_the_version_s_default_is_the_project_s(self) -> None:
        for image in references.ALL:
            assert f"\nARG VERSION={assembly.project_version()}\n" in text(image)


class TestLock:
    def test_architectures_have_the_same_packages(self) -> None:
        lock = debian.read_lock()
        amd64, arm64 = ({(each.name, each.version) for each in lock.of(name)} for name in debian.ARCHITECTURES)
        assert amd64 == arm64
        assert {"python3.11-minimal", "libpython3.11-stdlib", "libc6", "ca-certificates"} <= {name for name, _ in amd64}

    @pytest.mark.parametrize("line", ["amd64 zlib1g 1 abc debian/pool/z.deb", "riscv64 z 1 " + "0" * 64 + " p", "x"])
    def test_a_line_that_names_no_package_is_refused(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "lock").write_text(f"snapshot 20260101T000000Z\n{line}\n")
        with pytest.raises(ValueError, match="not a package"):
            debian.read_lock(tmp_path / "lock")

    def test_a_package_with_another_hash_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "debian/pool").mkdir(parents=True)
        (tmp_path / "debian/pool/z.deb").write_bytes(b"changed")
        monkeypatch.setattr(debian, "run", lambda *_: f"'file://{tmp_path}/debian/dists/bookworm/InRelease' x 0")
        cache = ContentCache(tmp_path / "cache")
        package = DebianPackage("amd64", "z", "1", hashlib.sha256(b"original").hexdigest(), "debian/pool/z.deb")
        with pytest.raises(ClusterError, match="the lock has"):
            debian.fetch(cache, package, "20260101T000000Z")
        (tmp_path / "debian/pool/z.deb").write_bytes(b"original")
        assert debian.fetch(cache, package, "20260101T000000Z").read_bytes() == b"original"

    def test_a_package_s_files_are_read(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("./usr/bin/odd"), io.BytesIO())
        data = lzma.compress(packed.getvalue())
        deb = b"!<arch>\n"
        for name, content in (("debian-binary", b"2.0\n!"[:3]), ("data.tar.xz", data)):
            deb += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
            deb += b"\n" * (len(content) % 2)
        with debian.members(deb, "data") as found:
            assert found.getnames() == ["./usr/bin/odd"]
        with pytest.raises(ClusterError, match="no control"):
            debian.members(deb, "control")
        with pytest.raises(ClusterError, match="no ar archive"):
            debian.members(b"changed", "data")


class TestElf:
    def test_a_library_works_without_its_symbol_table(self, tmp_path: Path) -> None:
        source = next(Path(numpy.random.__file__).parent.glob("_generator*.so"))
        smaller = elf.loaded_parts(source.read_bytes())
        assert len(smaller) < source.stat().st_size
        assert segments(smaller) == segments(source.read_bytes())
        (tmp_path / source.name).write_bytes(smaller)
        assert ctypes.CDLL(str(tmp_path / source.name)).PyInit__generator
        assert elf.loaded_parts(smaller) == smaller

    def test_opencv_works_without_its_linear_algebra(self, tmp_path: Path) -> None:
        installed = Path(cv2.__file__).parents[1]
        shutil.copytree(installed / "cv2", tmp_path / "cv2", ignore=shutil.ignore_patterns("data"))
        library = tmp_path / "cv2/cv2.abi3.so"
        unlinked = rootfs.UNLINKED["cv2/cv2.abi3.so"]
        library.write_bytes(elf.loaded_parts(elf.without_library(library.read_bytes(), *unlinked)))
        (tmp_path / "opencv_python_headless.libs").mkdir()
        for path in (installed / "opencv_python_headless.libs").iterdir():
            if not rootfs.package_file_left_out(f"opencv_python_headless.libs/{path.name}"):
                (tmp_path / "opencv_python_headless.libs" / path.name).symlink_to(path)
        run = subprocess.run(
            [sys.executable, "-c", CALLS],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, f"{tmp_path}/cv2/__init__.py\n", "")
        with pytest.raises(ValueError, match="0 libraries"):
            elf.without_library(library.read_bytes(), *unlinked)

    def test_only_functions_without_linear_algebra_are_called(self) -> None:
        sources = (ROOT / "worker-image/contentgen_worker").rglob("*.py")
        called = {name for path in sources for name in re.findall(r"\bcv2\.([a-z]\w+)\(", path.read_text())}
        assert called == set(re.findall(r"\bcv2\.([a-z]\w+)\(", CALLS)) | {"setNumThreads"}

    @pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(90), b"\x7fELF\x02\x02"])
    def test_other_files_stay_as_they_are(self, content: bytes) -> None:
        assert elf.loaded_parts(content) == content


CALLS = """
import cv2, numpy as np
print(cv2.__file__)
a = np.arange(640 * 480, dtype=np.uint8).reshape(480, 640)
b, f, c = a[::-1].copy(), a[:32, :32].astype(np.float32), np.dstack([a, a, a])
cv2.resize(a, (64, 48), interpolation=cv2.INTER_AREA), cv2.equalizeHist(a), cv2.dct(f), cv2.mean(a)
cv2.cvtColor(a, cv2.COLOR_YUV2BGR_I420), cv2.norm(a, b, cv2.NORM_L1), cv2.meanStdDev(a), cv2.Laplacian(a, cv2.CV_16S)
cv2.absdiff(a, b), cv2.threshold(a, 9, 255, cv2.THRESH_BINARY), cv2.add(a, b), cv2.subtract(a, b)
cv2.connectedComponentsWithStats(a, connectivity=8), cv2.addWeighted(a, 1, b, 1, 0), cv2.dilate(a, np.ones((3, 3)))
cv2.multiply(f, f), cv2.max(f, 1.0), cv2.pow(f, 0.2), cv2.merge(cv2.split(c))
cv2.transform(c, np.eye(3, dtype=np.float32)), cv2.boxFilter(f, -1, (12, 12)), cv2.GaussianBlur(f, (0, 0), 1.2)
small = cv2.resize(np.random.default_rng(1).integers(0, 255, (9, 9), np.uint8), (64, 64))
affine = np.array([[1.02, 0, 1], [0, 1.02, -1]], np.float32)
moved = cv2.warpAffine(small, affine, (64, 64), borderMode=cv2.BORDER_REPLICATE)
wave = cv2.dft(f, flags=cv2.DFT_COMPLEX_OUTPUT)
correlation = cv2.idft(cv2.mulSpectrums(wave, wave, 0, conjB=True), flags=cv2.DFT_REAL_OUTPUT)
assert np.isclose(correlation[0, 0], 1024 * (f * f).sum())
cv2.magnitude(wave[..., 0], wave[..., 1]), cv2.blur(f, (5, 5)), cv2.getRotationMatrix2D((9.5, 9.5), 0, 1.1)
squares = np.array([[4.0, 1.0], [1.0, 3.0]])
assert np.allclose(squares @ cv2.solve(squares, np.array([1.0, 2.0]), flags=cv2.DECOMP_CHOLESKY)[1][:, 0], [1, 2])
criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-3)
found = cv2.findTransformECC(small, moved, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, criteria, None, 5)[1]
assert np.abs(found - affine).max() < 0.2
"""


def segments(content: bytes) -> list[tuple[int, int, bytes]]:
    """Type, address and content of each segment, except for the table of headers itself and the one that it is in."""
    (start,) = struct.unpack_from("<Q", content, 32)
    _, count = struct.unpack_from("<HH", content, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", content, start + 56 * i) for i in range(count)]
    return [
        (header[0], header[3], content[header[2] : header[2] + header[5]])
        for header in headers
        if not (header[0] == 6 or header[2] <= start < header[2] + header[5] or header[2] == 0)
    ]


class TestLayers:
    @staticmethod
    def packed(folder: Path, *, order: int, when: int, umask: int) -> dict[str, object]:
        before = os.umask(umask)
        try:
            modules = folder / "root/opt/contentgen"
            modules.mkdir(parents=True)
            for name in ("a.py", "b.py")[::order]:
                (modules / name).write_text("USED = {'x', 'y', 'z'}\ndef used(): return 'x' in {'x', 'y', 'z'}\n")
                os.utime(modules / name, (when, when))
            (folder / "root/data").mkdir()
            (modules / "link").symlink_to("a.py")
        finally:
            os.umask(before)
        wanted = {
            "root": str(folder / "root"),
            "target": str(folder / "layer.tar.gz"),
            "epoch": TIME,
            "folders": {"data": (0o775, 65532)},
            "sourceless": ["opt/contentgen"] if order > 1 else [],
        }
        said = subprocess.run(
            [sys.executable, pack.__file__],
            input=json.dumps(wanted),
            env={"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        made: dict[str, object] = json.loads(said)
        return made

    def test_the_same_files_are_the_same_layer(self, tmp_path: Path) -> None:
        one = self.packed(tmp_path / "one", order=1, when=1, umask=0o022)
        two = self.packed(tmp_path / "two", order=-1, when=TIME * 2, umask=0o077)
        assert one == two
        content = (tmp_path / "one/layer.tar.gz").read_bytes()
        assert one["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        with tarfile.open(tmp_path / "one/layer.tar.gz") as archive:
            members = {each.name: each for each in archive}
        assert list(members) == sorted(members)
        assert {member.mtime for member in members.values()} == {TIME}
        assert (members["data"].mode, members["data"].uid) == (0o775, 65532)
        assert members["opt/contentgen/a.py"].mode == 0o644
        assert {member.gid for member in members.values()} == {0}
        compiled = members["opt/contentgen/__pycache__/a.cpython-311.pyc"]
        assert compiled.isfile()

    def test_byte_code_is_not_compared_with_its_source(self, tmp_path: Path) -> None:
        self.packed(tmp_path / "one", order=1, when=1, umask=0o022)
        code = (tmp_path / "one/root/opt/contentgen/__pycache__/a.cpython-311.pyc").read_bytes()
        assert int.from_bytes(code[4:8], "little") == 0b01  # a hash instead of a time, and unchecked

    def test_an_archive_has_an_index_of_its_platforms(self, tmp_path: Path) -> None:
        origin = assembly.provenance(references.OPERATOR, "1.0.0")
        packed = tmp_path / "layer"
        packed.write_bytes(b"packed")
        layer = Layer(packed, "sha256:1", f"sha256:{hashlib.sha256(b'packed').hexdigest()}", 9, 6)
        built = [assembly.assemble(references.OPERATOR, word, [layer] * 3, origin) for word in ("amd64", "arm64")]
        digests = [assembly.write_archive(tmp_path / word, "1.0.0", built) for word in ("a.tar", "b.tar")]
        assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
        with tarfile.open(tmp_path / "a.tar") as archive:
            blobs = {getname: (archive.extractfile(getname) or io.BytesIO()).read() for getname in archive.getnames()}
        for name, content in blobs.items():
            assert not name.startswith("blobs/") or name.endswith(hashlib.sha256(content).hexdigest())
        (top,) = json.loads(blobs["index.json"])["manifests"]
        assert [top["digest"]] * 2 == digests
        index = json.loads(blobs[f"blobs/{top['digest'].replace(':', '/')}"])
        assert [manifest["platform"]["architecture"] for manifest in index["manifests"]] == ["amd64", "arm64"]
        assert [manifest["digest"] for manifest in index["manifests"]] == [
            each.manifest.descriptor["digest"] for each in built
        ]


OPENED = """
import importlib, json, pkgutil, sys
opened = set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(arguments[0])
sys.addaudithook(hook)
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for each in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(each.name)
if "boto3" in sys.modules:
    import boto3
    for service in ("s3", "sts"):
        boto3.client(service, region_name="eu-central-1").meta.service_model.operation_names
opened |= {module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)}
print(json.dumps(sorted(opened)))
"""


@pytest.mark.parametrize("image", references.ALL, ids=lambda image: image.name)
def test_no_file_that_the_programs_open_is_left_out(image: ImageRecipe) -> None:
    """Imports every module of the image's packages on this machine, and compares what was opened with the tables."""
    names = [Path(package).name for package in image.packages]
    said = subprocess.run(
        [sys.executable, "-X", "frozen_modules=off", "-c", OPENED, *names],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ).stdout
    opened = [path.partition("/site-packages/")[2] for path in json.loads(said) if "/site-packages/" in path]
    assert len(opened) > 100
    assert [request for request in opened if rootfs.package_file_left_out(request)] == []
    for name, module in image.scripts.items():
        assert callable(__import__(module, fromlist=["main"]).main), name


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("botocore/data/ec2/2016-11-15/service-2.json.gz", True),
        ("botocore/data/s3/2006-03-01/service-2.json.gz", False),
        ("botocore/data/sts/2011-06-15/service-2.json.gz", False),
        ("botocore/data/endpoints.json", False),
        ("cv2/data/haarcascade_frontalface_alt2.xml", False),
        ("cv2/data/haarcascade_eye.xml", True),
        ("cv2/data/__init__.py", False),
        ("numpy/_core/tests/test_api.py", True),
        ("numpy/testing/__init__.py", False),
        ("boto3/data/s3/2006-03-01/resources-1.json", False),
        ("boto3/data/ec2/2016-11-15/resources-1.json", True),
        ("pydantic-2.14.3.dist-info/METADATA", False),
        ("bin/uvicorn", True),
    ],
)
def test_files_left_out_of_packages(name: str, gone: bool) -> None:
    assert rootfs.package_file_left_out(name) is gone


def test_the_classifier_in_use_stays() -> None:
    source = (ROOT / "worker-image/contentgen_worker/media/select/faces.py").read_text()
    used = source.partition('_CASCADE = "')[2].partition('"')[0]
    assert used.endswith(".xml")
    assert not rootfs.package_file_left_out(f"cv2/data/{used}")


def test_file_lists_do_not_depend_on_the_machines_python() -> None:
    kept = "a/__init__.py,sha256=1,2\na-1.dist-info/RECORD,,\n"
    assert rootfs.without_scripts(f"bin/a,sha256=3,4\n../../bin/a,sha256=3,4\n{kept}") == kept


class TestArchiveUrl:
    """URLs of Debian's archives."""

    SAID = """\
'file:///mirror/debian/dists/bookworm/InRelease' mirror_debian_dists_bookworm_InRelease 0
'file:///mirror/x/debian-security/dists/bookworm-security/InRelease' mirror_x_InRelease 0
'file:///older/debian/20260101T000000Z//dists/bookworm/InRelease' older_InRelease 0
"""

    @pytest.mark.parametrize(
        ("archive", "urls"),
        [
            ("debian", ("file:///mirror/debian", "file:///older/debian/20260101T000000Z")),
            ("debian-security", ("file:///mirror/x/debian-security",)),
        ],
    )
    def test_the_sources_of_apt_are_used(
        self, archive: str, urls: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(debian, "run", lambda *_: self.SAID)
        assert debian.archive_urls(archive) == urls

    def test_a_missing_source_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(debian, "run", lambda *_: "")
        with pytest.raises(ClusterError, match="do not contain Debian's archive `debian`"):
            debian.archive_urls("debian")

    def test_package_dropped_by_the_mirror_comes_from_the_next_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older = tmp_path / "debian/20260101T000000Z"
        sources = [tmp_path / "mirror/debian", older]
        lines = "\n".join(f"'file://{source}/dists/bookworm/InRelease' x 0" for source in sources)
        monkeypatch.setattr(debian, "run", lambda *_: lines)
        monkeypatch.setattr(debian.time, "sleep", lambda _: None)
        package = DebianPackage("amd64", "z", "1+2", hashlib.sha256(b"z").hexdigest(), "debian/pool/z_1+2.deb")
        cache = ContentCache(tmp_path / "cache")
        with pytest.raises(ClusterError, match=r"z 1\+2 cannot be downloaded.*`make lock-base`, or add .*20260101"):
            debian.fetch(cache, package, "20260101T000000Z")
        (older / "pool").mkdir(parents=True)
        (older / "pool/z_1+2.deb").write_bytes(b"z")
        assert debian.fetch(cache, package, "20260101T000000Z").read_bytes() == b"z"
