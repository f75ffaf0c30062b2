"""Every program in examples/ runs, and says what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SAID = {
    "async_upload.py": "stored 8388608 bytes, and read them back",
    "exceptions.py": "the loser reads version 1 and writes version 2",
    "hello.py": "the same bytes came back from two of three nodes",
    "serve.py": "stored on 3 nodes, and read back",
    "survey.py": "1 of 3 files can lose no more nodes",
}
HANGS = 120


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_example_says_what_it_should(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DSTORE_", "ETH_"))}
    ended = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == SAID[name]
