"""Whether the instruments have teeth: each of these mistakes, made one at a time, has to be found within 200 seeds.

A mutation is a small patch of netlayer's source, made to a copy of the package in a temporary directory. There the
storms are played until one fails; what only two nodes can show, the schedules of ``tests.sansio.test_schedules`` show.
All of them, or those that are named, with a table of what was found at the end::

    python -m tests.properties.mutations [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

__all__ = ["MUTATIONS", "Mutation", "Patch"]

ROOT = Path(__file__).parents[2]
SEEDS = 200


@attrs.frozen
class Patch:
    """One replacement.

    :ivar file: within the package.
    :ivar old: the source that is replaced; it stands there once.
    """

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Make the replacement.

        :raises ValueError: when the source is not what the patch was made for.
        """
        path = package / self.file
        source = path.read_text()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file} has not once, but {source.count(self.old)} times: {self.old}")
        path.write_text(source.replace(self.old, self.new))


@attrs.frozen
class Mutation:
    """One mistake.

    :ivar name: what the command line calls it.
    :ivar what: what is wrong then.
    """

    name: str
    what: str
    patches: tuple[Patch, ...]


def _mutation(name: str, what: str, file: str, old: str, new: str) -> Mutation:
    return Mutation(name, what, (Patch(file, old, new),))


MUTATIONS = (
    _mutation(
        "no-fence",
        "a connection that is selected leaves the others open, and what comes on them counts",
        "net/remote.py",
        "            if other is not driver:\n                other.give_way(self)\n",
        "            if other is not driver:\n                pass\n",
    ),
    _mutation(
        "no-duplicate-check",
        "the receiver does not tell what it has, so it gets it again",
        "sansio/delivery/session.py",
        "if incoming is not None and incoming.confirmed else (0, 0)",
        "if False and incoming is not None else (0, 0)",
    ),
    _mutation(
        "no-duplicate-check-of-connections",
        "the arbiter takes a second connection without asking whether the present link lives",
        "sansio/link/selection.py",
        "        if self.link is None:\n            return self._take(connection, boot)\n",
        "        if True:\n            return self._take(connection, boot)\n",
    ),
    _mutation(
        "no-duplicate-check-of-outcomes",
        "a receipt that comes after the packet has timed out is told, too",
        "sansio/delivery/queue.py",
        "        if packet.settled:\n            return\n        packet.settled = True\n",
        "        packet.settled = True\n",
    ),
    _mutation(
        "resume-from-zero",
        "the sender goes on with the first packet that has no receipt, whatever its peer has",
        "sansio/delivery/session.py",
        "outgoing.resume_behind(received)",
        "outgoing.resume_behind(outgoing.first - 1)",
    ),
    _mutation(
        "resume-after-handled",
        "the receiver asks for what it has not handled, not for what it has not received",
        "sansio/delivery/session.py",
        "(incoming.id, incoming.received)",
        "(incoming.id, incoming._handled_through)",
    ),
    _mutation(
        "receipts-not-repeated",
        "receipts that a broken link has lost are not told again",
        "sansio/delivery/session.py",
        "            incoming.repeat_receipts(told.receipted)\n",
        "            pass\n",
    ),
    Mutation(
        "smaller-id-arbiter",
        "each end decides by itself, at once and without SELECT: the connection that the smaller id has dialed stays",
        (
            Patch(
                "sansio/link/connection.py",
                "        if self.state is State.PROVEN and self.is_arbiter:\n",
                "        if self.state is State.PROVEN:\n",
            ),
            Patch(
                "net/remote.py",
                "        self._carry_out(self._peer.proven(driver.number, boot, now))\n",
                "        by_smaller = driver.dialed == (driver.node.local.fingerprint < driver.fingerprint)\n"
                "        if self._peer._selection.link is not None and not by_smaller:\n"
                '            driver.abort(LinkLost("the smaller id has dialed another one"))\n'
                "            return\n"
                "        taken = self._peer._selection._take(driver.number, boot)\n"
                "        self._carry_out(self._peer._decided(taken))\n",
            ),
            Patch(
                "sansio/peers/peer.py",
                "        self.selected = self.link = connection\n",
                "        self.selected = self.link = self._selection.link = connection\n",
            ),
            Patch(
                "sansio/link/connection.py", "self._say(delivery.state(Select))", "self._say(delivery.state(Selected))"
            ),
            Patch(
                "sansio/link/connection.py",
                "            case Selected():\n",
                "            case Selected():\n"
                "                if self.state is State.PROVEN:  # it came together with the introduction\n"
                "                    self.select()\n",
            ),
            Patch("sansio/link/states.py", "State.PROVEN: _ALIVE | {Select},", "State.PROVEN: _ALIVE | {Selected},"),
        ),
    ),
    _mutation(
        "abort-timer-not-cancelled",
        "the timer that aborts a slow close outlives the connection",
        "net/driver.py",
        "            self._abort_timer.cancel()\n            self._abort_timer = None\n",
        "            self._abort_timer = None\n",
    ),
    _mutation(
        "connection-timer-not-cancelled",
        "the timer of a connection outlives it",
        "net/driver.py",
        "            self._alarm.cancel()\n",
        "            pass\n",
    ),
    _mutation(
        "peer-timer-not-cancelled",
        "the timer of a peer outlives it",
        "net/remote.py",
        "        self._alarm.cancel()\n",
        "",
    ),
    _mutation(
        "dialer-timer-not-cancelled",
        "a dialer that is linked or stopped dials once more",
        "net/dialing.py",
        "            timer.cancel()\n",
        "            pass\n",
    ),
    _mutation(
        "stop-timer-not-cancelled",
        "the timer that limits a shutdown outlives it",
        "net/factory.py",
        "            self._stop_timer.cancel()\n",
        "            pass\n",
    ),
    _mutation(
        "registration-timer-not-cancelled",
        "a node registers at a bootstrap node that it has lost",
        "net/joining.py",
        "        if timer is not None:\n            timer.cancel()\n",
        "",
    ),
    _mutation(
        "lease-timer-not-cancelled",
        "the timer of a bootstrap node's leases outlives it",
        "net/bootstrap.py",
        "            self._lease_timer.cancel()\n",
        "            pass\n",
    ),
    _mutation(
        "back-off-not-reset",
        "attempts are counted over all outages of a peer together",
        "sansio/overlay/backoff.py",
        'is no reason."""\n        self.attempts = self.breaks = self.broken = 0\n        self._outage_began = None\n',
        'is no reason."""\n',
    ),
    _mutation(
        "swallowed-nack",
        "of a handler that failed its sender learns only that it is over",
        "sansio/delivery/streams.py",
        "            receipts.append(Nack(number, text))\n",
        "",
    ),
)


