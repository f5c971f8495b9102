"""The folder of a run: who owns it, where it stands, and its model on disk."""

import fcntl
import json
import os
import platform
import sys
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from ups_jax import config
from ups_jax.emulator import Emulator, build, init
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.files import write_json
from ups_jax.types import Params


def read_text(path: Path) -> str:
    """Text of a file, without its last line break."""
    return path.read_text(encoding="utf-8").rstrip("\n")


def is_finished(workdir: Path) -> bool:
    """Whether the run of this folder has ended: its summary is written last."""
    return (workdir / "summary.json").exists()


def check_workdir(workdir: Path, cfg: Any) -> None:
    """Refuse, with a ValueError, a folder of another config or one that cannot be written."""
    record = workdir / "config.json"
    if record.exists():
        changed = config.difference(json.loads(read_text(record)), config.to_dict(cfg))
        if changed:
            raise ValueError(
                f"{workdir} holds a run of another config: {'; '.join(changed)}\n"
                "use another --workdir, or --restart to move that run aside"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if any(workdir.iterdir()):
            raise ValueError(f"{workdir} is not empty and holds no run; use another --workdir")
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write to {workdir}: {error.strerror}; use another --workdir"
        ) from error


def is_finished_run(workdir: Path, cfg: Any) -> bool:
    """Whether the folder holds a finished run of this config; one of another is refused."""
    check_workdir(workdir, cfg)
    return is_finished(workdir)


def create(workdir: Path, cfg: Any, *, restart: bool) -> None:
    """Make the folder this config's own; with `restart` its old run moves to `<workdir>.<id>`."""
    if restart and (workdir / "config.json").exists():
        _move_aside(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    if not (workdir / "config.json").exists():
        write_json(workdir / "config.json", config.to_dict(cfg))


def lock(workdir: Path) -> IO[str]:
    """Keep the folder this process's own until the file that is returned is closed.

    Or until the process ends, by whatever cause. ValueError where another process has it.
    """
    path = _lock_path(workdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        said = _read_holder(path)
        file.close()
        raise ValueError(
            f"{said} works in {workdir}; wait for it, stop it, or use another --workdir"
        ) from error
    except OSError as error:
        # Some network disks know no locks.
        print(f"warning: {path} cannot be locked ({error.strerror})", file=sys.stderr)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    return file


def lock_holder(workdir: Path) -> str | None:
    """The process that works in this folder, None where none does, or none can be seen."""
    path = _lock_path(workdir)
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(path)
        except OSError:
            return None
    return None


def _lock_path(workdir: Path) -> Path:
    """Beside the folder, which may not be there yet, or be moved aside."""
    workdir = workdir.absolute()
    return workdir.with_name(f".{workdir.name}.lock")


def _read_holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() or "another process"


def _move_aside(workdir: Path) -> None:
    id_file = workdir / "run_id.txt"
    run_id = read_text(id_file) if id_file.exists() else "unstarted"
    target = workdir.with_name(f"{workdir.name}.{run_id}")
    number = 1
    while target.exists():
        target, number = workdir.with_name(f"{workdir.name}.{run_id}.{number}"), number + 1
    workdir.rename(target)


def save_params(workdir: Path, params: Params) -> None:
    """Write the shipped parameters, statistics with them, to `ckpt/shipped`."""
    with Checkpoints(workdir / "ckpt" / "shipped") as checkpoints:
        checkpoints.save(params, {"schema": config.SCHEMA})


def load(workdir: str | Path) -> tuple[Emulator, Params, Any]:
    """A trained model from its folder -> simulator, parameters, config. Raises ValueError.

    Nothing is retyped: the config that the run was made with names the networks, and the arrays
    must fit it.
    """
    workdir = Path(workdir)
    record = workdir / "config.json"
    if not record.exists():
        raise ValueError(f"{workdir} holds no run: config.json is missing; train one first")
    cfg = config.from_dict(json.loads(read_text(record)))
    emulator = build(cfg)
    if not (workdir / "ckpt" / "shipped").is_dir():
        raise ValueError(f"{workdir} is not trained yet; the command that began it goes on with it")
    like = jax.eval_shape(lambda: init(emulator, jax.random.key(0)))
    with Checkpoints(workdir / "ckpt" / "shipped") as checkpoints:
        number = checkpoints.latest()
        if number is None:
            raise ValueError(f"{workdir}/ckpt/shipped holds no checkpoint; train again")
        params = checkpoints.restore(number, like).tree
    return emulator, jax.tree.map(np.asarray, params), cfg
