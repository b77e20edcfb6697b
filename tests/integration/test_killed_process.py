"""What the other end sees of a process that is killed: on real sockets, and in the simulated internet."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from netlayer.testing import SimulatedInternet
from tests.integration.processes import ENVIRONMENT
from tests.integration.stranger import until
from tests.testing.sockets import factory_of

reactor: Any = global_reactor

ANSWER = 100_000
#: Takes one connection, or none, and answers the first byte of it.
PROGRAM = f"""
import socket, sys, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
if sys.argv[1] != "not accepted":
    connection, _ = listening.accept()
    connection.recv(1)
    connection.sendall(bytes({ANSWER}))
time.sleep(60)
"""
#: What the client says, by what becomes of it.
SAYINGS = {"read": b"x", "unread": b"xyz", "not accepted": b"x"}


class Client(Protocol):
    """Says something, and notes what comes.

    :ivar received: how many bytes came.
    :ivar end: the name of the error that the connection ended with, or None.
    """

    received = 0
    end: str | None = None

    def __init__(self, say: bytes) -> None:
        self._say = say

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._say)

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end = type(reason.value).__name__


class Server(Protocol):
    """Reads one byte, as the program does, and answers it."""

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(bytes(ANSWER))


class KilledProcessTests(TestCase):
    #: With which error the connection ends, and after how many bytes.
    seen: ClassVar[dict[str, tuple[str, int]]] = {
        "read": ("ConnectionDone", ANSWER),
        "unread": ("ConnectionLost", ANSWER),
        "not accepted": ("ConnectionLost", 0),
    }

    async def test_on_real_sockets(self) -> None:
        """A kernel sends what it had taken and closes; it resets what was not read or not accepted."""
        for what, (end, received) in self.seen.items():
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
            )
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            client = Client(SAYINGS[what])
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(process.stdout.readline()))
            await endpoint.connect(factory_of(client))
            await until(lambda client=client, received=received: client.received == received, what=f"answer, {what}")
            process.kill()
            await until(lambda client=client: client.end, what=f"the end of what was {what}")
            self.assertEqual((client.end, client.received), (end, received), what)

    def test_in_the_simulation(self) -> None:
        """The same, with every seed."""
        for what, (end, received) in self.seen.items():
            for seed in range(20):
                internet = SimulatedInternet(seed)
                one, two = internet.add_hosts(2)
                server, client = Server(), Client(SAYINGS[what])
                internet.run(TCP4ServerEndpoint(two.reactor, 80).listen(factory_of(server)))
                if what == "not accepted":
                    two.stall(60.0)
                connecting = TCP4ClientEndpoint(one.reactor, two.address, 80).connect(factory_of(client))
                if what == "unread":
                    two.read_slowly(1)
                internet.run(connecting)
                internet.run_until(lambda client=client, received=received: client.received == received)
                two.crash()
                internet.advance(10.0)
                self.assertEqual((client.end, client.received), (end, received), f"{what}, seed {seed}")
