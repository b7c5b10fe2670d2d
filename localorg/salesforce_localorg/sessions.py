"""Access tokens and the sessions behind them: opaque, sliding idle expiry, revocable."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from salesforce_localorg.clock import Clock

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"
KEPT_TOKENS = 10_000  # of all that were issued, the newest
TAIL_LENGTH = 96  # with the 15-character org id and "!" this makes the 112 characters of a real token


@dataclass
class Session:
    """One issued access token; times are the org's."""

    token: str
    username: str
    user_id: str
    client_id: str
    issued: datetime
    last_used: datetime


class Sessions:
    """All live sessions. A session ends `idle_seconds` after its last use, by the org's clock."""

    def __init__(self, clock: Clock, org_id: str, idle_seconds: float, jwt: bool = False) -> None:
        self._clock = clock
        self._jwt = jwt
        self._prefix = org_id[:15]
        self._idle = timedelta(seconds=idle_seconds)
        self._sessions: dict[str, Session] = {}
        self._issued: deque[str] = deque(maxlen=KEPT_TOKENS)
        self._lock = threading.Lock()

    @property
    def issued(self) -> list[str]:
        """The tokens that were given out, ended ones too, oldest first: to search for them where none may be."""
        with self._lock:
            return list(self._issued)

    def open(self, *, username: str, user_id: str, client_id: str) -> Session:
        """Issue a fresh token for the user, opaque or with the three segments of a JWT."""
        tail = "".join(secrets.choice(ALPHABET) for _ in range(TAIL_LENGTH))
        now = self._clock.now()
        token = _jwt(user_id, client_id, now) if self._jwt else f"{self._prefix}!{tail}"
        session = Session(token, username, user_id, client_id, now, now)
        with self._lock:
            self._sessions[session.token] = session
            self._issued.append(session.token)
        return session

    def newest_of(self, client_id: str, user_id: str) -> Session | None:
        """The live session that was issued last to this app and user, for orgs that repeat a token."""
        with self._lock:
            live = [each for each in self._sessions.values() if self._is_live(each)]
        own = [each for each in live if each.client_id == client_id and each.user_id == user_id]
        return max(own, key=lambda each: each.issued, default=None)

    def use(self, token: str) -> Session | None:
        """The live session of a token, its idle time starting anew; None for an unknown or expired one."""
        with self._lock:
            session = self._live(token)
            if session is not None:
                session.last_used = self._clock.now()
            return session

    def look_up(self, token: str) -> Session | None:
        """As `use`, but without extending the session (introspection is no use)."""
        with self._lock:
            return self._live(token)

    def ends(self, session: Session) -> datetime:
        """When the session ends if nobody uses it again."""
        return session.last_used + self._idle

    def revoke(self, token: str) -> bool:
        """End one session; False when there was none."""
        with self._lock:
            return self._sessions.pop(token, None) is not None

    def expire_all(self) -> int:
        """End every session; returns how many there were."""
        with self._lock:
            count = len(self._sessions)
            self._sessions.clear()
            return count

    def _live(self, token: str) -> Session | None:
        session = self._sessions.get(token)
        if session is None:
            return None
        if not self._is_live(session):
            del self._sessions[token]
            return None
        return session

    def _is_live(self, session: Session) -> bool:
        return self._clock.now() < self.ends(session)


def _jwt(user_id: str, client_id: str, now: datetime) -> str:
    """The shape of Salesforce's JWT access tokens. Nobody but the org reads them, so the signature is noise."""
    issued = int(now.timestamp())
    header = {"typ": "JWT", "alg": "RS256", "kid": "218"}
    claims = {"sub": f"uid:{user_id}", "client_id": client_id, "scp": "api", "iat": issued, "exp": issued + 7200}
    segments = [json.dumps(each, separators=(",", ":")).encode() for each in (header, claims)]
    return ".".join(_base64url(each) for each in (*segments, secrets.token_bytes(256)))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
