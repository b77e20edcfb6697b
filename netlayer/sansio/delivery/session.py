"""The session: delivery between two processes, and how they take it up again on the next connection.

A *session* is the state towards one process of the peer (one boot): our stream, theirs, and all receipts. It outlives
connections. The rules of resumption are those of ``docs/reference/wire-protocol.rst``, "Resume".
"""

from __future__ import annotations

from typing import TypeVar

from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.streams import IncomingStream, OutgoingStream
from netlayer.wire.messages import Select

__all__ = ["MAX_FIRST", "Session"]

#: The highest number that a peer's stream may begin with: nobody gets there, and numbers stay below 2^64.
MAX_FIRST = 2**63

S = TypeVar("S", bound=Select)


class Session:
    """The state of delivery between this process and one process of the peer.

    :param stream_id: of our stream; random, and never changed.
    :param probation: seconds that a packet goes alone if it is suspected to end the peer's processes.
    :param keep: charged bytes that have to arrive before a receipt that was sent is known to have been received.
    :ivar boot: the boot number of the peer's process.
    :ivar peer_told: the id of the peer's stream as it was told last, or None before that.
    """

    def __init__(self, boot: int, *, stream_id: int, probation: float, keep: int) -> None:
        self.boot = boot
        self.outgoing = OutgoingStream(stream_id, probation=probation)
        self.incoming: IncomingStream | None = None
        self.peer_told: int | None = None
        self._keep = keep

    def state(self, message: type[S]) -> S:
        """Return the SELECT or SELECTED that says where our streams stand."""
        outgoing, incoming = self.outgoing, self.incoming
        held = (incoming.id, incoming.received) if incoming is not None and incoming.confirmed else (0, 0)
        return message(outgoing.id, outgoing.first, *held, outgoing.first - 1)

    def judge(self, told: Select) -> None:
        """Raise if what the peer tells can't be. Nothing has changed then.

        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        received = self._last_received(told)
        if received is not None:
            self.outgoing.judge_resume(received)

    def resume(self, told: Select) -> list[OutgoingPacket]:
        """Apply the state that the peer has told in its SELECT or SELECTED.

        :returns: what was written and the peer has forgotten, if it has: nobody will know what became of it.
        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        outgoing, incoming = self.outgoing, self.incoming
        received = self._last_received(told)
        forgotten: list[OutgoingPacket] = []
        if received is not None:
            outgoing.resume_behind(received)
        else:
            forgotten = outgoing.clear()
        self.peer_told = told.stream
        if incoming is not None and incoming.confirmed and incoming.id == told.stream:
            incoming.repeat_receipts(told.receipted)
        else:
            self.incoming = IncomingStream(told.stream, first=told.first, keep=self._keep)
        return forgotten

    def _last_received(self, told: Select) -> int | None:
        """Return the last packet of ours that the peer has, or None if it has forgotten what it had."""
        if told.peer_stream == self.outgoing.id:
            return told.received
        if told.stream == self.peer_told:
            return self.outgoing.first - 1  # the same session, which never had a packet of ours
        return None
