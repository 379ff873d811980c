"""Every rendered configuration is one that Couplet takes, with the files as pods have them."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import chart
import pods


def existing():
    """The secrets that the values name and the chart does not make."""
    own = chart.objects([chart.combinations()["demo"]])
    certificate = pods.Node.secret(Known(own), "chat-couplet-tls")
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder) / "link"
        words = [pods.COUPLET, "make-link-certificates", str(link)]
        subprocess.run(words, check=True, capture_output=True)
        found = {
            role: {
                "ca.crt": (link / "ca.pem").read_bytes(),
                "tls.crt": (link / f"{role}.pem").read_bytes(),
                "tls.key": (link / f"{role}.key").read_bytes(),
            }
            for role in ["edge", "origin"]
        }
    return {
        "my-redis": {"url": b"redis://redis.data:6379", "uri": b"rediss://redis.data"},
        "redis-ca": {"ca.crt": found["edge"]["ca.crt"]},
        "edge-link": found["edge"],
        "origin-link": found["origin"],
        # What cert-manager would make.
        "xmpp-link-edge": found["edge"],
        "xmpp-link-origin": found["origin"],
        "xmpp-tls-0": certificate,
        "shop-tls": certificate,
        "default-tls": certificate,
        "net-tls": certificate,
        "operators": {"bearer": b"a-token-of-ours-that-is-long-enough-for-anybody"},
    }


class Known:
    """Rendered objects, to look secrets up in."""

    def __init__(self, rendered):
        self.rendered, self.secrets = rendered, {}


class Configurations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = pods.Node([], existing())
        cls.addClassCleanup(cls.node.end)

    def check(self, rendered, name, kind, role):
        """The exit code of check-config in a pod of that role, and what it says."""
        self.node.rendered = rendered
        found = next(
            it for it in rendered
            if it["kind"] == kind and it["metadata"]["name"].endswith(f"-{role}")
        )
        template = found["spec"]["template"]
        pod = self.node.pod(f"{name}-{role}-0", template["metadata"], template["spec"])
        if name == "existing":
            pod.ip = "fd00::5"
        container = pod.container
        self.assertEqual(container["args"][:2], [role, "--config"])
        command = ["couplet", "check-config", "--role", role, container["args"][2]]
        checked = pod.start(container, command)
        return checked.ended(), checked.said()

    def test_couplet_takes_them(self):
        for name, path in chart.combinations().items():
            rendered = chart.objects([path])
            for kind, role in [("Deployment", "edge"), ("StatefulSet", "origin")]:
                with self.subTest(name, role=role):
                    self.assertEqual(self.check(rendered, name, kind, role), (0, "ok\n"))

    def test_a_mistake_would_be_seen(self):
        given = chart.merged(chart.BASE, {"config": {"edge": {"typo": 1}}})
        rendered = chart.objects(given=given)
        code, said = self.check(rendered, "wrong", "Deployment", "edge")
        self.assertEqual(code, 1)
        self.assertIn("typo", said)


if __name__ == "__main__":
    unittest.main()
