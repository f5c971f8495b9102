"""What a job would cost: measured seconds and an hourly price, each with where it comes from."""

from pathlib import Path
from typing import Any

from ups_jax.files import read_json
from ups_jax.jobs.launch.job import Job

START_S = 420.0
"""Seconds for a box to start, fetch the CUDA build of jax, and be given back: assumed."""
PRICED = "May 2026"
PRICES = {
    ("runpod", "H100"): 2.69,
    ("runpod", "A100-80GB"): 1.39,
    ("runpod", "RTX4090"): 0.74,
    ("lambda", "H100"): 3.29,
    ("lambda", "A6000"): 1.09,
}
"""Dollars an hour for one GPU on demand, as listed in `PRICED`; prices move, so give --price."""


def estimate(job: Job, *, price: float | None, measured: Path | None) -> str:
    """Lines that say what the job would cost, and what it can cost at most."""
    seconds, told = _seconds(job, measured)
    each, source = _price(job, price)
    lines = [f"time: {told}"]
    hours = None
    if seconds is not None:
        hours = min((seconds + START_S) / 3600, job.max_hours)
        lines[0] += f" + {START_S:.0f} s to start, set up and end (assumed)"
        if seconds + START_S > job.max_hours * 3600:
            lines.append(
                f"warning: that is over --max_hours {job.max_hours:g}; the run would be stopped"
                " there, and the same command goes on"
            )
    if each is None:
        return "\n".join([*lines, f"bill: unknown, {source}"])
    most = f"at most {job.max_hours:g} h (--max_hours): ${job.max_hours * each:.2f}"
    about = f"{hours:.2f} h x ${each:.2f} = ${hours * each:.2f}; " if hours is not None else ""
    return "\n".join([*lines, f"price: ${each:.2f} an hour, {source}", f"bill: {about}{most}"])


def _seconds(job: Job, measured: Path | None) -> tuple[float | None, str]:
    places = [measured] if measured else [
        Path(job.workdir) / "summary.json",
        Path("benchmarks/results") / f"{Path(job.workdir).name}.json",
    ]  # fmt: skip
    for path in places:
        found = read_json(path, None)
        if found is not None:
            return _read(path, found)
    if measured:
        raise ValueError(f"--measured {measured}: no such file; name a finished run's summary.json")
    return None, "unknown, no finished run of this config; name one: --measured RUN/summary.json"


def _read(path: Path, found: dict[str, Any]) -> tuple[float, str]:
    """Seconds of a run's `summary.json`, or of what `benchmarks/collect.py` made of one."""
    seconds = found.get("summary", found).get("wall/total_s")
    if seconds is None:
        raise ValueError(f"{path} holds no wall/total_s; name a finished run's summary.json")
    made = read_json(path.with_name("metadata.json"), {})
    cores = f"{made.get('threads')} CPU cores"
    device = found.get("device") or (cores if made.get("device") == "cpu" else made.get("gpu_name"))
    return seconds, f"{seconds:.0f} s measured on {device or 'an unknown device'} ({path})"


def _price(job: Job, price: float | None) -> tuple[float | None, str]:
    gpu, _, count = (job.gpus or "").partition(":")
    listed = PRICES.get((job.cloud, gpu))
    if price is not None:
        return price, "from --price"
    if listed is not None and not job.spot:
        known = listed * int(count or 1)
        if job.max_hourly_cost is not None and known > job.max_hourly_cost:
            return job.max_hourly_cost, (
                f"--max_hourly_cost; listed at ${known:.2f} in {PRICED}, so no box may be found"
            )
        return known, f"as listed in {PRICED}; --price knows better"
    if job.max_hourly_cost is not None:
        return job.max_hourly_cost, "--max_hourly_cost, which is the most"
    what = f"{'a spot ' if job.spot else ''}{job.gpus or 'box without a GPU'} on {job.cloud}"
    return None, f"no price is known for {what}; give --price or --max_hourly_cost"
