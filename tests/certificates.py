"""A private authority, and servers and clients that it has signed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import RedisServer, free_port


def make_certificates(directory: Path) -> Path:
    """`ca`, `server` (called localhost) and `client` as .pem and .key in the directory."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH, which makes the certificates")
    _make_authority(directory)
    _make_certificate(directory, "server", "subjectAltName=DNS:localhost")
    _make_certificate(directory, "client", "subjectAltName=DNS:client")
    return directory


def client_files(directory: Path) -> dict[str, Path]:
    """The settings of a client with these certificates."""
    return {
        "ssl_ca_certs": directory / "ca.pem",
        "ssl_certfile": directory / "client.pem",
        "ssl_keyfile": directory / "client.key",
    }


@contextmanager
def server_with_tls(directory: Path) -> Iterator[tuple[RedisServer, int]]:
    """A server that requires client certificates on the port, and its plain port for inspection."""
    port = free_port()
    files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    arguments = [
        text
        for name, file in files.items()
        for text in (f"--tls-{name}-file", str(directory / file))
    ]
    with RedisServer("--tls-port", str(port), "--tls-auth-clients", "yes", *arguments) as server:
        yield server, port


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(("openssl", *arguments), cwd=directory, check=True, capture_output=True)


def _new_key(name: str) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return ("req", *curve, "-keyout", f"{name}.key", "-subj", f"/CN={name}")


def _make_authority(directory: Path) -> None:
    extensions = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl(directory, *_new_key("ca"), "-x509", "-out", "ca.pem", "-days", "2", *extensions)


def _make_certificate(directory: Path, name: str, alternative_name: str) -> None:
    extensions = f"{alternative_name}\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
    (directory / f"{name}.ext").write_text(extensions)
    _openssl(directory, *_new_key(name), "-out", f"{name}.csr")
    sign = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key")
    out = ("-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    _openssl(directory, *sign, *out)
