"""Damaged files and full disks."""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAYS = ("empty", "torn", "another type", "binary", "flipped byte", "a folder")


def file_of(path: Path) -> Path:
    """Return the file itself, or the largest file of a folder of checkpoints' newest one."""
    if not path.is_dir():
        return path
    newest = max((p for p in path.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    return max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def damage(path: Path, way: str, chance: random.Random) -> None:
    """Damage a file."""
    content = bytearray(path.read_bytes())
    if way == "a folder":
        path.unlink()
        path.mkdir()
        return
    if way == "flipped byte" and content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    other = b"{}\n" if content[:1] == b"[" else b"[7]\n"
    path.write_bytes(
        {
            "empty": b"",
            "torn": bytes(content[: len(content) // 2]),
            "another type": other,
            "binary": chance.randbytes(64),
            "flipped byte": bytes(content),
        }[way]
    )


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount an empty tmpfs of 64 MiB; None without the right to mount."""
    folder.mkdir(exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
