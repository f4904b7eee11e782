"""Who runs the jobs of a sweep: this process, worker processes, or a cluster of Ray. A job may run more than once.

Jobs are taken from their iterator when there is room for one, so they may depend on the results so far: an iterator
that has none at the moment (`StopIteration`) is asked again after every result. A worker that is killed takes nothing
with it: its job is given to another one, and continues at its checkpoint if it has one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch

from robustgames.errors import GameError

Job = TypeVar("Job")
Done = TypeVar("Done")
Executor = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[tuple[Any, Any]]]
"""Yields (job, function(job)) of every job as it ends."""

TRIES = 3
"""Times that workers may be killed without any job being finished between them."""
IN_A_TERMINAL = 130
"""Exit code of a process that Ctrl-C has ended."""


def executor(workers: int = 1, ray: str | None = None) -> Executor:
    """Return the executor for so many workers: this process for one, or Ray at an address."""
    if ray is not None:
        return partial(in_ray, workers=workers, address=ray)
    return here if workers == 1 else partial(in_pool, workers=workers)


def here(function: Callable[[Job], Done], jobs: Iterable[Job]) -> Iterator[tuple[Job, Done]]:
    """Yield (job, function(job)) of every job, one after the other in this process."""
    yield from ((job, function(job)) for job in jobs)


def in_pool(function: Callable[[Job], Done], jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, Done]]:
    """Yield (job, function(job)) of every job as it ends, in so many processes of one thread each.

    Ctrl-C is passed on to the workers; a job that it stops ends the worker, which begins no other.

    Args:
        function: Function that a process can import.
        jobs: Its arguments, which can be pickled.
        workers: Number of processes.

    Raises:
        GameError: Workers were killed `TRIES` times, and no job ended between them.
    """
    waiting, again, kills = iter(jobs), deque[Job](), 0
    running: dict[Future[Done], Job] = {}
    pool = _pool(workers)
    try:
        while True:
            broken = False
            while not broken and len(running) < workers and (job := [again.popleft()] if again else _next(waiting)):
                try:
                    running[pool.submit(_worked, function, job[0])] = job[0]
                except BrokenProcessPool:  # a worker was killed while the last result was being used
                    again.append(job[0])
                    broken = True
            if not running and not broken:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job_of = running.pop(future)
                try:
                    found = future.result()
                except BrokenProcessPool:
                    again.append(job_of)
                    broken = True
                    continue
                kills = 0
                yield job_of, found
            if broken:
                again.extend(running.values())
                running.clear()
                kills += 1
                if kills == TRIES:
                    raise GameError(
                        f"workers were killed {TRIES} times before a job ended, perhaps by the system for want of "
                        "memory: use fewer --workers"
                    )
                print("a worker was killed: another one takes its job, from its checkpoint on", file=sys.stderr)
                pool.shutdown(wait=False)
                pool = _pool(workers)
    except KeyboardInterrupt:
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                os.kill(worker.pid, signal.SIGINT)
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (os.getpid(),))


def _next(jobs: Iterator[Job]) -> list[Job]:
    """Return the next job in a list, or an empty one."""
    return list(islice(jobs, 1))


def _worked(function: Callable[[Job], Done], job: Job) -> Done:
    try:
        return function(job)
    except KeyboardInterrupt:
        os._exit(IN_A_TERMINAL)


def _begin(driver: int) -> None:
    """Prepare a worker: one thread, no Ctrl-C but that of its driver, and the same end.

    Args:
        driver: Process of the driver, which may have ended already.
    """
    torch.set_num_threads(1)
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def look() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)  # a driver that was killed cannot ask for it

    threading.Thread(target=look, daemon=True).start()


def in_ray(
    function: Callable[[Job], Done], jobs: Iterable[Job], workers: int, address: str = "auto"
) -> Iterator[tuple[Job, Done]]:
    """Yield (job, function(job)) of every job as it ends, as tasks of Ray with one CPU each.

    Args:
        function: Function that the workers can import.
        jobs: Its arguments, which can be pickled.
        workers: Number of tasks at once, and of CPUs of a cluster that is started here.
        address: Address of a cluster; "auto" is the one that runs here, or else a new one on this machine. Machines
            of a cluster need the package, and the folder of the sweep on a shared file system.

    Raises:
        GameError: Ray is not installed, there is no cluster at the address, or a task cannot be completed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports] -- an extra
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GameError("--ray needs Ray: pip install 'robustgames[ray]', or use --workers 2") from error
    _connect(ray, address, workers)
    try:
        task = ray.remote(num_cpus=1, max_retries=TRIES)(_in_task)
        waiting, running = iter(jobs), {}
        while True:
            while len(running) < workers and (job := _next(waiting)):
                running[task.remote(function, job[0])] = job[0]
            if not running:
                return
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            try:
                found = ray.get(ready)
            except RayError as error:
                said = str(error).strip().partition("\n")[0]
                raise GameError(f"a task of Ray was not completed in {TRIES + 1} tries: {said}") from error
            yield running.pop(ready), found
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:160]
        raise GameError(f"there is no cluster of Ray at {address}: {said}; start one, or use --ray auto") from error


def _in_task(function: Callable[[Job], Done], job: Job) -> Done:
    torch.set_num_threads(1)
    return function(job)
