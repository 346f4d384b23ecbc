"""An executor of jobs in processes of this machine. A process is started once and has many jobs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from ..io.worker_process import Worker, WorkerDied
from ..runtime import keep_freed_memory, silence_libraries, sleep_idle_threads
from .part_job import Died, Job, Result, run_job

POLL_SECONDS = 0.1
"""How often the driver looks whether it should stop."""


class LocalExecutor:
    """Up to ``workers`` processes. ``should_stop`` is polled while jobs run."""

    def __init__(self, workers: int, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._workers = [Worker() for _ in range(workers)]
        self._should_stop = should_stop
        self._closing = False

    def map(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """``executor.Executor.map``."""
        waiting, results = iter(jobs), queue.Queue[Result | BaseException | None]()
        lock = threading.Lock()

        def serve(worker: Worker) -> None:
            """Runs jobs until there are none."""
            try:
                while not self._closing:
                    with lock:
                        job = next(waiting, None)
                    if job is None:
                        break
                    results.put(self._run(worker, job))
            except BaseException as error:
                results.put(error)
            results.put(None)

        threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            try:
                result = results.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if self._should_stop():
                    raise KeyboardInterrupt from None
                continue
            if self._should_stop():
                raise KeyboardInterrupt
            if isinstance(result, BaseException):
                raise result
            if result is None:
                running -= 1
            else:
                yield result

    def _run(self, worker: Worker, job: Job) -> Result:
        """The result of a job in a process."""
        try:
            return worker.call(run_in_worker, job)
        except WorkerDied as death:
            return Died(job, str(death))

    def close(self) -> None:
        """Ends all processes at once: what they were fitting is lost, the parts that are there are complete."""
        self._closing = True
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.close()


def run_in_worker(job: Job) -> Result:
    """``run_job`` in a process of its own."""
    _prepare()
    return run_job(job)


_prepared = False


def _prepare() -> None:
    """Sets up this process, once."""
    global _prepared
    if not _prepared:
        _prepared = True
        silence_libraries()
        keep_freed_memory()
        sleep_idle_threads()
