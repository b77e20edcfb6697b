"""The bootstrap node of the chat, where everybody finds everybody: ``python 02_meeting_point.py``."""

from netlayer import BootstrapNode

meeting_point = BootstrapNode(1, "localhost", 8000)
meeting_point.start_bootstrap_node()
print("The meeting point is open")

meeting_point.wait()
