#!/bin/sh
# The development environment in .venv, from nothing but Python 3.11 and the package registries.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "contentgen needs Python 3.11 or newer; $("$python" --version) was found. Name another one: make PYTHON=python3.12" >&2
    exit 1
}
# Debian's python3 comes without ensurepip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "Python's venv is missing: install the package python3-venv" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
echo "Installing the locked packages in .venv, about half a minute …" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
# uv installs the locked set in seconds; it is locked itself.
.venv/bin/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements/dev.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .

touch .venv/.ready
