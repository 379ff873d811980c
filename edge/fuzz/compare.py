"""Reads what the framer wrote with the parsers clients use, and compares the trees.

Standard input: one JSON object a line, {"xml": canonical element, "tree": [name, attributes,
nodes]}. Each element is read where a client would read it, inside a stream, by libxml2 (lxml) and
by Expat, the latter also with every separator that clients join namespace and name by.
"""

import json
import sys
from xml.etree import ElementTree
from xml.parsers import expat

from lxml import etree

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
SEPARATORS = [" ", "\n", "|", "}", "\t", "^"]


def tree_of(element):
    nodes = [element.text] if element.text else []
    for child in element:
        nodes.append(tree_of(child))
        if child.tail:
            nodes.append(child.tail)
    return [element.tag, dict(element.attrib), nodes]


def only_child(root):
    assert len(root) == 1 and not root.text and not root[0].tail, "not one element"
    return tree_of(root[0])


def check(line):
    written = json.loads(line)
    document = (HEADER + written["xml"] + "</stream:stream>").encode()
    strict = etree.XMLParser(resolve_entities=False, no_network=True)
    readings = {
        "libxml2": only_child(etree.fromstring(document, strict)),
        "expat": only_child(ElementTree.fromstring(document)),
    }
    for separator in SEPARATORS:
        expat.ParserCreate(namespace_separator=separator).Parse(document, True)
    for parser, tree in readings.items():
        assert tree == written["tree"], f"{parser} read {tree}"


def main():
    count = 0
    for line in sys.stdin:
        try:
            check(line)
        except Exception as problem:
            sys.exit(f"{line}{type(problem).__name__}: {problem}")
        count += 1
    if count == 0:
        sys.exit("nothing to compare")
    versions = f"libxml2 {'.'.join(map(str, etree.LIBXML_VERSION))}, {expat.EXPAT_VERSION}"
    print(f"{count} elements read alike by {versions}", file=sys.stderr)


main()
