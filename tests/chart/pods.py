"""Just enough of Kubernetes for the rendered objects to be tried: pods of real processes.

Each pod has a network namespace with an address of its own, each container a root of its own with
the volumes as they are mounted. Names are looked up at a name server, services pass connections on
to pods that are ready. Everything is gone with the namespaces this runs in.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import chart

HERE = pathlib.Path(__file__).resolve().parent
COUPLET = os.environ.get("COUPLET", str(chart.TOP / "target/debug/couplet"))

# The address of the node, at which the name server is.
NODE = "10.42.0.1"

PATIENCE_SECS = 60


def until(what, is_so, secs=PATIENCE_SECS):
    """Waits for something that has to become true; returns what it became."""
    end = time.monotonic() + secs
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"not within {secs} s: {what}"
        time.sleep(0.05)


def run(*words):
    subprocess.run(words, check=True)


class Container:
    """One that runs, or has run."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    def ended(self, secs=PATIENCE_SECS):
        """Waits for its end; returns its exit code."""
        return self.process.wait(timeout=secs)

    def said(self):
        return self.log.read_text(errors="replace")


class Pod:
    """One pod of a template."""

    def __init__(self, node, name, metadata, spec, number):
        self.node, self.name, self.spec = node, name, spec
        self.labels = metadata["labels"]
        self.uid = str(uuid.uuid4())
        self.ip = f"10.42.0.{number}"
        self.namespace = f"pod{number}"
        self.folder = node.folder / f"{name}.{number}"
        self.is_ready = False
        self.is_leaving = False
        self.running = {}
        node.network(self.namespace, self.ip, number)
        self.volumes = {
            it["name"]: self.volume(it) for it in spec.get("volumes", [])
        }

    def volume(self, volume):
        """A folder with what a volume holds."""
        folder = self.folder / "volumes" / volume["name"]
        folder.mkdir(parents=True)
        group = self.spec["securityContext"]["fsGroup"]
        if "emptyDir" in volume:
            os.chown(folder, 0, group)
            folder.chmod(0o2770)
            return folder
        if "hostPath" in volume:
            return pathlib.Path(volume["hostPath"]["path"])
        kind = "secret" if "secret" in volume else "configMap"
        source = volume[kind]
        if kind == "secret":
            files = self.node.secret(source["secretName"])
        else:
            files = self.node.config(source["name"])
        if "items" in source:
            files = {it["path"]: files[it["key"]] for it in source["items"]}
        mode = source.get("defaultMode", 0o644)
        for name, content in files.items():
            path = folder / name
            path.write_bytes(content)
            os.chown(path, 0, group)
            path.chmod(mode)
        os.chown(folder, 0, group)
        folder.chmod(0o750)
        return folder

    def renew(self, volume):
        """What has changed in a secret, in the volume that is there."""
        folder = self.volumes[volume["name"]]
        for name, content in self.node.secret(volume["secret"]["secretName"]).items():
            path = folder / name
            if path.exists() and path.read_bytes() != content:
                fresh = folder / f".{name}"
                fresh.write_bytes(content)
                shutil.copystat(path, fresh)
                os.chown(fresh, 0, path.stat().st_gid)
                fresh.replace(path)

    def environment(self, container):
        found = {}
        fields = {
            "metadata.name": self.name,
            "metadata.uid": self.uid,
            "status.podIP": self.ip,
        }
        for it in container.get("env", []):
            source = it.get("valueFrom", {})
            if "fieldRef" in source:
                value = fields[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                value = self.node.secret(reference["name"])[reference["key"]].decode()
            else:
                value = expanded(it["value"], found)
            found[it["name"]] = value
        return found

    def describe(self, container, command):
        """What container.py is told."""
        environment = self.environment(container)
        security = self.spec["securityContext"]
        root = self.folder / f"root-{uuid.uuid4().hex[:8]}"
        root.mkdir(parents=True)
        if container["image"].startswith("redis"):
            programs = {"redis-server": "redis-server", "redis-cli": "redis-cli", "sh": "sh",
                        "grep": "grep"}
            programs = {shutil.which(it): f"/usr/bin/{it}" for it in programs}
        else:
            programs = {COUPLET: "/usr/local/bin/couplet"}
        return {
            "root": str(root),
            "programs": programs,
            "files": self.node.files(),
            "mounts": [
                {
                    "source": self.source(it, environment),
                    "path": it["mountPath"],
                    "read_only": it.get("readOnly", False),
                }
                for it in container["volumeMounts"]
            ],
            "read_only": container["securityContext"]["readOnlyRootFilesystem"],
            "user": security["runAsUser"],
            "group": security["runAsGroup"],
            "groups": [security["fsGroup"]],
            "environment": environment,
            "command": [expanded(it, environment) for it in command],
        }

    def source(self, mount, environment):
        """The folder of a volume that is mounted; as the kubelet does, one within it is made."""
        folder = self.volumes[mount["name"]]
        if "subPathExpr" in mount:
            whole, folder = folder, folder / expanded(mount["subPathExpr"], environment)
            folder.mkdir(exist_ok=True)
            found = whole.stat()
            os.chown(folder, found.st_uid, found.st_gid)
            folder.chmod(found.st_mode & 0o7777)
        return str(folder)

    def start(self, container, command=None):
        """Starts a container of this pod, or another command in one like it."""
        command = command or container["command"] + container.get("args", [])
        described = json.dumps(self.describe(container, command))
        log = self.folder / f"log-{uuid.uuid4().hex[:8]}"
        words = ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]
        words += ["unshare", "--mount", "--propagation", "private", "--"]
        words += [sys.executable, str(HERE / "container.py"), described]
        with log.open("wb") as out:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        started = Container(process, log)
        self.node.started.append(started)
        return started

    def run(self):
        """Starts its containers, those of the start one after the other first."""
        for container in self.spec.get("initContainers", []):
            code = self.start(container).ended()
            if code != 0:
                return code
        for container in self.spec["containers"]:
            self.running[container["name"]] = self.start(container)
        return None

    @property
    def container(self):
        return self.spec["containers"][0]

    @property
    def main(self):
        return self.running[self.container["name"]]

    def port(self, name):
        """The number of a port that has a name, as services and probes use it."""
        if isinstance(name, int):
            return name
        for it in self.container["ports"]:
            if it["name"] == name:
                return it["containerPort"]
        raise AssertionError(f"{self.name} has no port {name}")

    def probe(self, name):
        """Whether a probe succeeds now."""
        probe = self.container[name]
        secs = probe.get("timeoutSeconds", 1)
        if "httpGet" in probe:
            port = self.port(probe["httpGet"]["port"])
            return status(f"http://{self.ip}:{port}{probe['httpGet']['path']}", secs) == 200
        if "exec" in probe:
            code = self.start(self.container, probe["exec"]["command"]).ended()
            return code == 0
        port = self.port(probe["tcpSocket"]["port"])
        return self.node.connects(self.ip, port, secs)

    def stop(self):
        """Leaves as Kubernetes has it: preStop, SIGTERM, and SIGKILL when the time is up.

        Returns the exit code, and how long it took.
        """
        began = time.monotonic()
        self.is_leaving = True
        grace = self.spec["terminationGracePeriodSeconds"]
        hook = self.container.get("lifecycle", {}).get("preStop")
        hooked = self.start(self.container, hook["exec"]["command"]) if hook else None
        code = hooked.ended(grace) if hooked else 0
        assert code == 0, f"preStop of {self.name}: {hooked.said()}"
        self.main.process.send_signal(signal.SIGTERM)
        try:
            ended = self.main.ended(grace - (time.monotonic() - began))
        except subprocess.TimeoutExpired as late:
            self.main.process.kill()
            raise AssertionError(f"{self.name} does not end within {grace} s") from late
        return ended, time.monotonic() - began


