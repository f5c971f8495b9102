"""Every key of a run: its default, its unit, and what it does. `--help` prints this page."""

from typing import Any

from ml_collections import ConfigDict, config_dict

Config = Any
"""A ConfigDict. Its annotations give every value one wide union, which no checker can follow."""


def get_config() -> Config:
    """The locked base that every config starts from."""
    cfg = ConfigDict()
    cfg.schema = 2  # version of this layout; a folder made with another version is refused
    cfg.seed = 0  # drives initialisation, batches and sampling
    cfg.num_seeds = 1  # networks trained side by side, of seeds seed, seed + 1, ...; the best ships
    cfg.stages = ("operator",)  # trained, in order: operator, control, diffusion, student, ensemble

    cfg.pde = ConfigDict()  # a name of PDES and that factory's arguments
    cfg.pde.name = "burgers"  # advection | apebench_burgers | burgers | kuramoto

    cfg.data = ConfigDict()
    cfg.data.path = config_dict.placeholder(str)  # PDEBench HDF5 or npz file; none: simulate
    cfg.data.seed = 0  # fixes all data: sample i depends on (data.seed, split, i) alone
    cfg.data.train_seed = config_dict.placeholder(int)  # a published split's own; none: data.seed
    cfg.data.val_seed = config_dict.placeholder(int)  # likewise
    cfg.data.test_seed = config_dict.placeholder(int)  # likewise
    cfg.data.cells = (1024,)  # solver cells along each axis, subsampled to pde.points
    cfg.data.steps = 40  # saved intervals: steps + 1 frames
    cfg.data.eval_steps = config_dict.placeholder(int)  # of validation and test; none: data.steps
    cfg.data.train = 4096  # training trajectories
    cfg.data.val = 256  # validation trajectories, which alone choose the shipped parameters
    cfg.data.test = 1000  # test trajectories, read once
    cfg.data.observed_stride = config_dict.placeholder(int)  # first frames: every so many points
    cfg.data.observed_noise = 0.0  # of what is seen of them then, over their RMS
    cfg.data.space_stride = config_dict.placeholder(int)  # of a file; none: 4 of HDF5, 1 of npz
    cfg.data.time_stride = config_dict.placeholder(int)  # of a file; none: 5 of HDF5, 1 of npz
    cfg.data.stream = False  # of an HDF5 file: training windows are read from a copy on disk
    cfg.data.nu = config_dict.placeholder(float)  # of a file without a Nu of its own

    cfg.mesh = ConfigDict()  # devices: every batch is shared out over data x fsdp of them
    cfg.mesh.data = config_dict.placeholder(int)  # none: as many as there are, over fsdp
    cfg.mesh.fsdp = 1  # devices that share the parameters

    cfg.operator = ConfigDict()  # a name of OPERATORS and that factory's arguments
    cfg.operator.name = "resnet"  # fno | resnet

    cfg.denoiser = ConfigDict()  # a name of DENOISERS and that factory's arguments
    cfg.denoiser.name = "resnet"  # resnet

    cfg.diffusion = ConfigDict()  # of the operator's residual, in its deviations
    cfg.diffusion.noise = "edm"  # edm | flow: levels of noise
    cfg.diffusion.sigma_min = 0.01  # least noise level; there a student is the identity
    cfg.diffusion.sigma_max = 80.0  # noise level that samples begin with
    cfg.diffusion.sampler = "heun"  # euler | heun | stochastic: how the teacher samples
    cfg.diffusion.steps = 6  # of that sampler
    cfg.diffusion.temperature = 1.0  # of the teacher's noise in forecasts; 0: none
    cfg.diffusion.student_temperature = 1.0  # and of its student's
    cfg.diffusion.autoregressive = False  # members go on from residuals of single steps, see README
    cfg.diffusion.student_steps = 2  # of the student, which learns to jump in as many and in fewer

    cfg.ensemble = ConfigDict()
    cfg.ensemble.members = 8  # forecasts a sample
    cfg.ensemble.num_trajectories = (
        128  # test trajectories that ensembles are judged on, the first ones
    )
    cfg.ensemble.noise_channels = (
        1  # channels of noise that stage ensemble adds to the operator's input
    )
    cfg.ensemble.temperature = 1.0  # of these members' noise in forecasts; 0: none
    cfg.ensemble.antithetic = False  # in evaluation, every second member in the PDE's mirror image

    cfg.search = ConfigDict()  # of forecaster ttc, at test time
    cfg.search.source = (
        "ensemble"  # ensemble | student: what draws candidates beside the operator's
    )
    cfg.search.beams = 2  # paths a sample that survive a step
    cfg.search.candidates = 4  # continuations of a path, the operator's own among them
    cfg.search.calls_per_step = config_dict.placeholder(
        int
    )  # network calls a step; sets candidates
    cfg.search.lookahead = 0  # operator steps by which a candidate is looked after
    cfg.search.discount = 1.0  # of later rewards
    cfg.search.temperature_schedule = (
        "constant"  # constant | linear | geometric: noise of the draws in time
    )
    cfg.search.temperature_start = 1.0  # scale of that noise at the first step
    cfg.search.temperature_end = 1.0  # and at the last
    cfg.search.rewards = ("pde_residual",)  # names of REWARDS: what a transition is scored by
    cfg.search.weights = (1.0,)  # of each
    cfg.search.num_trajectories = (
        32  # test trajectories on which the search is analysed, the first ones
    )

    cfg.fit = ConfigDict()
    for stage in ("operator", "control", "ensemble"):
        cfg.fit[stage] = fit()
    for stage in ("diffusion", "student"):
        single = fit()  # steps of rollouts that were made before
        single.update(unroll=(1,), phase_fractions=(1.0,))
        cfg.fit[stage] = single

    cfg.sweep = ConfigDict()  # learning rates of stage operator, trained side by side in one run
    cfg.sweep.lr_factors = (1.0,)  # of fit.operator.lr, a network of the same seed each

    cfg.eval = ConfigDict()
    cfg.eval.forecasters = ("persistence", "mean", "solver", "operator")  # forecasters in the table
    cfg.eval.select = "operator"  # mode of eval/<metric>; best: the cheapest as good on validation
    cfg.eval.selection_trajectories = (
        128  # of ship=best: validation trajectories on which the modes compete
    )
    cfg.eval.protocol = "p1"  # p1: from frame 0; p10: after `context` frames
    cfg.eval.context_frames = 10  # frames given in P10
    cfg.eval.nudging_gain = 1.0  # how far P10's own forecast is drawn to each given frame, 0 to 1
    cfg.eval.horizons = (0.5, 1.0, 2.0)  # times since the given frame of nrmse@t, in time units
    cfg.eval.batch = 16  # trajectories a call
    cfg.eval.num_figures = 3  # trajectories kept for the figures
    cfg.eval.save_predictions = False  # write every prediction to predictions.npz

    cfg.gates = ConfigDict()  # of the summary: gates.NAME = {metric, and one limit}; see gate()

    cfg.regression = ConfigDict()  # against the champion, and the runs before on the same board
    watched = ("eval/val/nrmse", "eval/nrmse", "eval/mae", "eval/correlation_time")
    cfg.regression.metrics = watched  # summary keys that are compared
    cfg.regression.tolerance = 0.10  # relative change above which a metric has got worse
    cfg.regression.improvement = 0.05  # and better
    cfg.regression.history = 10  # runs before, whose median and spread are what is usual

    cfg.leaderboard = ConfigDict()
    cfg.leaderboard.path = config_dict.placeholder(str)  # jsonl; none: beside the workdir
    cfg.leaderboard.auto_promote = True  # a run that may lead its board does
    cfg.leaderboard.margin = 0.02  # of the champion's validation error: least lead over it

    cfg.log = ConfigDict()
    cfg.log.project = "ups_jax"  # W&B project
    cfg.log.entity = config_dict.placeholder(str)  # W&B entity; none: the account's default
    cfg.log.name = config_dict.placeholder(str)  # W&B run name; none: the workdir's name
    cfg.log.group = config_dict.placeholder(str)  # W&B group
    cfg.log.tags = ()  # W&B tags
    cfg.log.progress = True  # progress bar, where stderr is a terminal

    cfg.report = ConfigDict()
    cfg.report.dpi = 110  # pixels an inch of the figures
    return cfg.lock()


