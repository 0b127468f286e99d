"""`archgym serve` as a real process: its line, kill -9, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("fastapi")

from archgym.cli.serve import serve
from archgym.errors import ArchGymError

ENV = "archgym/NasCell-v0"


class Service:
    """A served process on a free port."""

    def __init__(self, folder, *options):
        command = [
            sys.executable,
            "-m",
            "archgym",
            "serve",
            ENV,
            "--port",
            "0",
            "--out",
            str(folder),
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.line = self.process.stdout.readline()
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.line)[0]

    def ask(self, path, body=None, token="", **headers):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, data, headers), timeout=30
        ) as answer:
            return json.load(answer)

    def end(self, kind):
        self.process.send_signal(kind)
        return self.process.wait(30), self.process.communicate()[1]


@contextlib.contextmanager
def service(folder, *options):
    made = Service(folder, *options)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def test_a_killed_server_goes_on_where_it_was(tmp_path):
    rows = np.random.default_rng(0).integers(0, 5, (30, 6)).tolist()
    with service(tmp_path / "kept", "--budget", "30") as first:
        session = first.ask("/sessions", {})
        place, token = f"/sessions/{session['session']}", session["token"]
        answers = [first.ask(f"{place}/evaluate", {"indices": rows[i : i + 5]}, token) for i in (0, 5, 10)]
        assert answers[-1]["left"] == 15
        first.end(signal.SIGKILL)
    with service(tmp_path / "kept", "--budget", "30") as again:
        assert again.ask(place, token=token)["samples"] == 15
        rest = again.ask(f"{place}/evaluate", {"indices": rows[15:]}, token)
        assert (rest["start"], rest["left"]) == (15, 0)
        with pytest.raises(urllib.error.HTTPError, match="409"):
            again.ask(f"{place}/evaluate", {"indices": rows[:1]}, token)
        history = again.ask(f"{place}/history", token=token)["columns"]
        code, stderr = again.end(signal.SIGINT)
        assert code == 130 and "interrupted: every sample is in" in stderr and "Traceback" not in stderr
    rewards = [reward for answer in (*answers, rest) for reward in answer["reward"]]
    assert history["reward"] == rewards and len(rewards) == 30
    assert len(list((tmp_path / "kept" / "runs").rglob("*.parquet"))) == 1


def test_one_line_says_what_is_served_and_where(tmp_path):
    with service(tmp_path / "here", "--budget", "1000", "--seed", "3") as found:
        words = (f"serving {ENV} at {found.url}", "budget 1,000", "seed 3", str(tmp_path / "here"))
        assert all(word in found.line for word in words)
        task = found.ask("/task")
        assert (task["env"], task["budget"], task["seed"]) == (ENV, 1000, 3)
        port = int(found.url.rpartition(":")[2])
        with pytest.raises(ArchGymError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve(ENV, port=port, out=tmp_path / "x")
        with pytest.raises(ArchGymError, match="at work in"):
            serve(ENV, port=0, budget=1000, out=tmp_path / "here")
        with socket.create_connection(("127.0.0.1", port)) as raw:  # without an end of its headers
            raw.settimeout(30)
            with contextlib.suppress(OSError):
                raw.sendall(b"GET /task HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"x: " + b"y" * 100_000)
            answer = b""
            with contextlib.suppress(OSError):
                answer = raw.recv(1000)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        code, stderr = found.end(signal.SIGTERM)
        assert "Traceback" not in stderr
        assert code == (-signal.SIGTERM if os.name == "posix" else code)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"host": "0.0.0.0"}, "expected a token for 0.0.0.0"),
        ({"token": "short"}, "at least 16 printable ASCII characters"),
        ({"rate": 0.0}, "expected a rate > 0"),
        ({"set_": ["dataset=nothing"]}, "unknown data set 'nothing'"),
        ({"host": "no.such.host.invalid", "token": "x" * 20}, "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_cannot_be_served_is_refused_before_a_folder_is_made(tmp_path, options, reason):
    with pytest.raises(ArchGymError, match=reason):
        serve(ENV, port=0, out=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()
