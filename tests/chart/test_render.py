"""The chart renders: what Kubernetes takes, for every combination, and nothing else."""

import json
import unittest

import kubernetes_validate
import yaml

import chart

# The oldest that the chart is for, and the newest there is.
VERSIONS = ["1.27", "1.37"]

# Kinds that Kubernetes itself does not know, and what each cannot be without.
CUSTOM = {
    ("cert-manager.io/v1", "Issuer"): {},
    ("cert-manager.io/v1", "Certificate"): {"secretName": str, "issuerRef": dict},
    ("keda.sh/v1alpha1", "ScaledObject"): {"scaleTargetRef": dict, "triggers": list},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector": dict, "endpoints": list},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {"groups": list},
}

# Fields of those kinds that are used, all of them: a typing error would be ignored in a cluster.
FIELDS = {
    "Issuer": {"selfSigned", "ca"},
    "Certificate": {
        "secretName", "issuerRef", "commonName", "dnsNames", "isCA", "usages", "duration",
        "renewBefore", "privateKey",
    },
    "ScaledObject": {
        "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "advanced", "triggers",
    },
    "ServiceMonitor": {"selector", "endpoints", "targetLabels"},
    "PrometheusRule": {"groups"},
}


def validate(it):
    """Fails if Kubernetes would refuse an object, or ignore a part of it."""
    kind = (it["apiVersion"], it["kind"])
    if kind not in CUSTOM:
        for version in VERSIONS:
            kubernetes_validate.validate(it, version, strict=True)
        return
    spec = it["spec"]
    for field, expected in CUSTOM[kind].items():
        assert isinstance(spec.get(field), expected), f"{kind}: {field}: {spec.get(field)}"
    unknown = set(spec) - FIELDS[it["kind"]]
    assert not unknown, f"{kind}: {unknown}"


