"""The folder of a run: its lock, its state and its trained emulator."""

import fcntl
import os
import platform
import sys
from pathlib import Path
from typing import IO, Any

from ups_jax import config, tracking
from ups_jax.files import (
    DamagedFile,
    digest,
    read_json,
    read_text,
    salvage_json,
    scratch_files,
    write_json,
)

SUBFOLDERS = ("ckpt", "figures", "tables")
RESULTS = ("summary.json", "table.txt", "verdict.json")
"""Files that a finished run is read from; `digests.json` holds a digest of each."""
FILE_SUFFIXES = (".html", ".json", ".jsonl", ".npz", ".png", ".txt")


def is_finished(workdir: Path) -> bool:
    """Return True if the run has finished: its summary is written last.

    A damaged summary is set aside: the run evaluates again.
    """
    then = "the run's command makes it again from its checkpoints"
    return bool(salvage_json(workdir / "summary.json", {}, then=then))


def seal(workdir: Path) -> None:
    """Record the digests of the results of a run, after its summary."""
    write_json(workdir / "digests.json", _result_digests(workdir))


def unseal(workdir: Path) -> None:
    """Remove the digests of results that are made again."""
    (workdir / "digests.json").unlink(missing_ok=True)


def changed_results(workdir: Path) -> list[str]:
    """List the results of a finished run that are not what the run wrote; say so on stderr.

    A run without digests, of an older version or killed while it wrote them, is not checked.
    """
    sealed = salvage_json(workdir / "digests.json", {}, then="its results are not checked")
    now = _result_digests(workdir)
    changed = [name for name, value in now.items() if sealed.get(name, value) != value]
    if changed:
        print(
            f"warning: {workdir}: {', '.join(changed)} differ from what the run wrote; the report "
            "and the leaderboard hold the results too",
            file=sys.stderr,
        )
    return changed


def _result_digests(workdir: Path) -> dict[str, str]:
    paths = (workdir / name for name in RESULTS)
    return {path.name: digest(path.read_bytes()) for path in paths if path.is_file()}


def holds_run(workdir: Path) -> bool:
    """Return True if the folder is that of a run, finished or not."""
    return (workdir / "config.json").exists()


def check_workdir(workdir: Path, cfg: Any) -> None:
    """Raise ValueError if the folder has a run of another config, or cannot be used.

    A damaged `config.json` is written again if `metadata.json` shows that it held this config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"{workdir} is a file; use another --workdir")
    if holds_run(workdir):
        _check_entries(workdir)
        _check_config(workdir, cfg)
        tracking.saved_id(workdir)
        if (workdir / "summary.json").exists():
            return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not holds_run(workdir) and set(workdir.iterdir()) - set(scratch_files(workdir)):
            raise ValueError(f"{workdir} is not empty and holds no run; use another --workdir")
        # A kill leaves a name that counts as a scratch file.
        probe = workdir / f".probe.{os.getpid()}.part"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write to {workdir}: {error.strerror}; use another --workdir"
        ) from error


def _check_config(workdir: Path, cfg: Any) -> None:
    record = workdir / "config.json"
    try:
        saved = read_json(record, {})
    except DamagedFile as error:
        if _saved_fingerprint(workdir) != config.fingerprint(cfg):
            raise ValueError(
                f"{error}\nrestore it from a copy, use another --workdir, or --restart to move "
                "that run aside"
            ) from error
        print(f"warning: {error}; it is written again", file=sys.stderr)
        write_json(record, config.to_dict(cfg))
        return
    changed = config.difference(saved, config.to_dict(cfg))
    if changed:
        raise ValueError(
            f"{workdir} holds a run of another config: {'; '.join(changed)}\n"
            "use another --workdir, or --restart to move that run aside"
        )


def _saved_fingerprint(workdir: Path) -> str | None:
    try:
        return read_json(workdir / "metadata.json", {}).get("fingerprint")
    except DamagedFile:
        return None


def _check_entries(workdir: Path) -> None:
    """Raise ValueError if a folder stands where the run keeps a file, or the reverse."""
    for path in sorted((*workdir.iterdir(), *workdir.glob("tables/*"), *workdir.glob("figures/*"))):
        if path.is_dir() and path.suffix in FILE_SUFFIXES:
            raise ValueError(f"{path} is a folder, and the run keeps a file there; move it away")
        if path.name in SUBFOLDERS and not path.is_dir():
            raise ValueError(f"{path} is a file, and the run keeps a folder there; move it away")


def is_finished_run(workdir: Path, cfg: Any) -> bool:
    """Return True if the folder has a finished run of this config; refuse another config."""
    check_workdir(workdir, cfg)
    return is_finished(workdir)


def create(workdir: Path, cfg: Any, *, restart: bool) -> None:
    """Create the folder of this config; with `restart` move an old run to `<workdir>.<id>`."""
    if restart and holds_run(workdir):
        _move_aside(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    for scratch in scratch_files(workdir, below=True):
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
    """Return the lock file next to the folder, which may not exist yet or be moved aside.

    All spellings of one folder have one lock.
    """
    workdir = workdir.resolve()
    return workdir.with_name(f".{workdir.name}.lock")


def _read_holder(path: Path) -> str:
    try:
        return read_text(path)
    except DamagedFile:
        return "another process"


def _move_aside(workdir: Path) -> None:
    try:
        run_id = tracking.saved_id(workdir) or "unstarted"
    except ValueError:
        run_id = "damaged"
    target = workdir.with_name(f"{workdir.name}.{run_id}")
    number = 1
    while target.exists():
        target, number = workdir.with_name(f"{workdir.name}.{run_id}.{number}"), number + 1
    workdir.rename(target)