def hunt(mutation: Mutation) -> str:
    """Make one mistake; return which instrument has found it, with which seed and what it said, or nothing."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        for name in ("netlayer", "tests"):
            shutil.copytree(ROOT / name, Path(scratch, name), ignore=shutil.ignore_patterns("__pycache__"))
        for patch in mutation.patches:
            patch.apply(Path(scratch, "netlayer"))
        storms = _run(
            scratch, "netlayer.testing", "tests.properties.storm:Storm", "--seeds", f"1-{SEEDS}", "--fail-fast"
        )
        found = re.search(r"with seed (\d+) failed\n +(.*)", storms)
        if found:
            return f"storm {found[1]}: {found[2]}"
        schedules = _run(scratch, "tests.sansio.test_schedules", "0", str(SEEDS - 1))
        found = re.search(r"^seed (\d+): (.*)", schedules, re.MULTILINE)
        if found:
            return f"schedule {found[1]}: {found[2]}"
        if "passed" not in storms or "seeds 0" not in schedules:
            return f"nothing, as it does not even begin: {storms[-500:]} {schedules[-500:]}"
        return ""


def _run(scratch: str, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": scratch}
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr[-2000:] * (not done.stdout)


def main() -> int:
    """Make the mistakes that the command line names, or all; return how many were not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.mutations", description=__doc__)
    known = [mutation.name for mutation in MUTATIONS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(known)}")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no mutation {', '.join(unknown)}")
    unfound = 0
    for mutation in MUTATIONS:
        if mutation.name in names:
            found = hunt(mutation)
            unfound += not found
            print(f"{mutation.name:<34} {(found or 'NOT FOUND')[:300]}", flush=True)
    return unfound


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
