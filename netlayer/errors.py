"""Every exception of netlayer: fields first, sentences built from them.

Code that catches an error reads its fields; people read ``str(error)``. All derive from :class:`NetlayerError`. The
repr is that of every exception: its class and its fields in order.
"""

from __future__ import annotations

from typing import Any

import attrs

__all__ = [
    "AlreadyStarted",
    "ConfigurationError",
    "DeliveryError",
    "DeliveryTimeout",
    "HandlerFailed",
    "InvalidArgument",
    "InvalidPeer",
    "JoinRefused",
    "LifeCycleError",
    "LinkLost",
    "ListenError",
    "LocalProtocolError",
    "NetlayerError",
    "NodeStopped",
    "NotStarted",
    "PacketTooLarge",
    "PeerIdentityMismatch",
    "PeerLost",
    "PeerUnreachable",
    "ProtocolError",
    "QueueFull",
    "Rejected",
    "RemoteProtocolError",
    "UnknownPeer",
    "UnsupportedData",
]

#: How much of a text that a peer sent is shown; it may be hostile.
SHOWN_TEXT = 200


def shown(text: object) -> str:
    """Return `text`, which a peer may have chosen, escaped and cut so that it is safe in a log line."""
    return _cut(ascii(text) if isinstance(text, (str, bytes)) else ascii(str(text)))


def described(value: object) -> str:
    """Return the repr of `value`, which a caller has given, escaped and cut, even if it has a repr that fails."""
    try:
        return _cut(ascii(value))
    except Exception:  # such as an int with more digits than Python prints
        return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 3] + "..."


def _peer(peer_id: int | None) -> str:
    return "the peer" if peer_id is None else f"peer {peer_id}"


class NetlayerError(Exception):
    """The root of every error that netlayer raises."""


@attrs.define(slots=False, eq=False, repr=False)
class ConfigurationError(NetlayerError, ValueError):
    """A node, a service or a setting was described wrongly; nothing was started."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False, repr=False)
class ListenError(NetlayerError):
    """The listening address could not be taken.

    :ivar address: the address or endpoint string as it was configured.
    :ivar reason: what the operating system said.
    """

    address: str
    reason: str

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}"


@attrs.define(slots=False, eq=False, repr=False)
class JoinRefused(NetlayerError):
    """A proven bootstrap node refuses this node for good.

    :ivar code: the REJECT code, for example ``id-taken`` or ``version``.
    :ivar text: the bootstrap's own words.
    :ivar address: where the bootstrap node was dialed.
    """

    code: str
    text: str
    address: str

    def __str__(self) -> str:
        return f"the bootstrap node at {self.address} refuses this node: {self.code} ({shown(self.text)})"


class LifeCycleError(NetlayerError):
    """A verb was used in a state of the node that does not allow it."""


class AlreadyStarted(LifeCycleError):
    """The node was started before; a node is started once."""

    def __str__(self) -> str:
        return "this node was already started"


class NotStarted(LifeCycleError):
    """The node was not started yet."""

    def __str__(self) -> str:
        return "this node was not started yet: call start_node() of a node, or start() of a service, first"


class DeliveryError(NetlayerError):
    """A packet was not delivered, or it is not known whether it was."""


class NodeStopped(LifeCycleError, DeliveryError):
    """The node was shut down; what was not sent will not be sent."""

    def __str__(self) -> str:
        return "this node was shut down"


@attrs.define(slots=False, eq=False, repr=False)
class InvalidPeer(DeliveryError, ValueError):
    """What was given as a peer is none: malformed, out of range, or this node itself.

    :ivar peer: what the caller gave.
    """

    peer: object
    reason: str

    def __str__(self) -> str:
        return f"{described(self.peer)} is not a peer to send to: {self.reason}"


@attrs.define(slots=False, eq=False, repr=False)
class InvalidArgument(DeliveryError, ValueError):
    """An argument of a call that sends makes no sense; nothing was sent.

    :ivar name: the name of the argument, for example ``timeout``.
    :ivar value: what the caller gave.
    """

    name: str
    value: object
    reason: str

    def __str__(self) -> str:
        return f"{self.name}={described(self.value)} makes no sense: {self.reason}"


@attrs.define(slots=False, eq=False, repr=False)
class UnsupportedData(DeliveryError, TypeError):
    """The value can't be carried; nothing was sent.

    :ivar where: the path to the culprit inside the value, for example ``data['a'][3]``.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} can't be sent: {self.reason}"


@attrs.define(slots=False, eq=False, repr=False)
class PacketTooLarge(DeliveryError):
    """The packet is over the limit of this node or of its peer; nothing was sent.

    :ivar size: bytes of the encoded packet.
    :ivar limit: bytes that would have been allowed.
    :ivar structured: whether that is the limit of lists, dicts and whatever else is neither bytes nor text.
    """

    size: int
    limit: int
    structured: bool = False

    def __str__(self) -> str:
        exceeded = f"a packet of {self.size} bytes is over the limit of {self.limit} bytes"
        return f"{exceeded} for structured values; bytes and text may be larger" if self.structured else exceeded


