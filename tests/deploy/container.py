"""A container without an engine: namespaces, a root of its own, a user, mounts.

It is what an engine makes of an image, as far as the program inside can tell: its own network, its
own process 1, a root file system that may be read-only, /proc, /dev with next to nothing, the hosts
of its networks, and volumes. Nothing of it outlives the process that `run` started everything in.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

PATIENCE = 60

# Devices every container has.
DEVICES = ["null", "zero", "full", "random", "urandom"]


class Trouble(Exception):
    """Something did not happen that must."""


def until(what, condition, patience=PATIENCE):
    """Waits for a condition; its value once it is true."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Trouble(f"not within {patience} s: {what}")
        time.sleep(0.05)


def run(*words, **options):
    """Runs a program to its end; what it said."""
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Mount:
    """A file or folder of ours at a place in the container."""

    def __init__(self, source, target, is_read_only=False):
        self.source = pathlib.Path(source)
        self.target = target
        self.is_read_only = is_read_only


class Container:
    """A place for a program: its network is there before it starts and while it starts anew."""

    def __init__(self, folder, name, image=None):
        """With the root of an image, or with the programs of this machine."""
        self.name = name
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True)
        self.image = image
        self.log = self.folder / "log"
        self.hosts = {"localhost": "127.0.0.1"}
        self.name_server = None
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.mounts = []
        self.tmpfs = []
        self.user = (0, 0)
        self.directory = "/"
        self.is_read_only = False
        self.open_files = None
        self.command = []
        self.healthcheck = None
        self.process = None
        # Holds the network while nothing runs.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", 'hostname "$0"; exec sleep infinity', name]
        )
        until("a network", lambda: self._is_apart())
        self.nearby("ip", "link", "set", "lo", "up")

    def _is_apart(self):
        with open(f"/proc/{self.holder.pid}/comm") as comm:
            return comm.read().strip() == "sleep"

    def nearby(self, *words):
        """Runs a program of this machine in the network of the container."""
        return run("nsenter", "--net", "--target", str(self.holder.pid), *words)

    def connect(self, link, address, gateway=None):
        """Gives it the other end of a cable."""
        run("ip", "link", "set", link, "netns", str(self.holder.pid))
        self.nearby("ip", "address", "add", address, "dev", link)
        self.nearby("ip", "link", "set", link, "up")
        if gateway:
            self.nearby("ip", "route", "add", "default", "via", gateway)

    def start(self):
        """Starts the program."""
        assert self.process is None, f"{self.name} runs"
        script = self.folder / "script"
        script.write_text(self._script())
        output = self.log.open("ab")
        self.process = subprocess.Popen(
            ["nsenter", "--net", "--uts", "--target", str(self.holder.pid)]
            + ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", str(script)]
            + self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        output.close()

    def _script(self):
        """What makes the root, and then becomes the program. Its arguments are the command."""
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        lines = ["set -e", "exec 2>&1"]
        if self.image:
            lines.append(f"mount --bind {self.image} {root}")
        else:
            lines += own_root(root)
        hosts = self.folder / "hosts"
        hosts.write_text("".join(f"{at} {name}\n" for name, at in self.hosts.items()))
        names = self.folder / "resolv.conf"
        names.write_text(f"nameserver {self.name_server}\n" if self.name_server else "")
        mounts = [Mount(hosts, "/etc/hosts"), Mount(names, "/etc/resolv.conf")]
        for mount in mounts + self.mounts:
            lines += bind(root, mount)
        for path in self.tmpfs:
            lines += [f"mkdir -p {root}{path}", f"mount -t tmpfs -o mode=1777 tmpfs {root}{path}"]
        lines += [
            f"mkdir -p {root}/proc {root}/dev",
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",
        ]
        for device in DEVICES:
            lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            lines.append(f"ln -s /proc/self/fd/{number} {root}/dev/{name}")
        if self.is_read_only:
            lines.append(f"mount -o remount,bind,ro {root}")
        if self.open_files:
            # As far as this machine lets us.
            lines.append(f"ulimit -n {self.open_files} 2>/dev/null || ulimit -n $(ulimit -H -n)")
        user, group = self.user
        enter = f"--root={root} --wd={self.directory} --setgid {group} --setuid {user}"
        lines.append(f'exec setpriv --no-new-privs unshare {enter} -- "$@"')
        return "\n".join(lines) + "\n"

    @property
    def first(self):
        """The process that is number 1 inside; `None` when nothing runs, or not inside yet."""
        if self.process is None or self.process.poll() is not None:
            return None
        process = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            found = process.read_text().split()
            is_inside = found and os.readlink(f"/proc/{found[0]}/root") != "/"
        except FileNotFoundError:
            return None
        return int(found[0]) if is_inside else None

    def execute(self, words, environment=None):
        """Runs a program next to the one that runs, as the same user: code and output."""
        first = until(f"{self.name} to run", lambda: self.first)
        user, group = self.user
        enter = ["--target", str(first), "--net", "--mount", "--pid", "--uts", "--root"]
        done = subprocess.run(
            ["nsenter", *enter, "--wd", "--setgid", str(group), "--setuid", str(user)]
            + ["--", *words],
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def is_healthy(self):
        """Whether its health check says so."""
        return self.first is not None and self.execute(self.healthcheck)[0] == 0

    def signal(self, number):
        """Sends process 1 a signal."""
        os.kill(until(f"{self.name} to run", lambda: self.first), number)

    def stop(self, patience=PATIENCE):
        """Asks it to end; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(patience)

    def wait(self, patience=PATIENCE):
        """Waits for its end; its exit code."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name} does not end") from None
        self.process = None
        return code

    def kill(self):
        """Ends it without asking."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        """Ends it, and its network."""
        self.kill()
        self.holder.kill()
        self.holder.wait()

    def said(self):
        """Everything it has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def bind(root, mount):
    """Lines that mount a file or folder, where the root has a place for it or can get one."""
    target = f"{root}{mount.target}"
    place = f"mkdir -p {target}"
    if not mount.source.is_dir():
        place = f"mkdir -p $(dirname {target}); [ -e {target} ] || touch {target}"
    lines = [place, f"mount --bind {mount.source} {target}"]
    if mount.is_read_only:
        lines.append(f"mount -o remount,bind,ro {target}")
    return lines


def own_root(root):
    """Lines that make a root of the programs of this machine, and of none of its settings."""
    lines = [f"mount -t tmpfs -o mode=755 tmpfs {root}", f"mkdir -p {root}/usr {root}/etc"]
    lines += ["mount --bind /usr " + f"{root}/usr", f"mount -o remount,bind,ro {root}/usr"]
    # What its images keep there; of this machine nothing is needed.
    lines.append(f"mount -t tmpfs -o mode=755 tmpfs {root}/usr/local")
    for name in ("bin", "lib", "lib32", "lib64", "sbin"):
        path = pathlib.Path("/", name)
        if path.is_symlink():
            lines.append(f"ln -s {os.readlink(path)} {root}/{name}")
        elif path.is_dir():
            lines += [f"mkdir {root}/{name}", f"mount --bind {path} {root}/{name}"]
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache", "nginx", "ssl"):
        if pathlib.Path("/etc", name).exists():
            lines.append(f"cp -a /etc/{name} {root}/etc/")
    lines.append(f"mkdir -m 1777 {root}/tmp {root}/run; mkdir -p {root}/var/lib {root}/var/log/nginx")
    return lines


def make_image(folder, binary, script):
    """The root of our image, with places for what engines mount."""
    image = pathlib.Path(folder) / "image"
    run(str(script), str(binary), str(image))
    for place in ("proc", "dev", "run/secrets"):
        (image / place).mkdir(parents=True)
    for place in ("etc/hosts", "etc/resolv.conf"):
        (image / place).touch()
    return image


def needed(*programs):
    """Fails unless the programs are there."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        raise Trouble(f"not installed: {' '.join(missing)}")
