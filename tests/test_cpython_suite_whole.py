"""CPython's whole suite of logging passes with `install(loggers=True)`, in every interpreter of this machine.

They spend their time waiting, so all of them run at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from test_cpython_suite_elsewhere import OTHERS, ROOT, RUNNER

INTERPRETERS = {"this one": sys.executable, **OTHERS}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    for name in ("EVERYLINE_INSTALL", "EVERYLINE_NATIVE"):
        environment.pop(name, None)
    running = {}
    for name, interpreter in INTERPRETERS.items():
        folder = tmp_path_factory.mktemp("suite")
        running[name] = subprocess.Popen(
            [interpreter, "-W", "ignore", str(RUNNER), "whole"],
            stdout=subprocess.PIPE,
            # Not a pipe, which would have to be read meanwhile.
            stderr=(folder / "errors").open("w"),
            text=True,
            cwd=folder,
            env={**environment, "TMPDIR": str(folder)},
        )
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", INTERPRETERS)
def test_the_whole_suite_passes_with_native_log_calls(
    name: str, started: dict[str, subprocess.Popen[str]]
) -> None:
    output, _ = started[name].communicate(timeout=600)
    assert started[name].returncode == 0, output
    result = json.loads(output.splitlines()[-1])
    if result.get("missing"):
        pytest.skip("this interpreter came without its tests")
    assert not result["failures"], "\n".join(result["failures"])
    assert result["ran"] > 180
    assert result["records"] > 1000, "they went through the engine"
