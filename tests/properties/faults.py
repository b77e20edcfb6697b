"""Faults besides those that come with the test kit: ends in good order, and cuts in the midst of a frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import attrs

from netlayer.testing.faults import Fault
from netlayer.testing.timeline import Timeline

__all__ = ["CutWithin", "Disconnect", "Stop"]


@attrs.frozen(kw_only=True)
class Stop(Fault):
    """The process of a host ends in good order, and another one is started when the fault ends."""

    host: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The name of the host."""
        return (self.host,)

    def begin(self, timeline: Timeline) -> None:
        """Ask the process to end, as Ctrl-C does."""
        host = timeline.host(self.host)
        if not host.is_running or host.application is None:
            return
        life, through = host.application.life, []
        host.reactor.addSystemEventTrigger("after", "shutdown", through.append, True)

        def stopped(_: None) -> None:
            if through and life.reactor is host.reactor:  # it was not killed meanwhile
                left = host.leftovers()
                life.ledger.demand(left == [], "{} leaves nothing behind: {}", life, left)
                if timeline.internet.now >= self.at + self.seconds:
                    self.end(timeline)

        _ = host.shutdown().addCallback(stopped)

    def end(self, timeline: Timeline) -> None:
        """Start another one, unless the one before is still about to end."""
        host = timeline.host(self.host)
        if not host.is_running:
            host.restart()

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {"host": rng.choice(hosts)}


@attrs.frozen(kw_only=True)
class _OfPair(Fault):
    one: str
    other: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of both hosts."""
        return (self.one, self.other)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        one, other = rng.sample(hosts, 2)
        return {"one": one, "other": other}


@attrs.frozen(kw_only=True)
class Disconnect(_OfPair):
    """The application of `one` says goodbye to that of `other`, which it may dial again."""

    lasts = (0.0, 0.0)

    def begin(self, timeline: Timeline) -> None:
        """Say it."""
        one, other = timeline.host(self.one), timeline.host(self.other)
        if one.is_running and other.application is not None and one.application is not None:
            life = one.application.life
            life.reactor.turn(b"disconnect", life.disconnect, other.application.life.fingerprint)


@attrs.frozen(kw_only=True)
class CutWithin(_OfPair):
    """The connections between two hosts are cut when so many bytes more from `one` have arrived.

    :ivar count: of bytes; what was sent last arrives up to there.
    :ivar silently: whether a black hole follows, or a reset.
    """

    count: int
    silently: bool

    def begin(self, timeline: Timeline) -> None:
        """Wait for the bytes."""
        for connection in timeline.connections(self.one, self.other):
            connection.cut_after(self.count, sender=timeline.host(self.one), silently=self.silently)

    def end(self, timeline: Timeline) -> None:
        """Wait no longer."""
        for connection in timeline.connections(self.one, self.other):
            for end in (connection.client, connection.server):
                end.cut_after(1 << 60, self.silently)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        count = rng.choice((1, rng.randint(1, 60), rng.randint(1, 5_000)))
        return {**super()._draw(rng, hosts), "count": count, "silently": rng.random() < 0.3}
