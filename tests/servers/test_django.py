"""Django with the LOGGING of docs/servers/django.md: under gunicorn, with commands beside it."""

from __future__ import annotations

import signal
from pathlib import Path

import pages
import pytest
from harness import ROTATION, Server, free_port, other_tree, python

SITE = """
SECRET_KEY = "a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "django_urls"
USE_TZ = True
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
application = get_wsgi_application()
"""
COMMAND = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django, owed
django.setup()
for number in range(100):
    owed.log(f"command-{number}")
"""


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_a_site_and_a_command_on_one_log(tmp_path: Path, log: Path, preload: list[str]) -> None:
    changes = {"/var/log/app/app.log": str(log), **ROTATION}
    pages.write(tmp_path, "servers/django.md", "settings.py", changes, SITE)
    (tmp_path / "site_wsgi.py").write_text(WSGI)
    port = free_port()
    bind = ["--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(tmp_path)]
    command = python("-m", "gunicorn", "--workers", "3", *bind, *preload, "site_wsgi:application")
    with Server(tmp_path, command, port) as server:
        with other_tree(tmp_path, COMMAND):
            # gunicorn's own control socket brings a thread, which Python warns of when HUP forks.
            server.drive(250, {100: lambda: server.send(signal.SIGHUP)})
        server.answered |= {f"command-{number}" for number in range(100)}
        assert len(server.answered) >= 325
        server.stop(warns=True)
    ledger = server.check(log)
    assert ledger.archives >= 12
