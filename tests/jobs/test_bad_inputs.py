"""Bad inputs of every runner: exit code 2, at most two lines, no run, no traceback."""

import shlex

import numpy as np
import pytest

from ups_jax import files
from ups_jax.jobs import cli, commands

KEYS = """
seed=-1 | seed is -1; it must be at least 0
seed=1e20 | at most 2,147,483,647
seed=1.5 | a whole number
seed=nan | a whole number
seed= | a whole number
sead=1 | did you mean 'seed'?
schema=2 | schema is 2
num_seeds=0 | at least 1
num_seeds=1e9 | at most 10,000
num_seeds=2 | num_seeds is 2; it must be 1 with stage
stages= | one or more of
stages=operater | did you mean 'operator'?
stages=operator,operator | each once
stages=student,operator | needs
imports=nowhere.py | imports has 'nowhere.py', which is no file
imports=no_such_module | imports has 'no_such_module'
pde.name=burger | did you mean 'burgers'?
pde.nu=0 | positive
pde.nu=-1 | positive
pde.nu=1e300 | at most 1,000,000
pde.nu=x | a finite number
pde.nu=inf | a finite number
pde.nu= | a finite number
pde.points=0 | at least 1
pde.points=1e9 | at most 1,000,000
pde.points=60 | data.cells is
pde.dt=0 | positive
pde.dt=1e10 | at most
pde.dt=-0.05 | positive
pde.length=0 | positive
pde.length=-1 | positive
pde.length=1e300 | at most
pde.cells=64 | did you mean 'data.cells'?
data.path=nowhere.h5 | a file that exists
data.path=. | a file that exists
data.seed=-1 | at least 0
data.train_seed=1e20 | at most
data.cells=100 | a multiple of pde.points
data.cells= | a multiple of pde.points
data.cells=1e12 | at most 1,000,000
data.steps=0 | at least 1
data.steps=1e15 | at most 1,000,000
data.eval_steps=0 | at least 1
data.train=0 | at least 1
data.train=1e12 | at most 1,000,000,000
data.train=-5 | at least 1
data.val=0 | at least 1
data.test=0 | at least 1
data.observed_stride=5 | a divisor of pde.points
data.observed_stride=0 | at least 1
data.observed_noise=-1 | at least 0
data.observed_noise=1e9 | at most 1,000
data.space_stride=0 | at least 1
data.time_stride=-1 | at least 1
data.stream=true | false without a file
data.stream=perhaps | true or false
data.missing=maks | did you mean 'mask'?
data.missing=mask | data.missing is 'mask'; it must be 'refuse' without a file
data.nu=0 | positive
mesh.data=0 | at least 1
mesh.fsdp=1e9 | at most 10,000
operator.name=resnt | did you mean 'resnet'?
operator.width=0 | at least 1
operator.width=1e9 | at most 10,000
operator.blocks=1e7 | at most 100
operator.blocks=-1 | at least 1
operator.dilations=0 | at least 1
operator.dilations=1e6 | at most 10,000
operator.patch=0 | at least 1
operator.coarsen=0 | at least 1
operator.substeps=1e9 | at most 100
operator.zzz=1 | unknown key 'operator.zzz'
operator.name=fno operator.modes=0 | operator.modes is 0
operator.name=fno operator.layers=1e6 | at most 100
operator.name=unet operator.channel_mult=1,0 | operator.channel_mult is (1, 0)
operator.name=unet operator.channel_mult=1,2,2,2,2,2,2,2 | operator: channel_mult halves the grid 7
operator.name=transformer operator.patch=5 | operator: patch is 5; it must divide the grid
operator.name=transformer operator.heads=3 | operator: width 64, layers 4, heads 3
operator.name=fno operator.projection_channel_ratio=-1 | at least 0
denoiser.width=0 | denoiser.width is 0
denoiser.blocks=1e6 | denoiser.blocks is 1000000
diffusion.noise=adm | did you mean 'edm'?
diffusion.sampler=huen | did you mean 'heun'?
diffusion.sigma_min=-1 | positive
diffusion.sigma_max=1e-9 | above diffusion.sigma_min
diffusion.sigma_max=1e300 | at most
diffusion.steps=0 | at least 1
diffusion.steps=1e9 | at most 10,000
diffusion.temperature=-1 | at least 0
diffusion.student_steps=1e9 | at most 10,000
ensemble.members=1 | at least 2
ensemble.members=1e10 | at most 1,000,000
ensemble.num_trajectories=0 | at least 1
ensemble.noise_channels=1e9 | at most 10,000
ensemble.temperature=1e300 | at most 1,000
search.source=ensembel | did you mean 'ensemble'?
search.beams=0 | at least 1
search.beams=1e9 | at most 10,000
search.candidates=1e9 | at most 10,000
search.calls_per_step=1e12 | at most 1,000,000
search.lookahead=-1 | at least 0
search.discount=0 | above 0 and at most 1
search.temperature_schedule=linaer | did you mean 'linear'?
search.rewards=enrgy | did you mean 'energy'?
search.weights=1e300 | at most
fit.lr=1 | did you mean 'fit.operator.lr'?
fit.operator.steps=0 | at least 1
fit.operator.steps=1e15 | at most 1,000,000,000
fit.operator.steps=430 | a multiple of steps_per_call
fit.operator.batch=0 | at least 1
fit.operator.batch=129 | at most data.train (128)
fit.operator.lr=0 | positive
fit.operator.lr=1e300 | at most 1,000
operator.base=linaer | did you mean 'linear'?
fit.operator.schedule=cosin | did you mean 'cosine'?
fit.operator.warmup=400 | warmup is 400
fit.operator.weight_decay=-1 | at least 0
fit.operator.clip_norm=0 | positive
fit.operator.ema_decay=1 | below 1
fit.operator.unroll=0,2 | at least 1
fit.operator.unroll=1,41 | from 1 to data.steps (40)
fit.operator.phase_fractions=0.7,0.2 | sum to 1
fit.operator.start_bias=1e300 | at most 1,000
fit.operator.loss=nrsme | did you mean 'nrmse'?
fit.operator.loss_floor=-1 | at least 0
fit.operator.input_noise=-1 | at least 0
fit.operator.input_noise=11 | at most 10
fit.operator.damping_noise=-1 | at least 0
fit.operator.damping_from=0 | at least 1
fit.operator.damping_noise=0.1 fit.operator.damping_from=200 | half of pde.points
fit.diffusion.input_noise=0.1 | 0: a denoiser adds its own
fit.diffusion.damping_noise=0.1 | 0: a denoiser adds its own
fit.operator.match_flops_of=operator | fit.operator.match_flops_of is 'operator'
fit.operator.steps_per_call=1e9 | a multiple of steps_per_call
fit.operator.val_every=70 | a multiple of steps_per_call
fit.ensemble.members=1e10 | at most 1,000,000
fit.student.num_rollouts=0 | at least 1
fit.student.match_flops_of=me | fit.student.match_flops_of is 'me'
fit.crps.match=x | 'fit.crps.match' was renamed; write 'fit.ensemble.match_flops_of'
sweep.lr_factors=0 | positive
sweep.lr_factors=1,1 | distinct
sweep.lr_factors= | one positive number or more
eval.forecasters= | one or more of
eval.forecasters=opperator | did you mean 'operator'?
eval.select=none | best, or one of eval.forecasters
eval.selection_trajectories=0 | at least 1
eval.protocol=p2 | known: p1, p10
eval.context_frames=40 | below data.steps
eval.nudging_gain=1.5 | from 0 to 1
eval.horizons=0 | positive
eval.horizons=0.52 | multiples of pde.dt
eval.horizons=1e300 | at most
eval.batch=0 | at least 1
eval.batch=1e12 | at most 1,000,000,000
eval.num_figures=-1 | at least 0
gates.skill.metric=eval/nrsme | did you mean 'nrmse'?
gates.skill.max=1 | exactly one of
gates.skill.max_ratio=-1 | positive
gates.skil.max=1 | unknown key 'gates.skil.max'
regression.metrics=eval/foo | unknown metric 'foo'
regression.tolerance=0 | positive
regression.history=0 | at least 1
leaderboard.margin=-1 | at least 0
leaderboard.path=. | leaderboard.path is '.'
leaderboard.path=board.html | leaderboard.path is 'board.html'
report.dpi=0 | at least 1
report.dpi=1e5 | at most 1,000
"""
"""Overrides of burgers:smoke, and a part of the error."""