def expanded(text, environment):
    """`$(NAME)` in a command or a value."""
    return re.sub(
        r"\$\(([A-Za-z_]\w*)\)", lambda it: environment.get(it[1], it[0]), text
    )


def status(url, secs=2):
    """The status of an answer; None when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=secs) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Node:
    """The machine all pods run on, and what the cluster knows."""

    def __init__(self, rendered, secrets=None):
        self.rendered = rendered
        self.secrets = secrets or {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="couplet-chart-"))
        self.pods, self.started = {}, []
        self.number = 1
        # Namespaces of the network have names in /run.
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "pods", "type", "bridge")
        run("ip", "address", "add", f"{NODE}/24", "dev", "pods")
        run("ip", "link", "set", "pods", "up")

    def network(self, namespace, ip, number):
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0",
            "netns", namespace)
        run("ip", "link", "set", f"v{number}", "master", "pods", "up")
        within = ["ip", "-n", namespace]
        run(*within, "link", "set", "lo", "up")
        run(*within, "address", "add", f"{ip}/24", "dev", "eth0")
        run(*within, "link", "set", "eth0", "up")
        run(*within, "route", "add", "default", "via", NODE)

    def files(self):
        """What the kubelet puts into every container."""
        domain = f"{chart.NAMESPACE}.svc.cluster.local"
        return {
            "/etc/resolv.conf": f"nameserver {NODE}\nsearch {domain} svc.cluster.local "
                                "cluster.local\noptions ndots:5\n",
            "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
            "/etc/nsswitch.conf": "hosts: files dns\n",
        }

    def secret(self, name):
        if name in self.secrets:
            return self.secrets[name]
        it = chart.find(self.rendered, "Secret", name)
        found = {key: base64.b64decode(value) for key, value in it.get("data", {}).items()}
        found.update({key: value.encode() for key, value in it.get("stringData", {}).items()})
        return found

    def config(self, name):
        it = chart.find(self.rendered, "ConfigMap", name)
        return {key: value.encode() for key, value in it["data"].items()}

    def pod(self, name, metadata, spec):
        """Makes a pod; it does not run yet."""
        self.number += 1
        made = Pod(self, name, metadata, spec, self.number)
        self.pods[name] = made
        return made

    def of(self, kind, name, pod):
        """A pod of a Deployment or a StatefulSet, running."""
        template = chart.find(self.rendered, kind, name)["spec"]["template"]
        spec = dict(template["spec"])
        claims = chart.find(self.rendered, kind, name)["spec"].get("volumeClaimTemplates", [])
        for claim in claims:
            # It outlives the pod.
            folder = self.folder / f"claim-{claim['metadata']['name']}-{pod}"
            if not folder.exists():
                folder.mkdir()
                os.chown(folder, 0, spec["securityContext"]["fsGroup"])
                folder.chmod(0o2770)
            volume = {"name": claim["metadata"]["name"], "hostPath": {"path": str(folder)}}
            spec["volumes"] = [*spec.get("volumes", []), volume]
        made = self.pod(pod, template["metadata"], spec)
        made.run()
        return made

    def connects(self, ip, port, secs):
        try:
            with socket.create_connection((ip, port), timeout=secs):
                return True
        except OSError:
            return False

    def forget(self, pod):
        del self.pods[pod.name]
        run("ip", "netns", "delete", pod.namespace)

    def replace(self, name, files):
        """Puts other content into a secret, also where it is mounted already."""
        self.secrets[name] = {**self.secret(name), **files}
        for pod in self.pods.values():
            for volume in pod.spec["volumes"]:
                if volume.get("secret", {}).get("secretName") == name:
                    pod.renew(volume)

    def look(self):
        """Looks at every probe of readiness, as the kubelet does all the time."""
        for pod in list(self.pods.values()):
            if "readinessProbe" in pod.container and pod.running:
                pod.is_ready = pod.probe("readinessProbe")

    def end(self):
        for it in self.started:
            if it.process.poll() is None:
                it.process.kill()
                it.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
