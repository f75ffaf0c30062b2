"""The end of the interpreter, and forks."""

import subprocess
import sys
import textwrap

import pytest

BEGIN = """
import asyncio, atexit, logging, os, sys, threading
import dstore, dstore.testing

cluster = dstore.testing.Cluster(nodes=3).start()
client = cluster.client(timeout=600)
client.put("there", b"1" * 100_000)
"""

#: Each leaves something running behind.
ENDINGS = {
    "a get in a daemon thread that waits for silent nodes": """
        for index in range(3): cluster.hang(index)
        begun = threading.Semaphore(0)
        def wait():
            begun.release()
            client.get("there").bytes()
        for _ in range(8): threading.Thread(target=wait, daemon=True).start()
        for _ in range(8): begun.acquire()
    """,
    "transfers in daemon threads": """
        done = threading.Semaphore(0)
        def work(path):
            while True:
                client.put(path, b"2" * 300_000, progress=lambda progress: None)
                client.get(path).bytes()
                done.release()
        for number in range(4): threading.Thread(target=work, args=[f"new/{number}"], daemon=True).start()
        for _ in range(8): done.acquire()
    """,
    "transfers of an event loop that nobody closes": """
        async def work(path):
            while True:
                await client.put_async(path, b"3" * 300_000, progress=lambda progress: None)
        async def main():
            tasks = [asyncio.ensure_future(work(f"new/{number}")) for number in range(3)]
            await client.head_async("there")
        logging.getLogger("asyncio").disabled = True
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """,
    "a writer that nobody closes": """
        file = client.open("new", "wb")
        file.write(b"4" * 10)
    """,
    "servers, and log messages at every level": """
        logging.basicConfig(level=1, filename=os.devnull)
        cluster.kill(0)
        client.get("there").bytes()
    """,
    "a call after everything else": """
        @atexit.register
        def late():
            client.get("there").bytes()
    """,
}


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("left", ENDINGS)
def test_a_program_ends_well_whatever_is_under_way(left: str) -> None:
    ended = run(BEGIN + textwrap.dedent(ENDINGS[left]) + "\nprint('the end', flush=True)")
    assert (ended.returncode, ended.stdout) == (0, "the end\n"), ended.stderr
    for sign in ("panicked", "Fatal", "Traceback"):
        assert sign not in ended.stderr, ended.stderr


def test_a_call_that_comes_when_the_interpreter_ends_says_so() -> None:
    # Registered before dstore is imported: it runs after dstore's own end.
    ended = run(
        "import atexit\n@atexit.register\ndef late():\n"
        "    try: client.head('there')\n    except RuntimeError as error: print(error)\n" + BEGIN
    )
    assert "shutting down" in ended.stdout, ended


USE = """
def use(call):
    try:
        call()
    except dstore.ForkedError as error:
        assert error.code == "forked" and not error.retryable and "spawn" in str(error)
    else:
        os._exit(1)
"""


def test_after_a_fork_the_child_is_told_and_the_parent_works_on() -> None:
    ended = run(
        BEGIN
        + USE
        + """
child = os.fork()
if child == 0:
    use(lambda: client.get("there").bytes())
    use(lambda: client.put("new", b"5"))
    use(lambda: client.open("new", "wb"))
    use(lambda: list(client.list()))
    use(lambda: cluster.kill(0))
    use(lambda: dstore.testing.Cluster().start())
    use(lambda: cluster.client())
    async def main(): await client.head_async("there")
    use(lambda: asyncio.run(main()))
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.get("there").bytes() == b"1" * 100_000
"""
    )
    assert ended.returncode == 0, ended.stderr


def test_a_child_may_use_dstore_when_its_parent_has_only_imported_it() -> None:
    ended = run(
        """
import os, sys
import dstore, dstore.testing

owner = dstore.Owner.generate()
child = os.fork()
if child == 0:
    with dstore.testing.Cluster(nodes=3) as cluster, cluster.client() as client:
        client.put("there", b"6")
        sys.exit(len(client.get("there").bytes()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
"""
    )
    assert ended.returncode == 0, ended.stderr
