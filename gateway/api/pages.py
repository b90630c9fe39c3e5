"""The pages: viewer, camera, API docs without a CDN, protocol prose. All static, all from this package."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from pydantic import StringConstraints
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gateway.api.asyncapi import document

CSP = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)

NO_PICTURE = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

router = APIRouter(include_in_schema=False)


def static_dir(name: str) -> Path:
    """A folder of static files: inside the installed package, or in the checkout of an editable install."""
    packaged = Path(str(files("gateway"))) / "static" / name
    if packaged.is_dir():
        return packaged
    checkout = Path(__file__).parents[2]
    return {
        "viewer": checkout / "static" / "viewer",
        "publish": checkout / "static" / "publish",
        "client": checkout / "clients" / "js" / "src",
        "docs": checkout / "docs",
    }[name]


class Assets(StaticFiles):
    """Static files under the pages' content security policy."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = CSP
        response.headers["Cache-Control"] = "no-cache"
        return response


def _docs_assets() -> Path:
    return Path(str(files("fastapi_offline"))) / "static"


def mounts() -> list[Mount]:
    """The static folders, to be mounted on the application."""
    return [
        Mount("/viewer", Assets(directory=static_dir("viewer"))),
        Mount("/publish", Assets(directory=static_dir("publish"))),
        Mount("/client", Assets(directory=static_dir("client"))),
        Mount("/docs/assets", StaticFiles(directory=_docs_assets())),
    ]


@router.get("/", response_class=RedirectResponse)
async def root() -> str:
    return "viewer"


@router.get("/viewer")
async def viewer() -> Response:
    """The viewer; `?stream_id=` starts at once."""
    return _page("viewer")


@router.get("/publish")
async def publish() -> Response:
    """Turns the phone or laptop into a camera; `?stream_id=` publishes to a stream that there is."""
    return _page("publish")


def _page(name: str) -> Response:
    page = static_dir(name) / "index.html"
    return FileResponse(page, headers={"Content-Security-Policy": CSP, "Cache-Control": "no-cache"})


Link = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)]


@router.post("/publish/qr")
def qr_code(link: Annotated[Link, Body(embed=True)]) -> Response:
    """A link as a QR code (ISO/IEC 18004) in SVG. It may hold a token, so it comes in the body, never in the URL."""
    import segno

    picture = io.BytesIO()
    segno.make_qr(link, error="m").save(picture, kind="svg", xmldecl=False, omitsize=True, dark="#14191b", light="#fff")
    return Response(picture.getvalue(), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


@router.get("/asyncapi.json")
async def asyncapi() -> Response:
    """The stream socket as AsyncAPI 3.0."""
    return JSONResponse(document())


@router.get("/docs/protocol")
async def protocol() -> Response:
    """docs/protocol.md as a page."""
    from markdown_it import MarkdownIt

    text = (static_dir("docs") / "protocol.md").read_text()
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return HTMLResponse(
        _PAGE.format(body=body), headers={"Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'"}
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Framegate: the stream protocol</title>
<style>body{{font:16px/1.5 system-ui;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}}
pre{{overflow:auto;padding:.8rem;background:#8882;border-radius:.4rem}}table{{border-collapse:collapse;display:block;overflow:auto}}
td,th{{border:1px solid #8886;padding:.3rem .6rem;text-align:left;vertical-align:top}}</style>{body}</html>"""


@router.get("/docs/assets/redoc.standalone.js")
async def redoc_script() -> Response:
    """ReDoc, but without the logo that it would fetch from its maker."""
    return Response(_redoc(), media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})


@cache
def _redoc() -> bytes:
    script = (_docs_assets() / "redoc.standalone.js").read_bytes()
    return script.replace(b"https://cdn.redoc.ly/redoc/logo-mini.svg", NO_PICTURE)


def add_api_docs(app: FastAPI) -> None:
    """Swagger UI and ReDoc from the package's own files, at the root and under /api."""
    for prefix in ("", "/api"):
        _add_docs_at(app, prefix)


def _add_docs_at(app: FastAPI, prefix: str) -> None:
    def assets(request: Request) -> str:
        return str(request.scope.get("root_path", "")) + "/docs/assets"

    async def swagger(request: Request) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=f"{request.scope.get('root_path', '')}{prefix}/openapi.json",
            title=app.title,
            swagger_js_url=assets(request) + "/swagger-ui-bundle.js",
            swagger_css_url=assets(request) + "/swagger-ui.css",
            swagger_favicon_url=assets(request) + "/favicon.png",
        )

    async def redoc(request: Request) -> HTMLResponse:
        return get_redoc_html(
            openapi_url=f"{request.scope.get('root_path', '')}{prefix}/openapi.json",
            title=app.title,
            redoc_js_url=assets(request) + "/redoc.standalone.js",
            redoc_favicon_url=assets(request) + "/favicon.png",
            with_google_fonts=False,
        )

    async def schema() -> JSONResponse:
        return JSONResponse(app.openapi())

    app.add_api_route(f"{prefix}/docs", swagger, include_in_schema=False)
    app.add_api_route(f"{prefix}/redoc", redoc, include_in_schema=False)
    app.add_api_route(f"{prefix}/openapi.json", schema, include_in_schema=False)
