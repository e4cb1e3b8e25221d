"""The machine's pip settings, for a pip that runs in another root file system."""

import configparser
import io

_IN_PIP_CONF = {
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
}


def pip_settings(listed: str) -> dict[str, str]:
    """pip's index settings from the output of `pip config list` (files and environment; the last value wins)."""
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in _IN_PIP_CONF:
            settings[option] = value.strip("'\"")
    return settings


def pip_conf(settings: dict[str, str]) -> str:
    """Content of a pip.conf with these settings."""
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
