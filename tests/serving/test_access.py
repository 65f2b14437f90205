"""Who may ask: names, pages, tokens, and where the server listens."""

import pytest

from coala_jax.serving._access import (
    Access,
    allowed_hosts,
    allowed_origins,
    digest,
    host_name,
    is_loopback,
    read_token,
    require_guarded,
)
from tests.serving.asking import refused, running

TOKEN = "a-token-of-this-test"
PAGE = "https://app.example.org"
OTHERS = (
    "app://obsidian.md",
    "app://.",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://0f3c1c1e-7b1c-4d1e-9a53-2d5c8f1b7e11",
    "vscode-webview://1a2b3c",
    "tauri://localhost",
    "capacitor://localhost",
    "http://localhost:5173",
    "http://[::1]:8080",
    "file://",
    "null",
)


@pytest.fixture(scope="module")
def guarded(model):
    """A server with a token, and one page that may ask."""
    access = Access(origins=allowed_origins((PAGE, *OTHERS)), token=digest(TOKEN))
    with running(model, access=access) as one:
        yield one


@pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_answered(served, host):
    assert served.ask("GET", "/health", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "127.0.0.1.evil.org", "", "[", "localhost@evil"]
)
def test_other_names_are_refused(served, host):
    error = refused(served.ask("GET", "/health", headers={"Host": host}), 403)
    assert (error["code"], "--allow-host" in error["message"]) == ("host_not_allowed", True)


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:8000"])
def test_no_page_may_ask_by_default(served, origin):
    answer = served.ask("GET", "/v1/models", headers={"Origin": origin})
    error = refused(answer, 403)
    assert error["code"] == "origin_not_allowed"
    said = f"origin {origin} is not allowed; start the server with --allow-origin {origin}"
    assert error["message"] == said
    assert not any(name.lower().startswith("access-control") for name in answer[1])


@pytest.mark.parametrize("page", [PAGE, *OTHERS])
def test_a_page_that_was_allowed_may_ask(guarded, page):
    headers = {
        "Origin": page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }
    status, found, _ = guarded.ask("OPTIONS", "/v1/completions", headers=headers)
    assert status == 200
    assert found["access-control-allow-origin"] == page
    assert "access-control-allow-private-network" not in found
    assert "authorization" in found["access-control-allow-headers"]
    headers["Access-Control-Request-Private-Network"] = "true"
    status, found, _ = guarded.ask("OPTIONS", "/v1/completions", headers=headers)
    assert (status, found["access-control-allow-private-network"]) == (200, "true")
    asked = {"Origin": page, "Authorization": f"Bearer {TOKEN}"}
    status, found, _ = guarded.ask("GET", "/v1/models", headers=asked)
    assert (status, found["access-control-allow-origin"]) == (200, page)


@pytest.mark.parametrize(
    "page", ["https://other.org", "app://other", "app://obsidian.md.evil", "https://null", "NULL"]
)
def test_no_other_page_may_ask(guarded, page):
    headers = {
        "Origin": page,
        "Authorization": f"Bearer {TOKEN}",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    for method in ("GET", "OPTIONS"):
        answer = guarded.ask(method, "/v1/models", headers=headers)
        assert page in refused(answer, 403)["message"]
        assert not any(name.startswith("access-control") for name in answer[1])


@pytest.mark.parametrize(
    "given", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer \xff\xfe"]
)
def test_a_token_that_is_missing_or_wrong(guarded, given):
    headers = {} if given is None else {"Authorization": given}
    answer = guarded.ask("GET", "/v1/models", headers=headers)
    assert refused(answer, 401)["code"] == "invalid_api_key"
    assert answer[1]["www-authenticate"] == "Bearer"
    assert TOKEN not in answer[2]["error"]["message"]


def test_the_right_token_is_answered_and_never_logged(guarded):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/v1/models", headers=headers)[0] == 200
    assert guarded.ask("GET", "/health")[0] == 200
    assert not any(TOKEN in line for line in guarded.log)


def test_tokens_come_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, {"COALA_JAX_TOKEN": "ignored-where-a-file-is"}) == digest(TOKEN)
    assert read_token(None, {"COALA_JAX_TOKEN": TOKEN}) == digest(TOKEN)
    assert read_token(None, {}) is None


@pytest.mark.parametrize(
    ("token", "part"),
    [("", "0 characters"), ("short", "openssl"), ("words with spaces in it", "without spaces")],
)
def test_a_token_that_cannot_be_used_is_not_shown(tmp_path, token, part):
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(ValueError, match=part) as raised:
        read_token(file, {})
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "inside"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False)],
)
def test_only_this_machine_is_served_without_a_token(host, inside):
    assert is_loopback(host) is inside
    require_guarded(host, digest(TOKEN), unguarded=False)
    require_guarded(host, None, unguarded=True)
    if inside:
        require_guarded(host, None, unguarded=False)
    else:
        with pytest.raises(ValueError, match="--token-file"):
            require_guarded(host, None, unguarded=False)


def test_names_that_are_allowed():
    loopback = {"localhost", "127.0.0.1", "::1"}
    assert allowed_hosts("0.0.0.0", ()) == loopback
    assert allowed_hosts("10.0.0.7", ("Gpu.Example.org",)) == {
        *loopback,
        "10.0.0.7",
        "gpu.example.org",
    }
    assert host_name("Gpu.Example.org:80") == "gpu.example.org"
    for wrong in ("http://a", "a:80", ""):
        with pytest.raises(ValueError, match="bare name"):
            allowed_hosts("127.0.0.1", (wrong,))


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "",
        "app.example.org",
        "https://a/b",
        "https://a/",
        "https://",
        "app://",
        "https://*.a",
        "chrome-extension://*",
        "https://u@a",
        "https://a b",
        "https://a:b",
        "://a",
        "Null",
    ],
)
def test_pages_are_named_one_by_one(origin):
    assert allowed_origins((PAGE, *OTHERS)) == {PAGE, *OTHERS}
    with pytest.raises(ValueError, match="--allow-origin .* must be scheme, name and port"):
        allowed_origins((origin,))


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        ("https://App.Example.org", "https://app.example.org"),
        ("HTTPS://a:443", "https://a"),
        ("http://a:80", "http://a"),
    ],
)
def test_a_page_is_named_as_browsers_do(origin, sent):
    with pytest.raises(ValueError, match=f"browsers send it as {sent}; give that"):
        allowed_origins((origin,))
    assert allowed_origins((sent,)) == {sent}
