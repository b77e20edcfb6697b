"""The introductions: what this node says in HELLO and WELCOME, and what it thinks of what the other end says."""

from __future__ import annotations

from typing import Any

import attrs

from netlayer.errors import PeerIdentityMismatch, RemoteProtocolError
from netlayer.wire.messages import VERSION, Hello, NetAddress, Reject, RejectCode, Role, Ticket, Welcome

__all__ = ["Introduction", "LocalNode", "RemoteNode", "judge_hello", "judge_welcome"]


@attrs.frozen(kw_only=True)
class Introduction:
    """What a node says about itself, in HELLO as in WELCOME.

    :ivar boot: made at random at process start; tells a restart from a reconnect.
    :ivar window: bytes without a receipt that it takes on a link.
    """

    node_id: int
    role: Role
    boot: int
    ephemeral: bool
    window: int
    max_frame: int
    max_packet: int
    addresses: tuple[NetAddress, ...] = ()
    ticket: Ticket | None = None
    agent: str = ""


_TOLD = tuple(field.name for field in attrs.fields(Introduction))


@attrs.frozen(kw_only=True)
class RemoteNode(Introduction):
    """What the other end has said about itself."""

    @classmethod
    def from_message(cls, message: Hello | Welcome) -> RemoteNode:
        """Take over what a HELLO or a WELCOME says."""
        return cls(**{name: getattr(message, name) for name in _TOLD})


@attrs.frozen(kw_only=True)
class LocalNode(Introduction):
    """What this node says about itself, and who it is."""

    network: str
    fingerprint: bytes

    def hello(self) -> Hello:
        """Return the introduction of the dialer."""
        return Hello(version_min=VERSION, version_max=VERSION, **self._told())

    def welcome(self, observed: NetAddress | None) -> Welcome:
        """Return the introduction of the listener.

        :param observed: the address that the dialer was seen from.
        """
        return Welcome(version=VERSION, observed=observed, **self._told())

    def _told(self) -> dict[str, Any]:
        return {"network": self.network} | {name: getattr(self, name) for name in _TOLD}


def judge_hello(local: LocalNode, hello: Hello, fingerprint: bytes) -> Reject | None:
    """Return why the dialer with this fingerprint is refused, or None if these rules let it in.

    Whether its id is free is for the node to judge; it alone knows its links.
    """
    if not hello.version_min <= VERSION <= hello.version_max:
        return Reject(RejectCode.VERSION, f"this node speaks version {VERSION}")
    if hello.network != local.network:
        return Reject(RejectCode.NETWORK, "this is another network")
    if fingerprint == local.fingerprint:
        return Reject(RejectCode.SELF, "this is the key of this node itself")
    if hello.node_id == local.node_id:
        return Reject(RejectCode.ID_TAKEN, f"id {hello.node_id} is the id of this node itself")
    return None


def judge_welcome(local: LocalNode, welcome: Welcome, *, expected_id: int | None) -> None:
    """Raise unless the listener is one that this node may link to.

    :raises RemoteProtocolError: when it welcomed us to what we did not ask for.
    :raises PeerIdentityMismatch: when it has another id than the one that was dialed.
    """
    if welcome.version != VERSION:
        raise RemoteProtocolError(f"WELCOME in version {welcome.version}, offered was {VERSION}")
    if welcome.network != local.network:
        raise RemoteProtocolError("WELCOME to another network")
    if welcome.node_id == local.node_id:
        raise PeerIdentityMismatch("another node", f"one with the id of this node, {local.node_id}")
    if expected_id is not None and welcome.node_id != expected_id:
        raise PeerIdentityMismatch(f"node {expected_id}", f"node {welcome.node_id}")
