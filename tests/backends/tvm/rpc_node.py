"""A tracker or server of TVM's RPC in this process: `rpc_node.py tracker` and `rpc_node.py server HOST PORT KEY`.

TVM's own commands start a process for it, and load PyTorch where that is installed. Prints its port, and dies with
the process that started it.
"""

from __future__ import annotations

import ctypes
import signal
import sys

ctypes.CDLL(None).prctl(1, signal.SIGKILL)

sys.modules["torch"] = None  # tvm would load it

from tvm.rpc import server, tracker  # noqa: E402


def main() -> None:
    if sys.argv[1] == "tracker":
        node = tracker.PopenTrackerServerState("127.0.0.1", 20000, 40000, silent=True)
    else:
        _, _, host, port, key = sys.argv
        node = server.PopenRPCServerState(
            "127.0.0.1", 40000, 60000, tracker_addr=(host, int(port)), key=key, silent=True
        )
    print(node.port, flush=True)
    node.thread.join()


if __name__ == "__main__":
    main()
