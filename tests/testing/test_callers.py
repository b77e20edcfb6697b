"""How long callers wait, whatever happens to those they send to."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, PeerProtocol, PeerService, Settings
from netlayer.errors import DeliveryTimeout, InvalidArgument, PeerLost, PeerUnreachable
from netlayer.testing import SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, meshed, node


class Worker(PeerProtocol):
    with_bootstraps = True

    """Handles a number in so many seconds, and everything else never."""

    def packet_received(self, packet: DataPacket) -> Any:
        """Take the time."""
        host = self.factory.application
        host.disk.setdefault("begun", []).append(packet.data)
        done: Deferred[None] = Deferred()
        if isinstance(packet.data, int | float):
            host.reactor.callLater(packet.data, done.callback, None)
        return done


def worker(host: SimulatedHost, **options: Any) -> PeerService:
    """Return the node of a host that works."""
    service = node(host, protocol=Worker, **options)
    service.factory.application = host
    return service


class CallersTestCase(SynchronousTestCase):
    """A node ``caller``, a node ``worker``, and a bootstrap node ``alpha``."""

    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=3)
        self.internet.add_host("alpha").run(bootstrap)
        self.caller, self.worker = self.internet.add_host("caller"), self.internet.add_host("worker")

    def tearDown(self) -> None:
        for host in self.internet.hosts:
            host.crash()
        self.assertEqual(self.internet.leftovers(), [])

    def start(self, *, more: int = 0, program: Any = worker, **options: Any) -> list[SimulatedHost]:
        """Start the caller, with these options, the worker, and more hosts, which are returned; have all linked.

        :param program: what these run.
        """
        hosts = self.internet.add_hosts(more, "more")
        self.caller.run(lambda host: node(host, **options))
        self.worker.run(worker)
        for host in hosts:
            host.run(program)
        self.internet.run_until(lambda: meshed([self.caller, self.worker, *hosts]))
        return hosts

    @property
    def service(self) -> PeerService:
        """The caller's node."""
        service: PeerService = self.caller.application
        return service

    @property
    def where(self) -> tuple[int, str, int]:
        """Where the worker is."""
        return self.worker.number, self.worker.address, 8001

    def error_of(self, sent: Deferred[Any], seconds: float, *, sooner: bool = False) -> Any:
        """Return the error that a call ends with after so many seconds, or at a time before."""
        began = self.internet.now
        failures: list[Any] = []
        sent.addErrback(failures.append)
        self.internet.run_until(lambda: failures, timeout=seconds + 100.0)
        took = self.internet.now - began
        if sooner:
            self.assertLess(took, seconds)
        else:
            self.assertLess(abs(took - seconds), 0.01)
        return failures[0].value


