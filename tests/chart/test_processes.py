"""What is rendered works: its commands, environment, files, ports, probes and hooks, in processes."""

import contextlib
import json
import signal
import socket
import threading
import time
import unittest

import chart
import pods
import services

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Client:
    """A client that has opened a stream and waits."""

    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), timeout=20)
        self.socket.sendall(HEADER)
        self.heard = b""
        while b"</stream:features>" not in self.heard:
            self.read()

    def read(self):
        data = self.socket.recv(4096)
        self.heard += data
        return data

    def end(self):
        """All it hears until the server closes."""
        while self.read():
            pass
        return self.heard


def lines(pod, message):
    """What a pod's log has with a message."""
    found = []
    for line in pod.main.said().splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(line)
            if line["message"] == message:
                found.append(line)
    return found


class Fresh:
    """Everything rendered anew, with other certificates."""

    def __init__(self):
        path = chart.combinations()["demo"]
        self.rendered, self.secrets = chart.objects([path], {"log": {"level": "info"}}), {}


class Processes(unittest.TestCase):
    """One story; each step needs those before it."""

    def setUp(self):
        path = chart.combinations()["demo"]
        self.node = pods.Node(chart.objects([path]))
        self.addCleanup(self.node.end)
        self.addCleanup(self.tell)
        self.services = services.Services(self.node)
        self.is_over = threading.Event()
        self.addCleanup(self.is_over.set)
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        while not self.is_over.is_set():
            with contextlib.suppress(OSError, AssertionError, KeyError):
                self.node.look()
            self.is_over.wait(0.3)

    def tell(self):
        """What everybody said, if something went wrong."""
        if self._outcome.result.failures or self._outcome.result.errors:
            for pod in self.node.pods.values():
                for name, container in pod.running.items():
                    print(f"--- {pod.name}/{name}\n{container.said()[-3000:]}")

    def ready(self, *all_of_them):
        for pod in all_of_them:
            probes = pod.container
            allowed = probes.get("startupProbe", {"failureThreshold": 60, "periodSeconds": 1})
            secs = allowed["failureThreshold"] * allowed["periodSeconds"]
            pods.until(f"{pod.name} is ready", lambda pod=pod: pod.is_ready, min(secs, 60))

    def edge(self, name):
        return self.node.of("Deployment", "chat-couplet-edge", f"chat-couplet-edge-{name}")

    def origin(self, number):
        name = "chat-couplet-origin"
        return self.node.of("StatefulSet", name, f"{name}-{number}")

    def helm_test(self):
        """What `helm test` does."""
        it = chart.find(self.node.rendered, "Pod", "chat-couplet-test")
        pod = self.node.pod(f"test-{time.monotonic_ns()}", it["metadata"], it["spec"])
        said = []
        for container in it["spec"]["initContainers"] + it["spec"]["containers"]:
            ran = pod.start(container)
            code = ran.ended()
            said.append(ran.said())
            self.assertEqual(code, 0, said)
        self.node.forget(pod)
        return said

    def ctl(self, pod, *words):
        """`kubectl exec POD -- couplet ctl …`"""
        ran = pod.start(pod.container, ["couplet", "ctl", *words])
        self.assertEqual(ran.ended(), 0, ran.said())
        return ran.said()

    def test_the_story(self):
        # Without the store an origin waits for it, and edges for an origin.
        origins = [self.origin(0), self.origin(1)]
        edges = [self.edge("a"), self.edge("b")]
        for origin in origins:
            waits = lambda pod=origin: "waiting for the store" in pod.main.said()
            pods.until(f"{origin.name} waits", waits)
            self.assertFalse(origin.probe("startupProbe"))
        pods.until("an edge is alive", lambda: edges[0].probe("livenessProbe"))
        self.assertFalse(edges[0].probe("startupProbe"))
        redis = self.node.of("StatefulSet", "chat-couplet-redis", "chat-couplet-redis-0")
        self.ready(redis, *origins, *edges)
        self.assertTrue(redis.probe("livenessProbe"))
        for pod in [*origins, *edges]:
            self.assertTrue(pod.probe("livenessProbe"))

        with self.subTest("names"):
            listed = self.ctl(origins[0], "nodes")
            for origin in origins:
                self.assertIn(origin.name, listed)
        with self.subTest("ports"):
            self.ports(edges, origins)
        with self.subTest("helm test"):
            said = self.helm_test()
            self.assertIn("logged in as helm-test-", said[1])
            self.assertNotIn("helm-test", self.ctl(origins[0], "account", "list"))
        self.certificates_change(edges)
        self.store_goes(redis, origins, edges)
        self.edge_goes(edges)
        self.origin_goes(origins, edges)
        with self.subTest("helm test at the end"):
            self.helm_test()

    def ports(self, edges, origins):
        for pod in [*edges, *origins]:
            for it in pod.container["ports"]:
                self.assertTrue(self.node.connects(pod.ip, it["containerPort"], 2), it)
        # The admin port under the name of its service, and under no other.
        for role in ["edge", "origin"]:
            address = self.services.addresses[f"chat-couplet-{role}-admin"]
            host = f"chat-couplet-{role}-admin.{chart.NAMESPACE}.svc.cluster.local"
            self.assertEqual(self.asked_as(address, f"{host}:5290"), b"200")
            self.assertEqual(self.asked_as(address, "evil.example:5290"), b"421")

    def asked_as(self, address, host):
        with socket.create_connection((address, 5290), timeout=5) as asked:
            asked.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return asked.recv(100).split()[1]

    def certificates_change(self, edges):
        """As cert-manager would renew them: nobody restarts, and clients see the new one."""
        fresh = pods.Node.secret(Fresh(), "chat-couplet-tls")
        self.node.replace("chat-couplet-tls", fresh)
        for edge in edges:
            seen = lambda pod=edge: '"certificates reloaded"' in pod.main.said()
            pods.until(f"{edge.name} reads its certificate again", seen, 90)
        # It trusts nothing but the new one.
        self.helm_test()

    def store_goes(self, redis, origins, edges):
        """Readiness notices, liveness does not, and what was stored is there again."""
        self.ctl(origins[1], "account", "add", "romeo@example.net", "--password", "montague")
        redis.main.process.send_signal(signal.SIGTERM)
        self.assertEqual(redis.main.ended(redis.spec["terminationGracePeriodSeconds"]), 0)
        for pod in origins:
            pods.until(f"{pod.name} is not ready", lambda pod=pod: not pod.is_ready)
        for pod in [*origins, *edges]:
            self.assertTrue(pod.probe("livenessProbe"), pod.name)
        redis.run()
        self.ready(redis, *origins, *edges)
        self.assertIn("romeo@example.net", self.ctl(origins[0], "account", "list"))

    def edge_goes(self, edges):
        """It serves on, then it sends its clients away, and ends in its time."""
        old = edges.pop(0)
        client = Client(old.ip, old.port("c2s"))
        new = self.edge("c")
        self.ready(new)
        ended = {}
        leaving = threading.Thread(target=lambda: ended.update(how=old.stop()))
        leaving.start()
        pods.until("it is not ready", lambda: not old.probe("readinessProbe"))
        # drain.wait_secs: who did not hear of it yet is still served.
        late = Client(old.ip, old.port("c2s"))
        address = self.services.addresses["chat-couplet-c2s"]
        Client(address, 5222).socket.close()
        for it in [client, late]:
            self.assertIn(b"system-shutdown", it.end())
        leaving.join()
        code, secs = ended["how"]
        self.assertEqual(code, 0, old.main.said())
        self.assertLess(secs, old.spec["terminationGracePeriodSeconds"])
        self.node.forget(old)
        edges.append(new)
        self.helm_test()

    def origin_goes(self, origins, edges):
        """The other one has all accounts; the new one is found before it takes its share."""
        # The name server is behind, and edges have just asked.
        self.services.kept_secs = 8
        old = origins.pop()
        code, secs = old.stop()
        self.assertEqual(code, 0, old.main.said())
        self.assertNotIn("slots are left", old.main.said())
        self.assertLess(secs, old.spec["terminationGracePeriodSeconds"])
        self.node.forget(old)
        self.helm_test()
        new = self.origin(1)
        started = pods.until("it has started", lambda: lines(new, "starting"))[0]["timestamp"]
        self.assertNotEqual(new.ip, old.ip)
        self.ready(new)
        origins.append(new)

        pods.until("it owns slots", lambda: lines(new, "slots taken"), 90)
        # By when it owned some all edges had found it.
        taken = lines(new, "slots taken")
        self.assertTrue(all(it["cause"] == "planned" for it in taken), taken)
        for edge in edges:
            linked = [
                it for it in lines(edge, "linked")
                if it["origin"].startswith(f"{new.name}/") and it["timestamp"] > started
            ]
            self.assertTrue(linked, edge.name)
            self.assertLess(linked[0]["timestamp"], taken[0]["timestamp"])


if __name__ == "__main__":
    unittest.main(warnings="ignore")
