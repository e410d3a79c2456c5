"""Real redis-server processes for tests, on free loopback ports, each ended by its test."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from typing_extensions import Self

LOOPBACK = "127.0.0.1"
START_SECONDS = 15.0
STOP_SECONDS = 5.0
BUS_OFFSET = 10_000
# Below the ephemeral range: a client that retries a dead server there can connect to itself.
PORTS = range(10_240, 10_240 + BUS_OFFSET)
BLOCK = 200
SLOTS = 16_384
# Reads until its parent is gone, however that happened.
WATCHDOG = 'read -r _; kill -KILL "$1"; rm -rf "$2"'


def redis_server_binary() -> str | None:
    """Path of redis-server: `REDIS_SERVER_BINARY` when set, otherwise what PATH has."""
    return shutil.which(os.environ.get("REDIS_SERVER_BINARY") or "redis-server")


def redis_server_available() -> str | None:
    """None when a redis-server can be started, otherwise the reason why not."""
    if redis_server_binary() is None:
        return "no redis-server on PATH (apt-get install redis-server, or set REDIS_SERVER_BINARY)"
    return None


def free_port() -> int:
    """A loopback port that is free together with its cluster bus port, given out once."""
    for port in islice(_own_ports(), BLOCK):
        if _can_bind(port) and _can_bind(port + BUS_OFFSET):
            return port
    raise RuntimeError(f"no free loopback port found in {PORTS}")


@cache
def _own_ports() -> Iterator[int]:
    return _claimed_ports()


def _claimed_ports() -> Iterator[int]:
    """The ports of a block over and over; that its first stays bound claims it for this process."""
    blocks = random.sample(PORTS[::BLOCK], len(PORTS[::BLOCK]))
    with socket.socket() as claim:
        first = next(first for first in blocks if _bound(claim, first))
        yield from cycle(range(first + 1, first + BLOCK))


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        return _bound(probe, port)


def _bound(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind((LOOPBACK, port))
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = START_SECONDS) -> None:
    """Poll `condition` until it holds; TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files of a server; clients need not present a certificate."""

    certificate: Path
    key: Path
    authority: Path

    def arguments(self, port: int) -> tuple[str, ...]:
        return (
            *("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.authority)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How one redis-server is started; `sentinel` holds the lines of a Sentinel's own file."""

    port: int
    arguments: tuple[str, ...] = ()
    unix_socket: bool = False
    tls: TLSFiles | None = None
    sentinel: tuple[str, ...] = ()

    def command(self, binary: str, directory: Path) -> list[str]:
        """The command line that runs this server in `directory`."""
        if self.sentinel:
            return [binary, str(self._write_sentinel_file(directory)), "--sentinel"]
        options = ["--bind", LOOPBACK, "--dir", str(directory), "--save", "", "--appendonly", "no"]
        listen = self.tls.arguments(self.port) if self.tls else ("--port", str(self.port))
        unix = ("--unixsocket", str(directory / "redis.sock")) if self.unix_socket else ()
        return [binary, *options, *listen, *unix, *self.arguments]

    def _write_sentinel_file(self, directory: Path) -> Path:
        # Sentinel rewrites its file, so a restart continues from what it knew.
        path = directory / "sentinel.conf"
        if not path.exists():
            lines = (f"port {self.port}", f"bind {LOOPBACK}", f"dir {directory}", *self.sentinel)
            path.write_text("\n".join(lines) + "\n")
        return path


@dataclass(slots=True)
class _Owned:
    """What a server object must clean up, apart from the object so that a finalizer can hold it."""

    directory: Path
    owner: int = field(default_factory=os.getpid)
    process: subprocess.Popen[bytes] | None = None
    watchdog: subprocess.Popen[bytes] | None = None

    def clean_up(self) -> None:
        # A forked child inherits the finalizer, but the process is its parent's.
        if os.getpid() != self.owner:
            return
        _kill(self.release())
        shutil.rmtree(self.directory, ignore_errors=True)

    def guard(self, process: subprocess.Popen[bytes]) -> None:
        """Own the process, and let it end with the tests even if these are killed."""
        self.process = process
        command = ["sh", "-c", WATCHDOG, "sh", str(process.pid), str(self.directory)]
        self.watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def release(self) -> subprocess.Popen[bytes] | None:
        """End the watchdog, while its process id cannot mean another process yet."""
        if self.watchdog is not None:
            _kill(self.watchdog)
            assert self.watchdog.stdin is not None
            self.watchdog.stdin.close()
        process, self.process, self.watchdog = self.process, None, None
        return process


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait(STOP_SECONDS)


