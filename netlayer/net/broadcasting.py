"""One packet to many peers: it is encoded once, and each link has a packet of its own that shares the payload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from netlayer.errors import DeliveryError, DeliveryTimeout, PeerUnreachable
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.timeouts import Wait

if TYPE_CHECKING:
    from netlayer.net.driver import Driver
    from netlayer.net.remote import Remote

__all__ = ["send_to_all"]


def send_to_all(links: Iterable[Driver], first: OutgoingPacket, wait: Wait) -> dict[int, Deferred[None]]:
    """Send a packet over every link that does not lead to a bootstrap node.

    :param first: the packet, whose payload can be shared; the links get packets like it.
    :returns: a Deferred for each peer's id, which fires when its handler has finished. That of a peer which has let its
        last deadlines pass has failed already, though it is sent to: one that hangs must not hold up every broadcast.
    """
    confirmed: dict[int, Deferred[None]] = {}
    for link in links:
        remote = link.remote
        if remote is None or link.is_bootstrap or link.gives_way:
            continue  # who leaves for want of room is linked no more
        if link.is_parting:
            confirmed[remote.node_id] = fail(PeerUnreachable(remote.node_id, 0, "the link ends"))
            continue
        try:
            confirmed[remote.node_id] = _send(remote, first, wait)
        except DeliveryError as error:
            confirmed[remote.node_id] = fail(error)
    return confirmed


def _send(remote: Remote, first: OutgoingPacket, wait: Wait) -> Deferred[None]:
    packet = OutgoingPacket(
        first.tag, first.payload, flags=first.flags, shared=first.shared, from_handler=first.from_handler
    )
    answers = remote.delivery.answers
    confirmed = remote.submit_confirmed(packet, wait)
    if answers:
        return confirmed
    _ = confirmed.addErrback(lambda _: None)  # its deadline passes all the same, so that it is not queued for ever
    return fail(DeliveryTimeout(remote.node_id, 0.0, written=True))