FLAGS = """
 | --config is missing
--config | expected one argument
--config= | no config file ''
--config=burger | did you mean 'burgers'?
--config=burgers:smoek | did you mean 'smoke'?
--config=. | no config file '.'
--config=/dev/zero | no config file '/dev/zero'
--config=empty.py | has no get_config(variant)
--config=broken.py | broken.py, line 1: SyntaxError
--config=raises.py | raises.py, line 1: ZeroDivisionError
--config=leaves.py | leaves.py, line 1: SystemExit: 0
--config=cyclic.py | contains itself
--config=deep.py | RecursionError
--config=itself.py | itself.py, line 1
--config=number.py | returned int; return a ConfigDict
--config=binary.py | binary.py
--config=burgers:smoke --config.seed | --config.seed has no value
--config=burgers:smoke --confg=x | did you mean '--config'?
--config=burgers:smoke --dry-run | did you mean '--dry_run'?
--config=burgers:smoke extra | unexpected argument 'extra'
--config=burgers:smoke --wandb_mode=of | invalid choice: 'of'
--config=burgers:smoke --workdir= | --workdir: it is empty
--config=burgers:smoke --workdir=~nobody_of_this_name/x | no home folder of ~nobody
--config=burgers:smoke --num_processes=0 | --num_processes
--config=burgers:smoke --wait_s=-1 | --wait_s
--config=burgers:smoke --process_id=x | --process_id
evalute | did you mean 'evaluate'?
evaluate | --workdir is missing
evaluate --workdir=nowhere | nowhere holds no run
evaluate --workdir=empty.py | empty.py holds no run
evaluate --workdir=w --horizon=inf | --horizon: got 'inf'
evaluate --workdir=w --horizon=1e300 | --horizon: got '1e300'
evaluate --workdir=w --horizon=0 | --horizon: got '0'
evaluate --workdir=w --points=0 | --points: got '0'
evaluate --workdir=w --points=1.5 | --points: got '1.5'
evaluate --workdir=w --forecasters=operator,operator | each once
evaluate --workdir=w --save_predictions=x.txt | its suffix must be .npz or .h5 or .hdf5
evaluate --workdir=w --save_predictions=/proc/x.npz | /proc: 
evaluate --workdir=w --save_predictions=folder.npz | no plain file
--config=forced.py --config.data.forcing=driv | names 'driv'; the file has
--config=forced.py --config.data.forcing=f --config.data.static=f | both name 'f'
--config=forced.py --config.data.forcing=q,r | no channel is left to predict
--config=forced.py --config.data.forcing=short | holds (8, 3) float64
--config=forced.py --config.data.forcing=f --config.eval.forecasters=solver | without
--config=gaps.py --config.stages=operator,ensemble | with data.missing=mask: operator, control
--config=gaps.py --config.eval.forecasters=operator,ensemble | without members or a search
--config=gaps.py --config.operator.base=linear | operator.base is 'linear'; it must be identity with
--config=gaps.py --config.operator.galilean=true | operator.galilean is True; it must be false with
--config=gaps.py --config.data.observed_stride=2 | data.observed_stride is 2; it must be none with
--config=gaps.py --config.gates.skill.metric=eval/frmse_low | unknown metric 'frmse_low'
--config=gaps.py --config.gates.skill.metric=eval/physics/x | physics needs whole fields
--config=gaps.py --config.data.path=pairs.npz | 'refuse' for pairs of a static problem
evaluate --workdir=w --modes=operator | did you mean '--forecasters'?
leaderboard shwo | did you mean 'show'?
leaderboard --path=nowhere.jsonl | nowhere.jsonl does not exist
leaderboard --format=pdf | invalid choice
sweep --config=burgers:smoke | nothing to sweep
sweep --config=burgers:smoke --sweep=seed | has no values
sweep --config=burgers:smoke --sweep=seed=2:1 | LOW below HIGH
sweep --config=burgers:smoke --sweep=sead=1,2 | did you mean 'seed'?
sweep --config=burgers:smoke --sweep=fit.operator.lr=0,1 | must be positive
sweep --config=burgers:smoke --sweep=pde.nu=0:1:log | LOW must be above 0
launch --config=burgers:smoke --max_hours=inf | --max_hours
launch --config=burgers:smoke --max_hours=0 | --max_hours
launch --config=burgers:smoke --cloud=amazon | unknown cloud 'amazon'
launch --config=burgers:smoke --resource=x --sync=s3://b/x | --resource is 'x'; write KEY=VALUE
launch --config=burgers:smoke --workdir=/abs --sync=s3://b/x | outside the checkout
dashboard --workdir=nowhere | nowhere holds no run
dashboard --stages=operater | did you mean 'operator'?
"""
"""Whole command lines, and a part of the error."""

