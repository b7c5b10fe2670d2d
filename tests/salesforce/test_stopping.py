"""Ending what is under way: a request whose answer has not begun ends as soon as one that is being read."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_sfcc.errors import StoppedError
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import RunningOrg

SILENCE = 20.0
"""Seconds for which the org says nothing; a client waits longer."""


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("silence", [{"latency": SILENCE}, {"stall_seconds": SILENCE, "stall_after": 10}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_waits_for_its_answer_ends(
    start_org: Callable[..., RunningOrg], tls: bool, silence: dict[str, float], stream: bool
) -> None:
    org = start_org(tls=tls)
    verify = str(org.server.ca_file) if tls else True
    stop = Stop()
    client = org.client(transport=TransportOptions(request_timeout=60, max_retries=2, verify=verify)).with_options(
        stop=stop
    )
    org.fail("describe", **silence)

    def ask() -> None:
        # requests turns a break-off into errors of many kinds; what reads a stream asks whether it was stopped.
        try:
            client.request("GET", "/sobjects/Account/describe", stream=stream).raw.read()
        finally:
            stop.check()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        while not org.calls("describe") and not org.org.faults.all()[0].hits:
            time.sleep(0.01)
        time.sleep(0.3)  # into the wait for the first byte, or for the next one
        began = time.monotonic()
        stop.set()
        with pytest.raises(StoppedError):
            asked.result()
        assert time.monotonic() - began < SILENCE / 2
    assert client.session.retries.retried == 0, "what was stopped is not tried again"


def test_a_request_that_begins_when_all_is_stopped_is_not_sent(org: RunningOrg) -> None:
    stop = Stop()
    client = org.client().with_options(stop=stop)
    stop.set()
    with pytest.raises(StoppedError):
        client.request("GET", "/sobjects")
    assert not org.calls("describe_global")
