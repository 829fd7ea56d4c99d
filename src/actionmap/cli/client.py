"""REST as the commands speak it, with errors in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actionmap.errors import ActionmapError, DefinitionError, Finding, NotFound, SettingsError, Unreachable

if TYPE_CHECKING:
    import httpx

    from actionmap.settings import Settings

_TIMEOUT_S = 30.0
#: A hundred thousand definitions are compared and compiled for a minute.
_SET_TIMEOUT_S = 600.0


class Client:
    """One server's API."""

    def __init__(self, settings: Settings | None = None) -> None:
        from actionmap.settings import load_settings

        self._settings = settings or load_settings()

    def get(self, path: str, **params: Any) -> Any:
        """The answer to GET ``path``.

        Raises:
            ActionmapError: there is none; the message says why and what to do.
        """
        return self._ask("GET", path, params=params)

    def put(self, path: str, body: Any, **params: Any) -> Any:
        """The answer to PUT ``path``; raises as `get` does."""
        return self._ask("PUT", path, body, timeout=_SET_TIMEOUT_S, params=params)

    def post(self, path: str, body: Any) -> Any:
        """The answer to POST ``path``; raises as `get` does."""
        return self._ask("POST", path, body)

    def delete(self, path: str) -> None:
        """DELETE ``path``; raises as `get` does."""
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Any = None, *, timeout: float = _TIMEOUT_S, **more: Any) -> Any:
        import httpx
        import msgspec

        url, key = self._settings.api_url.rstrip("/"), self._settings.api_key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            # A large set is written five times as fast as by httpx.
            headers["Content-Type"], more["content"] = "application/json", msgspec.json.encode(body)
        try:
            response = httpx.request(method, url + path, headers=headers, timeout=timeout, trust_env=False, **more)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"no actionmap server answers at {url} ({type(error).__name__}); start one with actionmap serve or "
                "actionmap dev, or set ACTIONMAP_API_URL. Some commands can ask files instead: --rules DIR"
            ) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise SettingsError(f"ACTIONMAP_API_URL is no URL: {error}") from None
        if not response.is_success:
            raise _error(response, url)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise _stranger(response, url) from None


def _stranger(response: httpx.Response, url: str) -> Unreachable:
    return Unreachable(
        f"what answers at {url} is no actionmap server (status {response.status_code}); set ACTIONMAP_API_URL"
    )


def _error(response: httpx.Response, url: str) -> ActionmapError:
    try:
        problem = response.json()
        detail = str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return _stranger(response, url)
    match response.status_code:
        case 401 | 403:
            return SettingsError(f"the server at {url} refuses: {detail} (the key is taken from ACTIONMAP_API_KEY)")
        case 404:
            return NotFound(detail)
        case 409 | 422 if problem.get("errors"):
            return DefinitionError([Finding(message=one["message"], path=one["path"], subject=one.get("subject", ""))
                                    for one in problem["errors"]])  # fmt: skip
        case _:
            return ActionmapError(f"the server at {url} answered {response.status_code}: {detail}")
