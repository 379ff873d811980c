"""The systemd unit: systemd accepts it, and its commands do what it says of them."""

import asyncio
import re
import shlex

from client import Client
from container import Mount
from stage import BINARY, DEPLOY, account, eventually, stage

SUBNET = "10.80.0.0/24"
UNIT = DEPLOY / "systemd/couplet@.service"
ROLES = ["serve", "edge", "origin"]

# Of systemd's own measure, from 0 to 10.
EXPOSURE_MAX = 20


def setting(name, role):
    """The value of a setting for a role."""
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return found[-1].replace("%i", role)


def accepted(made):
    """systemd finds nothing wrong with it for any role, with and without what is commented out."""
    machine = made.add("machine", is_ours=False)
    machine.mounts = [Mount(made.binary, BINARY, is_read_only=True)]
    machine.command = ["sleep", "infinity"]
    more = re.sub(r"^#(\w+=)", r"\1", UNIT.read_text(), flags=re.MULTILINE)
    for name, text in (("plain", UNIT.read_text()), ("more", more)):
        for role in ROLES:
            path = f"/units/{name}/couplet@{role}.service"
            source = made.file(f"{name}-{role}", text)
            machine.mounts.append(Mount(source, path, is_read_only=True))
    machine.start()
    for role in ROLES:
        for name in ("plain", "more"):
            path = f"/units/{name}/couplet@{role}.service"
            code, said = machine.execute(["systemd-analyze", "verify", path])
            assert code == 0 and not said.strip(), f"{path}: {said}"
            words = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
            code, said = machine.execute([*words, f"--threshold={EXPOSURE_MAX}", path])
            assert code == 0, f"{path}: {said[-300:]}"


async def systemd(binary):
    """The unit, and the life of its process as systemd would lead it."""
    with stage(binary) as made:
        accepted(made)
        network = made.network(SUBNET)
        it = made.add("serve", is_ours=True)
        host = network.join(it)
        folder = setting("WorkingDirectory", "serve")
        assert folder == f"/var/lib/{setting('StateDirectory', 'serve')}"
        config = made.file("serve.toml", (DEPLOY / "config/serve.toml").read_text())
        it.mounts = [Mount(config, "/etc/couplet/serve.toml", is_read_only=True)]
        state = made.folder / "state"
        state.mkdir()
        state.chmod(0o777)
        it.mounts.append(Mount(state, folder))
        # Places for mounts are made by the engine, which here is a root that can be written.
        it.is_read_only = False
        it.directory = folder
        check, command = (shlex.split(setting(name, "serve")) for name in ("ExecStartPre", "ExecStart"))
        it.command = command
        it.start()
        it.healthcheck = [BINARY, "ctl", "health", "--probe"]
        await eventually("health", it.is_healthy)
        code, said = it.execute(check)
        assert code == 0, said
        account(it, "romeo@localhost", "secret")
        client = await Client.log_in(host, 5223, "romeo@localhost", "secret", is_direct=True)
        reload = setting("ExecReload", "serve").replace("$MAINPID", str(it.first))
        assert reload.startswith("/bin/kill -HUP ")
        process = await asyncio.create_subprocess_exec(*shlex.split(reload))
        assert await process.wait() == 0
        await eventually("a reload", lambda: "certificates reloaded" in it.said())
        code = await asyncio.to_thread(it.stop, int(setting("TimeoutStopSec", "serve")))
        assert code == 0, f"it ended with {code}"
        assert "<stream:error" in await client.ended()
