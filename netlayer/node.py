"""The node of a plain script or of a Twisted application: one object, verbs to use, hooks to override."""

from __future__ import annotations

import inspect
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import attrs
from twisted.internet.defer import Deferred, maybeDeferred

from netlayer.addresses import PeerInfo, parse_address, parse_peer
from netlayer.config import Settings
from netlayer.errors import ConfigurationError, DeliveryTimeout, LinkLost, NotStarted, described
from netlayer.handlers import DataHandler, DataPacket
from netlayer.interfaces import IIdentity
from netlayer.logger import logger
from netlayer.net.forks import require_own_reactor
from netlayer.net.wanted import Where
from netlayer.peer import PeerProtocol
from netlayer.sansio.delivery.timeouts import Until, parse_timeout
from netlayer.script import reactor_thread
from netlayer.services import PeerService
from netlayer.status import BroadcastReport, NodeStatus

__all__ = ["Node"]

#: What a node is: one whose verbs block, or one whose verbs return Deferreds.
Blocking = Literal["blocking"]
Twisted = Literal["twisted"]
if TYPE_CHECKING:  # a default needs Python 3.13, or the extensions that type checkers bring along
    from typing_extensions import TypeVar as TypeVarWithDefault

    Mode = TypeVarWithDefault("Mode", Literal["blocking"], Literal["twisted"], default=Literal["blocking"])
else:
    Mode = TypeVar("Mode")
T = TypeVar("T")

#: What an application may bind on an instance.
HOOKS = frozenset({"handle_data", "peer_joined", "peer_left"})

#: Seconds that a blocking verb allows above the time that its Deferred allows itself.
MARGIN = 5.0


class NodeProtocol(PeerProtocol):
    """Hands the packets and hooks of each link to the node."""

    with_bootstraps = True

    def peer_ready(self) -> Any:
        """Tell the node, unless the peer is a bootstrap node."""
        if not self.is_bootstrap:
            return self._node.peer_joined(self.peer)
        return None

    def packet_received(self, packet: DataPacket) -> Any:
        """Have the node handle a packet."""
        node = self._node
        logger.debug("node %s: packet from %s received", node.node_id, packet.sender_id)
        return node.handle_data(packet)

    def peer_lost(self, reason: LinkLost) -> Any:
        """Tell the node, unless the peer is a bootstrap node."""
        if not self.is_bootstrap:
            return self._node.peer_left(self.peer, reason)
        return None

    def handler_name(self) -> str:
        """Return what the log calls the node's handler."""
        handler = self._node.handle_data
        return str(getattr(handler, "__qualname__", handler))

    @property
    def _node(self) -> Any:
        return self.factory.application


