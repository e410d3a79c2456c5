"""Commands of the documentation, typed into a shell while their application is served."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from documentation import ROOT
from servers import LOOPBACK, free_port, wait_until

DOCUMENTED = "localhost:8000"
SECONDS = 240.0
SERVER_ONLY = {"REDIS_STATS_INTERVAL"}
VOLATILE = (
    (re.compile(r'"[0-9a-f]{16,}"'), '"digest"'),
    (re.compile(r"\{[0-9a-f]{32}\}"), "{digest}"),
    (re.compile(r"^(age|date): .*$", re.M), r"\1"),
    (re.compile(r"; ttl=\d+$", re.M), "; ttl=some"),
    (re.compile(r"\d+ s (old|left)"), r"some s \1"),
    (re.compile(r"[\d.]+ (ms|bytes|MiB)\b"), r"some \1"),
    # a page's file is saved with the line numbers of the page
    (re.compile(r"^(\w+\.py):\d+: ", re.M), r"\1: "),
    (re.compile(r"passed(, \d+ warnings?)? in .*"), "passed"),
)
"""What differs from run to run, and what stands for it when two outputs are compared."""


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an application that a thread of this process serves."""
    port = free_port()
    config = uvicorn.Config(app, host=LOOPBACK, port=port, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the application")
        yield f"{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)


def environment(directory: Path, redis_url: str) -> dict[str, str]:
    """Variables under which the commands of a page, and its applications, run."""
    # at a terminal curl shows no progress either
    (directory / ".curlrc").write_text("silent\n")
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    modules = [str(directory), str(ROOT / "examples"), str(ROOT / "src")]
    return {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join(modules),
        "REDIS_URL": redis_url,
        "REDIS_DEADLINE": "5",
        "REDIS_STATS_INTERVAL": "0.1",
        "SHOP_DB": str(directory / "shop.sqlite3"),
        "CURL_HOME": str(directory),
        "COLUMNS": "120",
    }


def printed(command: str, directory: Path, address: str) -> str:
    """What a command prints, with the address that the documentation names."""
    shell = subprocess.Popen(
        ["sh", "-c", command.replace(DOCUMENTED, address)],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name not in SERVER_ONLY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        # what the shell has started holds its output open
        os.killpg(shell.pid, signal.SIGKILL)
        raise
    return output.replace("\r", "").replace(address, DOCUMENTED)


def agree(shown: str, output: str) -> bool:
    """Whether they are the same but for what differs from run to run; a line ``...`` shows any."""
    lines = (r"(?:.*\n)*" if line == "..." else re.escape(line) + r"\n" for line in _settled(shown))
    return (
        re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _settled(output))) is not None
    )


def _settled(output: str) -> list[str]:
    """The lines that are not empty, with single blanks."""
    for pattern, settled in VOLATILE:
        output = pattern.sub(settled, output)
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]
