"""`everyline serve`: clients as they are, on every interpreter found, and what signals do to the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_cpython_suite_elsewhere import OTHERS

# Tells "hung" from "slow".
LONG_S = 60

INTERPRETERS = {"this": sys.executable, **OTHERS}

CONFIGURATION = """
[server]
drain = "60s"
state_dir = "{dir}/state"
[[listen]]
address = "unix://{dir}/acked.sock"
protocol = "everyline"
[[listen]]
address = "tcp://127.0.0.1:0"
protocol = "python"
[[listen]]
address = "udp://127.0.0.1:0"
protocol = "python"
[[listen]]
address = "unix://{dir}/python.sock"
protocol = "python"
[[listen]]
address = "unix://{dir}/json.sock"
protocol = "json"
[[listen]]
address = "unix://{dir}/syslog.sock"
protocol = "syslog"
[[listen]]
address = "unixgram://{dir}/syslog.dgram"
protocol = "syslog"

[log.json]
path = "{dir}/all.json"
format = "json"
max_bytes = "100K"
naming = "sequence"
[log.text]
path = "{dir}/text.log"
format = "%(levelname)s %(name)s %(message)s"
[log.auth]
path = "{dir}/auth.log"
format = "%(facility)s %(name)s %(message)s"
[[route]]
facility = "auth"
log = "auth"
[[route]]
logger = "text"
log = "text"
[[route]]
log = "json"
"""


class Server:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "serve.toml"
        self.configuration.write_text(CONFIGURATION.format(dir=directory))
        self.messages: list[str] = []
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "everyline", "serve", str(self.configuration)]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self.messages.clear()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.wait_for("everyline: ready")

    def read(self) -> None:
        assert self.process.stderr
        self.messages.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, message: str) -> None:
        wait_until(lambda: any(message in line for line in self.messages), message)

    def port(self, kind: str) -> int:
        start = f"everyline: listening on {kind}://127.0.0.1:"
        return next(int(line[len(start) :]) for line in self.messages if line.startswith(start))

    def stop(self) -> None:
        """All that was sent before is in the files after it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LONG_S) == 0, self.messages

    def objects(self) -> list[dict[str, object]]:
        files = sorted(self.directory.glob("all.json.*")) + [self.directory / "all.json"]
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def wait_until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG_S
    while not done():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.005)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.process.kill()
    server.process.wait(LONG_S)
    server.reader.join(LONG_S)


CLIENT = """
import logging, logging.handlers, socket, sys
tcp, udp, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
handlers = [
    ("tcp", logging.handlers.SocketHandler("127.0.0.1", tcp)),
    ("udp", logging.handlers.DatagramHandler("127.0.0.1", udp)),
    ("unix", logging.handlers.SocketHandler(directory + "/python.sock", None)),
    ("syslog", logging.handlers.SysLogHandler(directory + "/syslog.sock", socktype=socket.SOCK_STREAM)),
    ("syslog-datagram", logging.handlers.SysLogHandler(directory + "/syslog.dgram")),
]
for name, handler in handlers:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(20):
        logger.warning("%s %d caf\\xe9 \\u20ac", name, number, extra={"plain": [1, 2.5, None, {"a": True}]})
    try:
        raise ValueError("why\\nnot")
    except ValueError:
        logger.exception("failed")
    handler.close()
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_clients_of_the_standard_library_as_they_are(interpreter: str, server: Server) -> None:
    arguments = [str(server.port("tcp")), str(server.port("udp")), str(server.directory)]
    command = [INTERPRETERS[interpreter], "-W", "ignore", "-c", CLIENT, *arguments]
    subprocess.run(command, check=True, timeout=LONG_S)
    server.stop()
    records = server.objects()
    for name in ["tcp", "udp", "unix"]:
        mine = [record for record in records if record.get("logger") == name]
        assert [record["message"] for record in mine[:20]] == [f"{name} {n} café €" for n in range(20)]
        assert all(record["plain"] == [1, 2.5, None, {"a": True}] for record in mine[:20])
        assert mine[20]["message"] == "failed" and mine[20]["level"] == "ERROR" and len(mine) == 21
        assert "ValueError: why\nnot" in str(mine[20]["exception"])
    messages = [str(record["message"]) for record in records]
    for name in ["syslog", "syslog-datagram"]:
        assert [m for m in messages if m.startswith(f"{name} ")] == [f"{name} {n} café €" for n in range(20)]
    # A datagram keeps its lines together. A stream of syslog messages that are not counted cannot.
    assert sum("failed\nTraceback" in message for message in messages) == 1


def test_what_asks_for_a_class_is_not_executed(server: Server, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    script = f"""
import logging.handlers, os, pickle
class Gadget:
    def __reduce__(self):
        return os.system, ("touch {touched}",)
