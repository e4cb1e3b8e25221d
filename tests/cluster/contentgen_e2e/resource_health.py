"""Health of a resource by kstatus (Flux, Helm 4) and by our Lua scripts for Argo CD."""

import json
import subprocess
from pathlib import Path
from typing import Any

import lupa.lua54

Body = dict[str, Any]
# kstatus of each health status of Argo CD; kstatus has no status of its own for Suspended.
KSTATUS_OF = {"Healthy": "Current", "Degraded": "Failed", "Progressing": "InProgress", "Suspended": "InProgress"}


def kstatus(program: Path, bodies: list[Body]) -> list[str]:
    """kstatus of each: Current, InProgress, Failed or Terminating."""
    lines = "".join(json.dumps(body) + "\n" for body in bodies)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return done.stdout.split()


def run_lua(script: Path, body: Body) -> Any:
    """Result of a Lua script for a resource, run like Argo CD does: `obj` is the resource."""
    runtime = lupa.lua54.LuaRuntime(unpack_returned_tuples=True)
    globals_: Any = runtime.globals()
    globals_.obj = _table(runtime, body)
    return _plain(runtime.execute(script.read_text()))


def health(folder: Path, body: Body) -> str:
    """Argo CD's health status."""
    return str(run_lua(folder / "health.lua", body)["status"])


def _table(runtime: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return runtime.table_from(
            {name: _table(runtime, member) for name, member in value.items() if member is not None}
        )
    if isinstance(value, list):
        return runtime.table_from([_table(runtime, element) for element in value])
    return value


def _plain(value: Any) -> Any:
    if lupa.lua54.lua_type(value) != "table":
        return value
    return {name: _plain(member) for name, member in value.items()}