class Renders(unittest.TestCase):
    def test_lint(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                words = ["lint", "--strict", str(chart.CHART), "--values", str(path)]
                chart.helm([*words, "--kube-version", chart.KUBERNETES])

    def test_kubernetes_takes_every_object(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                rendered = chart.objects([path])
                seen = set()
                for it in rendered:
                    validate(it)
                    identity = (it["kind"], it["metadata"]["name"])
                    self.assertNotIn(identity, seen)
                    seen.add(identity)
                    self.assertLess(len(it["metadata"]["name"]), 64)
                    labels = it["metadata"]["labels"]
                    self.assertEqual(labels["app.kubernetes.io/instance"], chart.RELEASE)

    def test_the_checks_see_what_they_look_for(self):
        rendered = chart.objects(given=chart.BASE)
        deployment = chart.find(rendered, "Deployment", "chat-couplet-edge")
        deployment["spec"]["replica"] = 2
        with self.assertRaises(kubernetes_validate.ValidationError):
            validate(deployment)
        wrong = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "spec": {}}
        with self.assertRaises(AssertionError):
            validate(wrong)

    def test_whatever_a_pod_needs_is_rendered_or_named_in_the_values(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                rendered = chart.objects([path])
                given = path.read_text()
                made = {(it["kind"], it["metadata"]["name"]) for it in rendered}
                issued = {
                    it["spec"]["secretName"] for it in rendered if it["kind"] == "Certificate"
                }
                for kind, needed in needs(rendered):
                    is_there = (kind, needed) in made or needed in issued or needed in given
                    self.assertTrue(is_there, f"{kind} {needed}")

    def test_selectors_find_their_pods_and_nothing_else(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                rendered = chart.objects([path])
                pods = {}
                for it in rendered:
                    template = it.get("spec", {}).get("template") if it["kind"] != "Pod" else it
                    if template:
                        labels = template["metadata"]["labels"]
                        pods[labels["app.kubernetes.io/component"]] = labels
                for it in rendered:
                    for selector in selectors(it):
                        found = [
                            role for role, labels in pods.items()
                            if selector.items() <= labels.items()
                        ]
                        wanted = selector["app.kubernetes.io/component"]
                        self.assertEqual(found, [wanted], it["metadata"]["name"])

    def test_nobody_is_root_and_nothing_is_written_outside_volumes(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                for it in chart.objects([path]):
                    pod = pod_of(it)
                    if not pod:
                        continue
                    self.assertFalse(pod["automountServiceAccountToken"])
                    self.assertFalse(pod["enableServiceLinks"])
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                    profile = pod["securityContext"]["seccompProfile"]
                    self.assertEqual(profile, {"type": "RuntimeDefault"})
                    for container in pod["containers"] + pod.get("initContainers", []):
                        context = container["securityContext"]
                        self.assertTrue(context["readOnlyRootFilesystem"])
                        self.assertFalse(context["allowPrivilegeEscalation"])
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    def test_only_origins_know_where_the_store_is(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                rendered = chart.objects([path])
                edge = chart.find(rendered, "Deployment", f"{full(rendered)}-edge")
                self.assertNotIn("COUPLET_STORE__URL", json.dumps(edge))
                origin = chart.find(rendered, "StatefulSet", f"{full(rendered)}-origin")
                self.assertIn("COUPLET_STORE__URL", json.dumps(origin))
                for it in rendered:
                    if it["kind"] == "ConfigMap":
                        self.assertNotIn("secret@", json.dumps(it))

    def test_network_policies_keep_edges_from_the_store(self):
        for name in ["sentinel", "existing"]:
            rendered = chart.objects([chart.combinations()[name]])
            edge = chart.find(rendered, "NetworkPolicy", "chat-couplet-edge")["spec"]
            self.assertEqual(edge["policyTypes"], ["Ingress", "Egress"])
            ports = {port["port"] for rule in edge["egress"] for port in rule["ports"]}
            self.assertLessEqual(ports, {53, 5291, 4317})
            origin = chart.find(rendered, "NetworkPolicy", "chat-couplet-origin")["spec"]
            link = [rule for rule in origin["ingress"] if rule["ports"] == [{"port": 5291}]]
            roles = [
                peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                for rule in link for peer in rule["from"]
            ]
            self.assertEqual(roles, ["edge", "origin"])
            ports = [port["port"] for rule in origin["egress"] for port in rule["ports"]]
            self.assertIn(6379, ports)
        demo = chart.objects([chart.combinations()["demo"]], {"networkPolicy": {"enabled": True}})
        redis = chart.find(demo, "NetworkPolicy", "chat-couplet-redis")["spec"]
        self.assertEqual(len(redis["ingress"]), 1)
        self.assertEqual(redis["egress"], [])

    def test_liveness_does_not_ask_for_the_store(self):
        rendered = chart.objects(given=chart.BASE)
        for kind, name in [("Deployment", "edge"), ("StatefulSet", "origin")]:
            pod = pod_of(chart.find(rendered, kind, f"chat-couplet-{name}"))
            container = pod["containers"][0]
            paths = {
                probe: container[probe]["httpGet"]["path"]
                for probe in ["livenessProbe", "readinessProbe", "startupProbe"]
            }
            self.assertEqual(
                paths,
                {
                    "livenessProbe": "/healthz",
                    "readinessProbe": "/readyz",
                    "startupProbe": "/readyz",
                },
            )

    def test_a_changed_setting_makes_new_pods_and_others_do_not(self):
        def checksums(given):
            rendered = chart.objects(given=chart.merged(chart.BASE, given))
            found = {}
            for kind, role in [("Deployment", "edge"), ("StatefulSet", "origin")]:
                it = chart.find(rendered, kind, f"chat-couplet-{role}")
                found[role] = it["spec"]["template"]["metadata"]["annotations"]
            return found

        before = checksums({})
        self.assertEqual(before, checksums({}), "it is the same each time")
        edge = checksums({"config": {"edge": {"limits": {"ping_after_secs": 7}}}})
        self.assertNotEqual(before["edge"], edge["edge"])
        self.assertEqual(before["origin"], edge["origin"])
        both = checksums({"log": {"level": "debug"}})
        self.assertNotEqual(before["edge"], both["edge"])
        self.assertNotEqual(before["origin"], both["origin"])
        store = checksums({"store": {"existingSecret": {"name": "other"}}})
        self.assertEqual(before["edge"], store["edge"])
        self.assertNotEqual(before["origin"], store["origin"])

    def test_the_notes_say_how_to_go_on(self):
        for name, path in chart.combinations().items():
            with self.subTest(name):
                said = chart.notes(path)
                self.assertIn("couplet ctl account add me@example.org", said)
                self.assertIn("Upgrades", said)
                self.assertNotIn("<no value>", said)

    def test_copies_are_what_they_are_copies_of(self):
        for name in ["rules.yaml", "dashboard.json"]:
            copy = (chart.CHART / "files" / name).read_text()
            original = chart.TOP / "deploy/monitoring" / name
            self.assertEqual(copy, original.read_text(), f"cp {original} {chart.CHART}/files/")
        rendered = chart.objects([chart.combinations()["operators"]])
        rules = chart.find(rendered, "PrometheusRule", "xmpp")
        original = chart.TOP / "deploy/monitoring/rules.yaml"
        self.assertEqual(rules["spec"], yaml.safe_load(original.read_text()))
        board = chart.find(rendered, "ConfigMap", "xmpp-dashboard")["data"]["couplet.json"]
        original = chart.TOP / "deploy/monitoring/dashboard.json"
        self.assertEqual(json.loads(board), json.loads(original.read_text()))


def full(rendered):
    return next(
        it["metadata"]["name"] for it in rendered if it["kind"] == "Deployment"
    ).removesuffix("-edge")


def pod_of(it):
    if it["kind"] == "Pod":
        return it["spec"]
    return it.get("spec", {}).get("template", {}).get("spec")


def needs(rendered):
    """Every secret, config map and account that a pod names."""
    for it in rendered:
        pod = pod_of(it)
        if not pod:
            continue
        if pod["serviceAccountName"] != "default":
            yield "ServiceAccount", pod["serviceAccountName"]
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"]
            if "secret" in volume:
                yield "Secret", volume["secret"]["secretName"]
        for container in pod["containers"] + pod.get("initContainers", []):
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                if source:
                    yield "Secret", source["name"]


def selectors(it):
    spec = it.get("spec", {})
    found = [spec.get("selector"), spec.get("podSelector")]
    found = [one.get("matchLabels", one) for one in found if one]
    return [one for one in found if "app.kubernetes.io/component" in one]


if __name__ == "__main__":
    unittest.main()