@attrs.define(slots=False, eq=False, repr=False)
class UnknownPeer(DeliveryError):
    """Neither a link nor an address is known for this id."""

    peer_id: int

    def __str__(self) -> str:
        return f"no address is known for peer {self.peer_id}"


@attrs.define(slots=False, eq=False, repr=False)
class PeerUnreachable(DeliveryError):
    """The peer could not be linked, or no link brings the packet through; it was not handled.

    :ivar attempts: how many times the peer was dialed, or the packet was begun; 0 if it could not be dialed at all.
    :ivar reason: why the last attempt failed.
    """

    peer_id: int | None
    attempts: int
    reason: str

    def __str__(self) -> str:
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"{_peer(self.peer_id)} can't be reached ({times}): {self.reason}"


@attrs.define(slots=False, eq=False, repr=False)
class PeerIdentityMismatch(DeliveryError):
    """Somebody else answers where the peer was expected.

    :ivar expected: what the answer should have been: an id or a ``sha256:`` fingerprint.
    :ivar found: what it was.
    """

    expected: str
    found: str

    def __str__(self) -> str:
        return f"expected {self.expected} there, but found {self.found}"


@attrs.define(slots=False, eq=False, repr=False)
class PeerLost(DeliveryError):
    """The session with the peer ended while the packet was under way: its outcome is unknown.

    :ivar reason: why the session ended.
    :ivar processes: how many processes of the peer were given the packet and have ended without a receipt for it, if
        that is why it was given up; else 0.
    """

    peer_id: int | None
    reason: str
    processes: int = 0

    def __str__(self) -> str:
        return f"{_peer(self.peer_id)} was lost ({self.reason}); the packet may or may not have been handled"


@attrs.define(slots=False, eq=False, repr=False)
class DeliveryTimeout(DeliveryError):
    """No receipt came in time: the outcome is unknown if the packet was written.

    :ivar seconds: how long was waited: for this packet, with what the caller had chosen and how it got on. 0 says that
        a broadcast did not wait for this peer, which has not answered in time lately.
    :ivar written: whether the packet had been written to the peer, or will be; if not, it was withdrawn.
    """

    peer_id: int | None
    seconds: float
    written: bool

    def __str__(self) -> str:
        if not self.seconds:
            late = "which has let its last deadlines pass"
            return f"the packet to {_peer(self.peer_id)}, {late}, was not waited for; it may still be handled"
        outcome = "it may still be handled" if self.written else "it was not sent and has been withdrawn"
        return f"no receipt for the packet to {_peer(self.peer_id)} within {self.seconds:g} s; {outcome}"


@attrs.define(slots=False, eq=False, repr=False)
class QueueFull(DeliveryError):
    """The peer takes packets more slowly than they are sent; this one was not queued.

    :ivar queued: bytes that wait, overhead included.
    :ivar limit: bytes from which on packets are refused.
    """

    peer_id: int | None
    queued: int
    limit: int

    def __str__(self) -> str:
        return f"the send queue of {_peer(self.peer_id)} is full ({self.queued} of {self.limit} bytes)"


@attrs.define(slots=False, eq=False, repr=False)
class HandlerFailed(DeliveryError):
    """The packet arrived, and the peer's handler raised.

    :ivar text: what the peer says about it.
    """

    peer_id: int | None
    text: str

    def __str__(self) -> str:
        return f"the handler of {_peer(self.peer_id)} failed: {shown(self.text)}"


class ProtocolError(NetlayerError):
    """The wire protocol was violated."""


@attrs.define(slots=False, eq=False, repr=False)
class LocalProtocolError(ProtocolError):
    """Our own side asked a protocol object for something that its state does not allow."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False, repr=False)
class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow. The only error that bytes from the network cause."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False, repr=False)
class Rejected(NetlayerError):
    """The other end answered REJECT instead of WELCOME or SELECT.

    :ivar code: one of :class:`netlayer.wire.messages.RejectCode`.
    :ivar text: the other end's own words; show them with care.
    :ivar retry_after: seconds after which another attempt makes sense, or None if nothing was said.
    :ivar referrals: peers that may have room, as the other end says, if it has none.
    """

    code: str
    text: str
    retry_after: float | None = None
    referrals: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"rejected: {self.code} ({shown(self.text)})" if self.text else f"rejected: {self.code}"


@attrs.define(slots=False, eq=False, repr=False)
class LinkLost(NetlayerError):
    """A connection ended; what :meth:`netlayer.PeerProtocol.peer_lost` is given.

    :ivar reason: why, in a few words.
    :ivar goodbye: the code of the peer's GOODBYE, or None if it said none. After ``room`` the session lives on.
    :ivar unknown: numbers of plain sends (:meth:`~netlayer.PeerProtocol.send_packet`) whose outcome will never be
        known, because the session ended with the connection. Empty while the session lives on.
    :ivar retry_after: seconds after which another link makes sense, as the peer's GOODBYE has said, or None.
    """

    reason: str
    goodbye: str | None = None
    unknown: tuple[int, ...] = ()
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.reason
