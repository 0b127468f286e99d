"""Sessions: a ledger for each agent, on the server's side, that survives the process.

    evaluate   legal -> key known? -> admit -> simulate -> record -> journal -> answer

What is in memory is a copy of the journal: a session that is not in memory, because the process is new, the
journal could not be written, or many others were used since, is rebuilt from it without simulating again.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.errors import ArchGymError, BudgetExhausted, SimulatorUnavailable, reason_of
from archgym.evaluator import Evaluator
from archgym.objective import Rewards
from archgym.serve.journal import Batch, Journal, SessionRow
from archgym.serve.refusals import Refused, without_paths
from archgym.serve.task import SEEDS, ServedTask
from archgym.simulator import Outcome
from archgym.space import Array, Indices
from archgym.study.design import Run
from archgym.study.recorded import recorded_run
from archgym.study.store import Store
from archgym.words import is_unicode, one_line, shown

if TYPE_CHECKING:
    import pyarrow

FILE = "sessions.sqlite"
LOADED = 1000  # sessions in memory
LOADED_SAMPLES = 2**24  # samples of them, beyond the session in use: some 1.5 GB
LONGEST_NAME = 200  # characters of an agent's name
AGENT = "[!-~]([ -~]*[!-~])?"  # such names
LONGEST_HYPERPARAMETERS = 65_536  # characters as JSON
DEEPEST = 32  # levels of hyperparameters
LONGEST_KEY = 128
_FEASIBLE, _VALID = 1, 2


class Sessions:
    """All sessions of a task, in a folder.

    Args:
        task: the task.
        folder: the folder, which is made if need be, and held until `close`.
        limit: number of sessions allowed.

    Raises:
        ArchGymError: a folder that another process holds, of another task, or that cannot be used.
    """

    def __init__(self, task: ServedTask, folder: str | Path, *, limit: int = 10_000):
        self.task, self.limit = task, limit
        self.store = Store(folder)
        self.simulating = threading.Lock()  # members share simulators
        self._lock = threading.RLock()
        self._all: dict[str, Session] = {}
        self._taken: dict[tuple[str, str, str], set[int]] = {}
        self._next: dict[tuple[str, str, str], int] = {}  # no seed below it is free
        self._loaded: OrderedDict[str, Session] = OrderedDict()
        self._counted: dict[str, int] = {}  # samples of each of them when it was last used
        self._samples = 0  # their sum
        with ExitStack() as stack:
            stack.enter_context(self.store.locked())
            self.journal = Journal(self.store.folder / FILE, task.identity())
            stack.callback(self.journal.close)
            samples = self.journal.samples()
            for row in self.journal.sessions():
                self._add(Session(self, row, samples.get(row.number, 0)))
            self._held = stack.pop_all()
        for session in self._all.values():
            session.store_run()

    def __len__(self) -> int:
        return len(self._all)

    def close(self) -> None:
        """Close the journal and the simulators, and let the folder go."""
        self._held.close()
        for member in self.task.members.values():
            member.close()

    def create(
        self,
        agent: str = "remote",
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
        context: str | None = None,
    ) -> Session:
        """A new session; its `token` is known to the caller alone.

        Args:
            agent: name of the agent.
            hyperparameters: JSON that belongs to the name.
            seed: seed of the run; None for the next free one.
            context: name of the context; None without contexts.

        Raises:
            Refused: 409 for a second session of the same agent, hyperparameters, seed and context, 422 for
                what a session cannot have, 429 for one too many.
        """
        text, seed = _checked(agent, hyperparameters, seed)
        try:
            self.task.member(context)
        except ArchGymError as error:
            raise Refused(422, str(error)) from None
        with self._lock:
            if len(self._all) >= self.limit:
                raise Refused(429, f"expected at most {self.limit:,} sessions, got one more")
            name = (agent, text, json.dumps(context))
            taken = self._taken.setdefault(name, set())
            if seed is None:
                first = self._next.get(name, self.task.seed)
                seed = self._next[name] = next(s for s in range(first, SEEDS) if s not in taken)
            token, id_ = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
            fields = (id_, hashed(token), agent, text, seed, json.dumps(context), time.time(), False)
            if seed in taken:
                raise _second(agent, seed)
            try:
                number = self.journal.add(SessionRow(0, *fields))
            except sqlite3.IntegrityError:
                raise _second(agent, seed) from None
            session = Session(self, SessionRow(number, *fields), 0)
            session.token = token
            self._add(session)
            return session

    def get(self, id: str, token: str) -> Session:
        """The session of an id and its token.

        Raises:
            Refused: 404 for an unknown id, and for another session's token.
        """
        session = self._all.get(id)
        expected = _NOBODY if session is None else session.row.token
        if not secrets.compare_digest(hashed(token), expected) or session is None:
            raise Refused(404, "expected the id and the token of a session, got others; POST /sessions")
        return session

    def find(self, agent: str, seed: int, context: str | None = None) -> Session | None:
        """The session of an agent without hyperparameters, for callers in this process; None without one."""
        wanted = (agent, "{}", json.dumps(context), seed)
        for session in list(self._all.values()):
            row = session.row
            if (row.agent, row.hyperparameters, row.context, row.seed) == wanted:
                return session
        return None

    def _add(self, session: Session) -> None:
        row = session.row
        self._all[row.id] = session
        self._taken.setdefault((row.agent, row.hyperparameters, row.context), set()).add(row.seed)

    def loaded(self, session: Session) -> None:
        """Note that a session is used; those that were not used for longest leave memory."""
        leaving = []
        with self._lock:
            self._samples += session.samples - self._counted.get(session.id, 0)
            self._counted[session.id] = session.samples
            self._loaded[session.id] = session
            self._loaded.move_to_end(session.id)
            while len(self._loaded) > LOADED or (self._samples > LOADED_SAMPLES and len(self._loaded) > 1):
                leaving.append(self._loaded.popitem(last=False)[1])
                self._samples -= self._counted.pop(leaving[-1].id)
        for oldest in leaving:
            oldest.unload()


class Session:
    """One agent's samples.

    Attributes:
        row: its stored fields.
        samples: number of samples in the journal.
        token: the secret of a new session; "" later.
    """

    def __init__(self, sessions: Sessions, row: SessionRow, samples: int):
        self._sessions, self.row, self.samples = sessions, row, samples
        self.token = ""
        self._turn = threading.Lock()  # one evaluation at a time
        self._state = threading.RLock()  # of the ledger
        self._evaluator: Evaluator | None = None
        self._stored = row.stored
        self._counted = (-1, 0)  # samples, distinct designs among them

    @property
    def id(self) -> str:
        """Identifier; of no use without the token."""
        return self.row.id

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.row.seed

    @property
    def context(self) -> str | None:
        """Name of the context; None without contexts."""
        return json.loads(self.row.context)

    @property
    def budget(self) -> int | None:
        """Samples allowed; None for no limit."""
        return self._sessions.task.budget

    @property
    def left(self) -> int | None:
        """Samples left; None for no limit."""
        return None if self.budget is None else self.budget - self.samples

    @property
    def evaluator(self) -> Evaluator:
        """The task with this session's ledger, to be read; only `evaluate` adds to it."""
        return self._load()

    def unload(self) -> None:
        """Leave memory, unless it is at work; the journal has everything."""
        if self._turn.acquire(blocking=False):
            if self._state.acquire(blocking=False):
                self._evaluator = None
                self._state.release()
            self._turn.release()

    def evaluate(self, indices: Any, key: str | None = None) -> dict[str, Any]:
        """Evaluate, record and journal designs.

        Args:
            indices: designs as indices [B, P].
            key: text that names the request: a second one with it gets the recorded answer.

        Returns:
            The answer of POST /sessions/{id}/evaluate.

        Raises:
            Refused: 409 with nothing left, 413 for too many designs, 422 for illegal ones or a key that was
                used with others, 503 without a simulator, 507 with a full disk. Nothing is counted.
        """
        rows, digest = self._legal(indices), None
        with self._turn:
            if key is not None:
                digest = hashlib.blake2b(rows.tobytes(), digest_size=16).digest()
                if (found := self._recorded(key, digest)) is not None:
                    return found
            batch = self._sample(rows, key, digest)
            answer = self._answer(batch.start, batch.size)
        if self.left == 0:
            self.store_run()
        return answer

    def _sample(self, rows: Indices, key: str | None, digest: bytes | None) -> Batch:
        """Simulate designs as far as the budget goes; record and journal them."""
        evaluator = self._load()
        ledger = evaluator.ledger
        try:
            with self._state:
                rows = rows[: ledger.admit(len(rows), rows)]
            rows.flags.writeable = False
            with self._sessions.simulating:
                outcome, rewards, seconds = evaluator.simulate(rows)
        except BudgetExhausted:
            raise Refused(409, f"the budget of {self.budget} samples is spent", left=0) from None
        except BaseException as error:
            self._evaluator = None  # the ledger may have been charged
            if isinstance(error, SimulatorUnavailable):
                raise Refused(503, f"the simulator cannot run: {without_paths(str(error))}") from error
            raise
        with self._state:
            try:
                ledger.record(rows, outcome, rewards, seconds)
                batch = self._batch(rows, outcome, rewards, key, digest)
                self._sessions.journal.append(self.row.number, batch)
            except BaseException:
                self._evaluator = None  # the ledger may be ahead of the journal
                raise
            self.samples = ledger.samples
        return batch

    def _legal(self, indices: Any) -> Indices:
        task = self._sessions.task
        try:
            count = len(indices)
            if not count:
                raise ArchGymError("expected at least one design, got none")
            if count > task.max_batch:
                raise Refused(413, f"expected at most {task.max_batch:,} designs in a request, got {count:,}")
            # of texts NumPy would make an array with room for the longest in every place
            if isinstance(indices, list) and not _NUMBERS.issuperset(map(type, chain.from_iterable(indices))):
                raise ValueError
            with np.errstate(invalid="ignore"):
                return task.member(self.context).legal(indices)
        except Refused:
            raise
        except ArchGymError as error:
            raise Refused(422, one_line(str(error), 500)) from None
        except (TypeError, ValueError, OverflowError):  # rows of different lengths, ...
            width = len(task.space)
            raise Refused(
                422, f"expected designs as rows of {width} whole numbers each, got {shown(indices)}"
            ) from None

    def _recorded(self, key: str, digest: bytes) -> dict[str, Any] | None:
        """The answer that a request with this key got; None if there was none."""
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            raise Refused(
                422, f"expected an Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters"
            )
        found = self._sessions.journal.find(self.row.number, key)
        if found is None:
            return None
        start, count, recorded = found
        if recorded != digest:
            raise Refused(422, "expected the designs that this Idempotency-Key was used with, got others")
        self._load()
        return self._answer(start, count)

    def _load(self) -> Evaluator:
        """The evaluator, with everything in the journal in its ledger."""
        with self._state:
            if self._evaluator is None:
                self._evaluator = self._rebuilt()
            evaluator = self._evaluator
        self._sessions.loaded(self)
        return evaluator

    def _rebuilt(self) -> Evaluator:
        evaluator = self._sessions.task.evaluator(self.context, self.seed)
        batches = list(self._sessions.journal.batches(self.row.number))
        if not batches:
            return evaluator
        ledger = evaluator.ledger
        parameters, metrics = len(evaluator.simulator.space), len(evaluator.simulator.metrics)
        stored = ledger.column("indices").dtype
        indices = np.frombuffer(b"".join(b.indices for b in batches), stored.newbyteorder("<"))
        values = np.frombuffer(b"".join(b.numbers for b in batches), "<f8").reshape(-1, metrics + 1)
        flags = np.frombuffer(b"".join(b.flags for b in batches), np.uint8)
        failures = {
            batch.start + int(row): reason
            for batch in batches
            if batch.failures
            for row, reason in json.loads(batch.failures).items()
        }
        rows = indices.reshape(len(flags), parameters).astype(np.int64)
        outcome = Outcome(values[:, :-1], (flags & _FEASIBLE) > 0, failures=failures)
        ledger.admit(len(rows), rows)
        ledger.record(rows, outcome, Rewards(values[:, -1], (flags & _VALID) > 0), 0.0)
        if batches[-1].noise is not None:
            evaluator.rng.bit_generator.state = json.loads(batches[-1].noise)
        self.samples = ledger.samples
        return evaluator

    def _batch(
        self, rows: Indices, outcome: Outcome, rewards: Rewards, key: str | None, digest: bytes | None
    ) -> Batch:
        """Designs with their results, as the journal keeps them."""
        assert self._evaluator is not None
        ledger, rng = self._evaluator.ledger, self._evaluator.rng
        dtype = ledger.column("indices").dtype.newbyteorder("<")
        values = np.column_stack([outcome.values, rewards.reward]).astype("<f8", copy=False)
        flags = outcome.feasible * np.uint8(_FEASIBLE) + rewards.valid * np.uint8(_VALID)
        stochastic = self._evaluator.simulator.stochastic
        return Batch(
            start=ledger.samples - len(rows),
            size=len(rows),
            indices=rows.astype(dtype).tobytes(),
            numbers=values.tobytes(),
            flags=flags.astype(np.uint8).tobytes(),
            failures=json.dumps(outcome.failures) if outcome.failures else None,
            noise=json.dumps(rng.bit_generator.state) if stochastic else None,
            elapsed=time.time() - self.row.created,
            key=key,
            digest=digest,
        )

    def _answer(self, start: int, count: int) -> dict[str, Any]:
        """The answer to a request whose samples are recorded."""
        assert self._evaluator is not None
        ledger, stop = self._evaluator.ledger, start + count
        reasons = {
            str(failure.sample - start): without_paths(failure.reason)
            for failure in _between(ledger.failures, start, stop)
        }
        return {
            "start": start,
            "samples": stop,
            "left": None if self.budget is None else self.budget - stop,
            "indices": ledger.column("indices")[start:stop].tolist(),
            "metrics": self._metrics(self._evaluator, start, stop),
            **{name: ledger.column(name)[start:stop].tolist() for name in ("feasible", "valid", "reward")},
            "failures": reasons,
        }

    def _metrics(self, evaluator: Evaluator, start: int, stop: int) -> dict[str, list[float | None]]:
        """The metrics that clients see; None where infeasible."""
        values = evaluator.ledger.column("values")[start:stop].T
        if not (finite := np.isfinite(values)).all():
            values = values.astype(object)
            values[~finite] = None
        columns: list[list[float | None]] = values.tolist()
        schema = evaluator.simulator.metrics
        return {m.name: column for m, column in zip(schema, columns, strict=True) if not m.report_only}

    def summary(self) -> dict[str, Any]:
        """The answer of GET /sessions/{id}."""
        with self._state:
            evaluator = self._load()
            ledger = evaluator.ledger
            if self._counted[0] != ledger.samples:
                self._counted = (ledger.samples, ledger.unique if ledger.samples else 0)
            samples, unique = self._counted
            left = None if self.budget is None else self.budget - samples
            return {
                "session": self.id,
                "agent": self.row.agent,
                "hyperparameters": json.loads(self.row.hyperparameters),
                "seed": self.seed,
                "context": self.context,
                "budget": self.budget,
                "samples": samples,
                "unique": unique,
                "duplicates": samples - unique,
                "left": left,
                "feasible": int(ledger.column("feasible").sum()),
                "valid": int(ledger.column("valid").sum()),
                "best": self._best(evaluator),
                "finished": left == 0,
            }

    def _best(self, evaluator: Evaluator) -> dict[str, Any] | None:
        ledger, best = evaluator.ledger, evaluator.ledger.best
        if best is None:
            return None
        metrics = self._metrics(evaluator, best, best + 1)
        return {
            "sample": best,
            "design": self._sessions.task.designs.design(ledger.column("indices")[best].astype(np.int64)),
            "metrics": {name: column[0] for name, column in metrics.items()},
            "reward": float(ledger.column("reward")[best]),
        }

    def history(self, start: int = 0, count: int | None = None) -> dict[str, list[Any]]:
        """Columns of recorded samples as JSON: `sample`, parameters (None where inactive), metrics,
        `feasible`, `valid`, `reward`.
        """
        with self._state:
            evaluator = self._load()
            ledger = evaluator.ledger
            stop = ledger.samples if count is None else min(start + count, ledger.samples)
            start = min(start, stop)
            rows = ledger.column("indices")[start:stop].astype(np.int64)
            columns = {name: ledger.column(name)[start:stop].tolist() for name in _FLAGS}
            metrics = self._metrics(evaluator, start, stop)
        designs = self._sessions.task.designs.columns(rows)
        return {"sample": list(range(start, stop)), **designs, **metrics, **columns}

    def table(self, start: int = 0, count: int | None = None) -> pyarrow.Table:
        """`history` as an Arrow table; metrics are null where infeasible."""
        from archgym.files.columns import arrow_table

        with self._state:
            evaluator = self._load()
            ledger, space = evaluator.ledger, evaluator.simulator.space
            stop = ledger.samples if count is None else min(start + count, ledger.samples)
            part = slice(min(start, stop), stop)
            rows = ledger.column("indices")[part].astype(np.int64)
            values = ledger.column("values")[part].copy()
            flags = {name: ledger.column(name)[part].copy() for name in _FLAGS}
        columns: dict[str, Array] = {"sample": np.arange(part.start, part.stop), **space.decode(rows)}
        for place, metric in enumerate(evaluator.simulator.metrics):
            if not metric.report_only:
                columns[metric.name] = values[:, place]
        return arrow_table(space, {**columns, **flags}, nan_is_null=True)

    def store_run(self) -> None:
        """Write a session whose budget is spent into the folder's runs, unless it is there already.

        Where that cannot be done now, it is done when the folder is next opened.
        """
        with self._state:
            if self._stored or self.left != 0:
                return
            try:
                run, content = self._run()
                self._sessions.store.write(run, content)
                self._sessions.journal.mark_stored(self.row.number)
                self._stored = True
            except Exception as error:  # its samples are in the journal, and their answer must go out
                reason = str(error) if isinstance(error, ArchGymError) else reason_of(error)
                warnings.warn(f"the run of session {self.id} is not stored yet: {reason}", stacklevel=2)

    def _run(self) -> tuple[Run, bytes]:
        evaluator, row = self._load(), self.row
        batches = list(self._sessions.journal.batches(row.number))
        elapsed = np.repeat([b.elapsed for b in batches], [b.size for b in batches])
        hyperparameters = json.loads(row.hyperparameters)
        return recorded_run(evaluator, self._sessions.task.env, row.agent, hyperparameters, row.seed, elapsed)


