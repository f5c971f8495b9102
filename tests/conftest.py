"""Strict from the start: CPU only, no silent broadcasting, no state outside the test's folder."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("WANDB_MODE", "offline")

# Tests compile far longer than they compute: quick code here, not in the runs started from here.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import pytest

jax.devices()
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].removesuffix(
    " --xla_backend_optimization_level=0"
)
jax.config.update("jax_numpy_rank_promotion", "raise")

LONGEST = ("test_pipeline.py", "test_resume.py", "test_judgement.py", "test_mesh.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that both workers end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory):
    """A home and a data cache of the session's own; no key of W&B is seen."""
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
    # The runner's own cache of programs, so that no test compiles what another one has.
    jax.config.update("jax_compilation_cache_dir", str(folder / ".cache" / "ups_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    yield folder
    os.environ.clear()
    os.environ.update(before)
