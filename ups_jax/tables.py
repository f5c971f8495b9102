"""Tables as aligned text."""

from collections.abc import Mapping


def format_table(columns: list[str], rows: list[list[object]]) -> str:
    """Align a table as text; floats have four significant digits."""
    texts = [columns, *([format_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )


def format_cell(value: object) -> str:
    """Return a value as text: four significant digits of a float, a dash for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def select_columns(
    columns: list[str], rows: list[list[object]], wanted: Mapping[str, str]
) -> tuple[list[str], list[list[object]]]:
    """Keep the columns that are keys of `wanted`, under the names that are its values."""
    index = [columns.index(name) for name in wanted if name in columns]
    names = [wanted[columns[i]] for i in index]
    return names, [[row[i] for i in index] for row in rows]