class RedisServer:
    """One redis-server process without persistence, stopped at the latest at interpreter exit."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        unix_socket: bool = False,
        tls: TLSFiles | None = None,
        sentinel: Sequence[str] = (),
    ) -> None:
        self.config = ServerConfig(
            port=port or free_port(),
            arguments=arguments,
            unix_socket=unix_socket,
            tls=tls,
            sentinel=tuple(sentinel),
        )
        self._owned = _Owned(Path(tempfile.mkdtemp(prefix="redis-test-")))
        self._clean_up = weakref.finalize(self, self._owned.clean_up)

    @property
    def port(self) -> int:
        return self.config.port

    @property
    def url(self) -> str:
        """URL of database 0; with TLS it names the authority's file."""
        if self.config.tls is None:
            return f"redis://{LOOPBACK}:{self.port}/0"
        return f"rediss://{LOOPBACK}:{self.port}/0?ssl_ca_certs={self.config.tls.authority}"

    @property
    def unix_socket(self) -> Path:
        """Path of the unix socket; there only with `unix_socket=True`."""
        return self._owned.directory / "redis.sock"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process; RuntimeError before the first start and after a stop."""
        if self._owned.process is None:
            raise RuntimeError("the redis-server is not running: call start() first")
        return self._owned.process

    @property
    def running(self) -> bool:
        process = self._owned.process
        return process is not None and process.poll() is None

    @property
    def log(self) -> str:
        """What the server wrote so far, for messages of failed tests."""
        path = self._owned.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start the process and wait for its PING; RuntimeError with its log when it ends."""
        if self.running:
            return self
        self._owned.release()
        self._owned.guard(self._spawn())
        wait_until(self._answers_or_raise, what=f"PING of redis-server on port {self.port}")
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        binary = redis_server_binary()
        if binary is None:
            raise RuntimeError(redis_server_available())
        directory = self._owned.directory
        with (directory / "server.log").open("ab") as log:
            return subprocess.Popen(
                self.config.command(binary, directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _answers_or_raise(self) -> bool:
        if not self.running:
            raise RuntimeError(f"redis-server ended at start:\n{self.log}")
        return self.answers()

    def answers(self, *, seconds: float = 1.0) -> bool:
        """Whether the server replies to PING within `seconds`, even if it demands a password."""
        try:
            with self._connect(seconds) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _connect(self, seconds: float) -> socket.socket:
        connection = socket.create_connection((LOOPBACK, self.port), timeout=seconds)
        if self.config.tls is None:
            return connection
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection)

    def stop(self) -> None:
        """End the process in order, paused or not; by SIGKILL if it does not follow."""
        process = self._owned.release()
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)

    def kill(self) -> None:
        """End the process by SIGKILL, as a crash does."""
        _kill(self._owned.release())

    def pause(self) -> None:
        """SIGSTOP: connections stay open without replies."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: commands that arrived during the pause get their replies."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop and start on the same port, with an empty data set."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop for good and remove the directory."""
        self.stop()
        self._clean_up()

    def command(self, *arguments: str | int) -> Any:
        """Send one command over a connection of its own; replies are decoded."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*arguments)

    def flush(self) -> None:
        """Delete every key and every loaded script."""
        with redis.Redis.from_url(self.url) as client:
            client.execute_command("FLUSHALL")
            client.execute_command("SCRIPT", "FLUSH")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RedisCluster3:
    """Three primaries that share the hash slots, without replicas."""

    def __init__(self, *arguments: str) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *arguments)
        self.nodes = tuple(RedisServer(*options) for _ in range(3))
        self.commands: dict[str, Any] = {}
        """What a client learned of the nodes' commands, for the clients after it."""

    @property
    def url(self) -> str:
        """URL of the first node, from which a client finds the others."""
        return self.nodes[0].url

    def start(self) -> Self:
        """Start the nodes, join them and wait until each of them calls the cluster complete."""
        for number, node in enumerate(self.nodes):
            node.start()
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.command("CLUSTER", "ADDSLOTS", *_slots_of(number, len(self.nodes)))
        for node in self.nodes[1:]:
            self.nodes[0].command("CLUSTER", "MEET", LOOPBACK, node.port)
        wait_until(self._complete, what="cluster_state:ok on three nodes")
        return self

    def _complete(self) -> bool:
        return all(self._sees_all(node) for node in self.nodes)

    def _sees_all(self, node: RedisServer) -> bool:
        info = str(node.command("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}" in info

    def node_of(self, key: str) -> RedisServer:
        """The node that holds `key`."""
        slot = int(self.nodes[0].command("CLUSTER", "KEYSLOT", key))
        owners = (n for i, n in enumerate(self.nodes) if slot in _slots_of(i, len(self.nodes)))
        return next(owners)

    def flush(self) -> None:
        """Delete every key and every loaded script on every node."""
        for node in self.nodes:
            node.flush()

    def close(self) -> None:
        """Stop every node for good."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _slots_of(number: int, nodes: int) -> range:
    return range(SLOTS * number // nodes, SLOTS * (number + 1) // nodes)


class Sentinel:
    """A primary and one sentinel that watches it under `service`."""

    def __init__(self, *, service: str = "primary") -> None:
        self.service = service
        self.primary = RedisServer()
        self.sentinel = RedisServer(
            sentinel=(
                f"sentinel monitor {service} {LOOPBACK} {self.primary.port} 1",
                f"sentinel down-after-milliseconds {service} 1000",
                f"sentinel failover-timeout {service} 3000",
            )
        )

    @property
    def node(self) -> tuple[str, int]:
        """Host and port of the sentinel."""
        return LOOPBACK, self.sentinel.port

    def start(self) -> Self:
        """Start both and wait until the sentinel names the primary as healthy."""
        self.primary.start()
        self.sentinel.start()
        wait_until(self._names_primary, what=f"sentinel's address of {self.service!r}")
        return self

    def _names_primary(self) -> bool:
        reply = self.sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return bool(reply) and int(reply[1]) == self.primary.port

    def close(self) -> None:
        """Stop both for good."""
        self.sentinel.close()
        self.primary.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
