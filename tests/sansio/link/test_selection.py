"""Which connection is the link."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.link.selection import CLONE_RETRY, Decision, Probe, Refuse, Selection, Take
from netlayer.wire.messages import RejectCode

PROBE_TIMEOUT = 2.0


class SelectionTests(SynchronousTestCase):
    """The arbiter decides; connections are named by letters."""

    def setUp(self) -> None:
        self.selection: Selection[str] = Selection(probe_timeout=PROBE_TIMEOUT)

    def test_first(self) -> None:
        """The first connection is the link at once."""
        self.assertEqual(self.selection.proven("a", 1, 0.0), [Take("a")])
        self.assertEqual(self.selection.link, "a")
        self.assertIsNone(self.selection.deadline)

    def test_duplicate(self) -> None:
        """When both nodes dial each other, the second connection is refused as soon as the first one answers."""
        self.selection.proven("a", 1, 0.0)
        self.assertEqual(self.selection.proven("b", 1, 0.1), [Probe("a")])
        self.assertEqual(self.selection.spoke("a"), [Refuse("b", RejectCode.DUPLICATE)])
        self.assertEqual((self.selection.link, self.selection.deadline), ("a", None))

    def test_clone(self) -> None:
        """Another process with the same key is told that the id is taken, and to ask again soon."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 2, 0.1)
        self.assertEqual(self.selection.spoke("a"), [Refuse("b", RejectCode.ID_TAKEN, CLONE_RETRY)])

    def test_silent_link(self) -> None:
        """A link that does not answer gives way, so that a peer is back 2 s after it has dialed again."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 1, 0.5)
        self.assertEqual(self.selection.deadline, 0.5 + PROBE_TIMEOUT)
        self.assertEqual(self.selection.deadline_reached(2.4), [])
        self.assertEqual(self.selection.deadline_reached(2.5), [Take("b")])
        self.assertEqual((self.selection.link, self.selection.deadline), ("b", None))
        self.assertEqual(self.selection.lost("a"), [])
        self.assertEqual(self.selection.link, "b")

    def test_link_dies(self) -> None:
        """When the link dies while it is asked, who waits for its place has it at once."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 2, 0.1)
        self.assertEqual(self.selection.lost("a"), [Take("b")])
        self.assertIsNone(self.selection.deadline)

    def test_newer_candidate(self) -> None:
        """A newer connection replaces one that waits, and does not make it wait longer."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 1, 0.1)
        self.assertEqual(self.selection.proven("c", 2, 1.9), [Refuse("b", RejectCode.DUPLICATE)])
        self.assertEqual(self.selection.deadline_reached(2.1), [Take("c")])

    def test_candidate_dies(self) -> None:
        """A connection that dies while it waits changes nothing for the link."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 1, 0.1)
        self.assertEqual(self.selection.lost("b"), [])
        self.assertEqual(self.selection.spoke("a"), [])
        self.assertEqual((self.selection.link, self.selection.deadline), ("a", None))

    def test_candidate_speaks(self) -> None:
        """That who waits speaks is no sign of life of the link."""
        self.selection.proven("a", 1, 0.0)
        self.selection.proven("b", 1, 0.1)
        self.assertEqual(self.selection.spoke("b"), [])
        self.assertEqual(self.selection.deadline_reached(2.1), [Take("b")])

    def test_nothing_left(self) -> None:
        """After the last connection is lost, the next one is the link at once."""
        self.selection.proven("a", 1, 0.0)
        self.assertEqual(self.selection.lost("a"), [])
        self.assertIsNone(self.selection.link)
        self.assertEqual(self.selection.proven("b", 1, 9.0), [Take("b")])

    def test_any_course(self) -> None:
        """Whatever connections do, there is one link at most, no living one is given up, and nobody waits for ever."""
        run_state_machine_as_test(Courses, settings=settings(deadline=None, max_examples=80, stateful_step_count=30))


class Courses(RuleBasedStateMachine):
    """Connections come, speak and go; a promise that is broken is an AssertionError."""

    def __init__(self) -> None:
        super().__init__()
        self.selection: Selection[int] = Selection(probe_timeout=PROBE_TIMEOUT)
        self.now = 0.0
        self.boots: dict[int, int] = {}  # of the connections that are open
        self.count = 0
        self.link: int | None = None
        self.asked_at: float | None = None  # since when the link has been silent after a question

    @rule(boot=st.integers(1, 2))
    def proven(self, boot: int) -> None:
        self.count += 1
        self.boots[self.count] = boot
        self.obey(self.selection.proven(self.count, boot, self.now))

    @precondition(lambda self: self.boots)
    @rule(data=st.data())
    def spoke(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(list(self.boots)))
        if connection == self.link:
            self.asked_at = None
        self.obey(self.selection.spoke(connection), link_spoke=connection == self.link)

    @precondition(lambda self: self.boots)
    @rule(data=st.data())
    def lost(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(list(self.boots)))
        del self.boots[connection]
        if connection == self.link:
            self.link = self.asked_at = None
        self.obey(self.selection.lost(connection))

    @rule(seconds=st.sampled_from((0.1, 1.0, PROBE_TIMEOUT)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.obey(self.selection.deadline_reached(self.now))
        if self.asked_at is not None and self.now >= self.asked_at + PROBE_TIMEOUT:
            self.asked_at = None  # who asked for the answer is gone; the next one asks again

    def obey(self, decisions: list[Decision[int]], *, link_spoke: bool = False) -> None:
        for decision in decisions:
            connection = decision.connection
            assert connection in self.boots, "only what is open is decided about"
            if isinstance(decision, Take):
                silent = self.asked_at is not None and self.now >= self.asked_at + PROBE_TIMEOUT
                assert self.link is None or silent, "a link that may live is never given up"
                assert connection != self.link
                for other in [other for other in self.boots if other != connection]:
                    del self.boots[other]  # the driver closes them
                    assert self.selection.lost(other) == []
                self.link, self.asked_at = connection, None
            elif isinstance(decision, Refuse):
                assert connection != self.link, "the link is never refused"
                clone = link_spoke and self.link is not None and self.boots[connection] != self.boots[self.link]
                assert decision.code == (RejectCode.ID_TAKEN if clone else RejectCode.DUPLICATE)
                del self.boots[connection]
                assert self.selection.lost(connection) == []
            else:
                assert isinstance(decision, Probe) and connection == self.link
                assert self.asked_at is None, "a question runs already"
                self.asked_at = self.now

    @invariant()
    def one_link(self) -> None:
        assert self.selection.link == self.link
        assert not self.boots or self.link in self.boots, "somebody is connected and has no link"

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        waiting = [connection for connection in self.boots if connection != self.link]
        assert len(waiting) <= 1
        if waiting:
            deadline = self.selection.deadline
            assert deadline is not None and deadline <= self.now + PROBE_TIMEOUT