ENVIRONMENT = """
JAX_COORDINATOR_ADDRESS=host | --coordinator also needs --num_processes
JAX_COORDINATOR_ADDRESS=a:99999 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 | from 1 to 65535
JAX_COORDINATOR_ADDRESS=a:1234 JAX_NUM_PROCESSES=x | --num_processes is x
JAX_COORDINATOR_ADDRESS=a:1234 JAX_NUM_PROCESSES=0 | --num_processes is 0
JAX_COORDINATOR_ADDRESS=a:1234 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=5 | with 2 processes it is
JAX_COORDINATOR_ADDRESS=a:1234 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=-1 | --process_id is -1
"""
"""Variables of the environment of burgers:smoke, and a part of the error."""

FILES = {
    "empty.py": "",
    "broken.py": "x = (\n",
    "raises.py": "1 / 0\n",
    "leaves.py": "import sys; sys.exit(0)\n",
    "cyclic.py": "from ups_jax.config import base\ndef get_config():\n"
    "    cfg = base.get_config().unlock()\n    cfg.me = cfg\n    return cfg\n",
    "deep.py": "def get_config(): return get_config()\n",
    "itself.py": "import itself\nitself.x\n",
    "number.py": "def get_config(): return 3\n",
    "forced.py": """
from configs import data
def get_config():
    cfg = data.get_config()
    cfg.data.path = "forced.npz"
    return cfg
""",
    "gaps.py": """
from configs import data
def get_config():
    cfg = data.get_config()
    cfg.data.update(path="gaps.npz", missing="mask")
    return cfg
""",
}


