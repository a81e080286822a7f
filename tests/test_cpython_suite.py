"""CPython's own tests of its rotating handlers, aimed at ours.

They look the classes up in `logging.handlers` when they run, so putting ours there is enough.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Iterator

import everyline
import pytest

# Not part of every installation.
suite = pytest.importorskip("test.test_logging")

NOT_YET = "names or treats archives by a function, which this version refuses (tests/test_refusals.py)"
SKIPPED = {
    "test_namer_rotator_inheritance": NOT_YET,
    "test_rollover_filenames": NOT_YET,
    "test_rotator": NOT_YET,
    "test_compute_files_to_delete": NOT_YET,
}
if sys.version_info < (3, 12, 6):
    # 3.13's form of the same test runs there.
    SKIPPED["test_should_rollover"] = "expects that an empty file is rotated, which Python 3.13 does no more"


@pytest.fixture(autouse=True)
def ours_in_place_of_pythons(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    reason = SKIPPED.get(request.node.name)
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setattr(logging.handlers, "RotatingFileHandler", everyline.RotatingFileHandler)
    monkeypatch.setattr(logging.handlers, "TimedRotatingFileHandler", everyline.TimedRotatingFileHandler)
    yield


class Alone:
    """Takes away the handlers that pytest has put on the root logger; the suite wants none but its own."""

    def setUp(self) -> None:
        root = logging.getLogger()
        theirs, root.handlers[:] = root.handlers[:], []
        self.addCleanup(root.handlers.extend, theirs)  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]


class TestBySize(Alone, suite.RotatingFileHandlerTest):  # type: ignore[misc,name-defined]
    pass


class TestByTime(Alone, suite.TimedRotatingFileHandlerTest):  # type: ignore[misc,name-defined]
    pass


def test_the_list_of_skipped_tests_is_of_tests_that_exist() -> None:
    missing = [name for name in SKIPPED if not (hasattr(TestBySize, name) or hasattr(TestByTime, name))]
    assert not missing