_FLAGS = ("feasible", "valid", "reward")
_NUMBERS = frozenset({int, float})
_NOBODY = bytes(32)


def hashed(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _second(agent: str, seed: int) -> Refused:
    return Refused(
        409,
        f"expected one session for each agent, hyperparameters, seed and context, got a second one of "
        f"{agent!r} with seed {seed}; leave the seed out, or give another",
    )


def _checked(agent: Any, hyperparameters: Any, seed: Any) -> tuple[str, int | None]:
    """The hyperparameters of a new session as JSON text, and its seed.

    Raises:
        Refused: a name, hyperparameters or a seed that a session cannot have.
    """
    if not isinstance(agent, str) or not re.fullmatch(AGENT, agent) or len(agent) > LONGEST_NAME:
        raise Refused(
            422, f"expected agent as 1 to {LONGEST_NAME} printable ASCII characters, got {shown(agent)}"
        )
    if not isinstance(hyperparameters, (Mapping, type(None))):
        raise Refused(422, f"expected hyperparameters as an object, got {shown(hyperparameters)}")
    if type(seed) is float and seed.is_integer():
        seed = int(seed)  # JSON does not tell 1.0 from 1
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS):
        raise Refused(422, f"expected seed as a whole number from 0 to 2^53 - 1, or null, got {shown(seed)}")
    try:
        text = json.dumps(dict(hyperparameters or {}), sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise Refused(422, "expected hyperparameters as JSON of finite numbers, got others") from None
    if not _shallow(hyperparameters, DEEPEST):
        raise Refused(422, f"expected hyperparameters nested at most {DEEPEST} deep, got deeper ones")
    if len(text) > LONGEST_HYPERPARAMETERS or not is_unicode(text):
        raise Refused(
            422,
            f"expected hyperparameters of at most {LONGEST_HYPERPARAMETERS:,} characters, got {len(text):,}",
        )
    return text, seed


def _shallow(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return not items or (levels > 0 and all(_shallow(item, levels - 1) for item in items))


def _between(failures: Sequence[Any], start: int, stop: int) -> list[Any]:
    """Failures of samples in [start, stop), of all in order."""
    if not failures:
        return []
    from bisect import bisect_left

    first = bisect_left(failures, start, key=lambda failure: failure.sample)
    last = bisect_left(failures, stop, key=lambda failure: failure.sample)
    return list(failures[first:last])
