#!/usr/bin/env python3
"""profanity in a terminal: what a person does with a text client, typed and read.

tmux holds two terminals, one per person. Run by ./run, which starts the server. Every wait is for
something to stand on the screen and has a deadline.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import traceback

DOMAIN = os.environ["XMPP_DOMAIN"]
HOST = os.environ["XMPP_HOST"]
PORT = os.environ["XMPP_PORT"]
TLS_PORT = os.environ["XMPP_TLS_PORT"]
PASSWORD = "interop"
PATIENCE = 30


class Terminal:
    """profanity in a tmux of its own, with an empty home."""

    def __init__(self, folder, name):
        self.name = name
        home = folder / name
        (home / "config").mkdir(parents=True)
        self.socket = str(folder / f"{name}.tmux")
        environment = dict(
            os.environ,
            HOME=str(home),
            XDG_CONFIG_HOME=str(home / "config"),
            XDG_DATA_HOME=str(home / "data"),
            LANG="C.UTF-8",
            TERM="xterm-256color",
        )
        environment.pop("TMUX", None)
        words = ["-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50", "profanity"]
        self.tmux(*words, env=environment)
        self.shows("Type '/help'")

    def tmux(self, *words, env=None):
        command = ["tmux", "-S", self.socket, *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def type(self, line):
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def shows(self, pattern):
        """Waits until this stands on the screen."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            screen = self.screen()
            if re.search(pattern, screen):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not see {pattern!r}:\n{screen}")

    def until_shows(self, line, pattern):
        """Types a line again and again until the screen shows what it should lead to."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.type(line)
            pause = time.monotonic() + 1
            while time.monotonic() < pause:
                if re.search(pattern, self.screen()):
                    return
                time.sleep(0.05)
        raise AssertionError(f"{self.name} does not see {pattern!r}:\n{self.screen()}")

    def log_in(self, password=PASSWORD, port=PORT, tls="trust"):
        self.type(f"/connect {self.name}@{DOMAIN} server {HOST} port {port} tls {tls}")
        self.shows("Enter password:")
        self.type(password)

    def pings(self):
        """Waits for the server's answer; what was sent before has been dealt with then."""
        self.type("/win 1")
        self.type("/clear")
        self.type("/ping")
        self.shows("Ping response from")

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True)


def a_wrong_password_is_refused(romeo, _juliet):
    romeo.log_in(password="wrong")
    romeo.shows("Login failed")


def both_log_in(romeo, juliet):
    romeo.log_in()
    romeo.shows("logged in successfully")
    juliet.log_in(port=TLS_PORT, tls="legacy")
    # Nobody signed the certificate: she looks at it and accepts it.
    juliet.until_shows("/tls allow", "logged in successfully")


def a_contact_is_added(romeo, juliet):
    romeo.type(f"/roster add juliet@{DOMAIN} Jule")
    romeo.shows("added to roster|Roster item added")
    romeo.type(f"/sub request juliet@{DOMAIN}")
    juliet.shows("authorization request from romeo")
    juliet.type(f"/sub allow romeo@{DOMAIN}")
    romeo.shows("[Ss]ubscription received from|now subscribed|Jule .*is online|\\+ Jule")


def messages_go_both_ways(romeo, juliet):
    romeo.type(f"/msg juliet@{DOMAIN} but soft, what light")
    juliet.type(f"/msg romeo@{DOMAIN}")
    juliet.shows("but soft, what light")
    juliet.type("ay me & <so on>")
    romeo.shows("ay me & <so on>")


def the_server_answers_a_ping(romeo, _juliet):
    romeo.pings()


def a_message_waits_while_she_is_away(romeo, juliet):
    juliet.type("/disconnect")
    juliet.shows("logged out successfully|disconnected")
    romeo.type(f"/msg juliet@{DOMAIN} did my heart love till now")
    romeo.shows("did my heart love till now")
    romeo.pings()
    juliet.type("/clear")
    juliet.log_in()
    juliet.until_shows(f"/msg romeo@{DOMAIN}", "did my heart love till now")


TESTS = [
    a_wrong_password_is_refused,
    both_log_in,
    a_contact_is_added,
    messages_go_both_ways,
    the_server_answers_a_ping,
    a_message_waits_while_she_is_away,
]


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="couplet-terminal-") as name:
        people = []
        try:
            for person in ("romeo", "juliet"):
                people.append(Terminal(pathlib.Path(name), person))
            for test in TESTS:
                try:
                    test(*people)
                    passed += 1
                except (AssertionError, subprocess.CalledProcessError):
                    failed += 1
                    print(f"FAILED {test.__name__}", flush=True)
                    traceback.print_exc()
        finally:
            for terminal in people:
                terminal.end()
    print(f"terminal: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
