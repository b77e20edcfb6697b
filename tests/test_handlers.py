"""What an application is given, and what happens with it until the application brings a handler."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from netlayer.handlers import DataHandler, DataPacket


class Seven:
    """What of a node the default handler looks at."""

    node_id = 7


class DataPacketTests(SynchronousTestCase):
    def test_str(self) -> None:
        """A packet is printed as its sender and its data."""
        for data, text in [
            ("hello", "2: hello"),
            ("", "2: "),
            (b"\xff", r"2: b'\xff'"),
            ({"a": [1]}, "2: {'a': [1]}"),
            (None, "2: None"),
        ]:
            self.assertEqual(str(DataPacket(2, data)), text)
            self.assertEqual(f"{DataPacket(2, data)}", text)

    def test_defaults(self) -> None:
        """A packet that a test makes by hand is an ordinary one."""
        packet = DataPacket(2, "x")
        self.assertEqual((packet.sender_id, packet.data), (2, "x"))
        self.assertEqual((packet.broadcast, packet.redelivered), (False, False))

    def test_equality(self) -> None:
        """Packets are equal if an application sees no difference; how they arrived does not count."""
        arrived = DataPacket(2, "x", True, False, object(), 9, True)
        self.assertEqual(arrived, DataPacket(2, "x", broadcast=True))
        for other in (DataPacket(3, "x", True), DataPacket(2, "y", True), DataPacket(2, "x"), "2: x"):
            self.assertNotEqual(arrived, other)
        self.assertNotEqual(DataPacket(2, "x", redelivered=True), DataPacket(2, "x"))

    def test_repr(self) -> None:
        """The repr shows what an application may use."""
        arrived = DataPacket(2, "x", True, False, object(), 9, True)
        self.assertEqual(repr(arrived), "DataPacket(sender_id=2, data='x', broadcast=True, redelivered=False)")


class DataHandlerTests(SynchronousTestCase):
    def test_prints(self) -> None:
        """Without a handler of the application, what arrives is printed."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            result = DataHandler.handle_data(Seven(), DataPacket(2, "hello"))
        self.assertEqual(out.getvalue(), "Node 7 received data: 2: hello\n")
        self.assertIsNone(result)

    def test_seen_at_once(self) -> None:
        """The line is there at once, even where the output is a pipe."""
        pipe = io.BytesIO()
        buffered = io.TextIOWrapper(pipe, "utf-8")
        with contextlib.redirect_stdout(buffered):
            DataHandler.handle_data(Seven(), DataPacket(2, b"hello"))
        self.assertEqual(pipe.getvalue(), b"Node 7 received data: 2: b'hello'\n")

    def test_instance(self) -> None:
        """It may be called on an instance as well."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            DataHandler().handle_data(Seven(), DataPacket(2, 1))
        self.assertIn("received data: 2: 1", out.getvalue())
