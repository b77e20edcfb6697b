"""Nodes as Twisted services: what listens, dials, registers and keeps a node in its network."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamServerEndpoint

from netlayer.addresses import Address, PeerInfo, parse_address
from netlayer.config import Settings
from netlayer.errors import (
    AlreadyStarted,
    ConfigurationError,
    NodeStopped,
    NotStarted,
    described,
)
from netlayer.interfaces import IBindingStore, IIdentity
from netlayer.net.bootstrap import BootstrapFactory
from netlayer.net.driver import Driver
from netlayer.net.factory import PeerFactory
from netlayer.net.forks import refused_in_child, require_own_reactor, watch_forks
from netlayer.net.listening import Listening
from netlayer.net.membership import Membership
from netlayer.net.sending import Sending
from netlayer.net.waiters import Waiters
from netlayer.net.wanted import Reason, Wanted, Where, bootstrap, configured_peer
from netlayer.peer import PeerProtocol
from netlayer.sansio.delivery.timeouts import Until
from netlayer.status import BroadcastReport, LinkStatus, NodeStatus
from netlayer.storage.admission import Admission
from netlayer.storage.data_directory import DataDirectory
from netlayer.storage.identity import fingerprint_text
from netlayer.storage.known_peers import KNOWN_PEERS_FILE

__all__ = ["BootstrapService", "PeerService"]


class PeerService(Service):
    """A node as a Twisted service.

    Give it a parent with ``setServiceParent``, or use :meth:`start` and :meth:`stop`. Every method that takes time
    returns a Deferred.

    In a child that was forked while the reactor ran, everything raises LocalProtocolError, through the Deferred where
    there is one. The child holds neither the sockets nor the data directory.

    :param reactor: the reactor to run on.
    :param node_id: an int or a decimal string, unique in the network.
    :param listen: an endpoint string such as ``tcp:8001:interface=127.0.0.1``, or a (host, port) pair.
    :param bootstraps: where bootstrap nodes are dialed: endpoint strings such as ``tcp:127.0.0.1:8000``, or pairs.
    :param peers: peers to stay linked to whatever the bootstraps say: (peer_id, host, port) tuples, or endpoint
        strings or pairs if the id does not matter.
    :param protocol: the application's subclass of :class:`~netlayer.PeerProtocol`, which is built without arguments.
    :param advertise: the (host, port) that others are told to dial, if it is not where this node listens.
    :param settings: limits and times; see :class:`~netlayer.Settings`.
    :param identity: by default that of `data_dir`, or an ephemeral one.
    :param data_dir: a directory for what has to outlive the process, such as the identity. Each node has its own: it is
        locked until the node has stopped or its process has ended.
    :param network: only nodes of the same network link to each other: 1 to 64 printable characters.
    :param admission: who may link. ``open``: everybody who can connect; the default, and possible on loopback only.
        ``secret``: who proves `network_secret`. ``allowlist``: who stands on `allowlist`. By default what is given of
        the two is asked for, both if both are.
    :param network_secret: text or bytes, 16 bytes at least, the same at all nodes; or up to four of them, all of which
        are accepted while the first is proven, so that a secret can be replaced while the network runs.
    :param allowlist: the path of a file of ``node_id sha256:fingerprint`` lines; it is read again when it changes.
    :param rng: where jitter, stream ids and samples come from; by default the operating system's.
    :raises ConfigurationError: when anything of this makes no sense; nothing has been started then.
    """

    _factory_class: type[PeerFactory] = PeerFactory
    #: Whether the goodbyes are said when the reactor stops. A reactor of our own thread stops with the process only.
    stops_with_reactor = True

    def __init__(
        self,
        reactor: Any,
        *,
        node_id: int | str,
        listen: Where | IStreamServerEndpoint,
        bootstraps: Iterable[Where] = (),
        peers: Iterable[Any] = (),
        protocol: type[PeerProtocol] | None = None,
        advertise: tuple[str, int] | None = None,
        settings: Settings | None = None,
        identity: IIdentity | None = None,
        data_dir: str | os.PathLike[str] | DataDirectory | None = None,
        network: str = "default",
        admission: str | None = None,
        network_secret: str | bytes | Iterable[str | bytes] | None = None,
        allowlist: str | os.PathLike[str] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not IReactorTime.providedBy(reactor):
            raise ConfigurationError(
                f"reactor is Twisted's reactor, or what stands in for it, not {described(reactor)}"
            )
        if settings is not None and not isinstance(settings, Settings):
            raise ConfigurationError(f"settings is an object of netlayer.Settings, not {described(settings)}")
        if identity is not None and not IIdentity.providedBy(identity):
            raise ConfigurationError(f"identity is an object such as netlayer.Identity, not {described(identity)}")
        if rng is not None and not isinstance(rng, random.Random):
            raise ConfigurationError(f"rng is a random.Random, not {described(rng)}")
        self._reactor: Any = reactor
        rule = Admission.from_options(network, policy=admission, secret=network_secret, allowlist=allowlist)
        self._listening = Listening(
            reactor, listen, settings if settings is not None else Settings(), loopback_only=rule.is_open
        )
        advertised = parse_address(advertise) if advertise is not None else None
        # Each once, however often it is named.
        wanted_bootstraps = dict(bootstrap(reactor, where) for where in _several("bootstraps", bootstraps))
        wanted_peers = dict(_peer(reactor, where) for where in _several("peers", peers))
        if data_dir is not None and not isinstance(data_dir, DataDirectory):
            data_dir = DataDirectory.open(data_dir, identity=identity)
        self._data_directory = data_dir
        options = self._factory_options() | ({} if protocol is None else {"protocol": protocol})
        try:
            self.factory = self._factory_class(
                reactor,
                node_id=node_id,
                identity=identity if data_dir is None else data_dir.identity,
                network=network,
                settings=settings,
                admission=rule,
                rng=rng,
                known_peers=data_dir.path / KNOWN_PEERS_FILE if data_dir is not None else None,
                **options,
            )
        except BaseException:
            if data_dir is not None:
                data_dir.release()
            raise
        self._membership = Membership(
            self.factory,
            bootstraps=wanted_bootstraps,
            peers=wanted_peers,
            listening=self._listening,
            advertise=advertised,
        )
        self._sending = Sending(self._membership)
        #: Why :meth:`startService` has failed, or None.
        self.start_error: Exception | None = None
        self._state = "new"
        self._shutdown_trigger: Any = None
        self._starting: Deferred[NodeStatus] | None = None
        self._stopping: Deferred[None] | None = None
        self._waiting = Waiters()  # for the end
        watch_forks(self, reactor)

    # ---- commands

    def start(self, *, patient: bool = False) -> Deferred[NodeStatus]:
        """Listen, join, and try to link every peer that the first answering bootstrap node tells of.

        A bootstrap node that is away is no error: it is tried ``1 + retry_count`` times before the Deferred fires, and
        for ever after. A start that fails, or is cancelled, shuts the service down.

        :param patient: whether to go on trying even when a bootstrap node refuses this node for good.
        :returns: fires with the node's status.
        :raises ListenError: through the Deferred, when the address is taken.
        :raises JoinRefused: through the Deferred, when every bootstrap node failed and one refused this node for good.
        :raises AlreadyStarted: through the Deferred, when the service was started before.
        """
        if (refused := refused_in_child(self._reactor)) is not None:
            return refused
        if self._state in ("stopping", "stopped"):
            return fail(NodeStopped())
        if self._state not in ("new", "bound"):
            return fail(AlreadyStarted())
        self._state = "starting"
        self._starting = Deferred.fromCoroutine(self._start(patient))
        return self._starting

    def stop(self) -> Deferred[None]:
        """Stop listening, say goodbye, let receipts drain, close. Never takes longer than ``shutdown_timeout``.

        The Deferred fires when all that is done; it does not fail, but in a forked child.

        It may be called at any time and any number of times. In a handler of this node it only begins, as it would have
        to wait for the handler.
        """
        if (refused := refused_in_child(self._reactor)) is not None:
            return refused
        stopped = self._stop_once()
        return succeed(None) if self.factory.handlers.are_calling() else stopped

    def left_to_parent(self) -> None:
        """Let go, in a forked child, of the port and the data directory, which are its parent's."""
        self._listening.left_to_parent()
        if self._data_directory is not None:
            self._data_directory.leave_to_parent()

    def when_stopped(self) -> Deferred[None]:
        """Return a Deferred that fires when the service has stopped."""
        if (refused := refused_in_child(self._reactor)) is not None:
            return refused
        return succeed(None) if self._state == "stopped" else self._waiting.add()

    def send(self, peer: Any, data: Any, *, timeout: float | None = None, until: Until | None = None) -> Deferred[None]:
        """Send a packet to a peer, which is dialed if it is not linked.

        :param peer: ``(peer_id, host, port)``, a :class:`~netlayer.PeerInfo`, or an id alone.
        :param data: bytes, str, None, bool, int, float, or a list or dict of these.
        :param timeout: seconds from the call to the receipt at most, with dialing, queueing and handling; above 0. By
            default it is ``delivery_timeout`` of the settings.
        :param until: ``"link"`` to end the wait earlier, as soon as the peer is not linked and nothing listens where it
            is dialed: with PeerLost if the packet had been written, else with PeerUnreachable. The death of a worker
            with a long job is known after a second then. By default the packet is kept for a peer that comes back.
        :returns: fires when the peer's handler has finished, fails with a :class:`~netlayer.errors.DeliveryError`, or
            with :class:`~netlayer.errors.NotStarted` before the start.
        """
        return maybeDeferred(self._send, peer, data, timeout, until)

    def broadcast(
        self, data: Any, *, timeout: float | None = None, until: Until | None = None
    ) -> Deferred[BroadcastReport]:
        """Send a packet to all linked peers.

        :param data: bytes, str, None, bool, int, float, or a list or dict of these.
        :param timeout: seconds that any of them is waited for at most; see :meth:`send`.
        :param until: ``"link"`` to wait no longer for those that are not linked any more and can't be dialed; see
            :meth:`send`.
        :returns: fires with a :class:`~netlayer.BroadcastReport` when all of them have answered or failed; fails with
            :class:`~netlayer.errors.UnsupportedData`, :class:`~netlayer.errors.PacketTooLarge` or
            :class:`~netlayer.errors.InvalidArgument`.
        """
        return maybeDeferred(self._broadcast, data, timeout, until)

    def get_peers(self) -> list[PeerInfo]:
        """Return the peers that are linked, in the order of their links."""
        return self.factory.peers()

    def unlinked_peers(self) -> list[int]:
        """Return the ids of the peers that are known and not linked for want of room, here or there."""
        require_own_reactor(self._reactor)
        return self._membership.seeking.unlinked()

    def when_joined(self) -> Deferred[None]:
        """Return a Deferred that fires once this node is registered with a bootstrap node: never if it has none."""
        if (refused := refused_in_child(self._reactor)) is not None:
            return refused
        return self._membership.joining.when_joined()

    @property
    def status(self) -> NodeStatus:
        """The whole situation."""
        require_own_reactor(self._reactor)
        now = self._reactor.seconds()
        everybody = list(self._membership.wanted)
        return NodeStatus(
            node_id=self.factory.local.node_id,
            fingerprint=fingerprint_text(self.factory.local.fingerprint),
            state=self._state,
            listening=str(self._listening.address) if self._listening.address and self._state != "stopped" else None,
            advertised=tuple(str(Address(a.host, a.port)) for a in self.factory.local.addresses),
            joined=self._membership.joining.joined,
            bootstraps=tuple(w.status(now) for w in everybody if w.reason is Reason.BOOTSTRAP),
            wanted=tuple(w.status(now) for w in everybody if w.reason is not Reason.BOOTSTRAP),
            links=tuple(self._link_status(link, now) for link in self.factory.link_drivers()),
            room=self._membership.seeking.status,
        )

    @property
    def listening(self) -> Address | None:
        """The address that the service listens at, or None."""
        require_own_reactor(self._reactor)
        return self._listening.address

    # ---- Twisted's callbacks

    def privilegedStartService(self) -> None:
        """Bind the listening address while the process still may.

        :raises ListenError: when the address is taken.
        """
        require_own_reactor(self._reactor)
        super().privilegedStartService()
        if self._state == "new":
            self._state = "bound"
            self._listening.bind(self.factory)

    def startService(self) -> None:
        """Start; what goes wrong is logged, as nobody can be told, and a bootstrap node that refuses is asked again."""
        super().startService()
        if self._state in ("stopping", "stopped"):
            self.start_error = NodeStopped()
            self.factory.log.error("could not start: a service that was stopped stays so; make a new one")
            return
        _ = self.start(patient=True).addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """Stop."""
        super().stopService()
        return self.stop()

    # ---- private: starting and stopping

    async def _start(self, patient: bool) -> NodeStatus:
        try:
            self._listening.bind(self.factory)
            if self._data_directory is not None:
                self._data_directory.note_process()
            self.factory.claims.known_peers.load()
            await self._open_store()
            if self._stopping is not None:
                raise NodeStopped
            self._stop_with_reactor()
            if hasattr(self._reactor, "callWhenRunning"):  # before that, a signal ends the process at once
                self._reactor.callWhenRunning(self._tell_start)
            else:
                self._tell_start()
            allowlist = self.factory.admission.allowlist
            if allowlist is not None and allowlist.is_empty:
                self.factory.log.warn("the allowlist names nobody: no node can link until it does")
            await self._membership.start(patient=patient)
        except Exception:
            if self._stopping is None:  # else it was stopped meanwhile, and whoever did that sees to the rest
                await self.stop()
            raise
        if self._stopping is not None:
            raise NodeStopped
        self._state = "running"
        return self.status

    def _tell_start(self) -> None:
        if self._stopping is None:
            self.factory.log.info("started at {address}", address=self._listening.address)

    def _factory_options(self) -> dict[str, Any]:
        """Return what this kind of factory is given besides."""
        return {}

    async def _open_store(self) -> None:
        """Open what this kind of node keeps."""

    async def _close_store(self) -> None:
        """Close it."""

    def _stop_with_reactor(self) -> None:
        """Have the goodbyes said when the reactor stops, as at Ctrl-C."""
        if self.stops_with_reactor and hasattr(self._reactor, "addSystemEventTrigger"):
            self._shutdown_trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._reactor_stops)

    def _reactor_stops(self) -> Deferred[None]:
        self._shutdown_trigger = None
        return self._stop_once()  # whoever it was that has stopped the reactor, it has to wait

    def _stop_once(self) -> Deferred[None]:
        """Stop, unless that has begun; the Deferred fires at the end."""
        if self._stopping is None:
            self._state = "stopping"
            self._stopping = Deferred()  # first of all, as whoever waits for us may call us again
            _ = Deferred.fromCoroutine(self._stop()).chainDeferred(self._stopping)
        waiting: Deferred[None] = Deferred()
        _ = self._stopping.addBoth(lambda result: waiting.callback(None))
        return waiting

    async def _stop(self) -> None:
        self._membership.stop()
        await self._listening.close()
        await self.factory.stop()
        try:
            await self._close_store()
        except Exception:  # of a store that the application has brought along
            self.factory.log.failure("the store of bindings could not be closed")
        self.factory.claims.known_peers.close()
        if self._data_directory is not None:
            self._data_directory.release()
        trigger, self._shutdown_trigger = self._shutdown_trigger, None
        if trigger is not None:  # until now the reactor would have waited for us
            self._reactor.removeSystemEventTrigger(trigger)
        self._state = "stopped"
        self.factory.log.info("stopped")
        self._waiting.fire()

    def _start_failed(self, failure: Any) -> None:
        self.start_error = failure.value
        if failure.check(NodeStopped) is None:
            self.factory.log.error("could not start: {error}", error=failure.value)

    # ---- private: sending

    def _send(self, peer: Any, data: Any, timeout: float | None, until: Until | None) -> Deferred[None]:
        self._require_running()
        return self._sending.send(peer, data, timeout=timeout, until=until)

    def _broadcast(self, data: Any, timeout: float | None, until: Until | None) -> Deferred[BroadcastReport]:
        self._require_running()
        return self._sending.broadcast(data, timeout=timeout, until=until)

    def _require_running(self) -> None:
        require_own_reactor(self._reactor)
        if self._state in ("new", "bound"):
            raise NotStarted
        if self._state in ("stopping", "stopped"):
            raise NodeStopped

    def _link_status(self, link: Driver, now: float) -> LinkStatus:
        assert link.peer is not None
        connection = link.connection
        return LinkStatus(
            peer=link.peer,
            fingerprint=fingerprint_text(link.fingerprint),
            bootstrap=link.is_bootstrap,
            since=now - link.linked_at,
            round_trip=connection.round_trip,
            packets_sent=connection.packets_sent,
            packets_received=connection.packets_received,
            bytes_sent=connection.bytes_sent,
            bytes_received=connection.bytes_received,
            queued=link.queued,
        )


