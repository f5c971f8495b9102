"""Estimated cost of a job: measured seconds times an hourly price, each with its source."""

from pathlib import Path

from ups_jax.files import read_json
from ups_jax.jobs.launch.job import Job

START_S = 420.0
"""Assumed seconds to start a machine, install the CUDA build of jax, and end the machine."""
PRICE_DATE = "May 2026"
LIST_PRICES = {
    ("runpod", "H100"): 2.69,
    ("runpod", "A100-80GB"): 1.39,
    ("runpod", "RTX4090"): 0.74,
    ("lambda", "H100"): 3.29,
    ("lambda", "A6000"): 1.09,
}
"""Dollars per hour for one on-demand GPU, as listed in `PRICE_DATE`."""


def estimate(job: Job) -> str:
    """Return lines with the expected and the highest cost of a job."""
    limit = job.options.max_hours
    seconds, source = _seconds(job)
    price, price_source = _price(job)
    expected, lines = "", [f"time: {source}"]
    if seconds is not None:
        lines[0] += f" + {START_S:.0f} s to start, set up and end (assumed)"
        if seconds + START_S > limit * 3600:
            lines.append(
                f"warning: this is over --max_hours {limit:g}; the run will stop there, "
                "and the same command resumes it"
            )
    if price is None:
        return "\n".join([*lines, f"cost: unknown, {price_source}"])
    if seconds is not None:
        hours = min((seconds + START_S) / 3600, limit)
        expected = f"{hours:.2f} h x ${price:.2f} = ${hours * price:.2f}; "
    lines.append(f"price: ${price:.2f} per hour, {price_source}")
    lines.append(f"cost: {expected}at most {limit:g} h (--max_hours): ${limit * price:.2f}")
    return "\n".join(lines)


def _seconds(job: Job) -> tuple[float | None, str]:
    """Seconds of a finished run, from its `summary.json` or from a benchmark's result."""
    measured = job.options.measured
    places = [measured] if measured else [
        Path(job.workdir) / "summary.json",
        Path("benchmarks/results") / f"{Path(job.workdir).name}.json",
    ]  # fmt: skip
    for path in places:
        result = read_json(path, None)
        if result is None:
            continue
        seconds = result.get("summary", result).get("wall/total_s")
        if seconds is None:
            raise ValueError(f"{path} has no wall/total_s; give a finished run's summary.json")
        metadata = read_json(path.with_name("metadata.json"), {})
        cores = f"{metadata.get('threads')} CPU cores"
        device = cores if metadata.get("device") == "cpu" else metadata.get("gpu_name")
        device = result.get("device") or device or "an unknown device"
        return seconds, f"{seconds:.0f} s measured on {device} ({path})"
    if measured:
        raise ValueError(f"--measured {measured} does not exist; give a run's summary.json")
    return None, "unknown, no finished run of this config; give one: --measured RUN/summary.json"


def _price(job: Job) -> tuple[float | None, str]:
    options, highest = job.options, job.options.max_hourly_cost
    gpu, _, count = (options.gpus or "").partition(":")
    listed = None if options.spot else LIST_PRICES.get((job.cloud, gpu))
    if options.price is not None:
        return options.price, "from --price"
    if listed is not None:
        total = listed * int(count or 1)
        if highest is not None and total > highest:
            return highest, (
                f"--max_hourly_cost; the list price in {PRICE_DATE} was ${total:.2f}, so no "
                "machine may be available"
            )
        return total, f"list price of {PRICE_DATE}; --price overrides it"
    if highest is not None:
        return highest, "the limit --max_hourly_cost"
    machine = f"{'a spot ' if options.spot else ''}{options.gpus or 'machine without a GPU'}"
    return None, f"no list price for {machine} on {job.cloud}; add --price or --max_hourly_cost"
