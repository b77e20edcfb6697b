"""Floods by strangers and by members, and what honest nodes notice of them: real processes and TLS on loopback.

``python -m tests.integration.floods`` runs all of them, or those that it is told, and prints figures; it exits with 1
if one is worse than it may be. The figures are those of a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater, react

from netlayer import PeerFactory, PeerProtocol, Settings
from netlayer.storage.admission import Admission
from tests.integration.processes import Script

HOST, SECRET = "127.0.0.1", "the secret of this network"

#: A node with a secret. It obeys lines on its keyboard.
VICTIM = """
    import resource, sys
    from netlayer import Node, Settings

    files = int(sys.argv[1])
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    class Victim(Node):
        def handle_data(self, packet):
            pass

    node = Victim(1, "127.0.0.1", 0, network_secret="SECRET", settings=Settings(max_connections=1024))
    node.start_node()
    print("port", node.port)
    for line in sys.stdin:
        strangers = node._service.factory._strangers
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print("status", len(strangers), len(node.get_peers()), memory)
    node.shutdown()
    """.replace("SECRET", SECRET)

#: Connects, says nothing, and tells how long the node has borne it.
SILENT = """
    import socket, select, sys, time

    port, count = int(sys.argv[1]), int(sys.argv[2])
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    waiting, poll, closed = {}, select.poll(), 0
    for _ in range(count):
        stranger = socket.create_connection(("127.0.0.1", port))
        waiting[stranger.fileno()] = stranger
        poll.register(stranger, select.POLLIN)
    connected = time.monotonic()
    print("connected")
    while waiting and time.monotonic() < connected + 20:
        for number, _ in poll.poll(200):
            poll.unregister(number)
            waiting.pop(number).close()
            closed += 1
    print("closed", closed, f"{time.monotonic() - connected:.2f}")
    """

#: Links without the secret, again and again: TLS and a HELLO each time.
KNOCKING = """
    import sys, time
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import TCP4ClientEndpoint
    from twisted.internet.task import react
    from netlayer import PeerFactory

    port, seconds = int(sys.argv[1]), float(sys.argv[2])

    async def main(reactor):
        factory, refused = PeerFactory(reactor, node_id=666), 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await factory.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port))
                raise SystemExit("a stranger was let in")
            except Exception:
                refused += 1
        print("refused", refused)
        await factory.stop()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    """

#: A member that floods: garbage on its link, packets of one byte, or packets to itself that it never reads.
MEMBER = """
    import sys, time
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import TCP4ClientEndpoint
    from twisted.internet.task import deferLater, react
    from netlayer import PeerFactory
    from netlayer.storage.admission import Admission
    from netlayer.errors import QueueFull

    port, kind, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])

    async def main(reactor):
        rule = Admission.from_options("default", secret="SECRET")
        factory, sent = PeerFactory(reactor, node_id=667, admission=rule), 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                link = await factory.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port))
            except Exception as error:
                print("refused", error)
                await deferLater(reactor, 0.2)
                continue
            print("linked")
            if kind == "garbage":
                factory.link_drivers()[0].transport.write(bytes(range(256)) * 64)
                await deferLater(reactor, 0.05)
            elif kind == "packets":
                while time.monotonic() < end and link.link.is_up:
                    try:
                        for _ in range(500):
                            link.send_packet(b"x")
                            sent += 1
                    except QueueFull:
                        await link.when_drained()
                    await deferLater(reactor, 0)
            else:
                factory.link_drivers()[0].transport.pauseProducing()
                await deferLater(reactor, max(0.0, end - time.monotonic()))
        print("sent", sent)
        await factory.stop()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    """.replace("SECRET", SECRET)

#: Peers of a broadcaster, several in one process. Those from an id on read nothing as soon as they are linked, and dial
#: again whenever they were given up.
RECEIVERS = """
    import sys
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.task import react
    from netlayer import PeerProtocol, PeerService

    port, first, count, slow_from = map(int, sys.argv[1:])

    class Fast(PeerProtocol):
        pass

    class Slow(PeerProtocol):
        def peer_ready(self):
            self.transport.pauseProducing()

    async def main(reactor):
        services = [
            PeerService(
                reactor,
                node_id=node_id,
                listen="tcp:0:interface=127.0.0.1",
                peers=[(1, "127.0.0.1", port)],
                protocol=Slow if node_id >= slow_from else Fast,
                network_secret="SECRET",
            )
            for node_id in range(first, first + count)
        ]
        await gatherResults([service.start() for service in services])
        print("linked", flush=True)
        await Deferred()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    """.replace("SECRET", SECRET)

#: Broadcasts to them, each time when the fast ones have all receipted the last one and have rested for as long as that
#: took. Tells how long each receipt of a fast one took, what became of the others, and what memory it cost.
BROADCASTER = """
    import json, sys, time
    from collections import Counter
    from pathlib import Path
    from twisted.internet.defer import Deferred, DeferredList
    from twisted.internet.task import deferLater, react
    from netlayer import PeerService

    peers, slow_from, rounds, size = map(int, sys.argv[1:])
    times, outcomes = [], Counter()

    def memory(what):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

    def told(result, peer, began):
        if result is None and peer < slow_from:
            times.append(time.monotonic() - began)
        kind = "fast" if peer < slow_from else "slow"
        outcomes[kind + " " + ("done" if result is None else type(result.value).__name__)] += 1

    async def main(reactor):
        service = PeerService(reactor, node_id=1, listen="tcp:0:interface=127.0.0.1", network_secret="SECRET")
        await service.start()
        print("port", service.listening.port, flush=True)
        while len(service.get_peers()) < peers:
            await deferLater(reactor, 0.05)
        await deferLater(reactor, 1.0)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        links = []
        for number in range(rounds):
            began = time.monotonic()
            sent = service.factory.broadcast(bytes([number % 256]) * size)
            for peer, outcome in sent.items():
                outcome.addBoth(told, peer, began)
            links.append(len(sent))
            await DeferredList([outcome for peer, outcome in sent.items() if peer < slow_from])
            await deferLater(reactor, max(0.05, time.monotonic() - began))
        cost = memory("VmHWM") - before
        print(json.dumps({"cost": cost, "outcomes": outcomes, "links": min(links), "times": times}), flush=True)
        await service.stop()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    """.replace("SECRET", SECRET)


class Honest(PeerProtocol):
    """An honest node's link."""


