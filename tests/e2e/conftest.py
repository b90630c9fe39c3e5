"""Chromium for the end-to-end tests: the same one as for the viewer's."""

from tests.browser.conftest import browser, page

__all__ = ["browser", "page"]
