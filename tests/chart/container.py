"""Becomes one container: a root of its own, the mounts, the user, the environment; then the command.

Run within namespaces of its own (mounts, network) with a description in JSON as its argument.
"""

import json
import os
import pathlib
import subprocess
import sys

# From the machine instead of an image: what the programs are linked with.
LIBRARIES = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def bind(source, target, is_read_only=True):
    source, target = pathlib.Path(source), pathlib.Path(target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--rbind", str(source), str(target))
    if is_read_only:
        mount("-o", "remount,bind,ro", str(target))


def image(root, container):
    """What an image would hold: the programs, what they need, and nothing else."""
    for folder in LIBRARIES:
        path = pathlib.Path(folder)
        if path.is_symlink():
            (root / folder[1:]).symlink_to(os.readlink(path))
        elif path.is_dir():
            bind(path, root / folder[1:])
    for program, at in container["programs"].items():
        bind(program, root / at[1:])
    for device in DEVICES:
        bind(device, root / device[1:], is_read_only=False)
    (root / "proc").mkdir()
    mount("--rbind", "/proc", str(root / "proc"))
    for path, text in container["files"].items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text)


def become(container):
    root = pathlib.Path(container["root"])
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(root))
    image(root, container)
    for volume in container["mounts"]:
        bind(volume["source"], root / volume["path"][1:], volume["read_only"])
    if container["read_only"]:
        mount("-o", "remount,ro", str(root))
    os.chroot(root)
    os.chdir("/")
    os.setgroups(container["groups"])
    os.setgid(container["group"])
    os.setuid(container["user"])
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **container["environment"]}
    command = container["command"]
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    become(json.loads(sys.argv[1]))
