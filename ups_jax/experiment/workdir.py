"""The folder of a run: its lock, its state and its trained emulator."""

import fcntl
import json
import os
import platform
import sys
from pathlib import Path
from typing import IO, Any

from ups_jax import config
from ups_jax.files import scratch_files, write_json


def read_text(path: Path) -> str:
    """Read a text file without its last line break."""
    return path.read_text(encoding="utf-8").rstrip("\n")


def is_finished(workdir: Path) -> bool:
    """Return True if the run has finished: its summary is written last."""
    return (workdir / "summary.json").exists()


def holds_run(workdir: Path) -> bool:
    """Return True if the folder is that of a run, finished or not."""
    return (workdir / "config.json").exists()


def check_workdir(workdir: Path, cfg: Any) -> None:
    """Raise ValueError if the folder has a run of another config or cannot be written."""
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
        if set(workdir.iterdir()) - set(scratch_files(workdir)):
            raise ValueError(f"{workdir} is not empty and holds no run; use another --workdir")
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write to {workdir}: {error.strerror}; use another --workdir"
        ) from error


def is_finished_run(workdir: Path, cfg: Any) -> bool:
    """Return True if the folder has a finished run of this config; refuse another config."""
    check_workdir(workdir, cfg)
    return is_finished(workdir)


def create(workdir: Path, cfg: Any, *, restart: bool) -> None:
    """Create the folder of this config; with `restart` move an old run to `<workdir>.<id>`."""
    if restart and holds_run(workdir):
        _move_aside(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    for scratch in scratch_files(workdir):
        scratch.unlink()
    if not (workdir / "config.json").exists():
        write_json(workdir / "config.json", config.to_dict(cfg))


def lock(workdir: Path) -> IO[str]:
    """Lock the folder until the returned file is closed or the process ends.

    Raises ValueError if another process has locked it.
    """
    path = _lock_path(workdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read_holder(path)
        file.close()
        raise ValueError(
            f"{holder} works in {workdir}; wait for it, stop it, or use another --workdir"
        ) from error
    except OSError as error:
        # Some network file systems have no locks.
        print(f"warning: {path} cannot be locked ({error.strerror})", file=sys.stderr)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    return file


def lock_holder(workdir: Path) -> str | None:
    """Return the process that has locked the folder; None if there is none or it is unknown."""
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
    """Return the lock file next to the folder, which may not exist yet or be moved aside."""
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
