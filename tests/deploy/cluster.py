"""compose.yaml: its services as processes, and two clients who talk through HAProxy."""

import asyncio
import json
import shutil
import socket
import urllib.request

import yaml

from client import Client
from composed import Composed
from container import run
from stage import BINARY, DEPLOY, account, eventually, stage

# Where clients come from: this machine, in the network of the balancer.
CLIENT = "172.28.52.200"


def prepared(made):
    """A copy of deploy/ with secrets of its own."""
    ignored = shutil.ignore_patterns(".env", "secrets")
    top = made.folder / "deploy"
    shutil.copytree(DEPLOY, top, ignore=ignored)
    run(str(top / "compose/make-secrets"))
    before = (top / ".env").read_text()
    run(str(top / "compose/make-secrets"))
    assert (top / ".env").read_text() == before, "secrets are made once"
    return top


def reaches(container, host, port):
    """Whether a program in the network of a container can connect there."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 3)"
    try:
        container.nearby("python3", "-c", code)
        return True
    except Exception:
        return False


def targets(host):
    """What Prometheus asks, by name: how that went."""
    url = f"http://{host}:9090/api/v1/targets?state=active"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)["data"]["activeTargets"]
    except OSError:
        return {}
    return {target["labels"]["instance"]: target["health"] for target in found}


def board_is_mounted(file):
    """What Grafana is provisioned with is what is mounted into it."""
    mounts = dict(text.split(":")[1::-1] for text in file["services"]["grafana"]["volumes"])
    folder = "/etc/grafana/provisioning"
    boards = yaml.safe_load((DEPLOY / mounts[f"{folder}/dashboards/couplet.yaml"]).read_text())
    path = boards["providers"][0]["options"]["path"]
    board = json.loads((DEPLOY / mounts[f"{path}/couplet.json"]).read_text())
    assert board["panels"], "a board without panels"
    sources = yaml.safe_load((DEPLOY / mounts[f"{folder}/datasources/couplet.yaml"]).read_text())
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"


async def talk(balancer):
    """Two clients, one on each port."""
    romeo = await Client.log_in(balancer, 5222, "romeo@localhost", "secret", source=CLIENT)
    options = {"source": CLIENT, "is_direct": True}
    juliet = await Client.log_in(balancer, 5223, "juliet@localhost", "secret", **options)
    romeo.say("juliet@localhost", "good night")
    await juliet.expect("good night")
    juliet.say("romeo@localhost", "parting is such sweet sorrow")
    await romeo.expect("parting is such sweet sorrow")
    return romeo, juliet


async def compose(binary):
    """Up, talk, down, up again."""
    with stage(binary) as made:
        it = Composed(made, prepared(made) / "compose.yaml")
        board_is_mounted(it.file)
        it.networks["clients"].source(CLIENT)
        await it.up()
        await it.healthy()
        nodes = {name: it.containers[name] for name in ("origin-1", "origin-2", "edge-1", "edge-2")}
        account(nodes["origin-1"], "romeo@localhost", "secret")
        account(nodes["origin-2"], "juliet@localhost", "secret")

        balancer = it.containers["haproxy"].hosts["haproxy"]
        await eventually("HAProxy to listen", lambda: listens(balancer))
        clients = await talk(balancer)
        ports = [client.writer.get_extra_info("sockname")[1] for client in clients]
        told = "couplet_edge_proxy_headers_total{version=\"2\",outcome=\"accepted\"}"
        assert sum(metric(it, edge, told) for edge in ("edge-1", "edge-2")) >= 2

        redis = nodes["origin-1"].hosts["redis"]
        assert reaches(nodes["origin-1"], redis, 6379)
        assert "redis" not in nodes["edge-1"].hosts
        assert not reaches(nodes["edge-1"], redis, 6379), "an edge reaches the store"
        assert not reaches(it.containers["haproxy"], nodes["origin-1"].hosts["origin-1"], 5291)
        for node, others in (("edge-1", "origin"), ("origin-1", "edge")):
            for secret in ("ca.key", f"{others}.key"):
                code, said = nodes[node].execute(
                    [BINARY, "check-login", "romeo@localhost", "--server", "127.0.0.1:1",
                     "--password-file", f"/etc/couplet/link/{secret}"])
                assert code != 0 and "No such file" in said, f"{node} has {secret}: {said}"

        prometheus = it.containers["prometheus"].hosts["prometheus"]
        up = {f"{name}:5290": "up" for name in nodes}
        await eventually("Prometheus to ask every node", lambda: targets(prometheus) == up)

        for name in reversed(it.order()):
            if it.containers[name].process is None:
                continue
            code = await asyncio.to_thread(it.containers[name].stop, it.grace(name))
            assert code == 0 or name not in nodes, f"{name} ended with {code}"
        assert all(client.is_gone for client in clients)
        log = "".join(path.read_text() for path in it.volume("edges").rglob("access.log"))
        for port in ports:
            assert f" {CLIENT} {port} " in log, f"no access log knows of {CLIENT}:{port}"

        # Certificates and accounts are still there.
        await it.up()
        await it.healthy()
        await eventually("HAProxy to listen", lambda: listens(balancer))
        for client in await talk(balancer):
            client.close()


def listens(host):
    """Whether a balancer lets clients through to an edge that speaks."""
    try:
        with socket.create_connection((host, 5222), 10) as tcp:
            tcp.settimeout(10)
            tcp.sendall(b"<")
            # A balancer without an edge hangs up.
            tcp.settimeout(0.5)
            try:
                return tcp.recv(1) != b""
            except TimeoutError:
                return True
    except OSError:
        return False


def metric(it, name, wanted):
    """The value of a metric of an edge."""
    address = it.networks["clients"].address(it.containers[name])
    with urllib.request.urlopen(f"http://{address}:5290/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(wanted):
                return float(line.rpartition(" ")[2])
    raise AssertionError(f"{name} has no {wanted}")