class Report:
    """What was measured, and whether it is good enough."""

    def __init__(self) -> None:
        self.failed = False

    def line(self, name: str, text: str, *, good: bool) -> None:
        """Print one result."""
        self.failed |= not good
        print(f"{'ok  ' if good else 'BAD '} {name}: {text}", flush=True)


def percentile(times: list[float], share: float) -> float:
    """Return the time in milliseconds below which this share of the times lies."""
    return 1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else float("inf")


@contextmanager
def process(source: str, *arguments: object) -> Iterator[Script]:
    """Run a process for a while."""
    running = Script(source, command=("script.py", *map(str, arguments)), stdin=-1)
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def victim(*, files: int = 0) -> Iterator[tuple[Script, int]]:
    """Run a victim; give it and its port."""
    with process(VICTIM, files) as node:
        yield node, int(node.read(r"^port (\d+)$")[1])
        node.process.stdin.close()
        assert node.wait(within=15) == 0, node
        assert "Traceback" not in node.err + node.log, node


async def logins(reactor: Any, port: int, done: Callable[[], bool]) -> tuple[list[float], int]:
    """Link to a node and leave it, again and again, until `done`; return the times that it took, and the failures."""
    rule = Admission.from_options("default", secret=SECRET)
    factory = PeerFactory(reactor, node_id=2, admission=rule, protocol=Honest, settings=Settings())
    times: list[float] = []
    failures = 0
    while not done():
        began = time.monotonic()
        try:
            link = await factory.connect(TCP4ClientEndpoint(reactor, HOST, port))
        except Exception as error:
            print("  an honest login failed:", error)
            failures += 1
            continue
        times.append(time.monotonic() - began)
        link.disconnect()
        while factory._connections:
            await deferLater(reactor, 0.001)
        await deferLater(reactor, 0.02)
    await factory.stop()
    return times, failures


async def round_trips(reactor: Any, port: int, seconds: float) -> list[float]:
    """Send to a node, one packet after the other, and return how long the receipts took."""
    rule = Admission.from_options("default", secret=SECRET)
    factory = PeerFactory(reactor, node_id=2, admission=rule, protocol=Honest)
    link = await factory.connect(TCP4ClientEndpoint(reactor, HOST, port))
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        await link.send_packet(b"honest", confirm=True)
        times.append(time.monotonic() - began)
        await deferLater(reactor, 0.01)
    await factory.stop()
    return times


def has_printed(script: Script, word: str) -> Callable[[], bool]:
    """Return a function that tells whether a script has said a word."""
    return lambda: word in script.out


async def silent(reactor: Any, report: Report) -> None:
    """4,000 connections that say nothing."""
    with victim() as (_, port), process(SILENT, port, 4000) as strangers:
        times, failures = await logins(reactor, port, has_printed(strangers, "closed"))
        closed = strangers.read(r"^closed (\d+) (\S+)$")
        text = f"{len(times)} logins, {failures} failed, p50 {percentile(times, 0.5):.0f} ms, "
        text += f"p99 {percentile(times, 0.99):.0f} ms; {closed[1]} strangers closed {closed[2]} s after the last came"
        good = not failures and percentile(times, 0.99) <= 100 and closed[1] == "4000" and float(closed[2]) <= 6
        report.line("silent", text, good=good)


