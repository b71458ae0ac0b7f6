"""When a failed attempt is followed by another: tenacity's parts, composed here and nowhere else."""

import random
import re
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from deployguard.clock import Clock
from deployguard.errors import ConnectionLost, StepFailed, StepTimedOut
from deployguard.runbook.spec import Retry


class _Wait(wait_base):
    """Seconds before the next attempt: full jitter over an exponential, or a fixed delay.

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, policy: Retry) -> None:
        self._policy = policy

    def __call__(self, retry_state: RetryCallState) -> float:
        if self._policy.backoff == "fixed":
            return min(self._policy.delay, self._policy.max_delay)
        most = min(self._policy.max_delay, self._policy.delay * 2.0 ** (retry_state.attempt_number - 1))
        return random.uniform(most / 2, most)  # noqa: S311 - spreads load, guards nothing


class _NothingAfter(stop_base):
    """Stops when the next attempt would begin later than `total` seconds after the first."""

    def __init__(self, total: float, clock: Clock) -> None:
        self._until = clock.monotonic() + total
        self._clock = clock

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._clock.monotonic() + retry_state.upcoming_sleep >= self._until


def is_retried(policy: Retry, error: BaseException) -> bool:
    """Whether the policy has another attempt follow this failure."""
    if not isinstance(error, StepFailed):
        return False
    return not policy.retry_on or any(_matches(rule, error) for rule in policy.retry_on)


def _matches(rule: str, error: StepFailed) -> bool:
    name, _, argument = rule.partition(":")
    if name == "timeout":
        return isinstance(error, StepTimedOut)
    if name == "connection":
        return isinstance(error, ConnectionLost)
    if name == "exit":
        return str(error.command_exit) == argument.strip()
    return name == "pattern" and re.search(argument, f"{error.message}\n{error.tail}") is not None


def attempts(
    policy: Retry, clock: Clock, pause: Callable[[float], None], failed: Callable[[StepFailed], None]
) -> Retrying:
    """Attempts as the policy says; the last failure is raised as it was.

    Args:
        policy: how many, how far apart, which failures.
        clock: where waiting is done.
        pause: called with the seconds of each wait; it may raise to stop waiting.
        failed: told of each failure that another attempt follows, before the wait.
    """
    stop = stop_after_attempt(policy.attempts)

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, StepFailed):
            failed(error)

    return Retrying(
        stop=stop | _NothingAfter(policy.total, clock) if policy.total is not None else stop,
        wait=_Wait(policy),
        retry=retry_if_exception(lambda error: is_retried(policy, error)),
        sleep=pause,
        before_sleep=tell,
        reraise=True,
    )
