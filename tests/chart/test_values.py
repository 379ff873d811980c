"""Value by value: each does what its comment says. One without an entry here fails.

An entry says what is given instead of the default, what is rendered then and was not before, and
which other values it needs to matter.
"""

import json
import unittest

import yaml

import chart

LABELED = {"matchLabels": {"team": "a"}}
HPA = {"edge": {"autoscaling": {"enabled": True}}}
KEDA = {"edge": {"keda": {"enabled": True, "prometheusAddress": "http://p:9090"}}}
POLICY = {"networkPolicy": {"enabled": True}}
REDIS = {"store": {"existingSecret": {"name": ""}}, "redis": {"enabled": True}}
URL = {"store": {"existingSecret": {"name": ""}}}
CERTS = {"link": {"certificates": "certManager"}}
TLS = {"tls": {"existingSecret": "", "certManager": {"enabled": True, "issuerRef": {"name": "le"}}}}
BALANCER = {"services": {"c2s": {"type": "LoadBalancer"}}}
NODE_PORT = {"services": {"c2s": {"type": "NodePort"}}}
OWN = {"services": {"directTls": {"enabled": True}}}
OWN_BALANCER = chart.merged(OWN, {"services": {"directTls": {"type": "LoadBalancer"}}})
ACCESS = {"accessLog": {"enabled": True}}
MONITOR = {"serviceMonitor": {"enabled": True}}

# What both roles have.
ROLE = {
    "terminationGracePeriodSeconds": (333, "terminationGracePeriodSeconds: 333"),
    "lifecycle": ({"preStop": {"sleep": {"seconds": 9}}}, "seconds: 9"),
    "minReadySeconds": (77, "minReadySeconds: 77"),
    "podDisruptionBudget.enabled": (False, None),
    "podDisruptionBudget.maxUnavailable": ("25%", "maxUnavailable: 25%"),
    "resources.requests.cpu": ("7", 'cpu: "7"'),
    "resources.requests.memory": ("7Gi", "memory: 7Gi"),
    "resources.limits.memory": ("9Gi", "memory: 9Gi"),
    "topologySpread": (
        [{"topologyKey": "rack", "maxSkew": 3, "whenUnsatisfiable": "DoNotSchedule"}],
        "topologyKey: rack",
    ),
    "nodeSelector": ({"disk": "ssd"}, "disk: ssd"),
    "tolerations": ([{"key": "chat", "operator": "Exists"}], "key: chat"),
    "affinity": ({"podAntiAffinity": {}}, "podAntiAffinity: {}"),
    "priorityClassName": ("high", "priorityClassName: high"),
    "podAnnotations": ({"a": "b"}, "a: b"),
    "podLabels": ({"a": "b"}, "a: b"),
    "extraEnv": ([{"name": "COUPLET_LOG__LEVEL", "value": "trace"}], "value: trace"),
    "extraContainers": ([{"name": "shipper", "image": "logs"}], "name: shipper"),
    "extraVolumes": ([{"name": "more", "emptyDir": {}}], "name: more"),
    "extraVolumeMounts": ([{"name": "config", "mountPath": "/more"}], "mountPath: /more"),
}

# How edges come and go with the load, by Kubernetes or by KEDA.
SCALING = {
    "minReplicas": (4, ["minReplicas: 4", "minReplicaCount: 4"]),
    "maxReplicas": (40, ["maxReplicas: 40", "maxReplicaCount: 40"]),
    "cpuPercent": (55, ["averageUtilization: 55", 'value: "55"']),
    "connections": (4444, ['averageValue: "4444"', 'threshold: "4444"']),
    "scaleDownWindowSecs": (99, ["stabilizationWindowSeconds: 99"] * 2),
    "scaleDownPeriodSecs": (99, ["periodSeconds: 99"] * 2),
}

PROBE = {"periodSeconds": (17, "periodSeconds: 17"), "timeoutSeconds": (3, "timeoutSeconds: 3"),
         "failureThreshold": (19, "failureThreshold: 19")}

ISSUER = {"kind": ("Issuing", "kind: Issuing"), "group": ("a.example", "group: a.example")}