def gate(metric: str, **limit: Any) -> Config:
    """A gate of summary key `metric`: most, least, or max_ratio, min_ratio of the champion's.

    With `of`, a ratio is taken of that key of the run's own summary. Missing and non-finite fail;
    an empty metric switches the gate off.
    """
    return ConfigDict({"metric": metric, **limit})


def fit() -> Config:
    """Keys of one training stage."""
    fit = ConfigDict()
    fit.steps = 12000  # optimiser updates
    fit.batch = 32  # windows an update
    fit.lr = 3e-3  # peak learning rate
    fit.schedule = "cosine"  # cosine | wsd (warm-up, stable, decay) | constant
    fit.warmup = 500  # updates of linear warm-up
    fit.weight_decay = 1e-5  # of AdamW
    fit.clip_norm = 1.0  # global gradient norm
    fit.ema_decay = 0.998  # decay of the shipped average, warmed up
    fit.unroll = (1, 2, 4)  # steps a window is rolled out, one phase each
    fit.phase_fractions = (0.6, 0.25, 0.15)  # of `steps` each phase takes
    fit.start_bias = (
        1.0  # windows start at r^start_bias of the horizon, r uniform; above 1 favours its start
    )
    fit.loss = "nrmse"  # of operator, control: nrmse (per sample, as it is judged) | mse
    fit.loss_floor = (
        0.0  # of nrmse and CRPS: added in quadrature to the RMS they divide by; data's std
    )
    fit.members = 2  # of ensemble: forecasts of a window
    fit.num_rollouts = (
        1024  # of diffusion, student: training trajectories that the operator rolls out
    )
    fit.match_flops_of = config_dict.placeholder(
        str
    )  # of control: a stage whose FLOPs set its steps
    fit.augment = True  # draw the PDE's symmetries
    fit.steps_per_call = 50  # updates a call; a chunk should take at most 5 s
    fit.val_every = 1000  # updates between validations, a multiple of chunk
    return fit
