"""The tree of synthesis sequences on one circuit, with equal results merged.

    state     an and-inverter graph, named by a digest of its structure
    edge      (state, pass) -> state

No edge is run twice, by this process or by others that share the file of results, and a sequence runs from
its longest known prefix. A pass depends on the structure alone: `backup; restore` after it copies the graph,
which puts ABC in the condition that writing and reading the graph does. Without it `resub` sees the order in
which earlier passes made the gates: that changes one ten-pass sequence in a hundred on circuits from truth
tables, none of 600 on ours. By hand:

    read CIRCUIT; strash; backup; restore; PASS; backup; restore; PASS; backup; restore; ... print_stats

Edges and states go to the file in one transaction, so what a killed process leaves is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.files.results import Records
from archgym.simulators.synthesis.abc import Abc, Killed, printed_error
from archgym.simulators.synthesis.space import LUT_INPUTS, PASSES

COPY = "backup; restore"
SHOW = f"{COPY}; print_stats; write_aiger new.aig"
MEMORY_BYTES = 256 << 20  # graphs in memory
EDGES = 1 << 20  # edges in memory
DISK_BYTES = 4 << 30  # the file grows no further
_EDGE = struct.Struct("<16sII")
_AND = re.compile(r"\band\s*=\s*(\d+)\s+lev\s*=\s*(\d+)")
_LUT = re.compile(r"\bnd\s*=\s*(\d+)\b.*?\blev\s*=\s*(\d+)")
_MAPPED = re.compile(r"\bArea\s*=\s*([\d.]+).*?\bDelay\s*=\s*([\d.]+) ps")

T = TypeVar("T")


class State(NamedTuple):
    """An and-inverter graph.

    Attributes:
        digest: hash of its structure, 16 bytes.
        and_gates: number of AND gates.
        levels: AND gates on the longest path.
    """

    digest: bytes
    and_gates: int
    levels: int


class Tree:
    """States and edges below one circuit.

    Args:
        abc: the program.
        version: version of the program.
        file: name of the circuit's file in the program's folder.
        digest: hash of that file's content.
        records: results that processes share; None for none.
        library: digest of the library of cells that the program has read; "" for none.
    """

    def __init__(
        self, abc: Abc, version: str, file: str, digest: str, records: Records | None, library: str = ""
    ):
        self.abc, self.records, self.library = abc, records, library
        self.runs = 0  # passes that were carried out
        self._version, self._file = version, file
        self._graphs: OrderedDict[bytes, bytes] = OrderedDict()
        self._graph_bytes = 0
        self.forget()
        self._new: dict[bytes, bytes | str] = {}
        self._held: tuple[int, bytes] | None = None  # process of the program, and the graph that it holds
        self._root_written = False  # to a file in the program's folder
        self.root = self._read_root(digest)

    def walk(self, sequence: Sequence[int]) -> list[State]:
        """The circuit and the states after each pass: K + 1 of them.

        Raises:
            PassFailed: a pass failed or took too long.
        """
        states = [self.root]
        try:
            for step, number in enumerate(sequence):
                key = self._key("pass", states[-1].digest, PASSES[number])
                found = self._edge(key)
                if found is None:
                    found = self._carry_out(key, states, sequence[: step + 1])
                states.append(found)
        except SimulatorUnavailable:
            raise
        except ArchGymError as error:
            raise PassFailed(str(error), states) from error
        finally:
            self._flush()
        return states

    def forget(self) -> None:
        """Drop edges and facts from memory; the file keeps its own."""
        self._edges: dict[bytes, State] = {}
        self._facts: dict[bytes, Any] = {}
        self._failed: dict[bytes, str] = {}

    def luts(self, state: State, sequence: Sequence[int]) -> tuple[int, int]:
        """Look-up tables of six inputs and their levels, after `if -K 6`."""
        command = f"if -K {LUT_INPUTS}; print_stats"
        found = self._fact("luts", b"", state, sequence, command, _LUT)
        return int(found[0]), int(found[1])

    def mapped(self, state: State, sequence: Sequence[int]) -> tuple[float, float]:
        """Area in units of the library and delay in ps, by static timing, of the circuit in its cells, after
        `map`.
        """
        found = self._fact("map", self.library.encode(), state, sequence, "map; topo; stime", _MAPPED)
        return float(found[0]), float(found[1])

    def check(self, state: State, sequence: Sequence[int]) -> str:
        """Why a state is not proven equivalent to the circuit; "" where it is: by `&cec`, which takes a tenth
        of the time of `cec` on multipliers, and by `cec` where that decides nothing.
        """
        if state.digest == self.root.digest:
            return ""
        limit = f"-T {max(1, int(self.abc.timeout_s / 2))} root.aig"  # before the process is ended
        for what, command in (("&cec", f"&get; &cec {limit}"), ("cec", f"cec -n {limit}")):
            found = self._fact(what, self.root.digest, state, sequence, command, _VERDICT)
            if found[0] == "equivalent":
                return ""
            if found[0] == "NOT EQUIVALENT":
                return "the result is not equivalent to the circuit (&cec)"
        return "the result could not be proven equivalent to the circuit (&cec, cec)"

    def graph(self, state: State) -> bytes | None:
        """A state in binary AIGER; None where it is not kept."""
        if state.digest in self._graphs:
            self._graphs.move_to_end(state.digest)
            return self._graphs[state.digest]
        key = self._key("graph", state.digest)
        stored = {} if self.records is None else self.records.get([key])
        if key not in stored:
            return None
        graph = zlib.decompress(stored[key])
        if digest_of(graph) != state.digest:
            return None
        self._keep(state.digest, graph)
        return graph

    def _read_root(self, digest: str) -> State:
        key = self._key("root", digest.encode())
        found = self._edge(key)
        if found is None or self.graph(found) is None:
            answer = self.abc.run(f"empty; read {self._file}; strash; {SHOW}")
            found = self._take(key, answer, "the circuit")
            self._flush()
        return found

    def _edge(self, key: bytes) -> State | None:
        found = self._edges.get(key)
        if found is None and self.records is not None:
            record = self.records.get([key]).get(key)
            if record is not None:
                found = self._remember(key, State(*_EDGE.unpack(record)))
        return found

    def _remember(self, key: bytes, state: State) -> State:
        if len(self._edges) >= EDGES:
            self._edges.clear()
        self._edges[key] = state
        return state

    def _carry_out(self, key: bytes, states: list[State], sequence: Sequence[int]) -> State:
        """Run the last pass of a sequence on the state before it."""
        if key in self._failed:
            raise ArchGymError(self._failed[key])
        try:
            return self._try_again(lambda: self._run_pass(key, states, sequence))
        except SimulatorUnavailable:
            raise
        except ArchGymError as error:
            self._failed[key] = str(error)
            raise

    def _run_pass(self, key: bytes, states: list[State], sequence: Sequence[int]) -> State:
        self._hold(states, sequence)
        self.runs += 1
        return self._take(key, self._run(f"{PASSES[sequence[-1]]}; {SHOW}"), "a pass")

    def _try_again(self, job: Callable[[], T]) -> T:
        """The result of a job, at the second attempt if the program was killed in the first."""
        try:
            return job()
        except Killed:
            return job()

    def _run(self, command: str) -> str:
        held, self._held = self._held, None  # unless the command succeeds
        answer = self.abc.run(command)
        if error := printed_error(answer):
            raise ArchGymError(f"ABC's {command!r} failed: {error}")
        self._held = held
        return answer

    def _take(self, key: bytes, answer: str, what: str) -> State:
        """The state that the program holds, as the child of an edge."""
        self._held = None
        found = _AND.findall(answer)
        if not found:
            raise ArchGymError(f"ABC made no graph of {what}: {printed_error(answer) or answer[-200:]}")
        graph = structure(self.abc.read("new.aig"))
        state = State(digest_of(graph), *map(int, found[-1]))
        self._held = self.abc.starts, state.digest
        self._new[self._key("graph", state.digest)] = zlib.compress(graph, 1)
        self._new[key] = _EDGE.pack(*state)
        self._keep(state.digest, graph)
        return self._remember(key, state)

    def _hold(self, states: list[State], sequence: Sequence[int]) -> None:
        """Let the program hold the last of some states; `sequence` led to it."""
        self.abc.renew()
        if self._held == (self.abc.starts, states[-1].digest):
            return
        missing = []  # passes after the last state that is kept
        graph = None
        for step in range(len(states) - 1, -1, -1):
            graph = self.graph(states[step])
            if graph is not None:
                break
            missing.append(PASSES[sequence[step - 1]])
        assert graph is not None  # the root is kept
        self.abc.write("now.aig", graph)
        self._run("; ".join(["read_aiger now.aig", *(f"{one}; {COPY}" for one in reversed(missing))]))
        self._held = self.abc.starts, states[-1].digest

    def _fact(
        self,
        what: str,
        of: bytes,
        state: State,
        sequence: Sequence[int],
        command: str,
        pattern: re.Pattern[str],
    ) -> list[str]:
        """What a command prints of a state; the state stays with the program."""
        key = self._key(what, of, state.digest)
        found = self._facts.get(key)
        if found is None and self.records is not None:
            record = self.records.get([key]).get(key)
            found = None if record is None else json.loads(record)
        if found is None:
            states = self.walk(sequence)
            answer = self._try_again(lambda: self._show(states, sequence, command))
            matches = pattern.findall(answer)
            if not matches:
                raise ArchGymError(f"ABC's {command!r} printed no {what}: {answer[-200:]!r}")
            found = list(matches[-1]) if isinstance(matches[-1], tuple) else [matches[-1]]
            if found[0] != "UNDECIDED":  # which depends on the time that it had
                self._new[key] = json.dumps(found)
                self._flush()
        if len(self._facts) >= EDGES:
            self._facts.clear()
        self._facts[key] = found
        return found

    def _show(self, states: list[State], sequence: Sequence[int], command: str) -> str:
        self._hold(states, sequence)
        if "root.aig" in command and not self._root_written:
            graph = self.graph(self.root)
            assert graph is not None  # the root is kept
            self.abc.write("root.aig", graph)
            self._root_written = True
        return self._run(f"backup; {command}; restore")  # the graph stays, as a copy of itself

    def _keep(self, digest: bytes, graph: bytes) -> None:
        self._graph_bytes += len(graph) - len(self._graphs.pop(digest, b""))
        self._graphs[digest] = graph
        while self._graph_bytes > MEMORY_BYTES and len(self._graphs) > 2:
            oldest = next(iter(self._graphs))
            if oldest == self.root.digest:
                self._graphs.move_to_end(oldest)
            else:
                self._graph_bytes -= len(self._graphs.pop(oldest))

    def _flush(self) -> None:
        new, self._new = self._new, {}
        if new and self.records is not None and _size(self.records.path) < DISK_BYTES:
            self.records.put(new)

    def _key(self, *parts: bytes | str) -> bytes:
        sha = hashlib.blake2b(digest_size=16)
        for part in (self._version, *parts):
            content = part.encode() if isinstance(part, str) else part
            sha.update(len(content).to_bytes(4, "little") + content)
        return sha.digest()


_VERDICT = re.compile(r"Networks are (equivalent|NOT EQUIVALENT|UNDECIDED)")


class PassFailed(ArchGymError):
    """A pass failed.

    Attributes:
        states: the circuit and the states after the passes before.
    """

    def __init__(self, message: str, states: list[State]):
        super().__init__(message)
        self.states = states


def structure(content: bytes) -> bytes:
    """A binary AIGER file without names and comment.

    Raises:
        ArchGymError: it is cut off, or in another format.
    """
    try:
        head, _, _ = content.partition(b"\n")
        kind, _, _, latches, outputs, gates = head.split()[:6]
        if kind != b"aig" or int(latches):
            raise ValueError(head)
        start = len(head) + 1
        for _ in range(int(outputs)):
            start = content.index(b"\n", start) + 1
        # every gate has two numbers in groups of seven bits, the last of which has its highest bit clear
        ends = np.flatnonzero(np.frombuffer(content, np.uint8, offset=start) < 128)
        if int(gates):
            start += int(ends[2 * int(gates) - 1]) + 1
        return content[:start]
    except (ValueError, IndexError):
        raise ArchGymError(f"ABC wrote a damaged graph, {content[:40]!r}; is the disk full?") from None


def digest_of(graph: bytes) -> bytes:
    """Hash of a structure, 16 bytes."""
    return hashlib.blake2b(graph, digest_size=16).digest()


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