TABLE = {
    "domains": (["capulet.example"], 'domains = ["capulet.example"]'),
    "nameOverride": ("talk", "app.kubernetes.io/name: talk"),
    "fullnameOverride": ("talk", "name: talk-edge"),
    "commonLabels": ({"team": "chat"}, "team: chat"),
    "clusterDomain": ("k8s.example", 'talk.svc.k8s.example.:5291"]'),
    "listenAddress": ("0.0.0.0", 'listen = ["0.0.0.0:5222"]'),
    "ipv6": (True, '"[$(POD_IP)]:5291"'),
    "image.repository": ("images.example:5000/c", "images.example:5000/c:0.1.0"),
    "image.tag": ("9.9", "couplet/couplet:9.9"),
    "image.digest": (f"sha256:{'a' * 64}", f"@sha256:{'a' * 64}"),
    "image.pullPolicy": ("Always", "imagePullPolicy: Always"),
    "image.pullSecrets": (["pull"], "name: pull"),
    "serviceAccount.create": (False, "serviceAccountName: default"),
    "serviceAccount.name": ("runner", "serviceAccountName: runner"),
    "serviceAccount.annotations": ({"a": "b"}, "a: b"),
    "store.existingSecret.name": ("other", "name: other"),
    "store.existingSecret.key": ("uri", "key: uri"),
    "store.url": ("redis://there", 'url: "redis://there"', URL),
    "store.ca.existingSecret": ("redis-ca", "secretName: redis-ca"),
    "store.ca.key": ("root.pem", "key: root.pem", {"store": {"ca": {"existingSecret": "c"}}}),
    "store.keyPrefix": ("talk:", 'key_prefix = "talk:"'),
    "redis.enabled": (True, "kind: StatefulSet\nmetadata:\n  name: chat-couplet-redis", URL),
    "redis.image": ("valkey:8", 'image: "valkey:8"', REDIS),
    "redis.appendfsync": ("always", "appendfsync always", REDIS),
    "redis.existingSecret": ("mine", "secretName: mine", REDIS),
    "redis.persistence.enabled": (False, "name: data\n          emptyDir: {}", REDIS),
    "redis.persistence.size": ("9Gi", "storage: 9Gi", REDIS),
    "redis.persistence.storageClass": ("fast", "storageClassName: fast", REDIS),
    "redis.resources.requests.cpu": ("7", 'cpu: "7"', REDIS),
    "redis.resources.requests.memory": ("7Gi", "memory: 7Gi", REDIS),
    "redis.resources.limits.memory": ("9Gi", "memory: 9Gi", REDIS),
    "redis.nodeSelector": ({"disk": "ssd"}, "disk: ssd", REDIS),
    "redis.tolerations": ([{"key": "data", "operator": "Exists"}], "key: data", REDIS),
    "redis.affinity": ({"nodeAffinity": {}}, "nodeAffinity: {}", REDIS),
    "ports.c2s": (15222, "containerPort: 15222"),
    "ports.directTls": (15223, 'tls_listen = ["[::]:15223"]'),
    "ports.admin": (15290, "http://127.0.0.1:15290"),
    "ports.link": (15291, '"$(POD_IP):15291"'),
    "services.c2s.enabled": (False, None),
    "services.c2s.type": ("LoadBalancer", "type: LoadBalancer"),
    "services.c2s.port": (15222, "port: 15222"),
    "services.c2s.nodePort": (30222, "nodePort: 30222", NODE_PORT),
    "services.c2s.directTls": (False, None),
    "services.c2s.directTlsPort": (443, "port: 443"),
    "services.c2s.directTlsNodePort": (30223, "nodePort: 30223", NODE_PORT),
    "services.c2s.annotations": ({"a": "b"}, "a: b"),
    "services.c2s.loadBalancerClass": ("x/y", "loadBalancerClass: x/y", BALANCER),
    "services.c2s.loadBalancerSourceRanges": (["192.0.2.0/24"], "- 192.0.2.0/24", BALANCER),
    "services.c2s.externalTrafficPolicy": ("Cluster", "TrafficPolicy: Cluster", BALANCER),
    "services.directTls.enabled": (True, "name: chat-couplet-c2s-tls"),
    "services.directTls.type": ("LoadBalancer", "type: LoadBalancer", OWN),
    "services.directTls.port": (5443, "port: 5443", OWN),
    "services.directTls.nodePort": (
        30443, "nodePort: 30443", chart.merged(OWN, {"services": {"directTls": {"type": "NodePort"}}})
    ),
    "services.directTls.annotations": ({"a": "b"}, "a: b", OWN),
    "services.directTls.loadBalancerClass": ("x/y", "loadBalancerClass: x/y", OWN_BALANCER),
    "services.directTls.loadBalancerSourceRanges": (["192.0.2.0/24"], "192.0.2", OWN_BALANCER),
    "services.directTls.externalTrafficPolicy": ("Cluster", "Policy: Cluster", OWN_BALANCER),
    "services.admin.annotations": ({"a": "b"}, "a: b"),
    "proxyProtocol.from": (["10.0.0.0/24"], 'proxy_protocol_from = ["10.0.0.0/24"]'),
    "edge.replicas": (5, "replicas: 5"),
    "edge.connections": (4321, "connections = 4321"),
    "edge.drain.waitSecs": (44, "terminationGracePeriodSeconds: 149"),
    "edge.drain.perSecond": (1234, "per_second = 1234"),
    "edge.drain.deadlineSecs": (123, "terminationGracePeriodSeconds: 153"),
    "edge.strategy.maxSurge": ("50%", "maxSurge: 50%"),
    "edge.strategy.maxUnavailable": (3, "maxUnavailable: 3"),
    "edge.autoscaling.enabled": (True, "kind: HorizontalPodAutoscaler"),
    "edge.autoscaling.connectionsMetric": ("clients", "name: clients", HPA),
    "edge.keda.enabled": (
        True, "kind: ScaledObject", {"edge": {"keda": {"prometheusAddress": "http://p"}}}
    ),
    "edge.keda.prometheusAddress": ("https://q", 'serverAddress: "https://q"', KEDA),
    "origin.replicas": (5, "replicas: 5"),
    "origin.drain.deadlineSecs": (200, "terminationGracePeriodSeconds: 232"),
    "origin.joinWaitSecs": (22, "join_wait_secs = 22"),
    "origin.weight": (50, "weight = 50"),
    "origin.group": ("west", 'group = "west"'),
    "link.certificates": ("certManager", "commonName: edge.couplet"),
    "link.generatedDays": (30, None, {"link": {"certificates": "generated"}}),
    "link.existing.edgeSecret": ("mine", "secretName: mine"),
    "link.existing.originSecret": ("mine", "secretName: mine"),
    "link.certManager.issuerRef.name": ("ours", "name: ours", CERTS),
    "link.certManager.duration": ("48h", "duration: 48h", CERTS),
    "link.certManager.renewBefore": ("5h", "renewBefore: 5h", CERTS),
    "link.lanes": (9, "lanes = 9"),
    "tls.existingSecret": ("other", "secretName: other"),
    "tls.domains": (
        [{"domain": "example.org", "existingSecret": "org"}],
        '[tls.domains."example.org"]\n    certificate = "/etc/couplet/tls/domain-0/tls.crt"',
    ),
    "tls.certManager.enabled": (
        True, "kind: Certificate", {"tls": {"certManager": {"issuerRef": {"name": "le"}}}}
    ),
    "tls.certManager.issuerRef.name": ("ours", "name: ours", TLS),
    "tls.certManager.duration": ("48h", "duration: 48h", TLS),
    "tls.certManager.renewBefore": ("5h", "renewBefore: 5h", TLS),
    "tls.selfSignedDays": (30, None, {"tls": {"existingSecret": ""}}),
    "admin.existingSecret.name": ("operators", "secretName: operators"),
    "admin.existingSecret.key": (
        "bearer", "key: bearer", {"admin": {"existingSecret": {"name": "operators"}}}
    ),
    "admin.hosts": (["couplet.internal"], '"couplet.internal"]'),
    "log.level": ("debug", 'level = "debug"'),
    "log.format": ("text", 'format = "text"'),
    "accessLog.enabled": (True, "[access_log]"),
    "accessLog.format": ("json", '[access_log]\n    folder = "/var/log/couplet"\n    format = "json"',
                         ACCESS),
    "accessLog.fields": (["date", "x-event"], 'fields = ["date", "x-event"]', ACCESS),
    "accessLog.folder": ("/logs", "mountPath: /logs", ACCESS),
    "accessLog.rotateBytes": (1000000, 'sizeLimit: "9000000"', ACCESS),
    "accessLog.rotateSecs": (3600, "rotate_secs = 3600", ACCESS),
    "accessLog.keep": (3, "keep = 3", ACCESS),
    "accessLog.volume": ({"hostPath": {"path": "/logs"}}, "path: /logs", ACCESS),
    "config.common": ({"registration": {"open": True}}, "[registration]\n    open = true"),
    "config.edge": ({"limits": {"ping_after_secs": 7}}, "ping_after_secs = 7"),
    "config.origin": ({"shards": 3}, "shards = 3"),
    "podSecurityContext.runAsNonRoot": (False, "runAsNonRoot: false"),
    "podSecurityContext.runAsUser": (1234, "runAsUser: 1234"),
    "podSecurityContext.runAsGroup": (1234, "runAsGroup: 1234"),
    "podSecurityContext.fsGroup": (1234, "fsGroup: 1234"),
    "podSecurityContext.seccompProfile.type": ("Unconfined", "type: Unconfined"),
    "securityContext.allowPrivilegeEscalation": (True, "allowPrivilegeEscalation: true"),
    "securityContext.readOnlyRootFilesystem": (False, "readOnlyRootFilesystem: false"),
    "securityContext.capabilities.drop": (["NET_RAW"], "- NET_RAW"),
    "networkPolicy.enabled": (True, "kind: NetworkPolicy"),
    "networkPolicy.clients": ([{"podSelector": LABELED}], "team: a", POLICY),
    "networkPolicy.monitoring": ([{"podSelector": LABELED}], "team: a", POLICY),
    "networkPolicy.store.to": ([{"podSelector": LABELED}], "team: a", POLICY),
    "networkPolicy.store.ports": ([7000], "port: 7000", POLICY),
    "networkPolicy.dns.to": ([{"podSelector": LABELED}], "team: a", POLICY),
    "networkPolicy.dns.ports": ([5353], "port: 5353", POLICY),
    "networkPolicy.extraEgress": ([{"ports": [{"port": 4317}]}], "port: 4317", POLICY),
    "serviceMonitor.enabled": (True, "kind: ServiceMonitor"),
    "serviceMonitor.labels": ({"release": "p"}, "release: p", MONITOR),
    "serviceMonitor.interval": ("17s", "interval: 17s", MONITOR),
    "serviceMonitor.scrapeTimeout": ("7s", "scrapeTimeout: 7s", MONITOR),
    "prometheusRule.enabled": (True, "kind: PrometheusRule"),
    "prometheusRule.labels": ({"release": "p"}, "release: p", {"prometheusRule": {"enabled": True}}),
    "dashboard.enabled": (True, "couplet.json: |"),
    "dashboard.labels.grafana_dashboard": (
        "yes", 'grafana_dashboard: "yes"', {"dashboard": {"enabled": True}}
    ),
    "dashboard.annotations": ({"a": "b"}, "a: b", {"dashboard": {"enabled": True}}),
    "tests.enabled": (False, None),
    **{f"{role}.{key}": entry for role in ["edge", "origin"] for key, entry in ROLE.items()},
    **{f"edge.autoscaling.{key}": (value, said[0], HPA) for key, (value, said) in SCALING.items()},
    **{f"edge.keda.{key}": (value, said[1], KEDA) for key, (value, said) in SCALING.items()},
    **{f"probes.{name}.{key}": entry for name in ["liveness", "readiness", "startup"]
       for key, entry in PROBE.items()},
    **{f"link.certManager.issuerRef.{key}": (
        value, said, chart.merged(CERTS, chart.nested("link.certManager.issuerRef.name", "ours")))
       for key, (value, said) in ISSUER.items()},
    **{f"tls.certManager.issuerRef.{key}": (value, said, TLS)
       for key, (value, said) in ISSUER.items()},
}


