"""Manifests of `contentgen try`: documents of files, kubectl's messages, and kinds that need a reachable bucket."""

from pathlib import Path
from typing import Any

import pytest

from contentgen_try.apply import BadManifest, Document, merged, read, refusal, refuse_unreachable
from contentgen_try.cluster import Refused
from contentgen_try.options import Options, Provider

HEAD = "apiVersion: contentgen.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def manifest(kind: str = "ImageGeneration", name: str = "one", spec: str = "{}") -> str:
    return HEAD.format(kind=kind, name=name, spec=spec)


def file(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


def options(**given: Any) -> Options:
    common: dict[str, Any] = {"manifests": (), "folder": Path("x"), "bucket": "", "endpoint": "", "serve": False}
    return Options(**(common | {"minutes": 1.0, "fal": Provider(), "assemblyai": Provider()} | given))


def test_documents_and_lists_are_read_in_their_order(tmp_path: Path) -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"
    text = "---\n".join([manifest(), "\n", listed, manifest("Transcription", "two")])
    assert [str(each) for each in read([file(tmp_path, text)])] == [
        "imagegeneration.contentgen.dev/one",
        "configmap/c",
        "transcription.contentgen.dev/two",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no objects passed to apply"),
        ("a: [", "error parsing"),
        ("a: &a {b: *a}", "error parsing"),
    ],
)
def test_bad_files_are_refused_before_anything_starts(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="error: ") as caught:
        read([file(tmp_path, text)])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("!!binary aGk=", "hi"),
        ("1:30", "1:30"),
        ("1e3", 1000),
        ("1E-2", 0.01),
        ("1.0", 1),
        (".5", 0.5),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("08", 8),
        ("1_000", 1000),
        ("'1e3'", "1e3"),
        ("1.2.3", "1.2.3"),
        ("yes", True),
        ("~", None),
        ("{1: a, true: b, 2026-01-02: c}", {"1": "a", "true": "b", "2026-01-02": "c"}),
        ("{<<: {a: 1}, a: 2}", {"a": 2}),
    ],
)
def test_values_are_read_as_by_kubectl(given: str, value: object, tmp_path: Path) -> None:
    [document] = read([file(tmp_path, manifest(spec=f"{{prompt: {given}}}"))])
    assert document.body["spec"] == {"prompt": value}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{prompt: .nan}", "line 4: .nan is no number of JSON"),
        ("{prompt: -.inf}", "line 4: -.inf is no number of JSON"),
        ("{prompt: a, prompt: b, model: 1, model: 2}", "line 4: key 'prompt' is already set; line 4: key 'model'"),
        ("{prompt: !!set {a, b}}", "error parsing"),
        ("{prompt: !!binary a}", "error parsing"),
        ("{prompt: !!int x}", "error parsing"),
        ('{prompt: "\\ud800"}', "error parsing"),
        ("{? [a] : b}", "error parsing"),
    ],
)
def test_values_that_are_no_json_are_refused(spec: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="error parsing") as caught:
        read([file(tmp_path, manifest(spec=spec))])
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="does not exist"):
        read([tmp_path / "none.yaml"])


def test_refusals_read_as_those_of_kubectl(tmp_path: Path) -> None:
    [document] = read([file(tmp_path, manifest())])
    causes = [{"field": "spec.prompt", "message": "Required value"}, {"field": "spec.model", "message": "Bad"}]
    one = Refused(422, {"reason": "Invalid", "details": {"causes": causes[:1]}})
    assert refusal(one, document) == 'The ImageGeneration "one" is invalid: spec.prompt: Required value'
    two = Refused(422, {"reason": "Invalid", "details": {"causes": causes}})
    assert refusal(two, document).endswith("is invalid: \n* spec.prompt: Required value\n* spec.model: Bad")
    other = Refused(400, {"reason": "BadRequest", "message": "strict decoding error"})
    assert refusal(other, document).startswith("Error from server (BadRequest): error when creating ")


def test_changed_manifest_replaces_the_spec_only() -> None:
    current = {"metadata": {"uid": "u", "annotations": {"a": "1"}}, "spec": {"old": 1}, "status": {"phase": "Failed"}}
    wanted = {"kind": "ImageGeneration", "metadata": {"name": "one", "annotations": {"b": "2"}}, "spec": {"new": 1}}
    assert merged(current, wanted) == {
        "kind": "ImageGeneration",
        "metadata": {"uid": "u", "annotations": {"a": "1", "b": "2"}},
        "spec": {"new": 1},
        "status": {"phase": "Failed"},
    }


@pytest.mark.parametrize(
    ("kind", "spec", "given", "refused"),
    [
        ("LoraTraining", "{}", {"fal": Provider("key")}, True),
        ("LoraTraining", "{}", {"fal": Provider("key"), "bucket": "mine"}, False),
        ("LoraTraining", "{}", {}, False),
        ("LoraTraining", "{}", {"assemblyai": Provider("key")}, False),
        ("Transcription", "{}", {"assemblyai": Provider("key")}, True),
        ("ImageGeneration", "{}", {"fal": Provider("key")}, False),
        ("ImageGeneration", "{loras: [{loraRef: {name: a}}]}", {"fal": Provider("key")}, True),
    ],
)
def test_a_real_provider_cannot_fetch_from_this_computer(
    kind: str, spec: str, given: dict[str, Any], refused: bool, tmp_path: Path
) -> None:
    documents = read([file(tmp_path, manifest(kind, spec=spec))])
    if refused:
        with pytest.raises(BadManifest, match="--bucket"):
            refuse_unreachable(documents, options(**given))
    else:
        refuse_unreachable(documents, options(**given))


def test_a_namespaced_path_never_leaves_its_collection() -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "mine"}}
    assert Document(Path("x"), body).path == "/api/v1/namespaces/mine/secrets/s"
