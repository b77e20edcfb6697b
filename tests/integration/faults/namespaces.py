"""A local network of hosts in network namespaces: two switches with a trunk between them, and links that can be cut.

Each host has one network card, ``eth0``, that leads to a port of one of the switches, which are bridges in a namespace
of their own. What is cut is real: packets of the kernel's TCP get lost, and nobody is told, unless the host's own card
is down.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["LocalNetwork", "why_not"]

PREFIX = "netlayer-test-"
#: Nobody has this hardware address: what is sent to it reaches a switch, and no host takes it.
NOBODY = "02:00:00:00:00:01"


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def why_not() -> str | None:
    """Return why namespaces can't be made here, or None if they can."""
    if shutil.which("ip") is None:
        return "there is no ip command (it comes with iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}{os.getpid()}-trial"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "switch", "type", "bridge")
    except OSError as error:
        return f"network namespaces don't work here: {error}"
    finally:
        _ip("netns", "del", name, check=False)
    return None


class LocalNetwork:
    """Hosts with the numbers that are given, at addresses that end with them.

    Everything is removed by :meth:`close`, when the interpreter ends, or, if that is killed, before the next network.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = list(numbers)
        self._prefix = f"{PREFIX}{os.getpid()}-"
        self._switches = self._prefix + "switches"
        self._undo: list[tuple[str, ...]] = []  # what heals the faults that there are
        _remove_leftovers()
        atexit.register(self.close)
        self._make_switches()
        for number in self.numbers:
            self._make_host(number)

    def address(self, number: int) -> str:
        """Return the address of a host."""
        return f"10.50.0.{number}"

    def launcher(self, number: int) -> tuple[str, ...]:
        """Return the command that runs another command at a host."""
        return ("ip", "netns", "exec", self._host(number))

    # ---- faults, all of which last until they are healed

    def unplug(self, number: int) -> None:
        """Pull a host's cable out of the switch; its card has no carrier then."""
        self._down(self._switches, f"port{number}")

    def switch_off(self, number: int) -> None:
        """Switch a host's card off: what it sends is refused by its own kernel."""
        self._down(self._host(number), "eth0")

    def split(self, there: Iterable[int]) -> None:
        """Cut the trunk between the switches, having plugged these hosts into the second one; nobody is told."""
        second = set(there)
        for number in self.numbers:
            _ip("-n", self._switches, "link", "set", f"port{number}", "master", f"switch{1 + (number in second)}")
        self._down(self._switches, "trunk1")

    def mute(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """Lose what some hosts send to some others, but nothing that those send; nobody is told."""
        receivers = list(receivers)
        for sender in senders:
            host = self._host(sender)
            for receiver in receivers:
                address = self.address(receiver)
                _ip("-n", host, "neigh", "replace", address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
                self._undo.append(("-n", host, "neigh", "del", address, "dev", "eth0"))

    def heal(self) -> None:
        """Undo all faults."""
        while self._undo:
            _ip(*self._undo.pop())

    def close(self) -> None:
        """Remove all namespaces, and with them their links; processes there should have ended."""
        atexit.unregister(self.close)
        for name in _namespaces():
            if name.startswith(self._prefix):
                _ip("netns", "del", name, check=False)

    # ---- private

    def _host(self, number: int) -> str:
        return f"{self._prefix}host{number}"

    def _down(self, namespace: str, link: str) -> None:
        _ip("-n", namespace, "link", "set", link, "down")
        self._undo.append(("-n", namespace, "link", "set", link, "up"))

    def _make_switches(self) -> None:
        _ip("netns", "add", self._switches)
        inside = ("-n", self._switches, "link")
        _ip(*inside, "add", "trunk1", "type", "veth", "peer", "name", "trunk2")
        for n in "12":
            _ip(*inside, "add", f"switch{n}", "type", "bridge")
            _ip(*inside, "set", f"trunk{n}", "master", f"switch{n}")
            _ip(*inside, "set", f"switch{n}", "up")
            _ip(*inside, "set", f"trunk{n}", "up")

    def _make_host(self, number: int) -> None:
        host, port = self._host(number), f"port{number}"
        _ip("netns", "add", host)
        _ip("-n", self._switches, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        _ip("-n", self._switches, "link", "set", port, "master", "switch1", "up")
        _ip("-n", host, "link", "set", "lo", "up")
        _ip("-n", host, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        _ip("-n", host, "link", "set", "eth0", "up")


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list", check=False).splitlines()]


def _remove_leftovers() -> None:
    """Remove what a process has left behind that was killed."""
    for name in _namespaces():
        if not name.startswith(PREFIX):
            continue
        with suppress(ValueError):
            owner = int(name.removeprefix(PREFIX).partition("-")[0])
            if not os.path.exists(f"/proc/{owner}"):
                _ip("netns", "del", name, check=False)
