"""A chat for twistd: ``twistd -ny chat.tac``. One process holds the bootstrap node and two participants."""

from twisted.application.service import Application
from twisted.internet import reactor

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService


class Chat(PeerProtocol):
    """The link to one participant of the chat, or to the bootstrap node."""

    def peer_ready(self) -> None:
        if not self.is_bootstrap:
            self.send_packet("hello")

    def packet_received(self, packet: DataPacket) -> None:
        print(f"{self.factory.local.node_id} hears {packet.sender_id} say {packet.data!r}")


application = Application("chat")  # twistd looks for this name

bootstrap = BootstrapService(reactor, node_id=1, listen="tcp:8000:interface=127.0.0.1")
bootstrap.setServiceParent(application)

for node_id in (2, 3):
    participant = PeerService(
        reactor,
        node_id=node_id,
        listen="tcp:0:interface=127.0.0.1",
        bootstraps=["tcp:127.0.0.1:8000"],
        protocol=Chat,
    )
    participant.setServiceParent(application)
