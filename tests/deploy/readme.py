"""deploy/README.md, "By hand on one machine": its commands, typed as they stand there."""

import asyncio
import json
import os
import subprocess
import urllib.request

from client import Client
from stage import DEPLOY, eventually, stage

BEGIN = "<!-- by-hand: begin -->"
END = "<!-- by-hand: end -->"
HOST = "127.0.0.1"


def commands():
    """What the page says to type."""
    text = (DEPLOY / "README.md").read_text()
    fenced = text.partition(BEGIN)[2].partition(END)[0].strip()
    lines = fenced.splitlines()
    assert lines[0] == "```sh" and lines[-1] == "```", "one block between the marks"
    return "\n".join(lines[1:-1])


def typed(script, folder, environment):
    """Runs commands in a shell whose background processes go on; what they said."""
    log = folder / "typed.log"
    # Not a pipe: what goes on in the background would hold it open.
    with log.open("w") as out:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=120, check=False)
    assert done.returncode == 0, log.read_text()
    return log.read_text()


def end(folder, names):
    """Ends processes by their pid files, in order."""
    for name in names:
        pid = int((folder / f"{name}.pid").read_text())
        subprocess.run(["kill", str(pid)], check=False)


def up():
    """Which nodes Prometheus reaches."""
    url = f"http://{HOST}:9090/api/v1/query?query=up%20==%201"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return len(json.load(answer)["data"]["result"])
    except OSError:
        return 0


def lines(folder):
    """How the access logs say clients were let in: at which edge, from where."""
    found = []
    for edge in ("access-1", "access-2"):
        text = (folder / edge / "access.log").read_text()
        found += [line for line in text.splitlines() if " bind " in line]
    return found


async def by_hand(binary):
    """Everything is started; two clients talk through HAProxy, and go on when a node ends."""
    with stage(binary) as made:
        folder = made.folder / "by-hand"
        programs = made.folder / "bin"
        folder.mkdir()
        programs.mkdir()
        (programs / "couplet").symlink_to(binary)
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
                       "DEPLOY": str(DEPLOY)}
        said = await asyncio.to_thread(typed, commands(), folder, environment)
        assert "origin-1" in said and "origin-2" in said, said

        romeo = await Client.log_in(HOST, 5222, "romeo@localhost", "a rose")
        options = {"is_direct": True}
        juliet = await Client.log_in(HOST, 5223, "juliet@localhost", "by any name", **options)
        romeo.say("juliet@localhost", "shall I hear more")
        await juliet.expect("shall I hear more")
        juliet.say("romeo@localhost", "good night")
        await romeo.expect("good night")
        await eventually("both are in the access logs", lambda: len(lines(folder)) == 2)
        await eventually("Prometheus reaches every node", lambda: up() == 4)

        end(folder, ["origin-1"])
        romeo.say("juliet@localhost", "till it be morrow")
        await juliet.expect("till it be morrow")
        assert not romeo.is_gone and not juliet.is_gone, "an origin that leaves disconnects nobody"
        for client in (romeo, juliet):
            client.close()
        end(folder, ["haproxy", "prometheus", "edge-1", "edge-2", "origin-2"])
        subprocess.run(["redis-cli", "-p", "6399", "shutdown", "nosave"], check=False)
