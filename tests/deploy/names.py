"""A name server that knows one name: what the image asks when a name is not in /etc/hosts."""

import ipaddress
import socket
import threading

# A question for an address of IPv4.
KIND_A = b"\x00\x01"


def name_server(host, name, address):
    """Answers at an address of ours; the names that have been asked for."""
    asked = []
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((host, 53))
    threading.Thread(target=serve, args=(udp, name, address, asked), daemon=True).start()
    return asked


def serve(udp, name, address, asked):
    """Answers as long as this process lives."""
    while True:
        query, client = udp.recvfrom(512)
        question, kind, labels = parsed(query)
        asked.append(".".join(labels))
        is_known = asked[-1] == name and kind == KIND_A
        code = b"\x81\x80" if asked[-1] == name else b"\x81\x83"
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04"
        answer += ipaddress.ip_address(address).packed
        counts = b"\x00\x01" + (b"\x00\x01" if is_known else b"\x00\x00") + bytes(4)
        head = query[:2] + code + counts
        udp.sendto(head + question + (answer if is_known else b""), client)


def parsed(query):
    """The question, its kind and the labels of its name."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return query[12 : at + 5], query[at + 1 : at + 3], labels
