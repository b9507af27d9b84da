"""Where gates compute in tests that hold the clock."""

from concurrent.futures import Executor, Future


class Immediately(Executor):
    """Gates that take no time."""

    def submit(self, function, /, *arguments, **named):
        done = Future()
        try:
            done.set_result(function(*arguments, **named))
        except Exception as problem:  # noqa: BLE001 - as an executor keeps it
            done.set_exception(problem)
        return done
