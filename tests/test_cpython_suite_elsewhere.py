"""CPython's own tests of its file handlers against ours, in every other interpreter that this machine has.

The native module is built for the stable ABI, so one build serves them all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNNER = Path(__file__).with_name("cpython_suite_runner.py")


def others() -> dict[str, str]:
    """Interpreters from 3.9 on, one for each minor version but this one's: on the PATH, or kept by pyenv."""
    found: dict[str, str] = {}
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(9, 20):
        name = f"python3.{minor}"
        candidates = [shutil.which(name), *map(str, sorted(kept.glob(f"3.{minor}.*/bin/{name}")))]
        for candidate in candidates:
            # A shim of pyenv's that leads nowhere says so.
            if candidate and minor != sys.version_info[1] and answers(candidate, minor):
                found[name] = candidate
                break
    return found


def answers(interpreter: str, minor: int) -> bool:
    command = [interpreter, "-c", "import sys; print(sys.version_info[1])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == str(minor)


OTHERS = others()


@pytest.mark.parametrize(
    "name", OTHERS or [pytest.param("none", marks=pytest.mark.skip("no other interpreter"))]
)
def test_the_suite_passes_elsewhere(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "TMPDIR": str(tmp_path)}
    environment.pop("EVERYLINE_INSTALL", None)
    command = [OTHERS[name], "-W", "ignore", str(RUNNER)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    if result.get("missing"):
        pytest.skip("this interpreter came without its tests")
    assert not result["failures"], "\n".join(result["failures"])
    assert result["ran"] > 100
    assert result["records"] > 1000, "they went through the engine"
