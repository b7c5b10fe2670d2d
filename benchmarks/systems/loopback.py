"""Lets clients that insist on https talk to the org on the loopback interface."""

from __future__ import annotations

from typing import Any

import requests


class PlainHttp(requests.adapters.HTTPAdapter):
    """Sends what is meant for https:// by http://."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        request.url = (request.url or "").replace("https://", "http://", 1)
        return super().send(request, *args, **options)


def plain_session() -> requests.Session:
    session = requests.Session()
    session.mount("https://", PlainHttp())
    return session
