"""Two edges, an origin and Redis, with a balancer in front: what the tests of balancers stand on."""

import re
import shutil
import urllib.request

from container import Mount, run
from stage import BINARY, DEPLOY, USER, account, eventually

SUBNET = "10.77.0.0/24"
BALANCER = "10.77.0.5"
# One with the same configuration and sixty times less patience.
HASTY = "10.77.0.6"
# Two addresses of clients.
SOURCES = ["10.77.0.101", "10.77.0.102"]

# The shipped times, each divided by sixty.
HURRY = 60
PING_AFTER = 300 // HURRY
PING_TIMEOUT = 60 // HURRY
SILENCE = 600 // HURRY


class Haproxy:
    """HAProxy with the shipped file."""

    name = "haproxy"
    file = DEPLOY / "haproxy/haproxy.cfg"
    place = "/usr/local/etc/haproxy/haproxy.cfg"
    command = ["haproxy", "-db", "-f", place]
    # Of the PROXY protocol.
    version = "2"
    # What it needs before an edge closes its doors: it sees a red /readyz.
    wait_secs = 5
    times = re.compile(r"(timeout (?:client|server) +)10m\b")

    @staticmethod
    def sees_drain(container):
        """Whether it knows that the first edge is not ready."""
        return "starttls/edge-1 is DOWN" in container.said()

    @staticmethod
    def sees_return(container):
        """Whether it knows that the first edge is ready again."""
        return "starttls/edge-1 is UP" in container.said()


class Nginx:
    """nginx with the shipped file."""

    name = "nginx"
    file = DEPLOY / "nginx/nginx.conf"
    place = "/etc/couplet-nginx/nginx.conf"
    command = ["nginx", "-g", "daemon off;", "-c", place]
    version = "1"
    # It does not ask, so that announcing it is of no use.
    wait_secs = 0
    times = re.compile(r"(proxy_timeout +)10m\b")

    @staticmethod
    def sees_drain(_):
        """It never does: it finds the doors closed."""
        return True

    @staticmethod
    def sees_return(_):
        """It tries again by itself."""
        return True


class Balanced:
    """A cluster behind a balancer."""

    def __init__(self, stage, kind):
        self.stage = stage
        self.kind = kind
        self.network = stage.network(SUBNET)
        for source in SOURCES:
            self.network.source(source)
        link = stage.folder / "link"
        run(str(stage.binary), "make-link-certificates", str(link))
        for path in [link, *link.iterdir()]:
            shutil.chown(path, USER, USER)
        self.link = Mount(link, "/etc/couplet/link", is_read_only=True)
        token = stage.file("token", "a token that opens the port of this stage\n".replace(" ", "-"))
        self.token = Mount(token, "/run/secrets/admin-token", is_read_only=True)
        self.redis = stage.add("redis", is_ours=False)
        self.redis.command = ["redis-server", "--protected-mode", "no", "--save", ""]
        self.network.join(self.redis)
        self.origin = self._node("origin", "origin", {
            "store.url": "redis://redis:6379",
            "auth.scram_iterations": "4096",
        })
        self.edges = [
            self._node(name, "edge", {
                "link.origins": '["origin:5291"]',
                "c2s.proxy_protocol_from": f'["{BALANCER}", "{HASTY}"]',
                "admin.listen": '"[::]:5290"',
                "admin.token_file": '"/run/secrets/admin-token"',
                "log.level": '"info,couplet_edge=debug"',
                "limits.ping_after_secs": PING_AFTER,
                "limits.ping_timeout_secs": PING_TIMEOUT,
                "drain.wait_secs": kind.wait_secs,
                "drain.per_second": 1,
                "drain.deadline_secs": 60,
            })
            for name in ("edge-1", "edge-2")
        ]
        text = kind.file.read_text()
        hurried, count = kind.times.subn(rf"\g<1>{SILENCE}s", text)
        assert count > 0, "the times have moved"
        self.balancer = self._balancer(kind.name, BALANCER, kind.file)
        hasty = stage.file("hasty.conf", hurried)
        self.hasty = self._balancer(f"{kind.name}-hasty", HASTY, hasty)

    def _node(self, name, role, settings):
        node = self.stage.add(name, is_ours=True)
        node.mounts = [self.link, self.token]
        node.tmpfs = ["/data"]
        node.directory = "/data"
        settings |= {
            "node": name,
            "link.ca": '"/etc/couplet/link/ca.pem"',
            "link.certificate": f'"/etc/couplet/link/{role}.pem"',
            "link.key": f'"/etc/couplet/link/{role}.key"',
        }
        node.command = [BINARY, role]
        for key, value in settings.items():
            node.command += ["--set", f"{key}={value}"]
        self.network.join(node)
        return node

    def _balancer(self, name, address, file):
        balancer = self.stage.add(name, is_ours=False)
        balancer.mounts = [Mount(file, self.kind.place, is_read_only=True)]
        balancer.command = self.kind.command
        self.network.join(balancer, address)
        return balancer

    async def start(self, *names):
        """Starts everything in order, with accounts of these names."""
        self.redis.start()
        self.origin.start()
        for edge in self.edges:
            edge.start()
        ready = [BINARY, "ctl", "health", "--probe"]
        for node in [self.origin, *self.edges]:
            what = f"{node.name} to be ready"
            await eventually(what, lambda node=node: node.execute(ready)[0] == 0)
        for name in names:
            account(self.origin, f"{name}@localhost", "secret")
        for balancer in (self.balancer, self.hasty):
            balancer.start()

    def address(self, edge):
        """Where an edge is."""
        return edge.hosts[edge.name]

    def metric(self, edge, name):
        """The value of a metric at an edge, with its labels as they are printed."""
        url = f"http://{self.address(edge)}:5290/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            found, _, value = line.rpartition(" ")
            if found == name:
                return float(value)
        raise AssertionError(f"{edge.name} has no {name}")

    def accepted(self, edge):
        """Client sockets an edge has accepted so far."""
        return self.metric(edge, "couplet_connections_accepted_total")