def rows(table):
    return [
        tuple(part.strip() for part in line.split("|")) for line in table.strip("\n").split("\n")
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with files that are no configs."""
    folder = tmp_path_factory.mktemp("bad")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "binary.py").write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    (folder / "folder.npz").mkdir()
    u, f = np.random.default_rng(0).normal(size=(2, 8, 4, 8, 2))
    f = f[..., 0, 0]
    np.savez(folder / "forced.npz", u=u, channels=["q", "r"], f=f, short=f[:, :3])
    np.savez(folder / "gaps.npz", u=np.where(u > 1, np.nan, u), channels=["q", "r"])
    np.savez(folder / "pairs.npz", u=u[:, :2] * [[[[1, 0]]]], static=["r"], channels=["q", "r"],
             steady=True)  # fmt: skip
    return folder


@pytest.fixture
def answer(folder, monkeypatch, capsys):
    """Prepare a command in that folder -> exit code, stdout, stderr; nothing is executed."""
    load = commands.Entry.load
    monkeypatch.setattr(commands.Entry, "load", lambda self: [*load(self)[:2], lambda plan: 0])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(folder)

    def run(argv):
        try:
            code = commands.main(argv)
        except SystemExit as exited:
            code = exited.code
        return code, *capsys.readouterr()

    return run


def check(answer, argv, message, folder):
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    code, out, err = answer(argv)
    assert (code, out) == (cli.BAD_INPUT, ""), err
    assert message in err and len(err.splitlines()) <= 2 and "Traceback" not in err
    after = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    assert after == before and not files.scratch_files(folder)


@pytest.mark.parametrize(("words", "message"), rows(KEYS))
def test_a_bad_value_of_a_key(words, message, answer, folder):
    overrides = [f"--config.{word}" for word in shlex.split(words)]
    check(answer, ["--config=burgers:smoke", *overrides], message, folder)


@pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")
@pytest.mark.parametrize(("line", "message"), rows(FLAGS))
def test_a_bad_flag_or_file(line, message, answer, folder):
    check(answer, shlex.split(line), message, folder)


@pytest.mark.parametrize(("words", "message"), rows(ENVIRONMENT))
def test_a_bad_environment(words, message, answer, folder, monkeypatch):
    for word in words.split():
        monkeypatch.setenv(*word.split("="))
    check(answer, ["--config=burgers:smoke"], message, folder)