handler = logging.handlers.SocketHandler({str(tmp_path / "python.sock")!r}, None)
handler.handleError = lambda record: None
record = logging.makeLogRecord({{"name": "x", "msg": "m", "gadget": Gadget()}})
handler.emit(record)
assert handler.sock.recv(1) == b""
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LONG_S)
    server.wait_for("nothing is executed")
    server.stop()
    assert not touched.exists() and not server.objects()


def test_logger_of_the_shell(server: Server) -> None:
    tool = shutil.which("logger")
    if not tool:
        assert not os.environ.get("CI"), "logger(1) is missing (Debian: bsdutils), and CI is set"
        pytest.skip("logger(1) is not installed: apt-get install bsdutils")
    for options in (["--socket", "syslog.dgram"], ["--socket", "syslog.sock"]):
        for more in ([], ["--rfc3164"], ["--rfc5424"]):
            words = [
                tool,
                "--priority",
                "auth.notice",
                "--tag",
                "me",
                *more,
                *options,
                f"hello {options[1]}{more}",
            ]
            subprocess.run(words, check=True, timeout=LONG_S, cwd=server.directory)
    server.stop()
    lines = (server.directory / "auth.log").read_text().splitlines()
    sockets = ["syslog.dgram", "syslog.sock"]
    forms = ["[]", "['--rfc3164']", "['--rfc5424']"]
    assert sorted(lines) == sorted(f"auth me hello {name}{form}" for name in sockets for form in forms)


def test_routes_and_a_new_configuration_under_way(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.directory / "json.sock"))
        client.sendall(b'{"logger": "text.sub", "level": "ERROR", "message": "one\\ntwo"}\n')
        text = server.directory / "text.log"
        wait_until(lambda: text.read_text() == "ERROR text.sub one\\ntwo\n", "the first line")

        right = server.configuration.read_text()
        server.configuration.write_text(right.replace("text.log", "new.log").replace('"100K"', '"100Q"'))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("max_bytes: expected a number of bytes")
        server.configuration.write_text(right.replace("text.log", "new.log"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("configuration read")
        client.sendall(b'{"logger": "text", "message": "three"}\n')
        server.stop()
    assert text.read_text() == "ERROR text.sub one\\ntwo\n"
    assert (server.directory / "new.log").read_text() == "INFO text three\n"


def test_a_killed_server_keeps_what_it_took_and_starts_again(server: Server) -> None:
    """What it took is what the engine accepted: it is in the file after the next start, each record once."""
    text = server.directory / "text.log"
    for turn in range(3):
        before = text.stat().st_size
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.directory / "json.sock"))
            client.sendall(
                b"".join(b'{"logger": "text", "message": "%d %d"}\n' % (turn, n) for n in range(500))
            )
            # Killed in the middle of it.
            wait_until(lambda before=before: text.stat().st_size > before, "something taken")
            server.process.kill()
            server.process.wait(LONG_S)
        server.reader.join(LONG_S)
        server.start()
    server.stop()
    lines = text.read_text().splitlines()
    for turn in range(3):
        mine = [line for line in lines if line.startswith(f"INFO text {turn} ")]
        assert mine == [f"INFO text {turn} {n}" for n in range(len(mine))]
    assert len(lines) == len(set(lines))


