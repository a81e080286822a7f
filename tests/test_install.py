"""`install()`: configurations that know nothing of everyline become safe."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import everyline
import pytest
from oracle import check, contents, record, run

PLACES = {
    "FileHandler": logging,
    "WatchedFileHandler": logging.handlers,
    "RotatingFileHandler": logging.handlers,
    "TimedRotatingFileHandler": logging.handlers,
}


@pytest.fixture
def installed() -> Iterator[None]:
    everyline.install()
    yield
    everyline.uninstall()


def test_install_and_uninstall() -> None:
    before = {name: getattr(module, name) for name, module in PLACES.items()}
    everyline.install()
    everyline.install()
    assert all(getattr(module, name) is getattr(everyline, name) for name, module in PLACES.items())
    everyline.uninstall()
    everyline.uninstall()
    assert {name: getattr(module, name) for name, module in PLACES.items()} == before


def test_uninstall_leaves_what_somebody_else_has_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(logging.handlers.WatchedFileHandler):
        pass

    everyline.install()
    with monkeypatch.context() as patched:
        patched.setattr(logging.handlers, "WatchedFileHandler", Theirs)
        everyline.uninstall()
        assert logging.handlers.WatchedFileHandler is Theirs
    logging.handlers.WatchedFileHandler = Theirs.__base__  # type: ignore[misc,assignment]


def test_a_django_like_dict_config(log: Path, installed: None) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"simple": {"format": "{levelname} {message}", "style": "{"}},
            "handlers": {
                "rotating": {
                    "class": "logging.handlers.RotatingFileHandler",
                    "filename": str(log),
                    "maxBytes": 30,
                    "backupCount": 2,
                    "formatter": "simple",
                },
                "plain": {"class": "logging.FileHandler", "filename": log.with_name("plain.log")},
                "watched": {
                    "class": "logging.handlers.WatchedFileHandler",
                    "filename": log.with_name("w.log"),
                },
            },
            "loggers": {
                "django": {"handlers": ["rotating", "plain", "watched"], "level": "INFO", "propagate": False}
            },
        }
    )
    logger = logging.getLogger("django")
    for number in range(3):
        logger.info("number %d", number)
    kinds = [type(handler) for handler in logger.handlers]
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    assert kinds == [everyline.RotatingFileHandler, everyline.FileHandler, everyline.WatchedFileHandler]
    assert contents(log) == {"app.log.1": "INFO number 0\nINFO number 1\n", "app.log": "INFO number 2\n"}


def test_file_config(log: Path, installed: None) -> None:
    text = (
        "[loggers]\nkeys=root\n[handlers]\nkeys=file,plain\n[formatters]\nkeys=line\n"
        "[logger_root]\nlevel=INFO\nhandlers=file,plain\n[formatter_line]\nformat=%(message)s\n"
        "[handler_file]\nclass=handlers.RotatingFileHandler\nformatter=line\n"
        f"args=({str(log)!r}, 'a', 20, 3)\n"
        f"[handler_plain]\nclass=FileHandler\nformatter=line\nargs=({str(log) + '.plain'!r},)\n"
    )
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        logging.config.fileConfig(io.StringIO(text), disable_existing_loggers=False)
        handlers = root.handlers[:]
        assert [type(h) for h in handlers] == [everyline.RotatingFileHandler, everyline.FileHandler]
        logging.info("here")
        for handler in handlers:
            handler.close()
    finally:
        root.handlers[:] = before
    assert log.read_text() == "here\n"


def test_basic_config(log: Path) -> None:
    script = (
        "import everyline, logging, sys\n"
        "everyline.install()\n"
        "logging.basicConfig(filename=sys.argv[1], filemode='w', format='%(message)s', level=20)\n"
        "logging.info('here')\n"
        "print(type(logging.getLogger().handlers[0]).__module__)\n"
    )
    assert run(script, log).stdout == "everyline.handlers\n"
    assert log.read_text() == "here\n"


def test_a_subclass_of_pythons_made_before_works_as_it_did(log: Path) -> None:
    class Old(logging.handlers.RotatingFileHandler):
        pass

    class OldWatched(logging.handlers.WatchedFileHandler):
        pass

    everyline.install()
    try:
        for cls, more in ((Old, {"maxBytes": 10, "backupCount": 2}), (OldWatched, {})):
            handler = cls(log, encoding="utf-8", **more)  # type: ignore[arg-type]
            handler.emit(record(cls.__name__))
            handler.close()
            assert log.read_text().endswith(cls.__name__ + "\n")
            assert not hasattr(handler, "counters")
    finally:
        everyline.uninstall()


def test_a_subclass_made_after_is_ours(log: Path, installed: None) -> None:
    class Mine(logging.handlers.TimedRotatingFileHandler):
        def rotation_filename(self, default_name: str) -> str:
            return default_name + ".mine"

    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = Mine(log, "D", utc=True)
    handler.emit(record("new"))
    handler.close()
    assert log.with_name("app.log.2020-09-13.mine").read_text() == "old\n"
    assert log.read_text() == "new\n"


def test_gunicorns_logger(log: Path, installed: None) -> None:
    config = pytest.importorskip("gunicorn.config")
    glogging = pytest.importorskip("gunicorn.glogging")
    settings = config.Config()
    settings.set("errorlog", str(log))
    settings.set("accesslog", str(log.with_name("access.log")))
    logger = glogging.Logger(settings)
    handlers = [*logger.error_log.handlers, *logger.access_log.handlers]
    assert [type(handler) for handler in handlers] == [everyline.FileHandler] * 2
    logger.info("before")
    log.rename(log.with_name("old"))
    logger.reopen_files()
    logger.close_on_exec()
    logger.info("after")
    for handler in handlers:
        handler.close()
    assert "before" in log.with_name("old").read_text() and "after" in log.read_text()
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).handlers.clear()


def test_processes_with_an_untouched_configuration_lose_nothing(log: Path) -> None:
    script = """
