"""What faults do to a call: to its answer, and to the bytes on their way out."""

from __future__ import annotations

import asyncio
import copy
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Receive, Send

from salesforce_localorg.faults import Cut, Fault
from salesforce_localorg.wire.answers import Answer, JsonAnswer, TextAnswer

TICK = 0.05
FLUSH = 0.05


def replacement(faults: tuple[Fault, ...]) -> Answer | None:
    """The answer that a fault gives in the org's place."""
    fault = next((each for each in faults if each.answers), None)
    if fault is None:
        return None
    headers = {name: value for name, value in fault.headers.items() if value is not None}
    status = fault.status or 302
    if fault.redirect_to is not None:
        headers["Location"] = fault.redirect_to
    if fault.body is None:
        return Answer(status, headers)
    if isinstance(fault.body, str):
        kind = "text/html;charset=UTF-8" if fault.body.lstrip().startswith("<") else "text/plain;charset=UTF-8"
        return TextAnswer(status, headers, fault.body, kind)
    return JsonAnswer(status, headers, fault.body)


def altered(answer: Answer, faults: tuple[Fault, ...]) -> Answer:
    """The org's answer with what faults change in its headers and JSON."""
    for fault in faults:
        for name, value in fault.headers.items():
            _set_header(answer.headers, name, value)
        if fault.number_of_records is not None and "Sforce-NumberOfRecords" in answer.headers:
            answer.headers["Sforce-NumberOfRecords"] = str(fault.number_of_records)
        if isinstance(answer, JsonAnswer) and (fault.set_json or fault.mutate):
            answer.payload = _altered_json(copy.deepcopy(answer.content()), fault)
            answer.encoded = None
    return answer


def _altered_json(payload: Any, fault: Fault) -> Any:
    for pointer, value in fault.set_json.items():
        set_pointer(payload, pointer, value)
    return payload if fault.mutate is None else fault.mutate(payload)


def set_pointer(payload: Any, pointer: str, value: Any) -> None:
    """Set the value at a JSON pointer (RFC 6901); a pointer that does not fit the payload changes nothing."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")]
    try:
        for part in parents:
            payload = payload[_key(payload, part)]
        payload[_key(payload, last)] = value
    except (KeyError, IndexError, TypeError, ValueError):
        return


def _key(container: Any, part: str) -> Any:
    return int(part) if isinstance(container, list) else part


def _set_header(headers: dict[str, str], name: str, value: str | None) -> None:
    for known in [each for each in headers if each.lower() == name.lower()]:
        del headers[known]
    if value is not None:
        headers[name] = value


class Wire:
    """The way of one answer to the caller, with the delays, stalls and cuts of its faults.

    `on_start` hears the status just before the first byte leaves; `sent` counts body bytes.
    """

    def __init__(
        self,
        send: Send,
        receive: Receive,
        transport: asyncio.Transport,
        faults: tuple[Fault, ...],
        on_start: Callable[[int], None],
    ) -> None:
        self._send = send
        self._receive = receive
        self._transport = transport
        self._on_start = on_start
        self._latency = sum(fault.latency for fault in faults)
        self._stalls = sorted((fault.stall_after, fault.stall_seconds) for fault in faults if fault.stall_seconds)
        self._rate = min((fault.bytes_per_second for fault in faults if fault.bytes_per_second), default=None)
        cuts = [(fault.cut_after, fault.cut) for fault in faults if fault.cut_after is not None]
        self._cut: tuple[int, Cut] | None = min(cuts, default=None)
        self._ended = False
        self._due = 0.0
        self.sent = 0

    async def delay(self) -> None:
        """The latency before anything is answered."""
        await self._pause(self._latency)

    async def reset(self) -> None:
        """End the connection before an answer."""
        self._on_start(0)
        await self._end("reset")

    async def send(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            self._on_start(message["status"])
            await self._send(self._start(message))
        else:
            await self._body(message.get("body", b""), message.get("more_body", False))

    def _start(self, message: Message) -> Message:
        if self._cut is None or self._cut[1] != "end":
            return message
        # The announced length must go, or the caller would notice what this fault is meant to hide.
        headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
        return {**message, "headers": headers}

    async def _body(self, body: bytes, more: bool) -> None:
        rest = memoryview(body)
        while True:
            while self._stalls and self.sent >= self._stalls[0][0]:
                await self._pause(self._stalls.pop(0)[1])
            if self._cut is not None and self.sent >= self._cut[0]:
                await self._end(self._cut[1])
                return
            piece = rest[: self._piece_size(len(rest))]
            rest = rest[len(piece) :]
            self.sent += len(piece)
            unfinished = more or len(rest) > 0 or (self._cut is not None and self.sent >= self._cut[0])
            await self._send({"type": "http.response.body", "body": bytes(piece), "more_body": unfinished})
            if self._rate is not None:
                await self._keep_pace(len(piece), self._rate)
            if not rest and (more or not unfinished):
                return

    async def _keep_pace(self, sent: int, rate: float) -> None:
        """Wait until the next piece is due; a late one does not delay those after it."""
        now = time.monotonic()
        self._due = max(self._due or now, now - 2 * TICK) + sent / rate
        await self._pause(self._due - now)

    def _piece_size(self, available: int) -> int:
        limits = [available]
        if self._rate is not None:
            limits.append(max(1, int(self._rate * TICK)))
        if self._stalls:
            limits.append(self._stalls[0][0] - self.sent)
        if self._cut is not None:
            limits.append(self._cut[0] - self.sent)
        return min(limits)

    async def _end(self, how: Cut) -> None:
        self._ended = True
        if how == "end":
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if how == "reset":
            await asyncio.sleep(FLUSH)  # what was sent so far should arrive; a reset throws away what is still queued
            _linger_none(self._transport)
            self._transport.abort()
        else:
            self._transport.close()
        await self._wait_until_gone()

    async def _wait_until_gone(self) -> None:
        async def gone() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass

        try:
            await asyncio.wait_for(gone(), timeout=5)
        except asyncio.TimeoutError:
            self._transport.abort()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not longer than the caller stays."""
        while seconds > 0 and not self._transport.is_closing():
            await asyncio.sleep(min(seconds, TICK))
            seconds -= TICK


def _linger_none(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def kills_session(faults: tuple[Fault, ...], when: str) -> bool:
    return any(fault.kill_session == when for fault in faults)


def resets(faults: tuple[Fault, ...]) -> bool:
    return any(fault.reset for fault in faults)
