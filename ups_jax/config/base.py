"""Every key of a run: its default, its unit and its effect. `--help` prints this page."""

from typing import Any

from ml_collections import ConfigDict, config_dict

from ups_jax.stages import STAGES

Config = Any
"""A ConfigDict. Its annotations give every value one wide union, which no checker can follow."""
SCHEMA = 3
"""Version of the config's layout; it rises when a key changes its name or its meaning."""


def get_config() -> Config:
    """Return the locked base that every config starts from."""
    cfg = ConfigDict()
    cfg.schema = SCHEMA  # version of this layout; a config.json of schema 2 is converted
    cfg.seed = 0  # seed of initialisation, batches and sampling
    cfg.num_seeds = 1  # networks trained in parallel, with seeds seed, seed + 1, ...
    cfg.imports = ()  # files or modules that add PDEs, operators, ...; a run records all of them
    cfg.init_from = config_dict.placeholder(str)  # run's folder, or universal-1d: to fine-tune
    cfg.stages = ("operator",)  # in order of training; see the sections fit.<stage>

    cfg.pde = ConfigDict()  # a name of PDES and the arguments of that factory
    cfg.pde.name = "burgers"  # the equation, one of those below; data: none

    cfg.data = ConfigDict()
    cfg.data.path = config_dict.placeholder(str)  # npz, HDF5, NetCDF or Zarr; none: simulate
    cfg.data.seed = 0  # seed of all data: sample i depends on (data.seed, split, i) alone
    cfg.data.train_seed = config_dict.placeholder(int)  # seed of this split; none: data.seed
    cfg.data.val_seed = config_dict.placeholder(int)  # seed of this split; none: data.seed
    cfg.data.test_seed = config_dict.placeholder(int)  # seed of this split; none: data.seed
    cfg.data.cells = (1024,)  # solver cells along each axis, subsampled to pde.points
    cfg.data.steps = 40  # saved intervals: steps + 1 frames
    cfg.data.eval_steps = config_dict.placeholder(int)  # of validation and test; none: data.steps
    cfg.data.train = 4096  # training trajectories
    cfg.data.val = 256  # validation trajectories, used for every model selection
    cfg.data.test = 1000  # test trajectories, evaluated once
    cfg.data.observed_stride = config_dict.placeholder(int)  # points between sensors of frame 0
    cfg.data.observed_noise = 0.0  # standard deviation of sensor noise, relative to the RMS
    cfg.data.space_stride = config_dict.placeholder(int)  # of a file; none: 1, burgers in HDF5: 4
    cfg.data.time_stride = config_dict.placeholder(int)  # of a file; none: 1, burgers in HDF5: 5
    cfg.data.datasets = ()  # of another layout: u=path/to/u, also t=, x=, y= (coordinates)
    cfg.data.static = ()  # of a file: channels, or fields without time, that are inputs only
    cfg.data.forcing = ()  # of a file: channels, or arrays (n, t), that are known at all times
    cfg.data.missing = "refuse"  # refuse | mask: NaN of a file in channels that are predicted
    cfg.data.stream = False  # of an HDF5 file: read training windows from a copy on disk
    cfg.data.nu = config_dict.placeholder(float)  # viscosity of a file that does not state its own

    cfg.mesh = ConfigDict()  # device mesh: every batch is sharded over data x fsdp devices
    cfg.mesh.data = config_dict.placeholder(int)  # none: number of devices / fsdp
    cfg.mesh.fsdp = 1  # devices that shard the parameters

    cfg.operator = ConfigDict()  # a name of OPERATORS and the arguments of that factory
    cfg.operator.name = "resnet"  # dilated | fno | resnet | transformer | unet

    cfg.denoiser = ConfigDict()  # a name of DENOISERS and the arguments of that factory
    cfg.denoiser.name = "resnet"  # resnet

    cfg.diffusion = ConfigDict()  # of the operator's residual, in units of its standard deviation
    cfg.diffusion.noise = "edm"  # edm | flow: noise schedule
    cfg.diffusion.transform = "linear"  # asinh | linear: of residuals; asinh for heavy tails
    cfg.diffusion.sigma_min = 0.02  # smallest noise level; the student is the identity there
    cfg.diffusion.sigma_max = 20.0  # noise level at which sampling starts, above all residuals
    cfg.diffusion.sampler = "dpmpp_2m"  # dpmpp_2m | euler | heun | stochastic: of the teacher
    cfg.diffusion.steps = 8  # steps of that sampler in forecasts
    cfg.diffusion.teacher_steps = 16  # steps of that sampler where the student is distilled
    cfg.diffusion.temperature = 1.0  # scale of the teacher's noise in forecasts; 0: deterministic
    cfg.diffusion.student_temperature = 1.0  # scale of the student's noise in forecasts
    cfg.diffusion.autoregressive = False  # feed back residuals of single steps
    cfg.diffusion.student_steps = 2  # network calls of the student, trained for 1 to this number

    cfg.ensemble = ConfigDict()
    cfg.ensemble.members = 8  # forecasts per trajectory
    cfg.ensemble.num_trajectories = 128  # first test trajectories, for the ensemble metrics
    cfg.ensemble.noise_channels = 1  # noise channels of the operator's input in stage ensemble
    cfg.ensemble.temperature = 1.0  # scale of that noise in forecasts; 0: deterministic
    cfg.ensemble.antithetic = False  # in evaluation, mirror every second member

    cfg.search = ConfigDict()  # test-time search: forecaster ttc
    cfg.search.source = "ensemble"  # ensemble | student: sampler of candidates
    cfg.search.beams = 2  # paths kept per trajectory
    cfg.search.candidates = 4  # continuations per path, the operator's included
    cfg.search.calls_per_step = config_dict.placeholder(int)  # network calls; sets candidates
    cfg.search.lookahead = 0  # operator steps between a candidate and its score
    cfg.search.discount = 1.0  # of later rewards
    cfg.search.temperature_schedule = "constant"  # constant | linear | geometric, over the steps
    cfg.search.temperature_start = 1.0  # scale of the candidates' noise at the first step
    cfg.search.temperature_end = 1.0  # scale of that noise at the last step
    cfg.search.rewards = ("pde_residual",)  # names of REWARDS that score a transition
    cfg.search.weights = (1.0,)  # weight of each reward
    cfg.search.num_trajectories = 32  # first test trajectories, for the analysis of the search

    cfg.fit = ConfigDict()
    for name, stage in STAGES.items():
        cfg.fit[name] = fit(**stage.defaults)

    cfg.sweep = ConfigDict()  # learning rates of stage operator, trained in parallel in one run
    cfg.sweep.lr_factors = (1.0,)  # factors of fit.operator.lr; all networks have the same seed

    cfg.eval = ConfigDict()
    cfg.eval.forecasters = ("persistence", "mean", "solver", "operator")  # rows of the table
    cfg.eval.select = "operator"  # forecaster of eval/<metric>; best: the cheapest within one s.e.
    cfg.eval.selection_trajectories = 128  # of select=best: validation trajectories compared
    cfg.eval.protocol = "p1"  # p1: start from frame 0; p10: start after eval.context_frames
    cfg.eval.context_frames = 10  # frames given in p10
    cfg.eval.nudging_gain = 1.0  # 0 to 1: pull of the p10 analysis towards each given frame
    cfg.eval.coarsen = 2  # of forecaster coarse_solver: points per cell along each axis
    cfg.eval.horizons = (0.5, 1.0, 2.0)  # times of nrmse@t since the given frame, in time units
    cfg.eval.batch = 16  # trajectories per call
    cfg.eval.num_figures = 3  # trajectories plotted in the report
    cfg.eval.save_predictions = False  # write every prediction to predictions.npz

    cfg.gates = ConfigDict()  # on the summary: gates.NAME = {metric and one limit}; see gate()

    cfg.regression = ConfigDict()  # tests against the champion and the latest runs of its board
    watched = ("eval/val/nrmse", "eval/nrmse", "eval/mae", "eval/correlation_time")
    cfg.regression.metrics = watched  # summary keys that are compared
    cfg.regression.tolerance = 0.10  # relative change for the worse that is a regression
    cfg.regression.improvement = 0.05  # relative change for the better that is an improvement
    cfg.regression.history = 10  # latest runs, whose median and spread are the reference

    cfg.leaderboard = ConfigDict()
    cfg.leaderboard.path = config_dict.placeholder(str)  # jsonl; none: next to the workdir
    cfg.leaderboard.auto_promote = True  # promote a run that meets every condition to champion
    cfg.leaderboard.margin = 0.02  # smallest relative gain in validation error for a promotion

    cfg.log = ConfigDict()
    cfg.log.project = "ups_jax"  # W&B project
    cfg.log.entity = config_dict.placeholder(str)  # W&B entity; none: the account's default
    cfg.log.name = config_dict.placeholder(str)  # W&B run name; none: the workdir's name
    cfg.log.group = config_dict.placeholder(str)  # W&B group
    cfg.log.tags = ()  # W&B tags
    cfg.log.model = True  # log the selected model to W&B, as an artifact that ups.load reads
    cfg.log.progress = True  # progress on stderr: one line in a terminal, else a line every 10 s

    cfg.report = ConfigDict()
    cfg.report.dpi = 110  # resolution of the figures, pixels per inch
    cfg.report.format = "png"  # png | pdf | svg: vector figures too; a finished run is redrawn
    return cfg.lock()


