"""A progress line on stderr, silent where nobody watches."""

import sys
import time
from collections.abc import Mapping


class ProgressBar:
    """One line that is rewritten in place: what is done of what, and the time left."""

    def __init__(self, *, on: bool = True) -> None:
        """Quiet unless `on` and stderr is a terminal."""
        self._on = on and sys.stderr.isatty()
        self._label, self._began, self._first, self._width = "", 0.0, 0, 0

    def __call__(self, label: str, done: int, total: int, **shown: float) -> None:
        """Show that `done` of `total` are done, and the named values."""
        if not self._on:
            return
        now = time.monotonic()
        if label != self._label:
            self._label, self._began, self._first = label, now, done
        speed = (done - self._first) / max(now - self._began, 1e-9)
        left = f"{(total - done) / speed:.0f} s left" if speed > 0 else "..."
        values = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
        line = f"{label} {done}/{total} {values} {left}"
        sys.stderr.write("\r" + line.ljust(self._width))
        self._width = len(line)
        if done >= total:
            self.close()
        sys.stderr.flush()

    def close(self) -> None:
        """End the line, so that what is printed next starts on its own."""
        if self._on and self._width:
            sys.stderr.write("\n")
            self._width = 0


def format_table(columns: list[str], rows: list[list[object]]) -> str:
    """A table as aligned text; numbers to four significant digits."""
    texts = [columns, *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def select_columns(
    columns: list[str], rows: list[list[object]], wanted: Mapping[str, str]
) -> tuple[list[str], list[list[object]]]:
    """Only the wanted columns that are there, under the names given for them."""
    index = [columns.index(name) for name in wanted if name in columns]
    names = [wanted[columns[i]] for i in index]
    return names, [[row[i] for i in index] for row in rows]
