"""Farewell: GOODBYE, and what is finished before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sansio.model.network import End
    from tests.sansio.model.process import Process

__all__ = ["Farewell"]

LIMIT = 5.0  # seconds


class Farewell:
    """How a process leaves a link, or ends."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network = process.network

    def leave(self, *, stop: bool) -> None:
        """Leave the link, or end the process."""
        process, network, link = self._process, self._network, self._process.link
        if stop:
            process.stopping = True
            process.sending.fail_queue("NodeStopped")
            for end in list(process.ends):
                if end is not link:
                    network.close(end)
                    process.selecting.lost(end)
        if link is None or not process.up:
            if stop:
                network.abrupt = True
                process.selecting.end_session()
                self.die()
            return
        process.sending.fail_queue("PeerUnreachable")
        if not link.said_goodbye:
            self._say_goodbye(link)

    def goodbye_received(self, end: End) -> None:
        """Answer a GOODBYE, when everything that was begun is finished."""
        process = self._process
        if end is not process.link:
            return
        end.heard_goodbye = True
        process.room.release(end)
        process.sending.fail_queue("PeerUnreachable")
        if not end.said_goodbye:
            self._say_goodbye(end)
        self.close_if_done(end)

    def _say_goodbye(self, link: End) -> None:
        """Say GOODBYE as soon as everything is written whole that was begun, here or on an earlier link."""
        process, network = self._process, self._network
        if process.link is not link or not process.alive or link.said_goodbye:
            return
        if not link.leaving:
            link.leaving = True
            network.at(LIMIT, self._close, link)
        assert process.session is not None
        again = process.session.again and process.up
        if (process.sending.writing or again) and not network.reads("goodbye-midway"):
            process.sending.pump()
            network.at(0.003, self._say_goodbye, link)
        else:
            link.said_goodbye = True
            network.send(link, ("GOODBYE",))
            self.close_if_done(link)

    def close_if_done(self, end: End) -> None:
        """Close a link when both ends have said GOODBYE and everything has its receipt."""
        process, network = self._process, self._network
        if end is not process.link or not process.up or not end.said_goodbye or process.sending.writing:
            return
        session = process.session
        assert session is not None and session.incoming is not None
        incoming = session.incoming
        handled = incoming.acked == incoming.handled_through and "running" not in incoming.states.values()
        if handled and not session.flying and (end.heard_goodbye or network.reads("goodbye-early")):
            network.at(0.001, self._close, end)

    def _close(self, end: End) -> None:
        if self._process.alive and not end.closed:
            self._network.close(end, politely=True)
            self._process.selecting.lost(end)

    def die(self) -> None:
        """End the process; another one is started some time."""
        process, network = self._process, self._network
        if process.alive:
            network.kill(process.side)
            network.at(network.rng.choice((0.1, 3, 20)), network.start, process.side)
