"""An exported forecaster runs without this library and gives the same fields; its card is true."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import ups_jax as ups
from runs import QUICK, summary
from ups_jax.jobs import commands

BLOCKED = ("ups_jax", "flax", "safetensors", "optax", "orbax")
CHECK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
u0, cond = np.load("u0.npy"), np.load("cond.npy")
{code}
step = export.deserialize(bytearray(Path("step.stablehlo").read_bytes()))
assert not set({blocked}) & {{name.split(".")[0] for name in sys.modules}}
np.save("u.npy", u)
np.save("next.npy", step.call(params, u0[:1], cond[:1]))
"""


def code_of(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]


def tiny(**options):
    pde = ups.PDES["advection"](points=16, cells=16)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, **options)
    return emulator, ups.init(emulator, jax.random.key(1))


def fields(emulator, n=3):
    data = ups.simulate(emulator.pde, jax.random.key(5), n=n, steps=1)
    return np.asarray(data.u[:, 0]), np.asarray(data.cond)


def test_an_exported_run_gives_the_same_rollout_with_jax_alone(smoke, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["export", "--workdir", str(smoke[0]), "--out", str(out), "--license", "CC-BY-4.0"]
    assert commands.main([*argv, "--forecaster=operator"]) == 0
    assert capsys.readouterr().out == f"model card: {out / 'README.md'}\n"
    emulator, params, cfg = ups.load(smoke[0])
    u0, cond = fields(emulator)
    np.save(out / "u0.npy", u0)
    np.save(out / "cond.npy", cond)
    code = CHECK.format(blocked=BLOCKED, code=code_of(out))
    # Compiled like the programs of this process.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"XLA_FLAGS": QUICK}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    steps = cfg.data.eval_steps or cfg.data.steps
    want = ups.forecast(
        emulator, params, u0, cond, jax.random.key(0), steps=steps, forecaster="operator"
    ).u
    np.testing.assert_allclose(np.load(out / "u.npy"), want, atol=1e-6)
    np.testing.assert_allclose(np.load(out / "next.npy"), want[:1, 0], atol=1e-6)
    card, found = (out / "README.md").read_text(), summary(smoke[0])
    metadata = json.loads((smoke[0] / "metadata.json").read_text())
    assert f"{found['eval/operator/nrmse']:.4g}" in card and metadata["data_hash"]["test"] in card
    assert "license: CC-BY-4.0" in card and "| conservation | pass |" in card
    exported = load_file(out / "parameters.safetensors")
    np.testing.assert_array_equal(exported["stats/mean"], params["stats"]["mean"])


def test_an_ensemble_is_exported_with_its_seed(tmp_path):
    cfg = ups.load_config("burgers:smoke", {"pde.points": 32, "stages": "operator,ensemble"})
    emulator = ups.build(cfg)
    params = ups.init(emulator, jax.random.key(1))
    folder = ups.export(
        tmp_path / "out", emulator, params, forecaster="ensemble", steps=2, members=3
    )
    u0, cond = fields(emulator)
    names = {"u0": u0, "cond": cond}
    code = code_of(folder).replace('Path("', f'Path("{folder}/').replace("uint32(0)", "uint32(7)")
    exec(code, names)
    want = ups.forecast(
        emulator, params, u0, cond, jax.random.key(7), steps=2, forecaster="ensemble", members=3
    ).members
    assert want.shape == names["u"].shape == (3, 3, 2, 32, 1)
    np.testing.assert_allclose(names["u"], want, atol=1e-6)
    card = (folder / "README.md").read_text()
    assert "No run has evaluated this emulator" in card and "`members=3`" in card
    assert not (folder / "step.stablehlo").exists()


def test_a_hybrid_is_exported_with_its_solver(tmp_path):
    emulator, params = tiny(base="solver", coarsen=2, substeps=8)
    ups.save(tmp_path / "saved", emulator, params)
    folder = ups.export(tmp_path / "out", tmp_path / "saved", steps=3)
    u0, cond = fields(emulator, n=2)
    names = {"u0": u0, "cond": cond}
    exec(code_of(folder).replace('Path("', f'Path("{folder}/'), names)
    want = ups.forecast(
        emulator, params, u0, cond, jax.random.key(0), steps=3, forecaster="operator"
    ).u
    np.testing.assert_allclose(names["u"], want, atol=1e-6)


def test_what_cannot_be_exported_is_refused_in_words(tmp_path):
    emulator, params = tiny()
    (tmp_path / "full").mkdir()
    unfinished = ups.save(tmp_path / "run", emulator, params)
    (unfinished / "metadata.json").write_text("{}")
    (unfinished / "run_id.txt").write_text("abc")
    for arguments, options, message in [
        ((tmp_path / "full", emulator, params), {}, "full exists; name another folder"),
        ((tmp_path / "a", emulator), {}, "call export(folder, emulator, params)"),
        ((tmp_path / "a", unfinished), {}, "is not finished; rerun its training command"),
        ((tmp_path / "a", tmp_path / "none"), {}, "holds no run: config.json is missing"),
        ((tmp_path / "a", emulator, params), {"forecaster": "oprator"}, "mean 'operator'? known: "),
        ((tmp_path / "a", emulator, params), {"forecaster": "solver"}, "has no network; learned:"),
        ((tmp_path / "a", emulator, params), {"forecaster": "ensemble"}, "not trained"),
        ((tmp_path / "a", emulator, params), {"members": 3}, "has no option 'members'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            ups.export(*arguments, **options)
        assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "a").exists()


def test_the_command_refuses_an_unfinished_run_with_exit_code_2(tmp_path, capsys):
    emulator, params = tiny()
    run = ups.save(tmp_path / "run", emulator, params)
    (run / "run_id.txt").write_text("abc")
    assert commands.main(["export", "--workdir", str(run)]) == 2
    assert "is not finished" in capsys.readouterr().err
