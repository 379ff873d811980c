"""The image, without an engine: its root file system, its user, its mounts, its commands."""

import asyncio
import os
import pathlib
import shutil
import signal
import stat

import dockerfile
from client import Client
from container import Mount
from names import name_server
from stage import BINARY, account, eventually, stage

SUBNET = "10.78.0.0/24"
NAME = "nobody.example"

# All there may be. Libraries differ with the machine.
EXPECTED = {
    "data", "etc", "etc/couplet", "etc/couplet/link",
    "etc/couplet/link-edge", "etc/couplet/link-origin", "etc/group", "etc/nsswitch.conf", "etc/passwd",
    "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt", "usr", "usr/local",
    "usr/local/bin", "usr/local/bin/couplet",
}
# What an engine mounts, and where libraries are.
ELSEWHERE = ("proc", "dev", "run", "etc/hosts", "etc/resolv.conf", "lib", "usr/lib")


def holds_nothing_else(root):
    """No shell, nothing that runs as somebody else."""
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        is_elsewhere = name.startswith(ELSEWHERE) or name == "lib64"
        assert name in EXPECTED or is_elsewhere, f"{name} is in the image"
        if path.is_file():
            mode = path.stat().st_mode
            is_program = bool(mode & stat.S_IXUSR)
            assert not mode & (stat.S_ISUID | stat.S_ISGID), name
            is_known = name == "usr/local/bin/couplet" or name.startswith(("lib", "usr/lib"))
            assert is_known or not is_program, f"{name} is a program"
    for folder in ("data", "etc/couplet/link", "etc/couplet/link-edge", "etc/couplet/link-origin"):
        found = (root / folder).stat()
        assert (found.st_uid, found.st_gid) == (dockerfile.USER, dockerfile.GROUP), folder


def volume(made, path):
    """A volume, as an engine makes it: with the owner of what it covers."""
    folder = made.folder / "volume"
    folder.mkdir()
    own = os.stat(made.image / path.lstrip("/"))
    folder.chmod(stat.S_IMODE(own.st_mode))
    shutil.chown(folder, own.st_uid, own.st_gid)
    return Mount(folder, path)


def status(container):
    """What the system says about process 1."""
    lines = pathlib.Path(f"/proc/{container.first}/status").read_text().splitlines()
    return {key: value.split() for key, value in (line.split(":", 1) for line in lines)}


async def log_in(host, **options):
    """A session of the account."""
    port = 5223 if options.get("is_direct") else 5222
    return await Client.log_in(host, port, "romeo@localhost", "secret", **options)


async def image(binary):
    """One process with everything: as `docker run --read-only --cap-drop ALL -v …:/data` runs it."""
    with stage(binary) as made:
        holds_nothing_else(made.image)
        network = made.network(SUBNET)
        it = made.add("couplet", is_ours=True)
        host = network.join(it)
        it.user = (dockerfile.USER, dockerfile.GROUP)
        it.directory = dockerfile.DIRECTORY
        it.mounts = [volume(made, dockerfile.VOLUME)]
        it.healthcheck = dockerfile.HEALTHCHECK
        it.command = dockerfile.ENTRYPOINT + dockerfile.COMMAND
        it.name_server = network.gateway
        asked = name_server(network.gateway, NAME, network.gateway)
        it.start()
        await eventually("health", it.is_healthy)

        found = status(it)
        assert found["Uid"] == [str(dockerfile.USER)] * 4, found["Uid"]
        assert found["Groups"] == [], found["Groups"]
        assert int(found["CapEff"][0], 16) == 0, found["CapEff"]
        assert found["NoNewPrivs"] == ["1"], found["NoNewPrivs"]
        for place in ("/etc/couplet", "/usr", "/"):
            code, said = it.execute([BINARY, "make-link-certificates", f"{place}/new"])
            assert code != 0 and "Read-only file system" in said, f"{place}: {said}"

        # A name that only the name server knows: nobody listens there, but where that is is known.
        code, said = it.execute([BINARY, "ctl", "--server", f"http://{NAME}:1", "health", "--probe"])
        assert code != 0 and NAME in asked and "refused" in said, f"{asked}: {said}"

        account(it, "romeo@localhost", "secret")
        client = await log_in(host)
        direct = await log_in(host, is_direct=True)
        direct.close()
        it.signal(signal.SIGTERM)
        assert "<stream:error" in await client.ended(), "nobody was told of the end"
        code = await asyncio.to_thread(it.wait)
        assert code == 0, f"it ended with {code}"

        # What is in the volume is still there, and whoever is not there is not healthy.
        assert not it.is_healthy()
        it.start()
        await eventually("health", it.is_healthy)
        (await log_in(host)).close()
        # Another role, by argument.
        code, said = it.execute([*dockerfile.ENTRYPOINT, "edge", "--set", "data=/data/edge"])
        assert code != 0 and "link.origins: is missing" in said, said
