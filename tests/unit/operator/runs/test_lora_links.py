"""Addresses of LoRAs that the provider could not load: pages, with the right link, and pickles."""

import pytest

from contentgen_contract.advice.lora_links import refusal

HUB = "https://huggingface.co"
DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        (f"{HUB}/me/lora", f"{HUB}/me/lora/resolve/main/FILE.safetensors"),
        (f"{HUB}/me/lora/", f"{HUB}/me/lora/resolve/main/FILE.safetensors"),
        (f"{HUB}/me/lora/tree/main", f"{HUB}/me/lora/resolve/main/FILE.safetensors"),
        (f"{HUB}/me/lora/blob/main/a.safetensors", f"{HUB}/me/lora/resolve/main/a.safetensors"),
        (f"{HUB}/me/lora/blob/v1/x/a b.safetensors?download=true", f"{HUB}/me/lora/resolve/v1/x/a%20b.safetensors"),
        (f"{HUB}/me/lora/raw/main/a.safetensors", f"{HUB}/me/lora/resolve/main/a.safetensors"),
        (f"{HUB}/datasets/me/set/blob/main/a.safetensors", f"{HUB}/datasets/me/set/resolve/main/a.safetensors"),
        ("https://www.huggingface.co/me/lora", f"{HUB}/me/lora/resolve/main/FILE.safetensors"),
        ("https://hf.co/me/lora/blob/main/a.safetensors", f"{HUB}/me/lora/resolve/main/a.safetensors"),
        (
            "https://civitai.com/models/12/a?modelVersionId=77&token=secret",
            "https://civitai.com/api/download/models/77",
        ),
        ("https://civitai.com/models/12", "https://civitai.com/api/download/models/VERSION"),
        ("https://drive.google.com/file/d/A-b_9/view?usp=sharing", DRIVE.format("A-b_9")),
        ("https://drive.google.com/open?id=A9", DRIVE.format("A9")),
        ("https://drive.google.com/drive/folders/A9", DRIVE.format("FILE")),
        ("https://www.dropbox.com/s/a/x.safetensors?dl=0", "the same address with dl=1 in its query"),
        ("https://github.com/me/repo/blob/main/a.safetensors", "https://github.com/me/repo/raw/main/a.safetensors"),
    ],
)
def test_a_page_is_refused_with_the_link_of_its_file(url: str, link: str) -> None:
    found = refusal(url)
    assert found.startswith(f"a page and not the file: use {link}")
    assert "secret" not in found


@pytest.mark.parametrize("name", ["a.pt", "a.CKPT", "a.bin", "a.pth", "a.pkl", "a.b%69n", "a.pt?token=x", "a.ckpt#x"])
def test_pickles_are_refused(name: str) -> None:
    assert "pickle" in refusal(f"https://files.example/{name}")
    assert "pickle" in refusal(f"{HUB}/me/lora/resolve/main/{name}")


def test_a_pickle_of_civitai_is_refused() -> None:
    assert "pickle" in refusal("https://civitai.com/api/download/models/77?type=Model&format=PickleTensor")


@pytest.mark.parametrize(
    "url",
    [
        f"{HUB}/me/lora/resolve/main/a.safetensors?download=true",
        "https://civitai.com/api/download/models/77?type=Model&format=SafeTensor&token=x",
        DRIVE.format("A9"),
        "https://drive.google.com/uc?export=download&id=A9",
        "https://www.dropbox.com/s/a/x.safetensors?dl=1",
        "https://v3.fal.media/files/a/pytorch_lora_weights.safetensors",
        "https://files.example/lora",
        "https://files.example/blob/main/a.safetensors",
        "https://[x",
    ],
)
def test_other_addresses_are_taken(url: str) -> None:
    assert refusal(url) == ""
