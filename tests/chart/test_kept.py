"""What the chart has made is kept on upgrade: helm asks a cluster, of which there is just enough."""

import base64
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import unittest

import yaml

import chart


class Api(http.server.BaseHTTPRequestHandler):
    """The secrets of a cluster, and what helm wants to know before it asks for them."""

    secrets = {}

    def do_GET(self):
        path = self.path.split("?")[0]
        known = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [
                    {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get"]}
                ],
            },
        }
        answer = known.get(path)
        folder, _, name = path.rpartition("/")
        if folder == f"/api/v1/namespaces/{chart.NAMESPACE}/secrets":
            answer = self.secrets.get(name)
        body = json.dumps(answer or {"kind": "Status", "reason": "NotFound", "code": 404})
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def render(path, kubeconfig):
    """What an upgrade would render, by name."""
    words = ["template", chart.RELEASE, str(chart.CHART), "--namespace", chart.NAMESPACE]
    words += ["--values", str(path), "--dry-run=server"]
    words += ["--is-upgrade", "--kube-version", chart.KUBERNETES]
    done = subprocess.run(
        [chart.HELM, *words, "--kubeconfig", kubeconfig],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rendered = [it for it in yaml.safe_load_all(done.stdout) if it]
    # That of `helm test` is made anew each time.
    return {
        it["metadata"]["name"]: stored(it)
        for it in rendered
        if it["kind"] == "Secret" and "helm.sh/hook" not in it["metadata"].get("annotations", {})
    }


def stored(secret):
    """As a cluster gives it back."""
    data = dict(secret.get("data", {}))
    for key, value in secret.get("stringData", {}).items():
        data[key] = base64.b64encode(value.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret["metadata"]["name"], "namespace": chart.NAMESPACE},
        "data": data,
    }


class Kept(unittest.TestCase):
    def setUp(self):
        Api.secrets = {}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        config = pathlib.Path(folder.name) / "config"
        url = f"http://127.0.0.1:{server.server_port}"
        config.write_text(yaml.safe_dump({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
        }))
        self.kubeconfig = str(config)
        self.demo = chart.combinations()["demo"]

    def test_everything_is_kept(self):
        first = render(self.demo, self.kubeconfig)
        made = {f"chat-couplet-{it}" for it in
                ["admin", "link-edge", "link-origin", "tls", "redis"]}
        self.assertEqual(set(first), made)
        another = render(self.demo, self.kubeconfig)
        for name in made:
            self.assertNotEqual(first[name], another[name], f"{name} would be the same anyway")
        Api.secrets = first
        self.assertEqual(render(self.demo, self.kubeconfig), first)

    def test_certificates_of_the_link_are_made_together(self):
        first = render(self.demo, self.kubeconfig)
        # One alone could not be signed: nobody keeps the key of the authority.
        Api.secrets = {name: it for name, it in first.items() if name != "chat-couplet-link-edge"}
        second = render(self.demo, self.kubeconfig)
        edge, origin = second["chat-couplet-link-edge"], second["chat-couplet-link-origin"]
        self.assertEqual(edge["data"]["ca.crt"], origin["data"]["ca.crt"])
        self.assertNotEqual(origin, first["chat-couplet-link-origin"])
        self.assertEqual(second["chat-couplet-admin"], first["chat-couplet-admin"])


if __name__ == "__main__":
    unittest.main()