def gate(metric: str, **limit: Any) -> Config:
    """Return a gate on a summary key: one of max, min, max_ratio and min_ratio.

    A ratio is relative to the champion's value, or to the summary key `ratio_to` of the same run.
    A missing or non-finite value fails. An empty metric switches the gate off.
    """
    return ConfigDict({"metric": metric, **limit})


def fit(**defaults: Any) -> Config:
    """Return the keys of one training stage; `defaults` replaces values and adds keys."""
    fit = ConfigDict()
    fit.steps = 12000  # optimiser updates
    fit.batch = 32  # windows per update
    fit.optimizer = "adamw"  # adamw | muon: orthogonal updates of the kernels between hidden layers
    fit.lr = 3e-3  # peak learning rate
    fit.schedule = "cosine"  # cosine | wsd (warm-up, stable, decay) | constant
    fit.warmup = 500  # updates of linear warm-up
    fit.weight_decay = 1e-5  # decoupled, times the learning rate
    fit.clip_norm = 1.0  # largest global gradient norm
    fit.ema_decay = 0.998  # of the averaged parameters, which are evaluated; warmed up
    fit.unroll = (1, 2, 4)  # steps a window is rolled out, one number per phase
    fit.phase_fractions = (0.6, 0.25, 0.15)  # fraction of `steps` in each phase
    fit.start_bias = 1.0  # windows start at r^start_bias of the horizon, r uniform in [0, 1]
    fit.sampling = "uniform"  # of operator: uniform | validation: by the equations' errors
    fit.loss = "nrmse"  # of operator, control: nrmse (per sample) | mse
    fit.loss_floor = 0.0  # of nrmse, CRPS: added in quadrature to the truth's RMS; data's std
    fit.members = 2  # of ensemble: forecasts per window
    fit.num_rollouts = 1024  # of diffusion, student: operator rollouts that make the data
    fit.match_flops_of = config_dict.placeholder(str)  # a stage whose FLOPs set this one's steps
    fit.input_noise = 0.0  # of operators: peak noise of a window's first frame; its own deviation
    fit.damping_noise = 0.0  # of operators: the same of short waves alone, not falling with lr
    fit.damping_from = 1  # lowest wavenumber of damping_noise, in waves across the domain
    fit.augment = True  # augment by the PDE's symmetries
    fit.steps_per_call = 50  # updates per compiled call; a call should take at most 5 s
    fit.val_every = 1000  # updates between validations, a multiple of steps_per_call
    fit.val_average = "mean"  # of val_nrmse over trajectories: mean | gmean (of at most 1 each)
    fit.update(defaults)
    return fit
