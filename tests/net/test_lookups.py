"""Look-ups of names that others have told of."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netlayer.addresses import Address
from netlayer.net.lookups import MOST, FewLookups
from netlayer.net.wanted import client_endpoint


@implementer(IHostnameResolver)
class Resolver:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0) -> Any:
        self.asked.append((receiver, name, portNumber))
        receiver.resolutionBegan(self)
        return self

    def answer(self, address: str | None) -> None:
        """End the oldest look-up."""
        receiver, _, port = self.asked.pop(0)
        if address is not None:
            receiver.addressResolved(IPv4Address("TCP", address, port))
        receiver.resolutionComplete()


class LookupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.resolver = Resolver()
        self.reactor.nameResolver = self.resolver
        self.few = FewLookups(self.reactor)

    def dial(self, name: str) -> Any:
        return client_endpoint(self.few, Address(name, 8000)).connect(Factory.forProtocol(Protocol))

    def test_few_at_once(self) -> None:
        """So many names are looked up at once; further ones fail at once, and so does who waits no longer."""
        self.assertTrue(verifyObject(IReactorPluggableNameResolver, self.few))
        dialed = [self.dial(f"silent{number}.example") for number in range(MOST)]
        self.failureResultOf(self.dial("one.more.example"), DNSLookupError)
        self.assertEqual(len(self.resolver.asked), MOST)
        for each in dialed:
            each.cancel()
            self.failureResultOf(each)
        self.failureResultOf(self.dial("one.more.example"), DNSLookupError)
        self.resolver.answer(None)
        one = self.dial("found.example")
        self.resolver.answer(None)
        self.resolver.answer("192.0.2.7")
        self.reactor.advance(0)
        self.assertEqual([client[:2] for client in self.reactor.tcpClients], [("192.0.2.7", 8000)])
        self.assertNoResult(one)

    def test_addresses(self) -> None:
        """Addresses are dialed without a look-up, however many there are."""
        for number in range(10):
            self.dial(f"192.0.2.{number}")
        self.assertEqual((len(self.reactor.tcpClients), self.resolver.asked), (10, []))
