"""Sentences on what is slow, from the numbers measured."""

from benchmarks.gpu.pack import Setting

HOST, SMALL, GATHERS, WINDOWS, CONVOLUTION = 0.1, 0.1, 0.25, 0.1, 1.1
"""Shares above or below which something is named."""


def findings(setting: Setting) -> list[str]:
    """Name host gaps, kernels too small, gathers, and the slower convolution."""
    values = {
        row["metric"]: row["value"] for row in setting.rows if isinstance(row["value"], int | float)
    }
    return [*_host(values), *_kernels(values), *_gathers(values), *_convolutions(values)]


def _host(values: dict[str, float]) -> list[str]:
    lines = []
    for metric, ms in values.items():
        label, calls, _ = metric.partition(", calls of ")
        whole = values.get(f"{label}: update")
        if calls and whole and ms > (1 + HOST) * whole:
            count = metric.removesuffix(": update").rpartition(" ")[2]
            lines.append(
                f"host gaps: {label}, an update takes {ms:.3g} ms in calls of {count}, "
                f"{whole:.3g} ms in long calls"
            )
        share = values.get(metric) if metric.endswith(": time outside kernels") else None
        if share is not None and share > HOST:
            lines.append(f"host gaps: {metric} is {share:.0%} of a call")
    return lines


def _kernels(values: dict[str, float]) -> list[str]:
    lines = []
    for metric, share in values.items():
        if metric.endswith(": share of the peak") and share < SMALL:
            label = metric.removesuffix(": share of the peak")
            lines.append(f"kernels too small: {label}, {share:.1%} of the peak")
        if metric.endswith(": mean kernel") and share < 10:
            label = metric.removesuffix(": mean kernel")
            count = values[f"{label}: kernels an update"]
            lines.append(f"kernels too small: {label}, {count:.0f} of {share:.1f} us an update")
    return lines


def _gathers(values: dict[str, float]) -> list[str]:
    lines = [
        f"gathers: {metric.partition(':')[0]}, {share:.0%} of the kernel time"
        for metric, share in values.items()
        if metric.endswith(": gathers and copies") and share > GATHERS
    ]
    windows = values.get("full: windows and symmetries of an update")
    update = values.get("resnet, full, bfloat16: update")
    if windows and update and windows > WINDOWS * update:
        lines.append(f"gathers: windows take {windows:.3g} ms of an update of {update:.3g} ms")
    return lines


def _convolutions(values: dict[str, float]) -> list[str]:
    return [
        f"convolution: {metric.partition(': ')[0]}, lax.conv takes {ratio:.2f} of the product of "
        "gathered neighbourhoods"
        for metric, ratio in values.items()
        if metric.endswith("native / gathered") and ratio > CONVOLUTION
    ]
