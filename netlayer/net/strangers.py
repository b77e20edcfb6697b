"""Connections that were accepted and are not links yet: how many there may be, from where, and what is said of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.logger import LogLevel

from netlayer.addresses import is_loopback, literal_address, shown_address, unmapped
from netlayer.config import Settings
from netlayer.errors import LinkLost, Rejected, RemoteProtocolError
from netlayer.log import LimitedLog
from netlayer.net.alarm import Alarm
from netlayer.net.forks import close_inherited
from netlayer.sansio.trust.violations import Violations
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import FINAL_CODES

if TYPE_CHECKING:
    from netlayer.net.acceptor import AcceptedConnection
    from netlayer.net.driver import Driver

__all__ = ["Strangers"]

#: Files that a process may need besides its connections. A port accepts up to 100 connections in one turn of the
#: reactor, and the files of those that are dropped in it are closed only in the next.
OTHER_FILES = 128


class Strangers:
    """The strangers of one node.

    Violations of keys for which nothing speaks but themselves count for their address, too, since anybody can make
    another key. From an address with too many of them a known key is as welcome as ever.

    When there are too many, those that have taken longest are dropped: an honest node is through in milliseconds. Those
    that say nothing go first, but only if half of the others are younger: what a newcomer says has to be read first.
    """

    def __init__(self, node_id: int, settings: Settings, clock: IReactorTime) -> None:
        self._settings = settings
        self._clock = clock
        self._log = LimitedLog(node_id, clock=clock, lines=settings.stranger_lines)
        self._by_age: dict[AcceptedConnection, None] = {}
        self._by_host: dict[str, dict[AcceptedConnection, None]] = {}  # loopback ones are not counted
        self._silent: dict[AcceptedConnection, None] = {}  # by age: those on which nothing has come
        self._unread = 0  # connections on which nothing has come, those that were dropped and are still open included
        self._alarm = Alarm(clock, self._out_of_time)
        self._violations = Violations(most=settings.max_violations, memory=settings.violation_memory)  # by key
        self._from_hosts = Violations(most=settings.max_violations, memory=settings.violation_memory)  # by host
        self._most_files = _most_files() if IReactorFDSet.providedBy(clock) else None

    def __len__(self) -> int:
        return len(self._by_age)

    @property
    def unread_count(self) -> int:
        """How many connections are open on which nothing has come: the node's protocols don't know of them."""
        return self._unread

    def counted_host(self, address: Any) -> str | None:
        """Return the host of an address for which limits hold.

        :returns: None if it is this machine, all of whose users share one, or if the operator says that many share it.
        """
        host = getattr(address, "host", None)
        if host is None or is_loopback(host):
            return None
        host, exempt = unmapped(str(host)), self._settings.exempt_addresses
        literal = literal_address(host) if exempt else None
        return None if literal is not None and any(literal in network for network in exempt) else host

    def admits(self, connections: int) -> bool:
        """Tell whether another connection may be accepted.

        :param connections: how many the node has, in all.
        """
        if self._most_files is not None and connections >= self._most_files:
            self._log.debug("a connection was closed at once: this process has {count} open", count=connections)
            return False
        return True

    def may_begin(self, connection: AcceptedConnection) -> bool:
        """Return whether a connection on which something has come may begin its handshake.

        An address that is refused has one a second: it may be the address of others, and those who are refused are told
        why. What turns out to be no handshake is not counted.
        """
        host = connection.counted_host
        return host is None or self._from_hosts.take_trial(host, connection.began_at)

    def opened(self, connection: AcceptedConnection, connections: int) -> None:
        """A connection was accepted.

        :param connections: how many the node had before, in all.
        """
        most = self._settings.max_handshakes
        if self._most_files is not None:
            most = min(most, max(1, self._most_files - (connections - len(self._by_age))))
        self._by_age[connection] = self._silent[connection] = None
        self._unread += 1
        self._alarm.set(connection.since + self._settings.timeout)
        if len(self._by_age) > most:
            _dispensable(self._by_age).abort(LinkLost("too many handshakes are under way"))
        host = connection.counted_host
        if host is None:
            return
        from_there = self._by_host.setdefault(host, {})
        from_there[connection] = None
        if len(from_there) > self._settings.max_handshakes_per_address:
            _dispensable(from_there).abort(LinkLost("too many handshakes from this address are under way"))

    def spoke(self, connection: AcceptedConnection) -> None:
        """The first bytes came on a connection, which has a driver from now on."""
        del self._silent[connection]
        self._unread -= 1
        self._silence_alarm()

    def closed(self, connection: AcceptedConnection, reason: LinkLost) -> None:
        """A connection is closed on which nothing has come."""
        self._unread -= 1
        self.dropped(connection, reason)

    def dropped(self, connection: AcceptedConnection, reason: LinkLost) -> None:
        """A connection on which nothing has come ends, or has ended."""
        if connection in self._silent:
            del self._silent[connection]
            self._silence_alarm()
            self._left(connection)
            self._tell_end(shown_address(connection.address), reason)

    def ended(self, protocol: Driver, reason: Exception) -> None:
        """A connection has ended before it was a link."""
        self.left(protocol)
        accepted = protocol.accepted
        if not protocol.fingerprint and accepted is not None and accepted.counted_host is not None:
            self._from_hosts.return_trial(accepted.counted_host, accepted.began_at)
        if isinstance(reason, Rejected) and reason.code in FINAL_CODES and protocol.is_introduced:
            self._tell_refusal(protocol, reason)
        else:
            self._tell_end(protocol.address, reason)

    def left(self, protocol: Driver) -> None:
        """A connection is a stranger's no more: it became a link, or has ended."""
        if protocol.accepted is not None:
            self._left(protocol.accepted)

    def close(self) -> None:
        """Close the connections of those who have not said anything."""
        for connection in list(self._silent):
            connection.abort(LinkLost("the node was shut down"))

    def left_to_parent(self) -> None:
        """Close a forked child's copies of the connections of those who have not said anything."""
        for connection in list(self._silent):
            close_inherited(connection.transport)

    def has_no_protocol(self, name: str) -> None:
        """The application's class has raised an exception, which is at hand, where a protocol was to be made."""
        self._log.failure("{name}() failed, so a connection was closed", name=name, level=LogLevel.error)

    def has_violated(self, protocol: Driver, reason: RemoteProtocolError, *, is_known: bool) -> None:
        """The holder of a proven key has broken the protocol, on whichever connection.

        :param is_known: whether more than its own word speaks for the key.
        """
        settings, now = self._settings, self._clock.seconds()
        self._log.warn("bad data from {address}: {reason}", address=protocol.address, reason=reason)
        if self._violations.note(protocol.fingerprint, now):
            self._log.warn(
                "the key {key} at {address} has broken the protocol {count} times and is refused for {seconds:g} s",
                key=fingerprint_text(protocol.fingerprint),
                address=protocol.address,
                count=settings.max_violations,
                seconds=settings.violation_memory,
            )
        host = self.counted_host(protocol.transport.getPeer())
        if host is not None and not is_known and self._from_hosts.note(host, now):
            self._log.warn(
                "unknown keys at {host} have broken the protocol {count} times: for {seconds:g} s only known ones are "
                "let in from there",
                host=host,
                count=settings.max_violations,
                seconds=settings.violation_memory,
            )

    def key_refused_for(self, fingerprint: bytes) -> float:
        """Return the seconds for which the holder of a proven key is refused still, 0 if it is not."""
        return self._violations.refused_for(fingerprint, self._clock.seconds())

    def address_refused_for(self, protocol: Driver) -> float:
        """Return the seconds for which unknown keys are refused still where an accepted connection comes from."""
        host = protocol.accepted.counted_host if protocol.accepted is not None else None
        return self._from_hosts.refused_for(host, self._clock.seconds()) if host is not None else 0.0

    def _left(self, connection: AcceptedConnection) -> None:
        if connection not in self._by_age:
            return
        del self._by_age[connection]
        host = connection.counted_host
        if host is not None and host in self._by_host:
            self._by_host[host].pop(connection, None)
            if not self._by_host[host]:
                del self._by_host[host]

    def _out_of_time(self) -> None:
        """Drop those who have said nothing for too long; the handshakes of others have timers of their own."""
        for connection in list(self._silent):
            deadline = connection.since + self._settings.timeout
            if deadline > self._clock.seconds():
                self._alarm.set(deadline)
                break
            connection.abort(LinkLost(f"nothing was said within {self._settings.timeout:g} s"))

    def _silence_alarm(self) -> None:
        if not self._silent:
            self._alarm.cancel()

    def _tell_end(self, address: str, reason: Exception) -> None:
        self._log.debug("a connection from {address} ended: {reason}", address=address, reason=reason)

    def _tell_refusal(self, protocol: Driver, reason: Rejected) -> None:
        fields: dict[str, Any] = {
            "peer": protocol.introduction.node_id,
            "address": protocol.address,
            "key": fingerprint_text(protocol.fingerprint),
            "reason": reason,
        }
        if protocol.has_refused:
            self._log.info("peer {peer} at {address} with the key {key} was {reason}", **fields)
        else:
            self._log.info("peer {peer} at {address} with the key {key} has refused this node: {reason}", **fields)


def _dispensable(strangers: dict[AcceptedConnection, None]) -> AcceptedConnection:
    """Return whom to drop of some strangers, the oldest of whom stand first."""
    older = islice(strangers, len(strangers) // 2)
    return next((stranger for stranger in older if stranger.is_silent), None) or next(iter(strangers))


def _most_files() -> int | None:
    """Return how many connections this process may have open, or None where there is no limit."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else max(8, soft - OTHER_FILES)