class TimeoutTests(CallersTestCase):
    """A time that a caller chooses bounds everything."""

    def expire(self, sent: Deferred[Any], seconds: float, *, written: bool) -> None:
        """Let the time of a call pass."""
        error = self.error_of(sent, seconds)
        self.assertIsInstance(error, DeliveryTimeout)
        self.assertEqual((error.peer_id, error.seconds, error.written), (self.worker.number, seconds, written))

    def test_dialing(self) -> None:
        """It ends a dial, and the waits between dials, without a packet having been sent."""
        self.caller.run(node)
        self.worker.run(worker)
        self.worker.crash(silent=True)
        for seconds in (0.5, 7.5):
            self.expire(self.service.send(self.where, b"x", timeout=seconds), seconds, written=False)

    def test_handling(self) -> None:
        """It ends the wait for a handler, also one that is longer than the settings' or shorter."""
        self.start(settings=Settings(delivery_timeout=5.0))
        for seconds in (0.5, 20.0):
            self.expire(self.service.send(self.where, "for ever", timeout=seconds), seconds, written=True)
        self.expire(self.service.send(self.worker.number, "for ever"), 5.0, written=True)
        (link,) = [link for link in self.service.factory.links() if link.peer.node_id == self.worker.number]
        self.expire(link.send_packet("for ever", confirm=True, timeout=0.25), 0.25, written=True)

    def test_queueing(self) -> None:
        """It ends the wait behind other packets, and what was not sent by then is not sent at all."""
        self.start()
        self.worker.read_slowly(20_000)
        self.service.send(self.worker.number, bytes(2**20)).addErrback(lambda _: None)
        self.expire(self.service.send(self.worker.number, "last", timeout=2.0), 2.0, written=False)
        self.worker.read_slowly(None)
        self.internet.advance(10.0)
        self.assertEqual(self.worker.disk["begun"], [bytes(2**20)])

    def test_long_handlers(self) -> None:
        """A caller that takes its time gets the answer of a handler that needs longer than the settings allow."""
        self.start()
        self.internet.run(self.service.send(self.worker.number, 25, timeout=30.0))

    def test_each_its_own(self) -> None:
        """Calls with different times end each at its own, in whichever order they were made."""
        self.start()
        ended: list[float] = []
        for seconds in (3.0, 1.0, 2.0, 0.5, 1.5):
            sent = self.service.send(self.worker.number, "for ever", timeout=seconds)
            sent.addErrback(lambda failure: ended.append(failure.value.seconds))
        self.internet.advance(4.0)
        self.assertEqual(ended, [0.5, 1.0, 1.5, 2.0, 3.0])

    def test_broadcast(self) -> None:
        """A broadcast ends by its own time, too: who has answered by then, and who has not, stand in the report."""
        self.start(more=1)
        began = self.internet.now
        report = self.internet.run(self.service.broadcast("for ever", timeout=1.5))
        self.assertLess(abs(self.internet.now - began - 1.5), 0.01)
        self.assertEqual([error.seconds for error in report.failed.values()], [1.5, 1.5])
        report = self.internet.run(self.service.broadcast(12, timeout=15.0))
        self.assertEqual((len(report.delivered), report.failed), (2, {}))

    def test_senseless(self) -> None:
        """A senseless time fails the call by an error that says so, and nothing is sent."""
        self.start()
        (link,) = [link for link in self.service.factory.links() if link.peer.node_id == self.worker.number]
        value: Any
        for value in (0, "soon", float("nan")):
            for sent in (
                self.service.send(self.worker.number, 0, timeout=value),
                self.service.broadcast(0, timeout=value),
                self.service.send(self.worker.number, 0, until=value),
                self.service.broadcast(0, until=value),
            ):
                self.failureResultOf(sent, InvalidArgument)
            self.assertRaises(InvalidArgument, link.send_packet, 0, confirm=True, timeout=value)
        options: Any
        for options in ({"timeout": 1.0}, {"until": "link"}):
            error = self.assertRaises(InvalidArgument, link.send_packet, 0, **options)
            self.assertIn("confirm=True", str(error))
        self.internet.advance(1.0)
        self.assertNotIn("begun", self.worker.disk)