class Acknowledged(threading.Thread):
    """A client that sends a record again until it is acknowledged, whatever becomes of the server."""

    def __init__(self, directory: Path, name: str, count: int) -> None:
        super().__init__(daemon=True)
        self.path, self.client, self.count = str(directory / "acked.sock"), name, count
        self.acknowledged = 0

    def run(self) -> None:
        while self.acknowledged < self.count:
            try:
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.settimeout(LONG_S)
                    peer.connect(self.path)
                    self.talk(peer)
            except (OSError, EOFError):
                time.sleep(0.01)

    def talk(self, peer: socket.socket) -> None:
        peer.sendall(frame(json.dumps({"everyline": 1, "client": self.client}).encode()))
        known = json.loads(receive(peer))["last"]
        assert known >= self.acknowledged, "the server forgot what it acknowledged"
        self.acknowledged = sent = known
        while self.acknowledged < self.count:
            while sent < self.count and sent - self.acknowledged < 100:
                sent += 1
                peer.sendall(frame(sent.to_bytes(8, "big") + json.dumps(self.record(sent)).encode()))
            self.acknowledged = int.from_bytes(receive(peer), "big")

    def record(self, number: int) -> dict[str, str]:
        """Three lines each are the same, so that only the place in the file tells them apart."""
        return {"logger": self.client, "message": f"{self.client} {number // 3}"}


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def receive(peer: socket.socket) -> bytes:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = peer.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    return exactly(int.from_bytes(exactly(4), "big"))


def test_acknowledged_records_are_there_once_over_kills_of_the_server(server: Server) -> None:
    count, kills = 3000, 6
    clients = [Acknowledged(server.directory, f"client{n}", count) for n in range(4)]
    for client in clients:
        client.start()
    for kill in range(1, kills + 1):
        # Each one in the midst of it.
        goal = 4 * count * kill // (kills + 1)
        wait_until(lambda goal=goal: sum(c.acknowledged for c in clients) >= goal, "records")
        server.process.kill()
        server.process.wait(LONG_S)
        server.reader.join(LONG_S)
        server.start()
    for client in clients:
        client.join(LONG_S)
        assert not client.is_alive()
    server.stop()
    messages = [str(record["message"]) for record in server.objects()]
    for client in clients:
        mine = [message for message in messages if message.startswith(f"{client.client} ")]
        assert mine == [client.record(number)["message"] for number in range(1, count + 1)]


def test_what_systemd_and_prometheus_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(LONG_S)
        # An abstract name, as systemd's own for containers.
        name = f"everyline-test-{os.getpid()}"
        systemd.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        monkeypatch.setattr(
            sys.modules[__name__],
            "CONFIGURATION",
            CONFIGURATION.replace("[server]", '[server]\nmetrics = "127.0.0.1:0"'),
        )
        server = Server(tmp_path)
        try:
            assert systemd.recv(100) == b"READY=1"
            start = "everyline: counters on "
            url = next(line[len(start) :].strip() for line in server.messages if line.startswith(start))
            with urllib.request.urlopen(url, timeout=LONG_S) as answer:
                assert b"\neveryline_serve_records_total 0\n" in answer.read()
            server.stop()
            assert systemd.recv(100) == b"STOPPING=1"
        finally:
            server.process.kill()
            server.process.wait(LONG_S)


def test_check_says_what_is_wrong_and_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"

    def check() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "everyline", "serve", "--check", str(path)]
        return subprocess.run(words, capture_output=True, text=True, timeout=LONG_S)

    path.write_text(CONFIGURATION.format(dir=tmp_path))
    assert check().returncode == 0 and sorted(tmp_path.iterdir()) == [path]
    path.write_text(CONFIGURATION.format(dir=tmp_path).replace("tcp://127.0.0.1:0", "tcp://0.0.0.0:9020"))
    done = check()
    assert done.returncode == 2 and not done.stdout
    assert str(path) in done.stderr and "[[listen]] number 2: address" in done.stderr
    path.write_text("[[listen]]\nadress = 1\n")
    assert check().returncode == 2 and "unknown field `adress`" in check().stderr
