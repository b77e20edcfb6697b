"""One process of the run of jumping clocks: it sends to all its peers, and keeps a journal of what it notices.

It is given to ``twistd`` and ``twist`` as a protocol, and imported by a script.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from netlayer import PeerProtocol

__all__ = ["Journal", "Member"]

#: Seconds between two rounds of packets.
TICK = 0.2


class Journal:
    """What a process notices, told in a line of JSON every second.

    :param reactor: whose timers are watched.
    :param targets: returns functions that send a packet each.
    """

    def __init__(self, reactor: Any, targets: Callable[[], Iterable[Callable[[], Deferred[None]]]]) -> None:
        self.lost: list[str] = []
        self._reactor = reactor
        self._targets = targets
        self._handled = 0
        self._failed: list[str] = []
        self._late = self._gap = 0.0
        self._jumps = 0
        self._ahead = time.time() - time.monotonic()
        self._last_handled = time.monotonic()
        self._rounds = 0
        self._tick(time.monotonic())

    def _tick(self, due: float) -> None:
        now = time.monotonic()
        self._late = max(self._late, now - due)
        ahead = time.time() - now
        if abs(ahead - self._ahead) > 1800.0:
            self._jumps += 1
            self._ahead = ahead
        targets = list(self._targets())
        for send in targets:
            _ = send().addCallbacks(self._was_handled, lambda failure: self._failed.append(repr(failure.value)))
        self._rounds += 1
        if self._rounds % 5 == 0:
            self._tell(len(targets))
        self._reactor.callLater(TICK, self._tick, now + TICK)

    def _was_handled(self, _: None) -> None:
        now = time.monotonic()
        self._gap, self._last_handled = max(self._gap, now - self._last_handled), now
        self._handled += 1

    def _tell(self, peers: int) -> None:
        line = {
            "peers": peers,
            "handled": self._handled,
            "failed": self._failed[:5],
            "lost": self.lost[:5],
            "late": round(self._late, 3),
            "gap": round(self._gap, 3),
            "jumps": self._jumps,
        }
        print("journal", json.dumps(line), file=sys.__stdout__, flush=True)


class Member(PeerProtocol):
    """One link of a process under ``twistd``."""

    with_bootstraps = True

    def peer_ready(self) -> None:
        """Send to this peer, too."""
        factory: Any = self.factory
        if factory.application is None:
            links: dict[Member, None] = {self: None}
            factory.application = links
            factory.journal = Journal(factory.reactor, lambda: [link.send for link in links])
        factory.application[self] = None

    def peer_lost(self, reason: Any) -> None:
        """Note that there is one less."""
        factory: Any = self.factory
        factory.application.pop(self, None)
        factory.journal.lost.append(f"{self.peer}: {reason}")

    def send(self) -> Deferred[None]:
        """Send a packet to the peer."""
        return self.send_packet("what is the time?", confirm=True)
