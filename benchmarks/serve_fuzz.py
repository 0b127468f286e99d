"""Hostile requests to `archgym serve`: made by schemathesis from its OpenAPI description, and by hand for
what no library sends. Every answer is searched for what a client must not see.

Called by benchmarks/serve.py; `hostile` and `Scanner` serve the tests, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from serving import Answer, Client, Service, request_bytes

ENV = "archgym/NasCell-v0"
HIDDEN = ("test_accuracy",)  # report-only metrics of that environment
TOKEN = "a-server-token-of-the-fuzz"
BUDGET = 100_000
_TRACES = (b"Traceback (most recent", b'File "', b"site-packages", b"root:x:0", b".py:")
STATUSES = frozenset({200, 201, 400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 422, 429, 431, 501})


class Seen(AssertionError):
    """An answer with something that clients must not see, or that no client may cause."""


class Scanner:
    """Searches answers.

    Args:
        folders: folders of the server, whose paths stay there.
        secrets: texts that no answer may have, such as tokens.
        hidden: names of report-only metrics.
        optima: numbers of the best design, as JSON, that nobody may see without evaluating it.
    """

    def __init__(
        self,
        folders: Iterable[Path | str],
        secrets: Iterable[str] = (),
        hidden: Iterable[str] = (),
        optima: Iterable[str] = (),
    ):
        self.texts = [str(folder).encode() for folder in folders if len(str(folder)) > 1]
        self.secrets = {secret.encode() for secret in secrets}
        self.keys = [re.compile(rb'"%s"\s*:' % name.encode()) for name in hidden]
        self.optima = [text.encode() for text in optima]
        self.statuses: Counter[int] = Counter()

    def counts(self) -> dict[int, int]:
        """Answers of each status."""
        return dict(sorted(self.statuses.items()))

    def check(self, answer: Answer, what: Any = "", own: str | None = None) -> Answer:
        """The answer, if there is nothing wrong with it.

        Args:
            what: the request, for the error.
            own: the token that this answer is to hold.

        Raises:
            Seen: there is.
        """
        self.statuses[answer.status] += 1
        whole = answer.head + b"\r\n" + answer.body
        if answer.status not in STATUSES:
            raise Seen(f"status {answer.status} for {str(what)[:300]}: {answer.text[:300]}")
        for text in (*_TRACES, *self.texts, *self.optima, *self.secrets):
            if text in whole and (own is None or text != own.encode()):
                raise Seen(f"{text!r} in the answer to {str(what)[:300]}: {answer.text[:500]}")
        for key in self.keys:
            if key.search(whole):
                raise Seen(f"{key.pattern!r} in the answer to {str(what)[:300]}: {answer.text[:500]}")
        if answer.status >= 400 and answer.body and b"application/json" in answer.head.lower():
            said = json.loads(answer.body)
            if not isinstance(said.get("error"), str) or "\n" in said["error"]:
                raise Seen(f"no error in one line for {str(what)[:300]}: {answer.text[:300]}")
        return answer


def folders(*more: Path | str) -> list[str]:
    """Paths that answers must not have."""
    import archgym

    package = Path(archgym.__file__).resolve().parent
    places = {Path.home(), Path.cwd(), sys.prefix, sys.base_prefix, package, package.parent, *more}
    return sorted(str(place) for place in places if str(place) not in ("/", "/usr", "/usr/local"))


class Wire(NamedTuple):
    """A request by its bytes: its name, what is sent in turn, and statuses that are right (0 stands for an
    end of the connection without an answer).
    """

    name: str
    parts: tuple[bytes, ...]
    statuses: frozenset[int]


def hostile(session: str, token: str, other: str, width: int) -> Iterator[Wire]:
    """Requests that no library sends.

    Args:
        session, token: a session and its token.
        other: another session, whose token the client does not have.
        width: number of parameters.
    """
    path, own = f"/sessions/{session}/evaluate", {"Authorization": f"Bearer {token}"}
    row = [0] * width

    def wire(name: str, *parts: bytes, statuses: Iterable[int] = (400, 404, 422)) -> Wire:
        return Wire(name, parts, frozenset(statuses))

    def body(name: str, content: bytes, statuses: Iterable[int] = (400, 422), **headers: str) -> Wire:
        return wire(name, request_bytes("POST", path, content, {**own, **headers}), statuses=statuses)

    yield from (body(name, content) for name, content in bodies(row))
    valid = json.dumps({"indices": [row]}).encode()
    yield body("content type of a form", valid, (200, 415), **{"Content-Type": "text/plain"})
    yield body("content type with NUL", valid, (200, 400, 415), **{"Content-Type": "application/json\0"})
    for name, key in (("empty", ""), ("long", "k" * 129), ("not ASCII", "k\u00e9"), ("spaces", "a b\tc")):
        yield body(f"key: {name}", valid, (200, 400, 422), **{"Idempotency-Key": key})
    yield body("key: header injection", valid, (200, 400, 422), **{"Idempotency-Key": "a\r\nX-Evil: 1"})
    yield body("key: NUL", valid, (400, 422), **{"Idempotency-Key": "a\0b"})
    for name, place in paths(session, other).items():
        request = request_bytes("GET", place, b"", own)
        yield wire(f"path: {name}", request, statuses=(400, 401, 404, 405, 414, 307, 0))
    for name, given in tokens(token).items():
        request = request_bytes("POST", path, valid, {"Authorization": given})
        yield wire(f"token: {name}", request, statuses=(400, 401, 404))
    for route in ("", "/history"):
        request = request_bytes("GET", f"/sessions/{other}{route}", b"", own)
        yield wire(f"another session{route}", request, statuses=(404,))
    request = request_bytes("POST", f"/sessions/{other}/evaluate", valid, own)
    yield wire("another session's budget", request, statuses=(404,))
    yield wire("no token", request_bytes("POST", path, valid), statuses=(401,))
    for host in ("evil.example", "127.0.0.1.evil.example", "a b", "\u00e9"):
        head = f"GET /task HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        yield wire(f"host: {host!a}", head, statuses=(400, 403))
    origin = {**own, "Origin": "http://evil.example"}
    yield wire("page of another site", request_bytes("POST", path, valid, origin), statuses=(403,))
    for query in (
        "start=-1",
        "count=1e9",
        "start=" + "9" * 400,
        "format=%00",
        "format=csv",
        "start=1&start=2",
    ):
        request = request_bytes("GET", f"/sessions/{session}/history?{query}", b"", own)
        yield wire(f"query: {query[:20]}", request, statuses=(200, 400, 422))
    yield from framing(path, token, valid)


def bodies(row: list[int]) -> Iterator[tuple[str, bytes]]:
    """Bodies that are no designs."""
    width = len(row)
    for text in ("", "null", "[]", "{}", '"x"', "1", "{", '{"indices": ', "\ufeff{}", "{'indices': [[0]]}"):
        yield f"body {text!a}", text.encode()
    for value in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1",
        "1" * 400,
        "0.5",
        "true",
        "null",
        '"0"',
        "[]",
        "{}",
    ):
        cells = ", ".join([value] + ["0"] * (width - 1))
        yield f"index {value[:20]}", f'{{"indices": [[{cells}]]}}'.encode()
    for value in (
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e19",
    ):
        cells = ", ".join([value] + ["0"] * (width - 1))
        yield f"index {value}", f'{{"indices": [[{cells}]]}}'.encode()
    for name, rows in (
        ("ragged", [row, row[1:]]),
        ("short", [row[1:]]),
        ("long", [[*row, 0]]),
        ("flat", row),
        ("empty rows", [[], []]),
        ("no rows", []),
        ("three levels", [[[0] * width] * width]),
        ("object", {"0": row}),
        ("text", "0" * width),
    ):
        yield f"indices {name}", json.dumps({"indices": rows}).encode()
    for name, designs in (
        ("none", []),
        ("numbers", [1, 2]),
        ("empty design", [{}]),
        ("unknown name", [{"__class__": "x", "__init__": "y"}]),
        ("long name", [{"n" * 100_000: 1}]),
        ("text", "designs"),
        ("class", [{"$": "path", "of": "x"}]),
        ("code", [{"node1": {"$": "class", "of": "os:system"}}]),
        ("nested", [[[[{}]]]]),
    ):
        yield f"designs {name}", json.dumps({"designs": designs}).encode()
    yield "both", json.dumps({"indices": [row], "designs": []}).encode()
    yield "more fields", json.dumps({"indices": [row], "budget": 10**9, "samples": 0}).encode()
    yield "keys twice", b'{"indices": [[0]], "indices": "x"}'
    yield "invalid UTF-8", b'{"indices": [["\xff\xfe"]]}'
    yield "lone surrogate", b'{"designs": [{"\\ud800": "\\udfff"}]}'
    yield "NUL", b'{"designs": [{"\\u0000": "\\u0000"}]}'
    yield "NUL bytes", b"\0" * 1000
    for depth in (500, 1_000, 100_000):
        yield f"{depth} lists", b'{"indices": ' + b"[" * depth + b"]" * depth + b"}"
        yield f"{depth} objects", b'{"designs": [' + b'{"a":' * depth + b"1" + b"}" * depth + b"]}"


def paths(session: str, other: str) -> dict[str, str]:
    """Paths that are no routes, or of nobody's session."""
    return {
        "up": "/sessions/../../../etc/passwd",
        "up, encoded": "/sessions/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "up, twice encoded": "/sessions/%252e%252e%252fetc%252fpasswd/history",
        "NUL": f"/sessions/{session}%00/history",
        "invalid UTF-8": "/sessions/%ff%fe%fd",
        "SQL": "/sessions/'%20OR%201=1--",
        "percent": "/sessions/%",
        "long": "/sessions/" + "x" * 50_000,
        "slashes": f"//sessions///{session}",
        "case": f"/sessions/{session.swapcase()}",
        "shell": "/sessions/$(id)",
        "both sessions": f"/sessions/{session}%2f..%2f{other}",
        "unknown": "/admin",
        "store": "/runs/",
        "journal": "/sessions.sqlite",
    }


