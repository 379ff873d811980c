"""The chart, rendered by the real helm."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
CHART = TOP / "deploy/helm/couplet"
HELM = os.environ.get("HELM", "helm")

# A helm built by `go install` does not know which Kubernetes it is for.
KUBERNETES = "1.34.0"
RELEASE, NAMESPACE = "chat", "talk"

# Some values for all renderings that are about something else: nothing has to be made for them,
# and making a key takes half a second.
BASE = {
    "domains": ["example.org"],
    "store": {"existingSecret": {"name": "my-redis"}},
    "link": {
        "certificates": "existing",
        "existing": {"edgeSecret": "edge-link", "originSecret": "origin-link"},
    },
    "tls": {"existingSecret": "default-tls"},
}


class Refused(Exception):
    """Helm does not render it."""


def combinations():
    """Every combination of values that is tried, by name."""
    return {path.stem: path for path in sorted((HERE / "values").glob("*.yaml"))}


def helm(words, given=None):
    """Runs helm; `given` are values for its standard input."""
    text = None if given is None else yaml.safe_dump(given)
    more = [] if given is None else ["--values", "-"]
    done = subprocess.run(
        [HELM, *words, *more], input=text, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


@functools.cache
def of_files(files):
    """What is rendered of files alone, as text."""
    words = ["template", RELEASE, str(CHART)]
    words += ["--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    for path in files:
        words += ["--values", str(path)]
    return helm(words)


def text(files=(), given=None):
    """What is rendered, as text."""
    if given is None:
        return of_files(tuple(files))
    words = ["template", RELEASE, str(CHART)]
    words += ["--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    for path in files:
        words += ["--values", str(path)]
    return helm(words, given)


def notes(path):
    """What is said after an installation."""
    with tempfile.TemporaryDirectory() as folder:
        # Without a cluster helm renders notes to nobody: here they are an object like others.
        copy = pathlib.Path(shutil.copytree(CHART, pathlib.Path(folder) / "couplet"))
        said = (copy / "templates/NOTES.txt").read_text()
        defined = '{{- define "said" -}}' + said + "{{- end -}}"
        (copy / "templates/said.yaml").write_text(defined + '\nsaid: {{ include "said" . | toJson }}\n')
        words = ["template", RELEASE, str(copy), "--namespace", NAMESPACE]
        words += ["--kube-version", KUBERNETES, "--show-only", "templates/said.yaml"]
        return yaml.safe_load(helm([*words, "--values", str(path)]))["said"]


def objects(files=(), given=None):
    """What is rendered, as a list of objects."""
    found = yaml.safe_load_all(text(files, given))
    return [it for it in found if it]


def find(rendered, kind, name):
    """The one object of that kind and name."""
    for it in rendered:
        if it["kind"] == kind and it["metadata"]["name"] == name:
            return it
    raise AssertionError(f"there is no {kind} {name}")


def merged(one, other):
    """Values over values, as helm does it."""
    out = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def nested(key, value):
    """`a.b: value` as a tree."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value
