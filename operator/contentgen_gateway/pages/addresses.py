"""The addresses of pictures on a page."""

from contentgen_gateway.files import Files


def shown(files: Files, address: object) -> str:
    """Of an address in a record; what is no file of ours is nothing that a page may show: empty."""
    ours = isinstance(address, str) and files.key_of(address) is not None
    return (files.shown(address) or "") if ours else ""