import logging.handlers, os, sys
from oracle import FORMAT, write
handler = logging.handlers.RotatingFileHandler(sys.argv[1], maxBytes=5000, backupCount=90)
handler.setFormatter(FORMAT)
children = []
for name in "abc":
    pid = os.fork()
    if pid == 0:
        write(handler, name, range(150))
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
"""
    run(script, log, environment={"EVERYLINE_INSTALL": "1"})
    check(log, {name: range(150) for name in "abc"})


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False), (None, False)])
def test_the_environment_variable(value: str | None, expected: bool) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "EVERYLINE_INSTALL"}
    if value is not None:
        environment["EVERYLINE_INSTALL"] = value
    # Without it, nothing is even imported.
    script = (
        "import sys; early = 'everyline' in sys.modules, 'logging' in sys.modules\n"
        "import logging.handlers\n"
        "print(early, logging.handlers.RotatingFileHandler.__module__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    module = "everyline.handlers" if expected else "logging.handlers"
    assert (done.stdout, done.stderr) == (f"({expected}, {expected}) {module}\n", "")


def test_what_was_a_file_handler_is_one(tmp_path: Path) -> None:
    # gunicorn asks so before it reopens files at USR1.
    made_before = logging.handlers.RotatingFileHandler(tmp_path / "before.log")
    assert not isinstance(made_before, everyline.RotatingFileHandler), "nothing is installed"
    everyline.install()
    try:
        ours = [
            logging.handlers.RotatingFileHandler(tmp_path / "a.log"),
            logging.handlers.TimedRotatingFileHandler(tmp_path / "b.log"),
            logging.handlers.WatchedFileHandler(tmp_path / "c.log"),
        ]
        for handler in [*ours, made_before]:
            assert isinstance(handler, logging.FileHandler)
        assert isinstance(made_before, logging.handlers.RotatingFileHandler)
        assert not isinstance(ours[0], logging.handlers.TimedRotatingFileHandler)
        assert issubclass(logging.handlers.BaseRotatingHandler, logging.FileHandler)
        assert not isinstance(logging.StreamHandler(), logging.FileHandler)
    finally:
        everyline.uninstall()
    assert not isinstance(made_before, everyline.RotatingFileHandler)
    for handler in [*ours, made_before]:
        handler.close()
