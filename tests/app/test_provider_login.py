"""How far a log-in by a provider goes without a person."""

from __future__ import annotations

import pytest

from deskside.app.provider_login import judged
from deskside.errors import CheckFailed

PLACE = "https://lab.okta.com/oauth2/default/v1/authorize"


@pytest.mark.parametrize("printed", ["200 ", "303 https://lab.okta.com/signin/x"])
def test_a_page_of_the_provider_is_well(printed: str) -> None:
    assert PLACE in judged(printed, PLACE)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("000 ", "does not answer"),
        ("", "does not answer"),
        ("400 ", "HTTP 400"),
        ("302 http://notebooks/hub/oauth_callback?error=invalid_scope&state=s", "invalid_scope"),
    ],
)
def test_a_refusal_is_said(printed: str, said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        judged(printed, PLACE)
