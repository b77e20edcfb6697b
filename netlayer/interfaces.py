"""What can be put in place of netlayer's own parts: the interfaces that it asks for."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from zope.interface import Attribute, Interface

__all__ = ["IIdentity", "ISecurity"]


class IIdentity(Interface):
    """Who a participant is, and how it proves that: :class:`netlayer.Identity`, or the test kit's seeded one."""

    fingerprint = Attribute("32 bytes that name the participant for life.")
    ephemeral = Attribute("Whether the identity dies with this process.")

    def security(clock: IReactorTime) -> ISecurity:
        """Return what secures the connections of the participant, one for each node."""


class ISecurity(Interface):
    """Secures connections, so that each end knows the fingerprint of the other."""

    def listen(endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen for secured connections at `endpoint`; `factory` builds the protocols inside, or None."""

    def connect(endpoint: IStreamClientEndpoint, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to `endpoint`. The Deferred fires when TCP stands, before the connection is secured.

        A protocol that provides ``IHandshakeListener`` is told when it is, as listening ones are.
        """

    def binding(transport: ITransport) -> bytes:
        """Return 32 bytes that both ends have derived from their connection, and that nobody else can know.

        Call it when the handshake is over. Proofs of the network's secret are good for this connection only by them.
        """

    def proven_fingerprint(transport: ITransport) -> bytes:
        """Return the fingerprint of the other end. Call it when the handshake is over.

        :param transport: the one of the protocol inside.
        :raises RemoteProtocolError: when the other end has not shown a fingerprint, or speaks another protocol.
        """
