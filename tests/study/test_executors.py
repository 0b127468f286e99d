"""Clusters: the same runs, the same rows, and workers that may die."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import threading
import time

import psutil
import pytest
from study_texts import study_text

from archgym.errors import ArchGymError, MissingDependency
from archgym.study.design import Study
from archgym.study.executors import make_executor, run_in_process
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.study.worker import RunRequest

pytestmark = pytest.mark.usefixtures("plugins")

distributed = pytest.importorskip("distributed", reason="needs archgym[dask]")

NK = 'id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }'
SLOW = 'id = "misbehaving:test/Well-v0"\nkwargs = { sleep_s = 0.002 }'


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    ) as cluster:
        yield cluster


def test_dask_gives_the_rows_of_local_processes_and_the_cluster_stays(tmp_path, rows, cluster):
    study = Study(study_text(NK, 'id = "archgym/Softmax-v0"', agents=("random", "genetic", "tpe")))
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    assert run_study(study, Store(tmp_path / "dask"), executor=address).done == 24
    run_study(study, Store(tmp_path / "local"), workers=2)
    dask, local = rows(tmp_path / "dask"), rows(tmp_path / "local")
    assert dask.keys() == local.keys() and all(dask[id_].equals(local[id_]) for id_ in local)
    with distributed.Client(cluster) as client:
        assert client.submit(lambda: 1).result() == 1, "an existing cluster is not closed"


def test_a_run_that_hangs_or_crashes_on_dask_costs_only_itself(tmp_path, cluster):
    environments = [f'id = "misbehaving:test/{name}-v0"' for name in ("Hangs", "Crashes", "Well")]
    text = study_text(
        *environments,
        agents=("random",),
        seeds=1,
        configurations=1,
        budget=10,
        more="timeout_s = 0.5\nretries = 1",
    )
    store = Store(tmp_path / "out")
    progress = run_study(Study(text), store, executor=cluster.scheduler_address.replace("tcp://", "dask://"))
    assert (progress.done, progress.failed) == (3, 2)
    endings = sorted(run.result.get("reason", "done")[:17] for run in store.read().values())
    assert endings == ["done", "the process ended", "timed out after 0"]


def test_dask_workers_that_are_killed_lose_and_repeat_nothing(tmp_path, rows):
    study = Study(study_text(SLOW, budget=60, seeds=10, configurations=2))  # 40 runs of 0.12 s
    run_study(study, Store(tmp_path / "local"), workers=2)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    ) as cluster:
        over = threading.Event()

        def kill() -> None:
            for _ in range(4):
                if over.wait(1.0):
                    return
                nannies = list(cluster.workers.values())
                pids = [
                    nanny.process.process.pid
                    for nanny in nannies
                    if nanny.process is not None and nanny.process.process is not None
                ]
                if pids and psutil.pid_exists(pids[0]):
                    psutil.Process(pids[0]).kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            progress = run_study(
                study,
                Store(tmp_path / "dask"),
                executor=cluster.scheduler_address.replace("tcp://", "dask://"),
            )
        finally:
            over.set()
            killer.join()
    assert (progress.done, progress.failed) == (40, 0)
    dask, local = rows(tmp_path / "dask"), rows(tmp_path / "local")
    assert dask.keys() == local.keys() and all(dask[id_].equals(local[id_]) for id_ in local)


def test_a_run_s_process_that_dies_while_its_child_lives_costs_only_its_run_on_dask(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", str(tmp_path))
    environments = [f'id = "misbehaving:test/{name}-v0"' for name in ("ForksAndDies", "Well")]
    text = study_text(
        *environments, agents=("random",), seeds=1, configurations=1, budget=10, more="retries = 0"
    )
    progress = run_study(Study(text), Store(tmp_path / "out"), executor="dask", workers=2)
    assert (progress.done, progress.failed) == (2, 1)
    assert not [process for process in psutil.process_iter() if marked(process, str(tmp_path))]


def marked(process, mark):
    try:
        return process.environ().get("MARK") == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_dask_on_this_machine_opens_no_port_lets_nobody_in_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (run,) = Study(study_text(SLOW, agents=("random",), seeds=1, configurations=1)).runs()
    before = listening()
    executor, width = make_executor("dask", 2)
    try:
        assert width == 2
        assert executor.submit(run_in_process, RunRequest(run.specification)).result()[1]["status"] == "done"
        assert listening() == before
        code = f"""if True:
            import os, distributed
            if os.getuid() == 0:
                os.setuid(65534)
            print(distributed.Client({executor._cluster.scheduler_address!r}, timeout=3).submit(os.getuid).result())
        """
        stranger = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=120
        )
        assert stranger.returncode != 0 and not stranger.stdout
    finally:
        executor.shutdown()
    assert list(tmp_path.iterdir()) == []


def listening():
    """Ports at which this process or one below it listens."""
    here = psutil.Process()
    found = set()
    for process in [here, *here.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            found |= {
                connection.laddr
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            }
    return found


@pytest.mark.parametrize(
    ("system", "walltime", "directive"),
    [
        ("SLURM", "24:00:00", "#SBATCH -t 24:00:00"),
        ("PBS", "24:00:00", "#PBS -l walltime=24:00:00"),
        ("LSF", "24:00", "#BSUB -W 24:00"),
    ],
)
def test_job_scripts_of_batch_systems_start_workers_that_archgym_can_use(system, walltime, directive):
    """What dask-jobqueue would submit; no batch system is needed to see it."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    options = {
        "cores": 8,
        "processes": 8,
        "memory": "32GB",
        "queue": "normal",
        "job_script_prologue": ["source venv/bin/activate"],
    }
    options |= {"lsf_units": "MB", "use_stdin": True} if system == "LSF" else {}
    make = getattr(jobqueue, f"{system}Cluster")
    with make(walltime=walltime, scheduler_options={"dashboard_address": None}, **options) as cluster:
        script = cluster.job_script()
        assert directive in script and "source venv/bin/activate" in script
        assert "--nworkers 8" in script and "--nthreads 1" in script, "one run per worker"
        assert cluster.scheduler_address in script


def test_names_that_are_no_executor_are_refused(monkeypatch):
    for name in ("dusk", "dask://", "local://x", ""):
        with pytest.raises(ArchGymError, match="an executor is"):
            make_executor(name, 2)
    monkeypatch.setattr("archgym.study.executors.CONNECT_S", 2.0)
    started = time.monotonic()
    with pytest.raises(ArchGymError, match="no Dask scheduler answers"):
        make_executor("dask://127.0.0.1:1", 2)
    assert time.monotonic() - started < 60


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_a_missing_ray_is_said_with_the_extra_that_brings_it():
    with pytest.raises(MissingDependency, match=r"archgym\[ray\]"):
        make_executor("ray", 2)


def test_ray_gives_the_rows_of_local_processes(tmp_path, rows):
    pytest.importorskip("ray", reason="needs archgym[ray]")
    study = Study(study_text(NK))
    run_study(study, Store(tmp_path / "ray"), workers=2, executor="ray")
    run_study(study, Store(tmp_path / "local"), workers=2)
    ray, local = rows(tmp_path / "ray"), rows(tmp_path / "local")
    assert ray.keys() == local.keys() and all(ray[id_].equals(local[id_]) for id_ in local)
