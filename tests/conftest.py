"""Strict settings for all tests, and the one `:smoke` run that they share."""

import fcntl
import gc
import json
import os
import signal
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("WANDB_MODE", "offline")

from runs import QUICK, RUNNER, sh

# Tests compile far longer than they compute: quick code here, not in the runs started from here.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"

import jax
import pytest

jax.devices()
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].removesuffix(f" {QUICK}")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A suite that is started in the background ignores Ctrl-C, and the runs it starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = ("test_pipeline.py", "test_resume.py", "test_judgement.py", "test_mesh.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that both workers end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what lives as long as the session."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A home and a data cache of the session's own; no key of W&B is seen.

    The tests' own programs outlive the session, in pytest's cache: `pytest --cache-clear`.
    """
    base = tmp_path_factory.getbasetemp()
    # One home for all workers, which sit in folders of their own below the session's.
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "home"
    folder.mkdir(exist_ok=True)
    before = dict(os.environ)
    for name in ("WANDB_API_KEY", "NETRC"):
        os.environ.pop(name, None)
    os.environ.update(
        HOME=str(folder), WANDB_CONFIG_DIR=str(folder / "wandb"), UPS_DATA=str(folder / "data")
    )
    # Apart from the runner's cache: these programs are not optimized, and have other last bits.
    programs = request.config.cache.mkdir("programs")
    jax.config.update("jax_compilation_cache_dir", str(programs))
    # Runs are started many times, and compile most programs in less than JAX's limit. Of the tests'
    # own programs few are met twice: to keep a small one costs as much as it saves.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    yield folder
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def smoke(home: Path):
    """Return (workdir, stdout, stderr, argv) of a finished `:smoke` run, one for all workers.

    Its programs are compiled without optimization.
    """
    workdir, record = home / "runs" / "burgers", home / "smoke.json"
    argv = ["--config", "configs/burgers.py:smoke", "--workdir", str(workdir)]
    with (home / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            done = sh([*RUNNER, *argv], check=False, env={**os.environ, "XLA_FLAGS": QUICK})
            assert done.returncode == 0, done.stderr
            record.write_text(json.dumps([done.stdout, done.stderr]))
    stdout, stderr = json.loads(record.read_text())
    return workdir, stdout, stderr, argv
