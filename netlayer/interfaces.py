"""What can be put in place of netlayer's own parts: the interfaces that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, ITransport
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from netlayer.log import NodeLog
    from netlayer.sansio.bootstrap.registry import Binding, Holdings
    from netlayer.sansio.trust.succession import Succession

__all__ = ["IBindingStore", "IIdentity", "ISecurity", "IWallClock"]


class IIdentity(Interface):
    """Who a participant is, and how it proves that: :class:`netlayer.Identity`, or the test kit's seeded one."""

    fingerprint = Attribute("32 bytes that name the participant for life.")
    ephemeral = Attribute("Whether the identity dies with this process.")
    formers = Attribute("The fingerprints of the keys in whose place it is, the oldest first; mostly empty.")
    public_key = Attribute("At most 256 bytes, of which `fingerprint` is the SHA-256; what others check signatures by.")

    def sign(data: bytes) -> bytes:
        """Return a signature of `data`, at most 80 bytes, that nobody else can make."""

    def verify(public_key: bytes, data: bytes, signature: bytes) -> bool:
        """Tell whether a signature of `data` was made by the identity of `public_key`, whatever bytes these are."""

    def security(clock: IReactorTime) -> ISecurity:
        """Return what secures the connections of the participant, one for each node."""


class IBindingStore(Interface):
    """Where a bootstrap node keeps who holds which id: in memory, in an SQLite file, or where an application wants.

    Several bootstrap nodes may share one. Bindings and what a store holds are
    :class:`netlayer.sansio.bootstrap.registry.Binding` and :class:`~netlayer.sansio.bootstrap.registry.Holdings`.
    """

    def start(
        reactor: IReactorTime,
        *,
        network: str,
        signer: bytes | None,
        formers: tuple[bytes, ...] = (),
        changed: Callable[[Holdings], object],
        log: NodeLog,
    ) -> Deferred[Holdings]:
        """Open the store. It fires with all that it holds, and fails with ConfigurationError if it can't be used.

        :param signer: the public key of the bootstrap node, to be kept with those of the others that use the store;
            None if it will not outlive the process.
        :param formers: the fingerprints of the keys in whose place that one is; they are kept no longer.
        :param changed: is called with all that the store holds whenever somebody else has changed it.
        :param log: of the bootstrap node.
        """

    def bind(binding: Binding, *, replacing: bytes | None, formers: tuple[bytes, ...] = ()) -> Deferred[Binding]:
        """Give an id to a key, unless another key holds it; whatever id the key had before is free.

        It fires with the binding that is in effect then, as soon as that is durable, and fails with any error if that
        can't be done.

        :param replacing: the fingerprint of a holder that loses the id to the new one.
        :param formers: the fingerprints of the keys that the new one is in the place of, the oldest first. If the
            binding comes into effect, their ids are free and the store holds that each was replaced by the next.
        """

    def stop() -> Deferred[None]:
        """Close the store when everything is durable that was asked for."""


class IWallClock(Interface):
    """A reactor that knows the time of day; for others the operating system tells it. Tickets have dates."""

    def wall_seconds() -> float:
        """Return the time of day, in seconds since 1970."""


class ISecurity(Interface):
    """Secures connections, so that each end knows the fingerprint of the other."""

    def secured(factory: IProtocolFactory, *, dials: bool) -> IProtocolFactory:
        """Return a factory that puts security around what `factory` builds, if it builds anything.

        It builds :class:`twisted.protocols.policies.ProtocolWrapper` objects. A protocol inside that provides
        ``IHandshakeListener`` is told when its connection is secured.

        :param dials: whether its connections are dialed; of others the dialer speaks first.
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

    def succession(transport: ITransport) -> Succession | None:
        """Return what the other end has shown of the keys before its own, unchecked; None if it has shown nothing.

        Call it when the other end has proven its fingerprint.
        """