def leaves(tree, path=()):
    """Every value that is no section; an empty section is a value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key))


class Values(unittest.TestCase):
    def test_every_value_has_an_entry_and_every_entry_a_value(self):
        values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
        self.assertEqual(sorted(TABLE), sorted(leaves(values)))

    def test_every_value_does_what_it_says(self):
        before = {}
        for key, (value, expected, *needed) in TABLE.items():
            with self.subTest(key):
                given = chart.merged(chart.BASE, needed[0] if needed else {})
                base = json.dumps(given, sort_keys=True)
                if base not in before:
                    before[base] = chart.text(given=given) if renders(given) else ""
                after = chart.text(given=chart.merged(given, chart.nested(key, value)))
                if expected is None:
                    self.assertNotEqual(before[base], after)
                    continue
                times = before[base].count(expected)
                is_new = after.count(expected) > times
                self.assertTrue(is_new, f"{expected!r} is there {times} times, before and after")

    def test_every_value_has_a_comment(self):
        """Those beside each other may share one."""
        lines = (chart.CHART / "values.yaml").read_text().splitlines()
        bare = []
        for before, line in zip(["", *lines], lines):
            starts_section = line and not line.startswith((" ", "#", "-"))
            if starts_section and not before.startswith("#"):
                bare.append(line)
        self.assertEqual(bare, ['fullnameOverride: ""', "securityContext:"])


def renders(given):
    try:
        chart.text(given=given)
    except chart.Refused:
        return False
    return True


if __name__ == "__main__":
    unittest.main()
