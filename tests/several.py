"""Several processes on this machine that find each other through torchrun's variables."""

import os
import signal
import socket
import sys
import time
import traceback
from contextlib import closing


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Team:
    """W forks that call function(rank) each; what one prints is in the file `folder/rank`."""

    def __init__(self, function, world, folder):
        self.folder, port, self.pids = folder, free_port(), []
        folder.mkdir(parents=True, exist_ok=True)
        for rank in range(world):
            pid = os.fork()
            if pid == 0:
                variables = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in variables.items()})
                _call(function, rank, folder / str(rank))
            self.pids.append(pid)
        self.codes = {}

    def wait(self, seconds=100):
        """Return the exit codes; fail if a process is still running after so long."""
        end = time.monotonic() + seconds
        while len(self.codes) < len(self.pids):
            for rank, pid in enumerate(self.pids):
                if rank not in self.codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                    self.codes[rank] = os.waitstatus_to_exitcode(found[1])
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"processes hang, ended so far: {self.codes}; {self.printed()}")
            time.sleep(0.02)
        return [self.codes[rank] for rank in range(len(self.pids))]

    def kill(self, rank=None, how=signal.SIGKILL):
        for number, pid in enumerate(self.pids):
            if number not in self.codes and rank in (None, number):
                os.kill(pid, how)

    def printed(self):
        """Return the lines of errors and warnings, without what libraries log."""
        lines = [line for rank in range(len(self.pids)) for line in (self.folder / str(rank)).read_text().splitlines()]
        return [line for line in lines if line.startswith(("robustgames:", "warning:", "Traceback"))]


def _call(function, rank, out):
    """Call a function in a fork, and exit."""
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1), os.dup2(file, 2)
    sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1)
    code = 1
    try:
        code = function(rank) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
