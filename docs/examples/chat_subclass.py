"""A chat in a Twisted application: ``python chat_subclass.py [bootstrap_port]``, ended with Ctrl-C.

To show it in one file, one process holds the bootstrap node and two participants; each could be a process of its own.
"""

import sys

from twisted.application.service import MultiService

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService
from netlayer.errors import LinkLost


class Chat(PeerProtocol):
    """The link to one participant of the chat."""

    def peer_ready(self) -> None:
        self.send_packet({"from": self.factory.local.node_id, "says": "hello"})

    def packet_received(self, packet: DataPacket) -> None:
        print(f"{self.factory.local.node_id} hears {packet.data['from']} say {packet.data['says']!r}")

    def peer_lost(self, reason: LinkLost) -> None:
        print(f"{self.factory.local.node_id} lost {self.peer.node_id}: {reason}")


if __name__ == "__main__":
    from twisted.internet import reactor

    bootstrap_port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    application = MultiService()
    application.startService()

    bootstrap = BootstrapService(reactor, node_id=1, listen=f"tcp:{bootstrap_port}:interface=127.0.0.1")
    bootstrap.setServiceParent(application)  # which runs: the port is bound at once

    for node_id in (2, 3):
        participant = PeerService(
            reactor,
            node_id=node_id,
            listen="tcp:0:interface=127.0.0.1",
            bootstraps=[f"tcp:{bootstrap.listening}"],
            protocol=Chat,
        )
        participant.setServiceParent(application)

    reactor.addSystemEventTrigger("before", "shutdown", application.stopService)
    reactor.run()
