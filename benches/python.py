"""What a transfer costs from Python, beside the same one from Rust: CPU time and memory of the client's process.

Usage: python benches/python.py --cli DSTORE_CLI --rust TRANSFER [--mib 1024] [--rounds 5]

A registry and four nodes run in processes of their own (`dstore-cli dev`), in a temporary folder. Each round runs every
operation once from Rust and once from Python, each in a process of its own. `make bench-python` builds what it needs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CLIENT = """
import sys, dstore
operation, length, *file = sys.argv[1], int(sys.argv[2]) << 20, *sys.argv[3:]
with dstore.Client.from_env() as client:
    match operation:
        case "put": client.put("transfer", b"\\x07" * length)
        case "get": assert len(client.get("transfer").bytes()) == length
        case "upload": client.upload(file[0], "transfer")
        case "download": client.download("transfer", file[0])
"""


@dataclass(frozen=True)
class Usage:
    """What a process took."""

    cpu: float
    """Seconds, of user and system."""
    memory: float
    """MiB, at most."""


def run(command: list[str], folder: Path) -> Usage:
    """Runs a process to its end, as a client whose folder this is."""
    process = subprocess.Popen(command, env={**os.environ, "DSTORE_DIR": str(folder)})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Starts a network, and compares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", type=Path, required=True)
    parser.add_argument("--rust", type=Path, required=True)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dstore-bench-") as temporary:
        folder, source = Path(temporary) / "network", Path(temporary) / "source"
        # Piece by piece: a child's memory counts from that of its parent on.
        with source.open("wb") as file:
            for _ in range(arguments.mib):
                file.write(b"\x07" * (1 << 20))
        network = subprocess.Popen([arguments.cli, "dev", "--dir", folder], stdout=subprocess.PIPE, text=True)
        try:
            assert network.stdout is not None
            network.stdout.readline()
            compare(arguments, folder / "client", source)
        finally:
            network.terminate()
            network.wait()


def compare(arguments: argparse.Namespace, folder: Path, source: Path) -> None:
    """Prints the medians, and that of the ratios of each round."""
    target = source.with_name("target")
    operations = {
        "put": [],
        "get": [],
        "upload": [str(source)],
        "download": [str(target)],
    }
    nothing = run([sys.executable, "-c", "import dstore"], folder)
    print(f"{arguments.mib} MiB, {arguments.rounds} rounds")
    print(f"`import dstore` alone: {nothing.cpu:.2f} s, {nothing.memory:.0f} MiB")
    print(f"{'':10} {'CPU Rust':>9} {'Python':>8} {'ratio':>6} {'memory Rust':>12} {'Python':>9} {'more':>9}")
    rust: dict[str, list[Usage]] = {name: [] for name in operations}
    python: dict[str, list[Usage]] = {name: [] for name in operations}
    for _ in range(arguments.rounds):
        for name, file in operations.items():
            rust[name].append(run([str(arguments.rust), name, str(arguments.mib), *file], folder))
            # Replacing a file costs more than making one.
            target.unlink(missing_ok=True)
            python[name].append(
                run(
                    [sys.executable, "-c", CLIENT, name, str(arguments.mib), *file],
                    folder,
                )
            )
            target.unlink(missing_ok=True)
    for name in operations:
        ours, theirs = python[name], rust[name]
        ratio = statistics.median(a.cpu / b.cpu for a, b in zip(ours, theirs, strict=True))
        cpu = [statistics.median(usage.cpu for usage in usages) for usages in (theirs, ours)]
        memory = [statistics.median(usage.memory for usage in usages) for usages in (theirs, ours)]
        print(
            f"{name:10} {cpu[0]:7.2f} s {cpu[1]:6.2f} s {ratio:6.3f} {memory[0]:8.0f} MiB {memory[1]:5.0f} MiB"
            f" {memory[1] - memory[0]:5.0f} MiB"
        )


if __name__ == "__main__":
    main()