def tokens(token: str) -> dict[str, str]:
    """Headers that do not hold this token."""
    return {
        "empty": "",
        "no scheme": token,
        "basic": f"Basic {token}",
        "part": f"Bearer {token[:-1]}",
        "more": f"Bearer {token}x",
        "case": f"Bearer {token.swapcase()}",
        "long": "Bearer " + "x" * 30_000,
        "not ASCII": "Bearer t\u00f6ken",
        "two": f"Bearer x, Bearer {token}",
    }


def framing(path: str, token: str, valid: bytes) -> Iterator[Wire]:
    """Bytes that are hardly HTTP."""
    own = f"Authorization: Bearer {token}\r\n"
    start = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{own}"
    any_error = frozenset({0, 400, 404, 405, 408, 411, 413, 414, 422, 431, 501, 505})
    for name, content in (
        ("no HTTP", b"hello\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("NULs", b"\0" * 100 + b"\r\n\r\n"),
        ("unknown method", b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        ("version", b"GET /task HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n"),
        ("length: text", f"{start}Content-Length: x\r\n\r\n".encode()),
        ("length: negative", f"{start}Content-Length: -5\r\n\r\n".encode()),
        ("length: huge", f"{start}Content-Length: {10**18}\r\n\r\n".encode()),
        ("length: two", f"{start}Content-Length: 5\r\nContent-Length: 50\r\n\r\n12345".encode()),
        (
            "length and chunks",
            f"{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        ),
        ("chunk size", f"{start}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode()),
        ("huge header", f"{start}X: {'x' * 200_000}\r\n\r\n".encode()),
        ("folded header", f"{start}X: a\r\n b\r\n\r\n".encode()),
        ("header without colon", f"{start}nonsense\r\n\r\n".encode()),
    ):
        yield Wire(f"framing: {name}", (content,), any_error | {200})
    many = "".join(f"X-{n}: y\r\n" for n in range(20_000))
    yield Wire("framing: many headers", (f"{start}{many}\r\n".encode(),), any_error)
    old = f"POST {path} HTTP/1.0\r\n{own}Content-Length: {len(valid)}\r\n\r\n".encode() + valid
    yield Wire("HTTP/1.0 without a host", (old,), frozenset({200, 400, 403}))
    large = b'{"indices": [' + b"[0]," * (4 * 2**20) + b"[0]]}"
    yield Wire(
        "16 MiB and more",
        (request_bytes("POST", path, large, {"Authorization": f"Bearer {token}"}),),
        any_error,
    )
    ten = b'{"indices": [' + b"[0,0]," * (10 * 2**20 // 6) + b"[0]]}"
    yield Wire(
        "10 MB of rows", (request_bytes("POST", path, ten, {"Authorization": f"Bearer {token}"}),), any_error
    )
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"
    head = f"{start}Transfer-Encoding: chunked\r\n\r\n".encode()
    yield Wire("chunks without end", (head, *[chunk] * 400), any_error)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (valid[:7], valid[7:]))
    yield Wire("chunks", (head + chunks + b"0\r\n\r\n",), frozenset({200}))


def send_wire(port: int, request: Wire, scanner: Scanner, timeout: float = 30.0) -> int:
    """The status of a hostile request, 0 for an end of the connection; a wrong one raises.

    Raises:
        Seen: a wrong status, or something in the answer that clients must not see.
    """
    with Client(port, timeout) as client:
        try:
            for part in request.parts:
                client.send(part)
        except ConnectionError:  # refused before it was read to its end
            pass
        try:
            status = scanner.check(client.receive(), request.name).status
        except ConnectionError:
            status = 0
        except TimeoutError:
            if not _incomplete(request):
                raise Seen(f"no answer to {request.name!r} within {timeout} s") from None
            status = 0
    if status not in request.statuses:
        raise Seen(f"status {status} for {request.name!r}, expected one of {sorted(request.statuses)}")
    return status


def _incomplete(request: Wire) -> bool:
    """Whether a server has reason to wait for more."""
    return request.name in ("framing: TLS", "framing: NULs", "framing: chunk size")


# --- schemathesis ---


def optimum_of(env: str) -> tuple[list[int], list[str]]:
    """Indices of the best design, and its reward as JSON."""
    import gymnasium
    import numpy as np

    import archgym  # noqa: F401  registers

    evaluator = gymnasium.make(f"archgym:{env}").unwrapped.evaluator
    nvec = evaluator.simulator.space.nvec
    every = np.stack(np.unravel_index(np.arange(nvec.prod()), nvec), axis=1)
    found = evaluator.evaluate(every, len(every))
    best = int(np.argmax(np.where(found.valid, found.reward, -np.inf)))
    return every[best].tolist(), [json.dumps(float(found.reward[best]))]


def by_schemathesis(
    port: int, count: int, scanner: Scanner, sessions: list[dict[str, Any]], seed: int
) -> int:
    """Requests that schemathesis makes from the description, half of them valid: their number."""
    import hypothesis
    import schemathesis

    warnings.simplefilter("ignore")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", headers=headers)
    operations = [found.ok() for found in schema.get_all_operations()]
    weights = {"evaluate": 6, "create": 3, "history": 2}
    labels = {op: weights.get(str(op.definition.raw.get("operationId")), 1) for op in operations}
    done = 0
    for operation, weight in labels.items():
        for mode in schemathesis.GenerationMode:
            share = max(10, count * weight // (2 * sum(labels.values())))
            done += _fuzz_one(operation, mode, share, port, scanner, sessions, seed, hypothesis)
    return done


def _fuzz_one(
    operation: Any,
    mode: Any,
    count: int,
    port: int,
    scanner: Scanner,
    sessions: list[dict[str, Any]],
    seed: int,
    hypothesis: Any,
) -> int:
    done, rng = 0, random.Random(seed)
    quiet = hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )

    def one(case: Any) -> None:
        nonlocal done
        mine, other = sessions[0], sessions[1]
        if "id" in (case.path_parameters or {}) and rng.random() < 0.8:
            case.path_parameters["id"] = mine["session"] if rng.random() < 0.9 else other["session"]
        token = rng.choice([mine["token"]] * 8 + [other["token"], TOKEN])
        if operation.path in ("/task", "/sessions") and rng.random() < 0.9:
            token = TOKEN
        headers = None if rng.random() < 0.05 else {"Authorization": f"Bearer {token}"}
        done += 1
        response = case.call(base_url=f"http://127.0.0.1:{port}", headers=headers)
        head = "\r\n".join(f"{name}: {value}" for name, value in response.headers.items())
        answer = Answer(response.status_code, head.encode("utf-8", "replace"), response.content)
        own = answer.json()["token"] if answer.status == 201 else None
        scanner.check(answer, case.as_curl_command(), own)
        known = {int(code) for code in operation.definition.raw["responses"] if code.isdigit()}
        if answer.status not in known | {400, 403, 404, 405}:
            raise Seen(f"{operation.label}: undocumented status {answer.status} for {case.as_curl_command()}")

    strategy = operation.as_strategy(generation_mode=mode)
    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing is wrong with such a request
        hypothesis.seed(seed)(quiet(hypothesis.given(case=strategy)(one)))()
    return done


def main(count: int, seed: int) -> None:
    os.environ.setdefault("ARCHGYM_TOKEN", TOKEN)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        arguments = (ENV, "--budget", str(BUDGET), "--token", TOKEN, "--sessions", "1000000")
        with Service(*arguments, folder=folder) as service:
            with Client(service.port) as client:
                sessions = [
                    client.ask("POST", "/sessions", {"agent": f"fuzz-{n}"}, TOKEN).json() for n in range(2)
                ]
                width = len(client.ask("GET", "/task", token=TOKEN).json()["space"]["nvec"])
            optimum, optima = optimum_of(ENV)
            secrets = [TOKEN, *(each["token"] for each in sessions)]
            scanner = Scanner(folders(folder, scratch), secrets, HIDDEN, optima)
            mine, other = sessions
            wires = list(hostile(mine["session"], mine["token"], other["session"], width))
            for request in wires:
                send_wire(service.port, request, scanner)
            done = by_schemathesis(service.port, count, scanner, sessions, seed)
            with Client(service.port) as client:
                for each in sessions:
                    path = f"/sessions/{each['session']}"
                    history = client.ask("GET", f"{path}/history", token=each["token"])
                    scanner.check(history)
                    said = scanner.check(client.ask("GET", path, token=each["token"])).json()
                    assert len(history.json()["columns"]["sample"]) == said["samples"], said
                    print(f"{said['agent']}: {said['samples']:,} samples")
            service.stop()
            assert "Traceback" not in service.output, service.output[-3000:]
    print(
        f"{done:,} requests by schemathesis and {len(wires)} by hand: no status >= 500, no trace, path,"
        f" token, report-only metric or optimum ({optimum}) in an answer; statuses {scanner.counts()}"
    )