class Node(Generic[Mode]):
    """A participant of the network.

    With ``reactor=`` every verb (:meth:`start_node`, :meth:`shutdown`, :meth:`send_data`, :meth:`broadcast_data`,
    :meth:`when_joined`, :meth:`wait`) returns a Deferred. Without it the first verb starts a reactor in a thread of its
    own and every verb blocks; called from a handler, which runs in that thread, it returns the Deferred instead.

    :param node_id: 0 … 2^63 − 1, unique in the network; a decimal string will do.
    :param host: where to listen: ``localhost`` or a loopback address; with a secret or an allowlist any address of this
        machine, ``0.0.0.0`` and ``::`` for all.
    :param port: 0 asks for a free one; :attr:`port` tells which after the start.
    :param bootstrap_address: the (host, port) of a bootstrap node.
    :param bootstraps: more of them, as (host, port) pairs or endpoint strings.
    :param peers: peers to stay linked to whatever the bootstraps say, as (peer_id, host, port).
    :param advertise: the (host, port) that others are told to dial, if it is not where the node listens.
    :param identity: by default that of `data_dir`, or an ephemeral one.
    :param data_dir: a directory for what has to outlive the process, such as the identity. Each node has its own: it is
        locked until the node has stopped or its process has ended.
    :param network: only nodes of the same network link to each other.
    :param admission: who may link: ``open``, ``secret`` or ``allowlist``; by default what the next two ask for.
    :param network_secret: what every node of the network knows, 16 bytes at least; up to four while one is replaced.
    :param allowlist: the path of a file of ``node_id sha256:fingerprint`` lines.
    :param reactor: of a program that has one; None starts a reactor in a thread when it is needed.
    :param settings: limits and times; see :class:`~netlayer.Settings`.
    :param rng: where jitter, stream ids and samples come from; by default the operating system's.
    :raises ConfigurationError: when anything of this makes no sense.
    :raises TypeError: when it is given an argument that it does not take.
    """

    _service_class: type[PeerService] = PeerService

    if TYPE_CHECKING:
        #: Hooks can be overridden in a subclass, or bound anew on an instance.
        handle_data: Callable[[DataPacket], Any]
        peer_joined: Callable[[PeerInfo], Any]
        peer_left: Callable[[PeerInfo, LinkLost], Any]

    @overload
    def __init__(
        self: Node[Blocking],
        node_id: int | str,
        host: str,
        port: int,
        bootstrap_address: tuple[str, int] | None = ...,
        *,
        bootstraps: Iterable[Where] = ...,
        peers: Iterable[Any] = ...,
        advertise: tuple[str, int] | None = ...,
        settings: Settings | None = ...,
        identity: IIdentity | None = ...,
        data_dir: str | os.PathLike[str] | None = ...,
        network: str = ...,
        admission: str | None = ...,
        network_secret: str | bytes | Iterable[str | bytes] | None = ...,
        allowlist: str | os.PathLike[str] | None = ...,
        reactor: None = ...,
        rng: random.Random | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: Node[Twisted],
        node_id: int | str,
        host: str,
        port: int,
        bootstrap_address: tuple[str, int] | None = ...,
        *,
        bootstraps: Iterable[Where] = ...,
        peers: Iterable[Any] = ...,
        advertise: tuple[str, int] | None = ...,
        settings: Settings | None = ...,
        identity: IIdentity | None = ...,
        data_dir: str | os.PathLike[str] | None = ...,
        network: str = ...,
        admission: str | None = ...,
        network_secret: str | bytes | Iterable[str | bytes] | None = ...,
        allowlist: str | os.PathLike[str] | None = ...,
        reactor: object,
        rng: random.Random | None = ...,
    ) -> None: ...

    def __init__(
        self,
        node_id: int | str,
        host: str,
        port: int,
        bootstrap_address: tuple[str, int] | None = None,
        *,
        bootstraps: Iterable[Where] = (),
        reactor: Any = None,
        **options: Any,
    ) -> None:
        unknown = sorted(options.keys() - _option_names(self._service_class))
        if unknown:
            name, advice = unknown[0], ""
            if name in attrs.fields_dict(Settings):
                advice = f": it is a setting, so give settings=Settings({name}=...)"
            raise TypeError(f"{type(self).__name__}() takes no argument {name!r}{advice}")
        where = parse_address((host, port), free_port=True)
        first: list[Where] = [] if bootstrap_address is None else [parse_address(bootstrap_address)]
        self._blocks: bool = reactor is None
        self.host: str = where.host
        self._asked_port: int = where.port
        self._service = self._service_class(
            reactor_thread.default_reactor() if reactor is None else reactor,
            node_id=node_id,
            listen=where,
            bootstraps=[*first, *_as_list(bootstraps)],
            protocol=NodeProtocol,
            **options,
        )
        self._service.factory.application = self
        self._service.stops_with_reactor = not self._blocks
        self._ended = threading.Event()
        # In a forked child it fails at once: there each verb says why.
        _ = self._service.when_stopped().addCallbacks(self._stopped, lambda failure: None)

    # ---- verbs

    @overload
    def start_node(self: Node[Blocking]) -> NodeStatus: ...

    @overload
    def start_node(self: Node[Twisted]) -> Deferred[NodeStatus]: ...

    def start_node(self) -> Any:
        """Listen, join the network, and try to link every peer that is known there.

        A bootstrap node that is away is no error: the node goes on trying, and ``status.joined`` is False. A start that
        fails, or is interrupted, shuts the node down.

        :returns: the node's status; a broadcast on the next line reaches every node that the first bootstrap
            node to answer has told of.
        :raises ListenError: when the address is taken.
        :raises JoinRefused: when a bootstrap node refuses this node for good.
        :raises AlreadyStarted: when the node was started before; NodeStopped, when it was shut down.
        """
        caller = _calling_frame()
        if self._blocks:
            reactor_thread.end_at_sigterm(caller)

        def start() -> Deferred[NodeStatus]:
            if self._blocks and not self._ended.is_set():
                reactor_thread.keep_running(self._service, caller)
            return self._service.start()

        settings = self._service.factory.settings
        attempt = settings.timeout + settings.backoff_late_cap
        return self._verb(start, timeout=2 * attempt * (1 + settings.retry_count) + MARGIN)

    @overload
    def shutdown(self: Node[Blocking]) -> None: ...

    @overload
    def shutdown(self: Node[Twisted]) -> Deferred[None]: ...

    def shutdown(self) -> Any:
        """Stop listening, say goodbye, wait for receipts under way, close everything. Can be called again.

        In a handler of this node it only begins that, as it would have to wait for the handler.
        """
        return self._shut_down()

    @overload
    def send_data(
        self: Node[Blocking], peer: Any, data: Any, *, timeout: float | None = ..., until: Until | None = ...
    ) -> None: ...

    @overload
    def send_data(
        self: Node[Twisted], peer: Any, data: Any, *, timeout: float | None = ..., until: Until | None = ...
    ) -> Deferred[None]: ...

    def send_data(self, peer: Any, data: Any, *, timeout: float | None = None, until: Until | None = None) -> Any:
        """Send a packet to a peer, and wait until its handler has finished.

        :param peer: ``(peer_id, host, port)``, a :class:`~netlayer.PeerInfo`, or an id alone.
        :param data: bytes, str, None, bool, int, float, or a list or dict of these.
        :param timeout: seconds from the call to the receipt at most, with dialing, queueing and handling; above 0. By
            default it is ``delivery_timeout`` of the settings.
        :param until: ``"link"`` to end the wait earlier, as soon as the peer is not linked and nothing listens where it
            is dialed: with PeerLost if the packet had been written, else with PeerUnreachable. By default the packet is
            kept for a peer that comes back.
        :raises DeliveryError: one of its kinds, when the packet was not handled, or it is not known whether it was.
        :raises InvalidArgument: when `timeout` or `until` makes no sense; nothing was sent then.
        :raises NotStarted: before the start.
        """

        def send() -> Deferred[None]:
            logger.debug("node %s: packet to %s", self.node_id, peer)
            return self._service.send(peer, data, timeout=timeout, until=until)

        began = time.monotonic()
        try:
            return self._delivering_verb(send, timeout)
        except TimeoutError:
            waited = round(time.monotonic() - began, 1)
            raise DeliveryTimeout(parse_peer(peer)[0], waited, written=True) from None

    @overload
    def broadcast_data(
        self: Node[Blocking], data: Any, *, timeout: float | None = ..., until: Until | None = ...
    ) -> BroadcastReport: ...

    @overload
    def broadcast_data(
        self: Node[Twisted], data: Any, *, timeout: float | None = ..., until: Until | None = ...
    ) -> Deferred[BroadcastReport]: ...

    def broadcast_data(self, data: Any, *, timeout: float | None = None, until: Until | None = None) -> Any:
        """Send a packet to all linked peers, and wait until all have handled it or failed.

        :param timeout: seconds that any of them is waited for at most; see :meth:`send_data`.
        :param until: ``"link"`` to wait no longer for those that are not linked any more and can't be dialed; see
            :meth:`send_data`.
        :returns: a :class:`~netlayer.BroadcastReport`.
        :raises UnsupportedData: when `data` can't be carried.
        :raises PacketTooLarge: when it is over the limit of this node.
        :raises InvalidArgument: when `timeout` or `until` makes no sense.
        :raises NotStarted: before the start; NodeStopped, after the shutdown.
        """

        def broadcast() -> Deferred[BroadcastReport]:
            logger.debug("node %s: packet to all", self.node_id)
            return self._service.broadcast(data, timeout=timeout, until=until)

        return self._delivering_verb(broadcast, timeout)

    @overload
    def when_joined(self: Node[Blocking]) -> None: ...

    @overload
    def when_joined(self: Node[Twisted]) -> Deferred[None]: ...

    def when_joined(self) -> Any:
        """Wait until the node is registered with a bootstrap node: for ever if it was given none.

        :raises NotStarted: before the start.
        """

        def when_joined() -> Deferred[None]:
            self._require_started()
            return self._service.when_joined()

        return self._verb(when_joined, timeout=None)

    @overload
    def wait(self: Node[Blocking]) -> None: ...

    @overload
    def wait(self: Node[Twisted]) -> Deferred[None]: ...

    def wait(self) -> Any:
        """Wait until the node is shut down. Ctrl-C and SIGTERM shut it down, and so does a signal handler's sys.exit().

        :raises NotStarted: when there is nothing to wait for yet.
        """
        if not self._blocks or reactor_thread.in_reactor_thread():
            return self._service.when_stopped()
        reactor_thread.require_blocking_allowed()
        self._require_started()
        try:
            reactor_thread.wait_for(self._ended)
        except (KeyboardInterrupt, SystemExit) as end:
            reactor_thread.end_asked_for()
            self._shut_down()
            if isinstance(end, SystemExit) and not isinstance(end, reactor_thread.Terminated):
                raise
        return None

    # ---- answers

    @property
    def node_id(self) -> int:
        """The id of this node."""
        self._require_own_process()
        return self._service.factory.local.node_id

    @property
    def port(self) -> int:
        """The port that the node listens on; before the start, the one that was asked for."""
        self._require_own_process()
        address = self._service.listening
        return address.port if address is not None else self._asked_port

    @property
    def status(self) -> NodeStatus:
        """The whole situation of the node."""
        self._require_own_process()
        return self._service.status

    def get_peers(self) -> list[PeerInfo]:
        """Return the peers that are linked: proven, and alive as far as can be known."""
        self._require_own_process()
        return self._service.get_peers()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._service.factory.local.node_id} at {self.host}:{self.port}>"

    # ---- hooks

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            if name in HOOKS and not callable(value):
                raise ConfigurationError(f"{name} has to be something that can be called, not {described(value)}")
            super().__setattr__(name, value)

        def handle_data(self, packet: DataPacket) -> Any:
            """Handle a packet. Override it, or bind another function.

            It may return a Deferred or be ``async def``: the sender's receipt goes out when it has finished. It must
            not block, as it runs in the reactor's thread.
            """
            return DataHandler.handle_data(self, packet)

        def peer_joined(self, peer: PeerInfo) -> Any:
            """A peer is linked: proven, and packets can be sent to it.

            :param peer: who it is, and where others are told to dial it.
            """

        def peer_left(self, peer: PeerInfo, reason: LinkLost) -> Any:
            """A peer is not linked any more.

            :param reason: why; its ``goodbye`` is None if the peer did not take leave.
            """

    # ---- private

    def _verb(self, function: Callable[[], Deferred[T]], *, timeout: float | None, patient: bool = False) -> Any:
        if not self._blocks or reactor_thread.in_reactor_thread():
            return maybeDeferred(function)
        return reactor_thread.block_on(function, timeout=timeout, patient=patient)

    def _delivering_verb(self, function: Callable[[], Deferred[T]], timeout: Any) -> Any:
        """Run a verb whose Deferred has a time of its own: here it only counts if the reactor is held up."""
        if not self._blocks or reactor_thread.in_reactor_thread():
            return maybeDeferred(function)
        seconds = parse_timeout(timeout, default=self._service.factory.settings.delivery_timeout)
        return self._verb(function, timeout=seconds + MARGIN, patient=timeout is None)

    def _shut_down(self) -> Any:
        return self._verb(self._service.stop, timeout=self._service.factory.settings.shutdown_timeout + MARGIN)

    def _stopped(self, _: None) -> None:
        self._ended.set()
        reactor_thread.stopped(self._service)

    def _require_own_process(self) -> None:
        if self._blocks:
            reactor_thread.require_own_process()
        require_own_reactor(self._service.factory.reactor)

    def _require_started(self) -> None:
        if self._blocks and self._service.status.state == "new":
            raise NotStarted


def _option_names(service: type[PeerService]) -> frozenset[str]:
    """Return the options of a kind of service that a node passes on as they are."""
    kinds = [kind for kind in service.__mro__ if issubclass(kind, PeerService)]
    parameters = [each for kind in kinds for each in inspect.signature(kind).parameters.values()]
    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    return frozenset(names - {"node_id", "listen", "bootstraps", "protocol"})


def _as_list(bootstraps: Any) -> Sequence[Any]:
    if isinstance(bootstraps, (bytes, Mapping)) or not isinstance(bootstraps, Iterable):
        given = described(bootstraps)
        raise ConfigurationError(f"bootstraps is a list of (host, port) pairs or endpoint strings, not {given}")
    return [bootstraps] if isinstance(bootstraps, str) else list(bootstraps)


def _calling_frame() -> Any:
    """Return the innermost frame that does not belong to this package."""
    frame = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "netlayer":
        frame = frame.f_back  # type: ignore[assignment]
    return frame