class UntilLinkTests(CallersTestCase):
    """A worker dies with a long job, for which its caller would wait for long."""

    def lose(self, *, why: str, seconds: float = 1.5) -> None:
        """Kill the worker with a job: the caller knows soon, and what it sends then fails as soon."""
        job = self.service.send(self.where, "job", timeout=500.0, until="link")
        self.internet.run_until(lambda: "begun" in self.worker.disk)
        self.worker.crash()
        error = self.error_of(job, seconds, sooner=True)
        self.assertIsInstance(error, PeerLost, why)
        error = self.error_of(self.service.send(self.where, "job", timeout=500.0, until="link"), seconds, sooner=True)
        self.assertIsInstance(error, PeerUnreachable, why)

    def test_any_reason(self) -> None:
        """That is so for configured peers, for those met through a bootstrap node, and for those asked for."""
        for why, options in (
            ("configured", {"bootstraps": (), "peers": [self.where]}),
            ("configured without an id", {"bootstraps": (), "peers": [self.where[1:]]}),
            ("met", {}),
            ("met and configured", {"peers": [self.where]}),
            ("asked", {"bootstraps": ()}),
        ):
            self.internet = SimulatedInternet(seed=3)
            self.internet.add_host("alpha").run(bootstrap)
            self.caller, self.worker = self.internet.add_host("caller"), self.internet.add_host("worker")
            self.caller.run(lambda host, options=options: node(host, **options))
            self.worker.run(worker)
            self.internet.advance(10.0)
            self.lose(why=why)
            self.tearDown()

    def test_unwritten(self) -> None:
        """What was queued, and not written when the worker died, was not sent: that is known, and said."""
        self.start()
        self.worker.read_slowly(20_000)
        self.service.send(self.where, bytes(2**20), timeout=500.0, until="link").addErrback(lambda _: None)
        self.internet.advance(2.0)
        queued = self.service.send(self.where, "queued", timeout=500.0, until="link")
        self.worker.crash()
        self.assertIsInstance(self.error_of(queued, 1.5, sooner=True), PeerUnreachable)

    def test_broadcast(self) -> None:
        """A broadcast of a job waits no longer for the worker that has died."""
        self.start(more=1)
        reports: list[Any] = []
        self.service.broadcast(60, timeout=500.0, until="link").addCallback(reports.append)
        self.internet.advance(2.0)
        self.worker.crash()
        self.internet.run_until(lambda: reports, timeout=100.0)
        (report,) = reports
        self.assertEqual({peer: type(error) for peer, error in report.failed.items()}, {self.worker.number: PeerLost})
        self.assertEqual(len(report.delivered), 1)

    def test_broken_link(self) -> None:
        """A connection that breaks is no death: the worker is linked again and its answer comes."""
        self.start()
        answers: list[Any] = []
        self.service.send(self.where, 20, timeout=60.0, until="link").addCallback(answers.append)
        for _ in range(3):
            self.internet.advance(4.0)
            for connection in list(self.internet.connections):
                connection.reset()
        self.internet.run_until(lambda: answers)
        self.assertEqual(self.worker.disk["begun"], [20])

    def test_two_places(self) -> None:
        """While one place at which the worker is dialed may still answer, the refusal of another one says nothing."""
        nowhere = self.internet.add_host("nowhere")
        self.start(peers=[self.where, (self.worker.number, nowhere.address, 8001)], bootstraps=[])
        answers: list[Any] = []
        self.service.send(self.where, 20, timeout=60.0, until="link").addBoth(answers.append)
        self.internet.advance(1.0)
        self.internet.set_latency(self.caller, self.worker, 0.4)
        for connection in list(self.internet.connections):
            connection.reset()
        self.internet.run_until(lambda: answers)
        self.assertEqual(answers, [None])

    def test_no_answer(self) -> None:
        """A machine that vanishes refuses nothing: it may be the network, and the caller waits as long as it said."""
        self.start()
        job = self.service.send(self.where, "job", timeout=50.0, until="link")
        self.internet.advance(1.0)
        self.worker.crash(silent=True)
        self.assertIsInstance(self.error_of(job, 49.0), DeliveryTimeout)

    def test_others_wait(self) -> None:
        """A caller that has not asked for it waits for a worker that is started again, and gets its answer."""
        self.start()
        answers: list[Any] = []
        self.service.send(self.where, 20, timeout=60.0).addBoth(answers.append)
        self.internet.advance(5.0)
        self.worker.crash()
        self.internet.advance(5.0)
        self.assertEqual(answers, [])
        self.worker.restart()
        self.internet.run_until(lambda: answers)
        self.assertEqual((answers, self.worker.disk["begun"]), ([None], [20, 20]))

    def test_bootstrap_node(self) -> None:
        """A bootstrap node, which dials nobody that it has met, dials a worker that dies with its job."""
        self.start()
        chief = self.internet.host("alpha").application
        job = chief.send(self.worker.number, "job", timeout=500.0, until="link")
        self.internet.advance(1.0)
        self.worker.crash()
        self.assertIsInstance(self.error_of(job, 1.5, sooner=True), PeerLost)
        self.internet.advance(120.0)
        self.assertEqual(chief.status.wanted, ())
