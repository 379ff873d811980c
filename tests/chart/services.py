"""The services of a node: a name server that knows them, and connections passed on to their pods."""

import random
import socket
import struct
import subprocess
import threading
import time

import chart
from pods import NODE


class Services:
    """Every service among the rendered objects."""

    def __init__(self, node):
        self.node = node
        self.services = {}
        self.addresses = {}
        # For how long an answer about names is kept, as caches of name servers do.
        self.kept_secs = 0
        self.kept = {}
        for it in node.rendered:
            if it["kind"] == "Service":
                self.services[it["metadata"]["name"]] = it["spec"]
        for number, (name, spec) in enumerate(self.services.items(), 1):
            if spec.get("clusterIP") == "None":
                continue
            address = f"10.43.0.{number}"
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
            self.addresses[name] = address
            for port in spec["ports"]:
                listener = socket.create_server((address, port["port"]), backlog=64)
                begin(self.accept, listener, name, port)
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((NODE, 53))
        begin(self.answer, names)

    def endpoints(self, name, with_unready=False):
        """The pods behind a service: those that are ready and not on their way out."""
        spec = self.services[name]
        return [
            pod for pod in list(self.node.pods.values())
            if spec["selector"].items() <= pod.labels.items()
            and (with_unready or (pod.is_ready and not pod.is_leaving))
        ]

    def addresses_of(self, host):
        """What a name stands for; None when there is no such name."""
        end = f".{chart.NAMESPACE}.svc.cluster.local"
        if not host.endswith(end):
            return None
        labels = host.removesuffix(end).split(".")
        service = labels[-1]
        if service not in self.services:
            return None
        if service in self.addresses:
            return [self.addresses[service]] if len(labels) == 1 else None
        all_of_them = self.services[service].get("publishNotReadyAddresses", False)
        pods = self.endpoints(service, with_unready=all_of_them)
        if len(labels) == 2:
            pods = [pod for pod in pods if pod.name == labels[0]]
        return [pod.ip for pod in pods] or None

    def answer(self, names):
        while True:
            question, asker = names.recvfrom(512)
            names.sendto(self.answer_to(question), asker)

    def answer_to(self, question):
        """RFC 1035 §4: one question in, its answer out."""
        labels, at = [], 12
        while question[at]:
            length = question[at]
            labels.append(question[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        at += 1
        kind = struct.unpack(">H", question[at : at + 2])[0]
        asked = question[12 : at + 4]
        found = self.known(".".join(labels))
        # Only IPv4 here: a name without addresses of a kind is not a name that does not exist.
        answers = found or [] if kind == 1 else []
        flags = 0x8583 if found is None else 0x8580
        out = question[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0) + asked
        for address in answers:
            out += struct.pack(">HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
        return out

    def known(self, host):
        """What a name stands for, or has stood for lately."""
        until, found = self.kept.get(host, (0, None))
        if time.monotonic() >= until:
            found = self.addresses_of(host)
            self.kept[host] = (time.monotonic() + self.kept_secs, found)
        return found

    def accept(self, listener, name, port):
        while True:
            client, _ = listener.accept()
            pods = self.endpoints(name)
            if not pods:
                client.close()
                continue
            pod = random.choice(pods)
            target = (pod.ip, pod.port(port["targetPort"]))
            try:
                server = socket.create_connection(target, timeout=5)
            except OSError:
                client.close()
                continue
            begin(copy, client, server)
            begin(copy, server, client)


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for it in (source, target):
        try:
            it.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def begin(task, *words):
    threading.Thread(target=task, args=words, daemon=True).start()
