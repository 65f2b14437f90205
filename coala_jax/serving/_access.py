"""Who may ask: where the server listens, under which names, from which pages, with which token."""

import hashlib
import hmac
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from coala_jax._errors import CoalaError

TOKEN_VARIABLE = "COALA_JAX_TOKEN"
# A shorter one can be guessed.
SHORTEST_TOKEN = 16
# Origins without a name.
FREE_ORIGINS = ("null", "file://")
# Scheme, name and port, without user, path, query or wildcard.
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:*\[\]]+)(:[0-9]+)?")
# Left out where a browser names an origin of the web.
_OWN_PORTS = {"http": ":80", "https": ":443"}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names that the Host header may have, without port, in lower case. Others are refused:
            a page of the web that lets its own name point here must not read what is here.
        origins: pages of the web, apps and extensions that may ask, by the Origin header that they
            send; others are refused.
        token: digest of the bearer token that every request must have, or None.
    """

    hosts: frozenset[str] = frozenset(LOOPBACK_NAMES)
    origins: frozenset[str] = frozenset()
    token: bytes | None = None

    def admits_token(self, authorization: str) -> bool:
        """Whether an Authorization header has the token, in constant time."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(digest(given.strip()), self.token)
        return right and scheme.lower() == "bearer"


def digest(token: str) -> bytes:
    """What of a token is kept and compared: of one length, whatever the token's."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def host_name(header: str) -> str:
    """The name in a Host header: in lower case, without port and brackets."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def read_token(
    path: str | os.PathLike[str] | None, environment: Mapping[str, str] = os.environ
) -> bytes | None:
    """The digest of the token in a file, or else in the environment; None where there is none.

    Raises:
        OSError: the file cannot be read.
        ValueError: a token that is too short, or that no header can hold.
    """
    if path is not None:
        token, source = Path(path).read_text(encoding="utf-8").strip(), str(path)
    elif TOKEN_VARIABLE in environment:
        token, source = environment[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE
    else:
        return None
    if len(token) < SHORTEST_TOKEN:
        raise CoalaError(
            f"{source}: the token has {len(token)} characters and needs {SHORTEST_TOKEN}; "
            "make one: openssl rand -hex 32"
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise CoalaError(f"{source}: the token must be of printable ASCII without spaces")
    return digest(token)


def require_guarded(host: str, token: bytes | None, *, unguarded: bool) -> None:
    """Raise where others than this machine could ask without a token.

    Args:
        host: name or address to listen on.
        token: of the server, or None.
        unguarded: whether that was asked for.

    Raises:
        ValueError: names the host and the ways out.
        OSError: a name that has no address.
    """
    if token is None and not unguarded and not is_loopback(host):
        raise CoalaError(
            f"--host {host} can be reached from other machines: give --token-file (or "
            f"{TOKEN_VARIABLE}), or --without-token to serve whoever reaches it"
        )


def is_loopback(host: str) -> bool:
    """Whether all addresses of a name are this machine's own.

    Raises:
        OSError: a name that has no address.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)


def allowed_hosts(host: str, more: tuple[str, ...]) -> frozenset[str]:
    """Names that the Host header may have.

    Args:
        host: that the server listens on; of one that stands for all addresses nothing follows.
        more: names that were allowed explicitly.

    Raises:
        ValueError: a name with a scheme, a port or a wildcard.
    """
    names = set(LOOPBACK_NAMES)
    for name in more:
        if not name or host_name(f"[{name}]" if ":" in name else name) != name.lower():
            raise CoalaError(f"--allow-host {name} must be a bare name such as gpu.example.org")
        names.add(name.lower())
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            names.add(host.lower())
    except ValueError:  # a name
        names.add(host.lower())
    return frozenset(names)


def allowed_origins(origins: tuple[str, ...]) -> frozenset[str]:
    """Pages, apps and extensions that may ask, by the Origin header that they send.

    Args:
        origins: scheme and name, with a port where it is not the scheme's own, of any scheme;
            ``file://``; or ``null``, which pages from files and sandboxed frames send.

    Raises:
        ValueError: one that no browser sends; ``*`` is none.
    """
    for origin in origins:
        sent = _as_sent(origin)
        if sent is None:
            raise CoalaError(
                f"--allow-origin {origin} must be scheme, name and port, such as "
                "https://app.example.org or app://obsidian.md, or null, as browsers send it"
            )
        if sent != origin:
            raise CoalaError(f"--allow-origin {origin}: browsers send it as {sent}; give that")
    return frozenset(origins)


def _as_sent(origin: str) -> str | None:
    """An origin as browsers write it; None where it is none."""
    if origin in FREE_ORIGINS:
        return origin
    if not _ORIGIN.fullmatch(origin):
        return None
    scheme, _, name = origin.partition("://")
    scheme = scheme.lower()
    if scheme not in _OWN_PORTS:  # of apps, whose names are as they are
        return f"{scheme}://{name}"
    return f"{scheme}://{name.lower().removesuffix(_OWN_PORTS[scheme])}"
