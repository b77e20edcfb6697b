"""A long job, and a worker that dies with it: its caller need not wait until the time for the job is over."""

import subprocess
import sys
import threading
import time

from netlayer import Node
from netlayer.errors import PeerLost, PeerUnreachable

WORKER = """
from netlayer import Node
from twisted.internet.task import deferLater
from twisted.internet import reactor

worker = Node(2, "localhost", 0)
worker.handle_data = lambda packet: deferLater(reactor, 600)
worker.start_node()
print(worker.port, flush=True)
worker.wait()
"""


def run() -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    address = (2, "localhost", int(worker.stdout.readline()))

    chief = Node(1, "localhost", 0)
    chief.start_node()
    threading.Timer(1.0, worker.kill).start()
    began = time.monotonic()
    try:
        chief.send_data(address, "a job of ten minutes", timeout=900, until="link")
    except PeerLost:
        print("The worker is dead, and its job may be half done; known within 30 s:", time.monotonic() - began < 30)

    try:
        chief.send_data(address, "another job", timeout=900, until="link")
    except PeerUnreachable:
        print("Nobody has begun the other job")

    chief.shutdown()
    worker.wait()


if __name__ == "__main__":
    run()
