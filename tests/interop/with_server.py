#!/usr/bin/env python3
"""Runs a command next to a real Couplet of its own.

    with_server.py [--set KEY=VALUE]... [--account NAME:PASSWORD]... -- COMMAND...

Starts `couplet serve` on free loopback ports with an empty folder, waits until clients can log in,
adds the accounts, runs the command and ends the server. Exits with the command's code, or with 70
if the server itself misbehaved. The command sees:

    XMPP_DOMAIN     the domain of the accounts
    XMPP_HOST       the address to connect to
    XMPP_PORT       STARTTLS
    XMPP_TLS_PORT   TLS from the first byte on
    XMPP_CA         the certificate to trust, PEM
    XMPP_ADMIN      the admin port, as a URL
    COUPLET         the binary

COUPLET names the binary to start; without it, the one `cargo build` makes.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOMAIN = "localhost"
READY_SECS = 60
STOP_SECS = 30


class Trouble(Exception):
    """The server did not do what it must."""


def free_ports(count):
    """Ports nobody listens at; all held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        return ports


def await_ready(server, admin):
    """Waits until /readyz says yes."""
    deadline = time.monotonic() + READY_SECS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Trouble(f"the server ended with {server.returncode}")
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"{admin}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.02)
    raise Trouble("the server did not get ready")


def certificate(data):
    """The certificate the server made for itself."""
    for path in sorted(data.rglob("*")):
        if path.is_file() and path.stat().st_size < 1 << 16:
            if b"BEGIN CERTIFICATE" in path.read_bytes():
                return path
    raise Trouble("the server made no certificate")


def add_account(binary, admin, account):
    """Adds NAME:PASSWORD."""
    name, password = account.split(":", 1)
    words = [binary, "ctl", "--server", admin, "account", "add", f"{name}@{DOMAIN}"]
    done = subprocess.run([*words, "--password", password], capture_output=True, text=True)
    if done.returncode != 0:
        raise Trouble(f"account {name}: {done.stderr.strip()}")


def stop(server):
    """Ends the server as an operator would."""
    server.send_signal(signal.SIGTERM)
    try:
        code = server.wait(STOP_SECS)
    except subprocess.TimeoutExpired:
        raise Trouble("the server did not end on SIGTERM") from None
    if code != 0:
        raise Trouble(f"the server ended with {code}")


def run(arguments, folder):
    """Runs the command; its exit code."""
    binary = os.environ.get("COUPLET", str(ROOT / "target/debug/couplet"))
    plain, direct, admin_port = free_ports(3)
    admin = f"http://127.0.0.1:{admin_port}"
    data = folder / "data"
    settings = [
        f'data="{data}"',
        f'c2s.listen=["127.0.0.1:{plain}"]',
        f'c2s.tls_listen=["127.0.0.1:{direct}"]',
        f'admin.listen="127.0.0.1:{admin_port}"',
        'auth.scram_iterations=4096',
        *arguments.settings,
    ]
    words = [binary, "serve"]
    for setting in settings:
        words += ["--set", setting]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(words, cwd=folder, stdout=output, stderr=output)
    try:
        await_ready(server, admin)
        for account in arguments.accounts:
            add_account(binary, admin, account)
        environment = dict(
            os.environ,
            XMPP_DOMAIN=DOMAIN,
            XMPP_HOST="127.0.0.1",
            XMPP_PORT=str(plain),
            XMPP_TLS_PORT=str(direct),
            XMPP_CA=str(certificate(data)),
            XMPP_ADMIN=admin,
            COUPLET=binary,
        )
        code = subprocess.run(arguments.command, env=environment).returncode
        if server.poll() is not None:
            raise Trouble(f"the server ended with {server.returncode}")
        stop(server)
        if "panicked" in log.read_text(errors="replace"):
            raise Trouble("the server panicked")
    except Trouble as trouble:
        print(f"with_server: {trouble}", file=sys.stderr)
        print(log.read_text(errors="replace")[-8000:], file=sys.stderr)
        return 70
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    if code != 0:
        print(log.read_text(errors="replace")[-8000:], file=sys.stderr)
    return code


def main():
    parser = argparse.ArgumentParser(description="Runs a command next to a Couplet of its own.")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--account", action="append", default=[], dest="accounts")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="couplet-interop-") as folder:
        return run(arguments, pathlib.Path(folder))


if __name__ == "__main__":
    sys.exit(main())
