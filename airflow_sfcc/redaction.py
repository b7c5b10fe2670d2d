"""Known secrets are taken out of every text that may be shown, in each form in which a server can send them back.

A server, or a proxy before it, may repeat a request in its error response. So whatever this process sent as a secret (consumer
secret, private key, assertion, token) is registered here, and `errors` passes every message through `redact`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "***"

_MOST = 200
"""Secrets remembered; a triggerer of many connections gets a new token for each every few hours."""

_SHORTEST = 8
"""Shorter ones would hide ordinary words, and Salesforce makes none."""

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""Of terminals: they are taken out whole."""

_forms: OrderedDict[str, re.Pattern[str]] = OrderedDict()
_lock = threading.RLock()


def register_secret(secret: str, *, user: str = "") -> None:
    """Hide this from now on; with a `user`, also as Basic credentials."""
    if len(secret) >= _SHORTEST:
        _register(f"{user}:{secret}", lambda: _patterns(secret, user))


def register_key(pem: str) -> None:
    """Hide a private key from now on, also where its lines are joined, broken elsewhere, or alone."""
    _register(pem, lambda: _key_patterns(pem))


def _register(key: str, patterns: Callable[[], Iterator[str]]) -> None:
    with _lock:
        if key not in _forms:
            _forms[key] = re.compile("|".join(patterns()))
        _forms.move_to_end(key)
        while len(_forms) > _MOST:
            _forms.popitem(last=False)


def redact(text: str) -> str:
    """`text` without registered secrets."""
    with _lock:
        known = list(_forms.values())
    for pattern in known:
        text = pattern.sub(HIDDEN, text)
    return text


def shown(text: str) -> str:
    """`text` without what would steer a terminal, turn the direction of writing around, or fit into no file: whatever Unicode
    does not count as printable becomes a blank, but for line breaks, by which our own sentences are set apart."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else " " for each in _ESCAPES.sub(" ", text))


def printable(text: str) -> str:
    """The same on one line, which no line of a log can be forged by."""
    return " ".join(shown(text).split())


def _patterns(secret: str, user: str) -> Iterator[str]:
    texts = {secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/"), secret.replace("\n", "")}
    texts |= {quote(secret, safe=""), quote(secret, safe="!*'()"), quote(quote(secret, safe=""), safe="")}
    texts |= {text.replace("%20", "+") for text in texts}
    for text in sorted(texts, key=len, reverse=True):
        yield f"(?i:{re.escape(text)})" if "%" in text else re.escape(text)
    basic = [f"{user}:{secret}", f"{quote(user)}:{quote(secret, safe='')}"] if user else []
    for value in (*basic, secret, *sorted({quote(secret, safe=""), quote_plus(secret)})):
        for shift in range(3):
            within = _base64_within(value.encode(), shift)
            yield re.escape(within).replace(r"\+", "(?:[+-]|%2[Bb])").replace("/", "(?:[/_]|%2[Ff])") + "=*"


def _key_patterns(pem: str) -> Iterator[str]:
    lines = [line for line in pem.split() if "-" not in line]
    yield from _patterns(pem, "")
    yield r"(?:\s|\\n|\\r)*".join(map(re.escape, lines))
    for line in lines:
        if len(line) >= _SHORTEST:
            yield from (re.escape(text) for text in sorted({line, quote(line, safe="")}, key=len, reverse=True))


def _base64_within(value: bytes, shift: int) -> str:
    """What base64 makes of the value after `shift` other bytes, without the characters that depend on its neighbours."""
    encoded = base64.b64encode(b"\0" * shift + value + b"\0" * 2).decode()
    return encoded[-(-shift * 8 // 6) : (shift + len(value)) * 8 // 6]
