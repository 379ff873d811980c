#!/usr/bin/env python3
"""Traces, received by a collector we did not write: OpenTelemetry's own Python classes over grpcio.

Starts Redis, two origins and two edges, all on free loopback ports, and clients that talk. Checks
that a message is one trace over all the processes it passes, that spans show neither bodies nor
addresses, that a collector which is away costs nobody anything, and that nothing is sent when
nothing is asked for.

COUPLET names the binary, built with the feature otel. Every wait has a condition and a deadline.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from slixmpp import ClientXMPP

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/interop"))
from with_server import await_ready, certificate, free_ports  # noqa: E402

COUPLET = os.environ.get("COUPLET", str(ROOT / "target/debug/couplet"))
DOMAIN = "localhost"
PASSWORD = "traces"
SECRET = "unspeakable"
PATIENCE = 30


class Collector(service_grpc.TraceServiceServicer):
    """Keeps every span, by trace."""

    def __init__(self):
        self.changed = threading.Condition()
        self.spans = []
        self.raw = b""
        self.server = None

    def start(self, port=0):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        service_grpc.add_TraceServiceServicer_to_server(self, self.server)
        port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        assert port, "no port for the collector"
        self.server.start()
        return port

    def stop(self):
        self.server.stop(None).wait()

    def Export(self, request, context):
        with self.changed:
            self.raw += request.SerializeToString()
            for group in request.resource_spans:
                resource = attributes(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [Span(span, resource) for span in scope.spans]
            self.changed.notify_all()
        return service.ExportTraceServiceResponse()

    def until(self, found, what):
        """What `found` makes of all spans, once that is something."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                if answer := found(self.spans):
                    return answer
                left = deadline - time.monotonic()
                if left <= 0:
                    shown = "\n".join(str(span) for span in self.spans[-40:])
                    raise AssertionError(f"not seen: {what}; the last spans:\n{shown}")
                self.changed.wait(left)


