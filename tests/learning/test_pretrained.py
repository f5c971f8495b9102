"""The emulators that the package contains."""

import jax
import numpy as np
import pytest

import ups_jax as ups
from benchmarks.accuracy.apebench import PUBLISHED
from ups_jax.experiment.pretrained import FOLDER

BYTES = 5_000_000


@pytest.fixture(scope="module")
def universal():
    return ups.pretrained("universal-1d")


def test_it_is_below_the_published_errors_on_data_that_it_has_not_seen(universal):
    emulator, params, cfg = universal
    assert not emulator.pde.held_out and cfg.operator.base == "identity"
    # Keys 0, 1 and 773 are those of its training, validation and test.
    data = ups.simulate(emulator.pde, jax.random.key(5), n=20, steps=100)
    metrics = {"nrmse_gmean100": ups.METRICS["nrmse_gmean100"]}
    options = dict(forecasters=("operator",), metrics=metrics, num_figures=0)
    scalars = ups.evaluate(emulator, params, data, **options, context_frames=101).scalars
    errors = {
        f"1d_diff_{part.name}": scalars[f"eval/operator/equations/{part.name}/nrmse_gmean100"]
        for part in emulator.pde.parts
    }
    assert len(errors) == 10 and max(errors.values()) < 0.1
    for scenario in errors.keys() & PUBLISHED.keys():
        assert errors[scenario] < min(PUBLISHED[scenario].values())


def test_its_folder_is_small_and_has_a_card():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BYTES
    assert "universal-1d" in {path.parent.name for path in files if path.name == "README.md"}


def test_every_array_of_the_emulator_is_there(universal):
    emulator, params, _ = universal
    example = jax.eval_shape(lambda: ups.init(emulator, jax.random.key(0)))
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, example)


def test_an_unknown_name_has_near_misses():
    with pytest.raises(ValueError, match="did you mean 'universal-1d'"):
        ups.pretrained("universal1d")
