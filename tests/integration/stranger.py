"""The other end of a node's connection, which speaks the wire by hand and says exactly what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer import Identity
from netlayer.net.tls import MutualTLS, proven_fingerprint
from netlayer.wire.frames import FrameDecoder
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    VERSION,
    Ack,
    Hello,
    Message,
    MessageType,
    Ping,
    Pong,
    Reject,
    Select,
    Selected,
    Welcome,
    decode_message,
    encode_message,
)

reactor: Any = global_reactor
T = TypeVar("T")


async def until(condition: Callable[[], T], *, within: float = 8.0, what: str = "") -> T:
    """Let the reactor run until `condition` is true, and return what it is.

    :param within: seconds after which the test fails.
    """
    ends = reactor.seconds() + within
    while not (result := condition()):
        if reactor.seconds() > ends:
            raise AssertionError(f"still not so after {within:g} s: {what or condition.__qualname__}")
        await deferLater(reactor, 0.002)
    return result


async def turns(count: int = 3) -> None:
    """Let the reactor go round a few times."""
    for _ in range(count):
        await deferLater(reactor, 0)


@implementer(IHandshakeListener)
class Stranger(Protocol):
    """One connection.

    :param above: the fingerprint that its own has to exceed, so that it is the arbiter.
    :param below: the fingerprint that its own must not exceed.
    :ivar other: the fingerprint of the node.
    :ivar heard: the control messages that came, and bodies of packets as bytes; PINGs and PONGs left out.
    :ivar secured: fires when TLS stands.
    """

    def __init__(
        self, node_id: int, *, above: bytes = b"", below: bytes = b"\xff" * 33, identity: Identity | None = None
    ) -> None:
        while identity is None or not above < identity.fingerprint < below:
            identity = Identity.generate()
        self.node_id = node_id
        self.identity = identity
        self.tls = MutualTLS(identity, reactor)
        self.secured: Deferred[None] = Deferred()
        self.heard: list[Message | bytes] = []
        self.other = b""
        self.answers_pings = True
        self.closed = False
        self._frames = FrameDecoder(limit=2**24)

    def introduction(self, **changes: Any) -> dict[str, Any]:
        """Return the fields that HELLO and WELCOME share."""
        honest = {
            "network": "default",
            "node_id": self.node_id,
            "role": "peer",
            "boot": 7,
            "ephemeral": True,
            "window": 2**22,
            "max_frame": MIN_MAX_FRAME,
            "max_packet": 2**24,
        }
        return honest | changes

    def hello(self, **changes: Any) -> Hello:
        """Return an honest introduction, or one with changes."""
        return Hello(**{"version_min": VERSION, "version_max": VERSION} | self.introduction(**changes))

    def welcome(self, **changes: Any) -> Welcome:
        """Return an honest answer to a HELLO, or one with changes."""
        return Welcome(**{"version": VERSION} | self.introduction(**changes))

    async def link(self, **changes: Any) -> None:
        """Introduce itself and become the link."""
        self.say(self.hello(**changes))
        await self.next(Welcome)
        await self.become_link()

    async def become_link(self, state: tuple[int, int, int, int, int] = (99, 1, 0, 0, 0)) -> None:
        """Select the connection, or have it selected, whoever the arbiter is."""
        if self.identity.fingerprint > self.other:
            self.say(Select(*state))
            await self.next(Selected)
        else:
            await self.next(Select)
            self.say(Selected(*state))

    def say(self, *messages: Message | bytes) -> None:
        """Write messages, and bytes as they are."""
        for message in messages:
            self.transport.write(message if isinstance(message, bytes) else encode_message(message))

    async def next(self, kind: type[T]) -> T:
        """Wait for a message of one kind, and forget it and what came before."""
        await until(lambda: self.closed or any(type(message) is kind for message in self.heard), what=kind.__name__)
        for at, message in enumerate(self.heard):
            if type(message) is kind:
                del self.heard[: at + 1]
                return message
        raise AssertionError(f"closed, and no {kind.__name__} came: {self.heard}")

    def receipt(self, through: int) -> None:
        """Say that packets were handled."""
        self.say(Ack(through))

    async def refused(self) -> Reject:
        """Wait until the node has closed the connection, and return why it did."""
        reject = await self.next(Reject)
        await until(lambda: self.closed, what="closed")
        return reject

    def leave(self) -> Deferred[bool] | None:
        """Break the connection."""
        if self.closed:
            return None
        self.transport.abortConnection()
        return Deferred.fromCoroutine(until(lambda: self.closed))

    # ---- Twisted's callbacks

    def handshakeCompleted(self) -> None:
        """Note who is there."""
        self.other = proven_fingerprint(self.transport.getHandle())
        self.secured.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Keep what was heard."""
        self._frames.feed(data)
        while (frame := self._frames.next_frame()) is not None:
            kind, body = frame
            if kind in (MessageType.DATA, MessageType.DATA_PART):
                self.heard.append(body)
                continue
            message = decode_message(kind, body)
            if isinstance(message, Ping):
                if self.answers_pings:
                    self.say(Pong(message.opaque))
            elif message is not None and not isinstance(message, Pong):
                self.heard.append(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self.closed = True
        if not self.secured.called:
            self.secured.errback(reason)
