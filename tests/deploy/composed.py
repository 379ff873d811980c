"""Docker Compose as far as our file needs it: services as processes, with the files it names.

Networks, names, addresses, volumes, secrets, users, commands and health checks are those of the
file; only the images of others are the programs of this machine.
"""

import graphlib
import json
import os
import re
import shutil
import stat

import compose_spec
import yaml

import dockerfile
from container import Mount, Trouble
from stage import eventually

# What the images of others start, where it is not in the command.
ENTRYPOINTS = {"redis": [], "haproxy": [], "prom/prometheus": ["prometheus"]}

# There is no package of it.
ABSENT = {"grafana"}


def load(path, environment):
    """The file, checked, with its variables filled in."""
    raw = yaml.safe_load(path.read_text())
    compose_spec.PyCompose.from_json(json.dumps(filled(raw, environment))).validate()
    return filled(raw, environment)


def filled(value, environment):
    """A value with variables filled in, however deep they are."""
    if isinstance(value, dict):
        return {key: filled(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match):
        name, default, complaint = match.groups()
        found = environment.get(name) or default
        if found is None:
            raise Trouble(complaint or f"{name} is not set")
        return found

    return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?([^}]*))?\}", fill, value)


def dotenv(path):
    """The variables of a .env file."""
    return dict(line.split("=", 1) for line in path.read_text().split())


class Composed:
    """The services of a file, as containers."""

    def __init__(self, stage, path, environment=None):
        self.stage = stage
        self.top = path.parent
        self.file = load(path, {**dotenv(self.top / ".env"), **(environment or {})})
        self.services = {
            name: service
            for name, service in self.file["services"].items()
            if name not in ABSENT
        }
        self.networks = self._networks()
        self.containers = {name: self._container(name) for name in self.services}

    def _networks(self):
        """Subnets as the file has them, or any."""
        made = {}
        for number, (name, network) in enumerate(self.file["networks"].items()):
            config = ((network or {}).get("ipam") or {}).get("config") or [{}]
            subnet = config[0].get("subnet", f"10.79.{number}.0/24")
            joined = [networks_of(service).get(name) or {} for service in self.services.values()]
            fixed = [it["ipv4_address"] for it in joined if "ipv4_address" in it]
            made[name] = self.stage.network(subnet, fixed)
        return made

    def _container(self, name):
        service = self.services[name]
        image = service["image"].split(":")[0]
        is_ours = image == "couplet"
        made = self.stage.add(name, is_ours)
        assert service.get("hostname", name) == name
        for network, settings in networks_of(service).items():
            self.networks[network].join(made, (settings or {}).get("ipv4_address"))
        for host in service.get("extra_hosts", []):
            host, address = host.split(":")
            made.hosts[host] = address
        made.environment |= service.get("environment", {})
        made.is_read_only = service.get("read_only", False)
        made.tmpfs = service.get("tmpfs", [])
        made.open_files = service.get("ulimits", {}).get("nofile")
        made.mounts = [self._mount(text, is_ours) for text in service.get("volumes", [])]
        for secret in service.get("secrets", []):
            # A name, or a name and another one in the container.
            given = {"source": secret} if isinstance(secret, str) else secret
            source = self.top / self.file["secrets"][given["source"]]["file"]
            target = given.get("target", given["source"])
            made.mounts.append(Mount(source, f"/run/secrets/{target}", is_read_only=True))
        check = service.get("healthcheck", {}).get("test")
        if is_ours:
            made.command = dockerfile.ENTRYPOINT + service["command"]
            made.user = tuple(int(number) for number in service["user"].split(":"))
            made.directory = dockerfile.DIRECTORY
            made.healthcheck = dockerfile.HEALTHCHECK
        else:
            made.command = ENTRYPOINTS[image] + service["command"]
            made.healthcheck = check and ["sh", "-c", check[1]]
        return made

    def _mount(self, text, is_ours):
        """A folder or file of ours, or a volume with the owner of what it covers."""
        source, target, *options = text.split(":")
        if source.startswith("."):
            path = self.top / source
            if not path.exists():
                raise Trouble(f"{source} is not there")
        else:
            assert source in self.file["volumes"], source
            path = self.volume(source)
            covered = self.stage.image / target.lstrip("/")
            if not path.exists():
                path.mkdir(parents=True)
                if is_ours:
                    own = os.stat(covered)
                    path.chmod(stat.S_IMODE(own.st_mode))
                    shutil.chown(path, own.st_uid, own.st_gid)
        return Mount(path, target, is_read_only="ro" in options)

    def volume(self, name):
        """Where what is in a volume is."""
        return self.stage.folder / "volumes" / name

    def order(self):
        """Services, each after those it depends on."""
        graph = {name: conditions(service) for name, service in self.services.items()}
        return list(graphlib.TopologicalSorter(graph).static_order())

    async def up(self):
        """Starts everything, as each depends on others."""
        for name in self.order():
            for other, condition in conditions(self.services[name]).items():
                await self._await(other, condition)
            self.containers[name].start()

    async def _await(self, name, condition):
        container = self.containers[name]
        if condition == "service_completed_successfully":
            if container.process is not None:
                await eventually(f"{name} to end", lambda: container.process.poll() is not None)
                code = container.wait()
                assert code == 0, f"{name} ended with {code}"
        elif condition == "service_healthy":
            await eventually(f"{name} to be healthy", container.is_healthy)

    async def healthy(self):
        """Waits until everything that has a health check is healthy."""
        for name in self.order():
            check = self.services[name].get("healthcheck", {})
            if self.containers[name].healthcheck and not check.get("disable"):
                await self._await(name, "service_healthy")

    def grace(self, name):
        """Seconds a service has to end."""
        return compose_spec.parse_duration(self.services[name].get("stop_grace_period", "10s"))


def networks_of(service):
    """Network → how a service joins it."""
    networks = service.get("networks", {})
    return dict.fromkeys(networks) if isinstance(networks, list) else networks


def conditions(service):
    """Service → what must be so before."""
    needed = service.get("depends_on", {})
    if isinstance(needed, list):
        return dict.fromkeys(needed, "service_started")
    return {name: it["condition"] for name, it in needed.items()}
