"""Values that cannot be meant are refused, with a word about what to do."""

import unittest

import chart

# By the schema: what helm says must contain this.
SCHEMA = [
    ("edge.replica", 2, "additional properties 'replica' not allowed"),
    ("unknown", {}, "additional properties 'unknown' not allowed"),
    ("edge.replicas", "two", "/edge/replicas"),
    ("edge.replicas", -1, "/edge/replicas"),
    ("edge.connections", 0, "/edge/connections"),
    ("store.url", "http://redis", "/store/url"),
    ("store.url", "redis://host with spaces", "/store/url"),
    ("domains", ["romeo@example.org"], "/domains/0"),
    ("domains", "example.org", "/domains"),
    ("domains", ["example.org", "example.org"], "/domains"),
    ("link.certificates", "none", "/link/certificates"),
    ("redis.appendfsync", "no", "/redis/appendfsync"),
    ("ports.c2s", 70000, "/ports/c2s"),
    ("services.c2s.type", "ExternalName", "/services/c2s/type"),
    ("services.c2s.nodePort", 80, "/services/c2s/nodePort"),
    ("services.http", {"enabled": True}, "additional properties 'http' not allowed"),
    ("proxyProtocol.from", ["everywhere"], "/proxyProtocol/from/0"),
    ("log.format", "xml", "/log/format"),
    ("accessLog.format", "text", "/accessLog/format"),
    ("listenAddress", "127.0.0.1", "/listenAddress"),
    ("image.digest", "sha256:abc", "/image/digest"),
    ("tls.domains", [{"domain": "example.org"}], "/tls/domains/0"),
    ("fullnameOverride", "Upper", "/fullnameOverride"),
    ("serviceMonitor.interval", "soon", "/serviceMonitor/interval"),
    ("edge.keda.prometheusAddress", "prometheus:9090", "/edge/keda/prometheusAddress"),
    ("edge.topologySpread", [{"maxSkew": 1}], "/edge/topologySpread/0"),
]

# By the templates: values that contradict each other.
CHECKS = [
    ({"domains": []}, "which domains are served"),
    ({"store": {"existingSecret": {"name": ""}}}, "where is Redis?"),
    ({"store": {"url": "redis://a"}}, "only one store"),
    ({"redis": {"enabled": True}}, "only one store"),
    ({"config": {"origin": {"store": {"url": "redis://a"}}}}, "would be in a ConfigMap"),
    ({"config": {"common": {"node": "a"}}}, "every pod would have the same name"),
    ({"edge": {"connections": 100000}}, "more than three quarters of deadlineSecs"),
    ({"edge": {"drain": {"perSecond": 100}}}, "more than three quarters of deadlineSecs"),
    ({"config": {"edge": {"drain": {"per_second": 100}}}}, "more than three quarters"),
    ({"edge": {"terminationGracePeriodSeconds": 60}}, "is less than the 110 s"),
    ({"config": {"edge": {"drain": {"wait_secs": 100}}},
      "edge": {"terminationGracePeriodSeconds": 120}}, "is less than the 195 s"),
    ({"origin": {"terminationGracePeriodSeconds": 30}}, "is less than the 82 s"),
    ({"origin": {"minReadySeconds": 39}}, "origin.minReadySeconds is less than joinWaitSecs"),
    ({"link": {"existing": {"edgeSecret": ""}}}, "link.existing.edgeSecret and originSecret"),
    ({"link": {"existing": {"edgeSecret": "origin-link"}}}, "one secret for both"),
    ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name is missing"),
    ({"tls": {"domains": [{"domain": "a.b", "existingSecret": "c"}]}}, "not one of the domains"),
    ({"edge": {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}}, "enable one"),
    ({"edge": {"autoscaling": {"enabled": True, "minReplicas": 20}}}, "more than maxReplicas"),
    ({"edge": {"autoscaling": {"enabled": True, "cpuPercent": 0, "connections": 0}}},
     "set cpuPercent, connections, or both"),
    ({"edge": {"autoscaling": {"enabled": True, "connections": 60000}}}, "never be reached"),
    ({"edge": {"keda": {"enabled": True}}}, "prometheusAddress is missing"),
    ({"edge": {"strategy": {"maxSurge": 0}}}, "cannot both be 0"),
    ({"accessLog": {"enabled": True, "folder": "logs"}}, "must begin with a slash"),
    ({"config": {"edge": {"c2s": {"location": None, "x": {"y": [{}]}}}}}, "value of TOML"),
]


class Refused(unittest.TestCase):
    def refused(self, given):
        with self.assertRaises(chart.Refused) as refused:
            chart.text(given=chart.merged(chart.BASE, given))
        return str(refused.exception)

    def test_by_the_schema(self):
        for key, value, reason in SCHEMA:
            with self.subTest(key, value=value):
                said = self.refused(chart.nested(key, value))
                self.assertIn("don't meet the specifications of the schema", said)
                self.assertIn(reason, said)

    def test_by_the_templates(self):
        for given, reason in CHECKS:
            with self.subTest(given):
                said = self.refused(given)
                self.assertIn("execution error", said)
                self.assertIn(reason, said)

    def test_nothing_else_is(self):
        chart.text(given=chart.BASE)
        for given in [
            {"edge": {"terminationGracePeriodSeconds": 110}},
            {"edge": {"connections": 67500}},
            {"edge": {"connections": 100000, "drain": {"perSecond": 0}}},
            {"origin": {"terminationGracePeriodSeconds": 82}},
        ]:
            chart.text(given=chart.merged(chart.BASE, given))


if __name__ == "__main__":
    unittest.main()
