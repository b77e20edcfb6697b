"""The introductions: what this node says in HELLO and WELCOME, and what it thinks of what the other end says."""

from __future__ import annotations

from typing import Any

import attrs

from netlayer.errors import PeerIdentityMismatch, RemoteProtocolError
from netlayer.sansio.link.proof import Channel
from netlayer.wire.messages import VERSION, Feature, Hello, NetAddress, Reject, RejectCode, Role, Ticket, Welcome

#: What a dialer is told that has shown no proof: that there is a secret is all that a stranger learns.
NO_SECRET = "this network asks for a secret"

__all__ = ["FEATURES", "Introduction", "LocalNode", "RemoteNode", "judge_hello", "judge_welcome"]


#: What this implementation speaks beyond version 1.
FEATURES = (Feature.ANNOUNCE,)


@attrs.frozen(kw_only=True)
class Introduction:
    """What a node says about itself, in HELLO as in WELCOME.

    :ivar boot: made at random at process start; tells a restart from a reconnect.
    :ivar window: bytes without a receipt that it takes on a link.
    :ivar features: what it speaks beyond version 1.
    :ivar links: how many peers it is linked to, bootstraps left out; None if it does not tell.
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
    features: tuple[str, ...] = ()
    links: int | None = None


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
    """What this node says about itself, and who it is.

    :ivar secrets: the stretched secrets of the network, the one that it proves first; empty if it asks for none.
    """

    network: str
    fingerprint: bytes
    features: tuple[str, ...] = FEATURES
    secrets: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    def channel(self, binding: bytes, fingerprint: bytes, *, dialed: bool) -> Channel:
        """Return what proofs are about on a connection to the holder of `fingerprint`."""
        dialer, listener = (self.fingerprint, fingerprint) if dialed else (fingerprint, self.fingerprint)
        return Channel(binding, dialer, listener, self.network)

    def hello(self, proof: bytes = b"") -> Hello:
        """Return the introduction of the dialer.

        :param proof: as :meth:`proof_to_listener` makes it.
        """
        return Hello(version_min=VERSION, version_max=VERSION, proof=proof, **self._told())

    def welcome(self, observed: NetAddress | None, proof: bytes = b"") -> Welcome:
        """Return the introduction of the listener.

        :param observed: the address that the dialer was seen from.
        :param proof: as :meth:`proof_to_dialer` makes it.
        """
        return Welcome(version=VERSION, observed=observed, proof=proof, **self._told())

    def proof_to_listener(self, channel: Channel) -> bytes:
        """Return the proof that this node knows the network's secret, as the dialer; empty if there is no secret."""
        return channel.dialer_proof(self.secrets[0], dialer_id=self.node_id) if self.secrets else b""

    def proof_to_dialer(self, channel: Channel, hello: Hello) -> bytes:
        """Return the same as the listener, by the secret that the dialer has proven."""
        secret = channel.secret_of_dialer(hello.proof, self.secrets, dialer_id=hello.node_id)
        if secret is None:
            return b""
        return channel.listener_proof(secret, dialer_id=hello.node_id, listener_id=self.node_id)

    def _told(self) -> dict[str, Any]:
        return {"network": self.network} | {name: getattr(self, name) for name in _TOLD}


def judge_hello(local: LocalNode, hello: Hello, channel: Channel) -> Reject | None:
    """Return why a dialer is refused, or None if these rules let it in.

    Whether its id is free, and whether it stands on a list, is for the node to judge.
    """
    if not hello.version_min <= VERSION <= hello.version_max:
        return Reject(RejectCode.VERSION, f"this node speaks version {VERSION}")
    if hello.network != local.network:
        return Reject(RejectCode.NETWORK, "this is another network")
    if channel.dialer == local.fingerprint:
        return Reject(RejectCode.SELF, "this is the key of this node itself")
    if local.secrets and channel.secret_of_dialer(hello.proof, local.secrets, dialer_id=hello.node_id) is None:
        return Reject(RejectCode.BAD_SECRET, "the network's secret was not proven" if hello.proof else NO_SECRET)
    if hello.node_id == local.node_id:
        return Reject(RejectCode.ID_TAKEN, f"id {hello.node_id} is the id of this node itself")
    return None


def judge_welcome(local: LocalNode, welcome: Welcome, channel: Channel, *, expected_id: int | None) -> Reject | None:
    """Return why a listener is refused, or None if it is one that this node may link to.

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
    ids = {"dialer_id": local.node_id, "listener_id": welcome.node_id}
    if local.secrets and not channel.is_proven_by_listener(welcome.proof, local.secrets, **ids):
        return Reject(RejectCode.BAD_SECRET, "the listener has not proven the network's secret")
    return None