class BootstrapService(PeerService):
    """A bootstrap node as a Twisted service. Takes the arguments of :class:`PeerService`.

    :param store: where it keeps who holds which id; by default the file ``bindings.sqlite`` in its data directory, or
        in memory if it has none.
    :raises ConfigurationError: when anything of this makes no sense; nothing has been started then.
    """

    _factory_class = BootstrapFactory

    factory: BootstrapFactory

    def __init__(self, reactor: Any, *, store: IBindingStore | None = None, **options: Any) -> None:
        if store is not None and not IBindingStore.providedBy(store):
            raise ConfigurationError(
                f"store is an object such as netlayer.storage.bindings.sqlite.SQLiteStore, not {described(store)}"
            )
        self._store = store
        super().__init__(reactor, **options)

    def get_peers(self) -> list[PeerInfo]:
        """Return the nodes that hold a lease, longest first."""
        return self.factory.listed()

    # ---- private

    def _factory_options(self) -> dict[str, Any]:
        if self._store is None and self._data_directory is not None:
            from netlayer.storage.bindings.file import (
                BINDINGS_FILE,  # here, as most programs keep no bindings and need no SQLite
            )
            from netlayer.storage.bindings.sqlite import SQLiteStore

            self._store = SQLiteStore(self._data_directory.path / BINDINGS_FILE)
        return {"store": self._store}

    async def _open_store(self) -> None:
        await self.factory.start_store()

    async def _close_store(self) -> None:
        await self.factory.stop_store()


def _several(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name} is a list of addresses, not {described(values)}")
    return list(values)


def _peer(reactor: Any, where: Any) -> tuple[Hashable, Wanted]:
    try:
        return configured_peer(reactor, where)
    except ConfigurationError as error:
        if isinstance(where, str):
            raise
        shape = f"a peer is (peer_id, host, port), (host, port) or an endpoint string, not {described(where)}"
        raise ConfigurationError(f"{shape}: {error}") from None
