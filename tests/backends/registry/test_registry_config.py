"""`[registry]` of the configuration refuses what makes no sense, and its password is never shown."""

from __future__ import annotations

from typing import Any

import pytest

from stream_worker.config import effective, load_settings
from stream_worker.core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8081"}, "registry.url: must begin with http"),
        ({"url": "http://me:sesame@localhost"}, "registry.url: takes no user and password"),
        ({"url": "http://a", "username": "a:b"}, "registry.username: "),
        ({"url": "http://a", "password": "sesame"}, "registry.password: needs registry.username"),
        ({"url": "http://a", "key_file": "k.pem"}, "registry.key_file: needs registry.cert_file"),
        ({"username": "me"}, "registry.username: needs registry.url"),
        ({"url": "http://a", "timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_settings(None, {f"STREAM_WORKER__REGISTRY__{key.upper()}": str(value) for key, value in settings.items()})
    assert "sesame" not in str(caught.value)


def test_the_password_is_never_shown() -> None:
    environ = {"URL": "http://a", "USERNAME": "me", "PASSWORD": "sesame"}
    settings = load_settings(None, {f"STREAM_WORKER__REGISTRY__{key}": value for key, value in environ.items()})
    shown = dict(effective(settings))
    assert shown["registry.password"] == "****"
    assert shown["registry.username"] == '"me"'
    assert "sesame" not in repr(settings)