class Span:
    """A span as tests read it."""

    def __init__(self, span, resource):
        self.trace, self.id, self.parent = span.trace_id, span.span_id, span.parent_span_id
        self.name = span.name
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = attributes(span.attributes)
        self.resource = resource
        self.node = resource["service.instance.id"]

    def __str__(self):
        ids = " ".join(it.hex() or "-" for it in (self.trace, self.id, self.parent))
        return f"{ids} {self.name} {self.node} {self.attributes}"

    def has(self, **wanted):
        known = {"name": self.name, "node": self.node}
        known |= {key.split(".")[-1]: value for key, value in self.attributes.items()}
        return all(known.get(key) == value for key, value in wanted.items())


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Node:
    """A process of ours."""

    def __init__(self, role, name, folder, *settings):
        self.name, self.data = name, folder / name
        self.admin, self.port = free_ports(2)
        settings = [
            f"node={name}", f"admin.listen=127.0.0.1:{self.admin}", *settings,
        ]
        if role == "origin":
            settings += [f"link.listen=127.0.0.1:{self.port}"]
        else:
            settings += [
                f"data={self.data}", f"c2s.listen=127.0.0.1:{self.port}", "c2s.tls_listen=[]",
            ]
        self.log = open(folder / f"{name}.log", "wb")
        words = [COUPLET, role]
        for setting in settings:
            words += ["--set", setting]
        self.process = subprocess.Popen(words, stderr=self.log, stdout=self.log)
        self.url = f"http://127.0.0.1:{self.admin}"

    def ready(self):
        await_ready(self.process, self.url)

    def ctl(self, *words, stdin=None):
        command = [COUPLET, "ctl", "--server", self.url, *words]
        done = subprocess.run(
            command, input=stdin, text=True, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def sampled(self, outcome):
        """How many spans had this outcome; None if there is no such metric."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'couplet_trace_spans_total{{outcome="{outcome}"}}'):
                    return float(line.split()[-1])
        return None

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Client(ClientXMPP):
    """A client that keeps the bodies that came."""

    def __init__(self, name):
        super().__init__(f"{name}@{DOMAIN}", PASSWORD)
        self.enable_plaintext = self.enable_direct_tls = self.auto_reconnect = False
        self.bodies, self.changed = [], asyncio.Event()
        self.add_event_handler("message", self.keep)

    def keep(self, message):
        self.bodies.append(message["body"])
        self.changed.set()

    async def log_in(self, node):
        bound = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: bound.done() or bound.set_result(None))
        self.ca_certs = certificate(node.data)
        self.connect("127.0.0.1", node.port)
        async with asyncio.timeout(PATIENCE):
            await bound
        self.send_presence()

    async def until(self, body):
        async with asyncio.timeout(PATIENCE):
            while body not in self.bodies:
                self.changed.clear()
                await self.changed.wait()


class Cluster:
    """Redis, two origins, two edges."""

    def __init__(self, stack, folder, endpoint):
        (redis,) = free_ports(1)
        process = subprocess.Popen(
            ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--dir", str(folder),
             "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        stack.callback(lambda: (process.terminate(), process.wait()))
        trace = f"trace.endpoint={endpoint}"
        self.origins = [
            Node("origin", name, folder, trace, "link.insecure=true", f"domains={DOMAIN}",
                 f"store.url=redis://127.0.0.1:{redis}")
            for name in ("o1", "o2")
        ]
        links = json.dumps([f"127.0.0.1:{origin.port}" for origin in self.origins])
        self.edges = [
            Node("edge", name, folder, trace, "trace.sample=1", "link.insecure=true",
                 f"domains={DOMAIN}", f"link.origins={links}")
            for name in ("e1", "e2")
        ]
        for node in self.edges + self.origins:
            stack.callback(node.stop)
        for node in self.origins + self.edges:
            node.ready()

    def owners(self):
        """Which origin has which session, by account."""
        told = json.loads(self.origins[0].ctl("--json", "sessions"))
        return {it["jid"].split("@")[0]: it["node"] for it in told["sessions"]}


def one_trace(spans, wanted):
    """The spans of the first trace that has one like each of these."""
    for trace in {span.trace for span in spans}:
        own = [span for span in spans if span.trace == trace]
        if all(any(span.has(**like) for span in own) for like in wanted):
            return own
    return None


def only(spans, **wanted):
    found = [span for span in spans if span.has(**wanted)]
    assert len(found) == 1, f"{wanted}: {[str(span) for span in spans]}"
    return found[0]


async def a_message_is_one_trace(collector, cluster, romeo, juliet):
    """Over two edges and two origins, each step the child of the one before."""
    owners = cluster.owners()
    romeo.send_message(juliet.boundjid.bare, SECRET, mtype="chat")
    await juliet.until(SECRET)
    here, there = owners[romeo.boundjid.user], owners[juliet.boundjid.user]
    assert here != there, owners
    steps = [
        {"name": "edge.receive", "node": "e1", "kind": "message", "outcome": "sent"},
        {"name": "origin.handle", "node": here, "side": "sender", "outcome": "done"},
        {"name": "origin.handle", "node": there, "side": "receiver", "outcome": "done"},
        {"name": "edge.deliver", "node": "e2", "outcome": "written"},
    ]
    spans = await asyncio.to_thread(
        collector.until, lambda spans: one_trace(spans, steps), "a trace with every step"
    )
    chain = [only(spans, **step) for step in steps]
    assert chain[0].parent == b"" and len(chain[0].trace) == 16, str(chain[0])
    for before, after in zip(chain, chain[1:]):
        assert after.parent == before.id, f"{after} does not follow {before}"
    for span in chain:
        # One machine, one clock; each process reads it once.
        assert span.start <= span.end, str(span)
        assert span.attributes["couplet.stanza.type"] == "chat", str(span)
        assert span.attributes["couplet.to.domain"] == DOMAIN, str(span)
        assert span.resource["service.name"] == "couplet", span.resource


async def what_waits_for_the_store_says_so(collector, romeo):
    """A message for somebody who is not there."""
    romeo.send_message(f"absent@{DOMAIN}", SECRET, mtype="chat")
    steps = [
        {"name": "edge.receive", "kind": "message"},
        {"name": "origin.handle", "side": "receiver"},
        {"name": "origin.commit", "outcome": "stored"},
    ]
    spans = await asyncio.to_thread(
        collector.until, lambda spans: one_trace(spans, steps), "a trace with a commit"
    )
    commit, receiver = only(spans, **steps[2]), only(spans, **steps[1])
    assert commit.parent == receiver.id, str(commit)


async def a_collector_that_is_away_is_tried_again(collector, port, cluster, romeo, juliet):
    collector.stop()
    await asyncio.to_thread(collector.spans.clear)
    romeo.send_message(juliet.boundjid.bare, "meanwhile", mtype="chat")
    # Nobody waits for it.
    await juliet.until("meanwhile")
    log = pathlib.Path(cluster.edges[0].log.name)
    deadline = time.monotonic() + PATIENCE
    while b"does not take spans" not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        await asyncio.sleep(0.05)
    collector.start(port)
    like = [{"name": "edge.receive", "node": "e1", "kind": "message"}]
    await asyncio.to_thread(
        collector.until, lambda spans: one_trace(spans, like), "spans after the collector is back"
    )
    assert cluster.edges[0].sampled("sent") > 0
    assert not cluster.edges[0].sampled("dropped")


class Look:
    """`couplet ctl trace` at work."""

    def __init__(self, node, jid):
        command = [COUPLET, "ctl", "--json", "--server", node.url, "trace", jid]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines, self.ended = [], threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        begun = self.process.stderr.readline()
        assert begun.startswith("-- what passes"), begun

    def read(self):
        for line in self.process.stdout:
            with self.ended:
                self.lines.append(json.loads(line))
                self.ended.notify_all()

    def until(self, found, what):
        deadline = time.monotonic() + PATIENCE
        with self.ended:
            while not any(found(line) for line in self.lines):
                left = deadline - time.monotonic()
                assert left > 0, f"not shown: {what}; but {self.lines}"
                self.ended.wait(left)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


async def what_passes_is_shown_whoever_owns_the_account(cluster, romeo, juliet):
    """Asked of the one origin about an account of the other, which is killed then."""
    owner = cluster.owners()[juliet.boundjid.user]
    owner, other = sorted(cluster.origins, key=lambda origin: origin.name != owner)
    look = Look(other, juliet.boundjid.bare)
    try:
        def shows(body):
            def found(line):
                ways = [it["way"] for it in line["stanzas"] if it["id"] == body]
                return "to-session" in ways
            return found

        def say(body):
            message = romeo.make_message(juliet.boundjid.full, body, mtype="chat")
            message["id"] = body
            message.send()

        say("before")
        await asyncio.to_thread(look.until, shows("before"), "a message before")
        owner.process.kill()
        await asyncio.to_thread(
            look.until, lambda line: line["cursor"] is None, "that the owner is another"
        )
        assert look.process.stderr.readline().startswith("-- what passes")
        say("after")
        await asyncio.to_thread(look.until, shows("after"), "a message after")
    finally:
        look.stop()


async def nothing_is_sent_unasked(collector, folder, endpoint):
    """Neither without an endpoint nor with a sample of none."""
    collector.spans.clear()
    for name, settings in [("off", []), ("none", [f"trace.endpoint={endpoint}", "trace.sample=0"])]:
        server = Node("serve", name, folder, *settings)
        try:
            server.ready()
            server.ctl("account", "add", f"romeo@{DOMAIN}", stdin=f"{PASSWORD}\n")
            client = Client("romeo")
            await client.log_in(server)
            client.send_message(client.boundjid.full, SECRET, mtype="chat")
            await client.until(SECRET)
            if name == "off":
                assert not server.sampled("sent")
            await client.disconnect(wait=2.0)
        finally:
            # What it had to send it sends before it ends.
            server.stop()
        assert not [span for span in collector.spans if span.node == name], name


async def run(folder):
    collector = Collector()
    port = collector.start()
    endpoint = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        cluster = Cluster(stack, folder, endpoint)
        names = ["romeo", "absent", *(f"juliet{number}" for number in range(12))]
        for name in names:
            cluster.origins[0].ctl("account", "add", f"{name}@{DOMAIN}", stdin=f"{PASSWORD}\n")
        romeo = Client("romeo")
        await romeo.log_in(cluster.edges[0])
        for name in names[2:]:
            # One whose account another origin owns; of twelve there is one, but for bad luck.
            juliet = Client(name)
            await juliet.log_in(cluster.edges[1])
            owners = cluster.owners()
            if owners[name] != owners["romeo"]:
                break
            await juliet.disconnect(wait=2.0)
        await a_message_is_one_trace(collector, cluster, romeo, juliet)
        await what_waits_for_the_store_says_so(collector, romeo)
        await a_collector_that_is_away_is_tried_again(collector, port, cluster, romeo, juliet)
        await what_passes_is_shown_whoever_owns_the_account(cluster, romeo, juliet)
        for client in (romeo, juliet):
            await client.disconnect(wait=2.0)
        for word in (SECRET, "meanwhile", "romeo", "juliet", romeo.boundjid.resource):
            assert word.encode() not in collector.raw, f"a span shows {word!r}"
    await nothing_is_sent_unasked(collector, folder, endpoint)
    collector.stop()


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            asyncio.run(run(folder))
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
            raise
    print("traces: passed")


if __name__ == "__main__":
    main()
