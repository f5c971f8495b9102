"""Trajectories: simulated, read from files, split, scaled, and drawn as windows."""

from ups_jax.data.checks import (
    check_task,
    describe_differences,
    differences,
    parameter_differences,
)
from ups_jax.data.lengths import cut, long_enough, mask_ends, padded, require_one_length
from ups_jax.data.loaders import (
    check_predictions_path,
    from_xarray,
    load,
    load_npz,
    load_section,
    save_npz,
    save_predictions,
)
from ups_jax.data.observations import observe
from ups_jax.data.pdebench import load_pdebench
from ups_jax.data.simulate import simulate
from ups_jax.data.splits import (
    SPLIT_NAMES,
    DataSplits,
    check_disjoint,
    content_hash,
    initial_hashes,
    simulate_splits,
    split,
    split_key,
)
from ups_jax.data.streaming import DiskFields, draw_windows, update_keys, window_loader
from ups_jax.data.windows import (
    add_input_noise,
    add_short_waves,
    condition,
    field_std,
    fit_normalizer,
    normalize,
    sample_windows,
)