async def knocking(reactor: Any, report: Report) -> None:
    """TLS handshakes without the secret, from four processes."""
    with victim() as (_, port):
        flooders = [Script(KNOCKING, command=("script.py", str(port), "10")) for _ in range(4)]
        times, failures = await logins(reactor, port, lambda: all("refused" in each.out for each in flooders))
        refused = sum(int(each.read(r"^refused (\d+)$")[1]) for each in flooders)
        for each in flooders:
            each.kill()
        text = f"{len(times)} logins, {failures} failed, p50 {percentile(times, 0.5):.0f} ms, "
        text += f"p99 {percentile(times, 0.99):.0f} ms; {refused} strangers refused"
        report.line("knocking", text, good=not failures and percentile(times, 0.99) <= 250 and refused > 0)


async def files(reactor: Any, report: Report) -> None:
    """600 connections to a process that may have 200 files open."""
    with victim(files=200) as (node, port), process(SILENT, port, 600) as strangers:
        strangers.read(r"^closed ")
        times, failures = await logins(reactor, port, iter([False] * 20 + [True]).__next__)
        lines = len(node.log.splitlines())
        text = f"alive, {len(times)} logins after it, {failures} failed, {lines} lines in its log"
        report.line("files", text, good=not failures and lines - 3 * len(times) <= 100)


async def member(reactor: Any, report: Report) -> None:
    """A member that sends garbage, floods packets, or does not read."""
    with victim() as (node, port):
        quiet = await round_trips(reactor, port, 3.0)
    for kind in ("garbage", "packets", "deaf"):
        with victim() as (node, port), process(MEMBER, port, kind, 8) as hostile:
            hostile.read("^linked$")
            times = await round_trips(reactor, port, 5.0)
            node.process.stdin.write("status\n")
            memory = node.read(r"^status \d+ \d+ (\d+)$")[1]
            text = f"honest p50 {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms "
            text += f"(quiet: {percentile(quiet, 0.5):.1f}, {percentile(quiet, 0.99):.1f}); {memory} MiB"
            report.line(f"member, {kind}", text, good=percentile(times, 0.99) <= 250 and int(memory) <= 200)


async def broadcasts(reactor: Any, *, peers: int, slow: int, rounds: int, size: int) -> dict[str, Any]:
    """Broadcast to peers of which some do not read, and return what the broadcaster tells."""
    first, each = 100, 10
    slow_from = first + peers - slow
    with process(BROADCASTER, peers, slow_from, rounds, size) as broadcaster, ExitStack() as receivers:
        port = broadcaster.read(r"^port (\d+)$")[1]
        for n in range(first, first + peers, each):
            receivers.enter_context(process(RECEIVERS, port, n, min(each, first + peers - n), slow_from))
        while not broadcaster.out.endswith("}\n"):
            assert broadcaster.process.poll() is None, broadcaster
            await deferLater(reactor, 0.5)
        assert "Traceback" not in broadcaster.err + broadcaster.log, broadcaster
        told: dict[str, Any] = json.loads(broadcaster.out.splitlines()[-1])
        return told


async def slow(reactor: Any, report: Report) -> None:
    """200 broadcasts of 1 MiB to 50 peers, of which 20 do not read."""
    peers, deaf, rounds, size = 50, 20, 200, 2**20
    quiet = await broadcasts(reactor, peers=peers, slow=0, rounds=rounds, size=size)
    told = await broadcasts(reactor, peers=peers, slow=deaf, rounds=rounds, size=size)
    late, usual = percentile(told["times"], 0.99), percentile(quiet["times"], 0.99)
    text = f"fast p50 {percentile(told['times'], 0.5):.0f} ms, p99 {late:.0f} ms "
    text += f"(all read: {percentile(quiet['times'], 0.5):.0f}, {usual:.0f}); "
    text += f"{told['cost']:.0f} MiB (all read: {quiet['cost']:.0f}); "
    text += ", ".join(f"{count} {what}" for what, count in sorted(told["outcomes"].items()))
    whole = (
        told["outcomes"]["fast done"] == rounds * (peers - deaf) and quiet["outcomes"]["fast done"] == rounds * peers
    )
    report.line("slow", text, good=whole and late <= 2 * usual and told["cost"] <= 64 + 8 * deaf)


FLOODS: dict[str, Callable[[Any, Report], Any]] = {
    "silent": silent,
    "knocking": knocking,
    "files": files,
    "member": member,
    "slow": slow,
}


async def run(reactor: Any, names: list[str]) -> None:
    """Run floods, one after the other."""
    report = Report()
    for name in names:
        await FLOODS[name](reactor, report)
    if report.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.integration.floods", description=__doc__)
    parser.add_argument("floods", nargs="*", choices=[[], *FLOODS], help=f"of {', '.join(FLOODS)}; by default all")
    chosen = parser.parse_args().floods or list(FLOODS)
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, chosen)))
    sys.exit(0)
